package fsroot

import (
	"golang.org/x/sys/unix"

	"bryo/rootless/program"
)

// stackLayer puts an overlay in memory on the root file system and makes that
// the root.
func (b *Builder) stackLayer() {
	b.p.Step("attach", "a layer for writes")
	b.root = b.overlay(b.root, b.attachPoint, rootAttributes)
	b.p.MoveMount(b.root, b.attachPoint)
	for i, path := range b.plan.Submounts {
		b.p.Step("attach", path)
		b.p.MoveMount(b.submounts[i], b.lookup(path[1:], 0))
	}
}

// overlay makes a mount that shows lower and keeps writes in memory; it is
// attached nowhere yet. What it is made of lies in a tmpfs on the mount point
// at, out of sight once the overlay covers it:
//
//	lower  what is there
//	upper  what is written
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
	fs := b.p.Fsopen("overlay")
	for _, o := range []option{{"lowerdir", "lower"}, {"upperdir", "upper"}, {"workdir", "work"}} {
		b.p.FsconfigString(fs, o.key, o.value)
	}
	b.p.FsconfigFlag(fs, "userxattr")
	b.p.FsconfigCreate(fs)
	return b.p.Fsmount("overlay", fs, attributes)
}
