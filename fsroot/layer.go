package fsroot

import (
	"golang.org/x/sys/unix"

	"bryo/rootless/program"
)

// stackLayer makes a root whose writes stay in memory.
func (b *Builder) stackLayer() {
	b.p.Step("attach", "a layer for writes")
	if len(b.plan.Entries) > 0 {
		b.spread()
		return
	}
	b.root = b.writable(b.root, b.attachPoint)
	b.attachWith(b.root, b.attachPoint, b.plan.attributes(), 0)
}

// spread makes the root a directory in memory with the entries of the root
// file system in it, each by itself: overlay takes no tree with other mounts
// below it that were made outside. Directories that have such stay read-only.
func (b *Builder) spread() {
	b.root = b.tmpfs(0o755, 0, b.plan.attributes())
	b.p.MoveMount(b.root, b.attachPoint)
	for i, e := range b.plan.Entries {
		b.p.Step("attach", "/"+e.Name)
		if e.Link != "" {
			b.p.Symlinkat(e.Link, b.root, e.Name)
			continue
		}
		mount, target := b.entries[i], b.entryTarget(e)
		attributes, kept := b.plan.attributes()|unix.MOUNT_ATTR_RDONLY, b.plan.Root.Kept
		if e.Dir && !e.Mixed {
			mount = b.writable(mount, target)
			attributes, kept = b.plan.attributes(), 0
			b.layers = append(b.layers, mount)
		}
		b.attachWith(mount, target, attributes, kept)
	}
}

func (b *Builder) entryTarget(e Entry) program.Arg {
	if !e.Dir {
		return b.newFile(b.root, e.Name)
	}
	b.p.Mkdirat(b.root, e.Name, 0o755)
	return b.p.Openat("target", b.root, e.Name, openPath|unix.O_NOFOLLOW, 0)
}

// writable makes a mount that shows a part of the root file system and keeps
// writes in memory.
func (b *Builder) writable(lower, at program.Arg) program.Arg {
	if b.plan.Copy {
		return b.copyLower(b.stack(lower, at), b.plan.attributes())
	}
	return b.overlay(lower, at, b.plan.attributes())
}

// overlay makes a mount that shows lower and keeps writes in memory; it is
// attached nowhere yet. Its parts are named relative to the working directory,
// so that no path of the host is parsed as options.
func (b *Builder) overlay(lower, at program.Arg, attributes uint64) program.Arg {
	b.stack(lower, at)
	return b.overlayOf("lower", "upper", "work", attributes)
}

// overlayOf makes it of parts that are named. A flag is an option without a value.
func (b *Builder) overlayOf(lower, upper, work string, attributes uint64, flags ...string) program.Arg {
	fs := b.open("overlay")
	for _, o := range []option{{"lowerdir", lower}, {"upperdir", upper}, {"workdir", work}} {
		b.p.FsconfigString(fs, o.key, o.value)
	}
	for _, flag := range append(flags, "userxattr") {
		b.p.FsconfigFlag(fs, flag)
	}
	b.p.FsconfigCreate(fs)
	return b.p.Fsmount("overlay", fs, attributes)
}

// stack prepares, on the mount point at and as working directory, the tmpfs
// that a mount with writes in memory is made of; that will cover it:
//
//	lower  what is there
//	upper  what is written; without overlay a copy of lower
//	work   overlay's own
func (b *Builder) stack(lower, at program.Arg) program.Arg {
	layer := b.tmpfs(0o755, 0, 0)
	b.p.MoveMount(layer, at)
	for _, dir := range []string{"lower", "upper", "work"} {
		b.p.Mkdirat(layer, dir, 0o755)
	}
	b.p.MoveMount(lower, b.p.Openat("lower", layer, "lower", openPath|unix.O_DIRECTORY, 0))
	b.p.Fchdir(layer)
	return layer
}

// copyProgram copies a tree with owners, modes and links. It is the host's:
// the root file system has not been entered yet.
const copyProgram = "/bin/cp"

// copyLower stands in for an overlay where the kernel has none for
// unprivileged users (before 5.11): lower is copied into memory.
func (b *Builder) copyLower(layer program.Arg, attributes uint64) program.Arg {
	b.p.Step("copy", "the root file system into memory")
	child := b.p.Fork(0, uint64(unix.SIGCHLD))
	b.p.Compare(child, ^uint64(0), 0, program.Errno(unix.ECHILD))
	parent := b.p.SkipOn(program.Errno(unix.ECHILD))
	b.p.Execve(copyProgram, b.p.Strings([]string{"cp", "-a", "lower/.", "upper"}), b.p.Strings([]string{"LC_ALL=C"}))
	b.p.Land(parent)
	status := b.p.Buffer("status", 8, "")
	b.p.Syscall(unix.SYS_WAIT4, child, status.At(0), program.Num(0), program.Num(0))
	b.p.Compare(status.Load(0), 0xffffffff, 0, program.Errno(unix.EIO))
	copied := b.p.OpenTree("copy", layer, "upper", unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC)
	b.restrict(copied, attributes)
	return copied
}
