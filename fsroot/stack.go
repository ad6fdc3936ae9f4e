package fsroot

import (
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"bryo/rootless/program"
)

// Where the parts of a stack are, in a tmpfs that its overlay covers and that
// goes with the host's file systems: see enter.
const (
	stackedLayers = "layers" // a read-only clone of Stack.Dir
	stackedOwn    = "own"    // a clone of the container's own directory
	stackedUpper  = "upper"  // in there, or, for Plan.Layer, in the tmpfs itself
	stackedWork   = "work"
)

// ownDir opens a directory that bryo has made.
const ownDir = unix.O_RDONLY | unix.O_DIRECTORY | unix.O_NOFOLLOW | unix.O_CLOEXEC

// prepareStack takes the layers and the container's own directory. It is not
// possible to write to the one that has the layers through this clone of it.
func (b *Builder) prepareStack() {
	pl, own := b.plan, b.plan.attributes()
	if pl.Layer {
		own |= unix.MOUNT_ATTR_RDONLY // it is only where the root is attached
	}
	b.restrict(b.root, own)
	b.p.Step("clone", "the layers in "+pl.Stack.Dir.Path)
	b.stacked = b.p.OpenTree("layers", program.CWD(), pl.Stack.Dir.Path, unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC)
	b.expectSame(b.stacked, pl.Stack.Dir.ID)
	b.restrict(b.stacked, pl.attributes()|unix.MOUNT_ATTR_RDONLY)
}

// PrepareStack and MountStack make a stack alone, for reading what a container that
// does not run has. The working directory changes.
func (b *Builder) PrepareStack() { b.prepareRoot() }

// MountStack returns a descriptor of the root.
func (b *Builder) MountStack() program.Arg {
	b.stackImage()
	return b.root
}

// stackImage makes the root of an image's layers. Overlay looks the names of its
// parts up from the working directory, so that no path of the host is parsed as
// options, and layers have names of one byte, which lead to their own.
func (b *Builder) stackImage() {
	b.p.Step("attach", "the image's layers")
	under := b.tmpfs(0o755, 0, b.plan.attributes())
	b.p.MoveMount(under, b.attachPoint)
	b.putUnder(under, stackedLayers, b.stacked)
	upper, work := stackedUpper, stackedWork
	if b.plan.Layer {
		b.p.Mkdirat(under, upper, 0o755)
		b.p.Mkdirat(under, work, 0o755)
	} else {
		b.putUnder(under, stackedOwn, b.root)
		if top := b.plan.Stack.Top; top != nil {
			dir := b.p.Openat2(upper, b.root, upper, ownDir, 0, unix.RESOLVE_BENEATH|unix.RESOLVE_NO_SYMLINKS)
			b.p.Fchown(dir, top.UID, top.GID)
			b.p.Fchmod(dir, uint64(top.Mode))
			for _, note := range top.Notes {
				b.p.Fsetxattr(dir, note.Name, string(note.Value))
			}
		}
		upper, work = stackedOwn+"/"+upper, stackedOwn+"/"+work
	}
	names := layerNames(max(1, len(b.plan.Stack.Layers)))
	for i, layer := range b.plan.Stack.Layers {
		b.p.Symlinkat(stackedLayers+"/"+layer, under, names[i])
	}
	if len(b.plan.Stack.Layers) == 0 {
		b.p.Mkdirat(under, names[0], 0o755)
	}
	b.p.Fchdir(under)
	slices.Reverse(names) // overlay wants the topmost first
	var flags []string
	if b.plan.Stack.Volatile && !b.plan.Layer {
		flags = append(flags, "volatile")
	}
	b.root = b.overlayOf(strings.Join(names, ":"), upper, work, b.plan.attributes(), flags...)
	b.p.MoveMount(b.root, b.attachPoint)
}

func (b *Builder) putUnder(under program.Arg, name string, mount program.Arg) {
	b.p.Mkdirat(under, name, 0o755)
	b.p.MoveMount(mount, b.p.Openat(name, under, name, openPath|unix.O_DIRECTORY, 0))
}

// layerNames are n different names of one byte each, without what a path or
// overlay's options give a meaning to.
func layerNames(n int) []string {
	var names []string
	for c := byte('!'); len(names) < n; c++ {
		if c < 0x7f && !strings.ContainsRune("./:,\\", rune(c)) || c > 0xa0 {
			names = append(names, string([]byte{c}))
		}
	}
	return names
}

// makeDirs makes the directories that the root has not.
func (b *Builder) makeDirs() {
	for _, d := range b.plan.Dirs {
		b.p.Step("make", d.Path)
		above, name := b.root, d.Path[1:]
		for _, p := range parents(d.Path) {
			b.makeDir(above, p)
			above = b.lookup(p, unix.O_DIRECTORY)
			name = d.Path[1+len(p)+1:]
		}
		b.p.Mkdirat(above, name, 0o755)
		there := b.p.SkipOn(program.Errno(unix.EEXIST), program.Errno(unix.EROFS))
		made := b.p.Openat2("made", above, name, ownDir, 0, unix.RESOLVE_BENEATH|unix.RESOLVE_NO_SYMLINKS)
		b.p.Fchown(made, d.UID, d.GID)
		b.p.Land(there)
	}
}
