package fsroot

import (
	"golang.org/x/sys/unix"

	"bryo/rootless/program"
)

// Kernels before 5.12 have no mount_setattr: a clone gets its attributes by
// mount(2) right after it was attached. Nothing runs inside yet that could use
// the moment between. Below a mount they cannot be set, so that sources with
// mounts below them are refused (see package host).

// legacyFD is where a mount is put so that mount(2) finds it under a name.
const legacyFD = 900

const legacyPath = "/proc/self/fd/900"

// attachWith attaches a clone that restrict was called for.
func (b *Builder) attachWith(mount, onto program.Arg, attributes, kept uint64) {
	b.p.MoveMount(mount, onto)
	if b.plan.Legacy {
		b.remount(mount, attributes, kept)
	}
}

// remount sets attributes of an attached mount by mount(2). kept are the ones
// that the host has set and locked (MS_* of statfs(2)): they must be named.
func (b *Builder) remount(mount program.Arg, attributes, kept uint64) {
	b.p.Dup3(mount, legacyFD, unix.O_CLOEXEC)
	b.p.Mount("", legacyPath, "", unix.MS_PRIVATE|unix.MS_REC, "")
	b.p.Mount("", legacyPath, "", unix.MS_REMOUNT|unix.MS_BIND|legacyFlags(attributes)|kept, "")
}

// legacyFlags are mount(2)'s names for attributes.
func legacyFlags(attributes uint64) uint64 {
	var flags uint64
	for _, pair := range []struct{ attribute, flag uint64 }{
		{unix.MOUNT_ATTR_RDONLY, unix.MS_RDONLY},
		{unix.MOUNT_ATTR_NOSUID, unix.MS_NOSUID},
		{unix.MOUNT_ATTR_NODEV, unix.MS_NODEV},
		{unix.MOUNT_ATTR_NOEXEC, unix.MS_NOEXEC},
	} {
		if attributes&pair.attribute != 0 {
			flags |= pair.flag
		}
	}
	return flags
}

// makeReadOnly is the last word on a mount that had to be written before.
func (b *Builder) makeReadOnly(mount program.Arg, attributes, kept uint64) {
	if b.plan.Legacy {
		b.remount(mount, attributes|unix.MOUNT_ATTR_RDONLY, kept)
		return
	}
	b.p.MountSetattr(mount, unix.MOUNT_ATTR_RDONLY, 0, 0, 0)
}
