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
	b.root = b.overlay(b.root, b.attachPoint, rootAttributes)
	b.p.MoveMount(b.root, b.attachPoint)
}

// spread makes the root a directory in memory with the entries of the root
// file system in it, each by itself: overlay takes no tree with other mounts
// below it that were made outside. Directories that have such stay read-only.
func (b *Builder) spread() {
	b.root = b.tmpfs(0o755, 0, rootAttributes)
	b.p.MoveMount(b.root, b.attachPoint)
	for i, e := range b.plan.Entries {
		b.p.Step("attach", "/"+e.Name)
		if e.Link != "" {
			b.p.Symlinkat(e.Link, b.root, e.Name)
			continue
		}
		mount, target := b.entries[i], b.entryTarget(e)
		if e.Dir && !e.Mixed {
			mount = b.overlay(mount, target, rootAttributes)
			b.layers = append(b.layers, mount)
		}
		b.p.MoveMount(mount, target)
	}
}

func (b *Builder) entryTarget(e Entry) program.Arg {
	if !e.Dir {
		return b.newFile(b.root, e.Name)
	}
	b.p.Mkdirat(b.root, e.Name, 0o755)
	return b.p.Openat("target", b.root, e.Name, openPath|unix.O_NOFOLLOW, 0)
}

// overlay makes a mount that shows lower and keeps writes in memory; it is
// attached nowhere yet. What it is made of lies in a tmpfs on the mount point
// at, out of sight once the overlay covers it:
//
//	lower  what is there
//	upper  what is written; without overlay a copy of lower
//	work   overlay's own
//
// The names are relative to the working directory, so that no path of the
// host is parsed as options.
func (b *Builder) overlay(lower, at program.Arg, attributes uint64) program.Arg {
	layer := b.tmpfs(0o755, 0, 0)
	b.p.MoveMount(layer, at)
	for _, dir := range []string{"lower", "upper", "work"} {
		b.p.Mkdirat(layer, dir, 0o755)
	}
	b.p.MoveMount(lower, b.p.Openat("lower", layer, "lower", openPath|unix.O_DIRECTORY, 0))
	b.p.Fchdir(layer)
	if b.plan.Copy {
		return b.copyLower(layer)
	}
	fs := b.p.Fsopen("overlay")
	for _, o := range []option{{"lowerdir", "lower"}, {"upperdir", "upper"}, {"workdir", "work"}} {
		b.p.FsconfigString(fs, o.key, o.value)
	}
	b.p.FsconfigFlag(fs, "userxattr")
	b.p.FsconfigCreate(fs)
	return b.p.Fsmount("overlay", fs, attributes)
}

// copyProgram copies a tree with owners, modes and links. It is the host's:
// nothing of the root file system is executed for it.
const copyProgram = "/bin/cp"

// copyLower stands in for an overlay where the kernel has none for
// unprivileged users (before 5.11): lower is copied into memory.
func (b *Builder) copyLower(layer program.Arg) program.Arg {
	b.p.Step("copy", "the root file system into memory")
	child := b.p.Fork(0, uint64(unix.SIGCHLD))
	b.p.Compare(child, ^uint64(0), 0, program.Errno(unix.ECHILD))
	parent := b.p.SkipOn(program.Errno(unix.ECHILD))
	b.p.Execve(copyProgram, b.p.Strings([]string{"cp", "-a", "lower/.", "upper"}), b.p.Strings([]string{"LC_ALL=C"}))
	b.p.Land(parent)
	status := b.p.Buffer("status", 8, "")
	b.p.Syscall(unix.SYS_WAIT4, child, status.At(0), program.Num(0), program.Num(0))
	b.p.Compare(status.Load(0), 0xffffffff, 0, program.Errno(unix.EIO))
	return b.p.OpenTree("copy", layer, "upper", unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC)
}
