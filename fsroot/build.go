package fsroot

import (
	"strconv"

	"golang.org/x/sys/unix"

	"bryo/rootless/program"
)

// Build enters the root and attaches everything. It needs mapped ids, all
// capabilities and an umask of 0.
func (b *Builder) Build() {
	switch {
	case b.plan.Stack != nil:
		b.stackImage()
	case b.plan.Layer:
		b.stackLayer()
	default:
		b.p.Step("attach", "the root file system")
		b.attachWith(b.root, b.attachPoint, b.rootAttributes, b.plan.Root.Kept)
	}
	b.enter()
	b.attachProc()
	b.makeDev()
	b.attachSys()
	b.maskProc()
	for i := range b.plan.Mounts {
		b.attach(i)
	}
	b.makeDirs()
	b.mountFiles()
	if b.plan.ReadOnly {
		b.p.Step("make read-only", "/")
		for _, layer := range append(b.layers, b.root) {
			b.makeReadOnly(layer, b.plan.attributes(), b.plan.Root.Kept)
		}
	}
	b.p.Step("make read-only", "/dev")
	b.makeReadOnly(b.dev, unix.MOUNT_ATTR_NOSUID|unix.MOUNT_ATTR_NOEXEC, 0)
}

// enter makes root the root of the mount namespace and lets go of the host's
// file systems.
func (b *Builder) enter() {
	b.p.Step("enter", "the root file system")
	b.p.Fchdir(b.root)
	b.p.PivotRoot(".", ".")
	b.p.Umount(".", unix.MNT_DETACH)
	b.p.Chdir("/")
}

// lookup opens a path in the root. Links are followed inside it, those of
// /proc are not.
func (b *Builder) lookup(target string, flags uint64) program.Arg {
	return b.p.Openat2("target", b.root, target, openPath|flags, 0, unix.RESOLVE_IN_ROOT|unix.RESOLVE_NO_MAGICLINKS)
}

// mountPoint opens a directory or file of the root to mount on, made with all
// that is missing above it.
func (b *Builder) mountPoint(target string, dir bool) program.Arg {
	above, name := b.root, target[1:]
	for _, d := range parents(target) {
		b.makeDir(above, d)
		above = b.lookup(d, unix.O_DIRECTORY)
		name = target[1+len(d)+1:]
	}
	if dir {
		b.makeDir(above, name)
		return b.lookup(target[1:], unix.O_DIRECTORY)
	}
	b.p.Mknodat(above, name, unix.S_IFREG|0o644, 0)
	b.p.Tolerate(program.Errno(unix.EEXIST))
	return b.lookup(target[1:], 0)
}

// makeDir makes the last part of path in the directory above, unless it is
// there.
func (b *Builder) makeDir(above program.Arg, path string) {
	for i := len(path) - 1; i >= 0; i-- {
		if path[i] == '/' {
			path = path[i+1:]
			break
		}
	}
	b.p.Mkdirat(above, path, 0o755)
	b.p.Tolerate(program.Errno(unix.EEXIST))
}

// standardDir opens one of /proc, /sys and /dev, where no link is followed:
// an image could send them elsewhere.
func (b *Builder) standardDir(name string) program.Arg {
	b.makeDir(b.root, name)
	return b.p.Openat2(name, b.root, name, openPath|unix.O_DIRECTORY|unix.O_NOFOLLOW, 0,
		unix.RESOLVE_IN_ROOT|unix.RESOLVE_NO_SYMLINKS)
}

func (b *Builder) attachProc() {
	b.p.Step("mount", "/proc")
	if b.plan.Proc == HostProc {
		b.attachWith(b.proc, b.standardDir(procDir), kernelAttributes, 0)
	} else {
		b.p.MoveMount(b.proc, b.standardDir(procDir))
	}
	for _, s := range b.plan.Sysctls {
		set := func() {
			b.p.Step("set sysctl", s.Path)
			fd := b.p.Openat2("sysctl", b.proc, "sys/"+s.Path, unix.O_WRONLY|unix.O_CLOEXEC, 0, kernelResolve)
			b.p.Write(fd, s.Value)
		}
		if s.Limits {
			b.control(set)
		} else {
			set()
		}
	}
}

// control adds a control, which is gone without on a kernel that refuses it if
// the plan says so.
func (b *Builder) control(add func()) {
	if b.plan.BestEffort {
		b.p.BestEffort(add)
	} else {
		add()
	}
}

// kernelResolve is how paths of /proc and /sys are looked up.
const kernelResolve = unix.RESOLVE_BENEATH | unix.RESOLVE_NO_SYMLINKS | unix.RESOLVE_NO_MAGICLINKS

// tmpfs makes a tmpfs that is attached nowhere yet.
func (b *Builder) tmpfs(mode uint32, size, attributes uint64) program.Arg {
	fs := b.open("tmpfs")
	b.p.FsconfigString(fs, "mode", strconv.FormatUint(uint64(mode), 8))
	if size > 0 {
		b.p.FsconfigString(fs, "size", strconv.FormatUint(size, 10))
	}
	b.p.FsconfigCreate(fs)
	return b.p.Fsmount("tmpfs", fs, attributes)
}

func (b *Builder) attachSys() {
	b.p.Step("mount", "/sys")
	empty := b.sys
	var fresh program.Label
	if b.plan.Sys == FreshSys {
		// Unset means refused: go on, and otherwise skip what makes an empty one.
		b.p.Compare(b.sys, ^uint64(0), 0, program.Errno(unix.EEXIST))
		fresh = b.p.SkipOn(program.Errno(unix.EEXIST))
	}
	tmpfs := b.emptySys()
	if b.plan.Sys == EmptySys {
		empty = tmpfs
	} else {
		b.p.Into(b.sys.Address())
		b.p.Land(fresh)
	}
	b.p.MoveMount(empty, b.standardDir(sysDir))
	b.sys = empty
	if b.plan.Cgroup {
		b.attachCgroup()
		b.makeReadOnly(b.sys, kernelAttributes, 0)
	}
}

// emptySys stands in for a sysfs: nothing is there, but what is mounted on.
func (b *Builder) emptySys() program.Arg {
	const small = 4096
	if !b.plan.Cgroup {
		return b.tmpfs(0o755, small, kernelAttributes|unix.MOUNT_ATTR_RDONLY)
	}
	sys := b.tmpfs(0o755, small, kernelAttributes)
	for _, dir := range parents("/" + cgroupDir + "/.") {
		b.p.Mkdirat(sys, dir, 0o755)
	}
	return sys
}

// attachCgroup shows the cgroups that the container's cgroup namespace has. It
// can write none, its own limits above all.
func (b *Builder) attachCgroup() {
	b.p.Step("mount", "/"+sysDir+"/"+cgroupDir)
	fs := b.open("cgroup2")
	b.p.FsconfigCreate(fs)
	mount := b.p.Fsmount("cgroup2", fs, kernelAttributes|unix.MOUNT_ATTR_RDONLY)
	b.p.MoveMount(mount, b.p.Openat2("cgroup", b.sys, cgroupDir, openPath|unix.O_DIRECTORY, 0, kernelResolve))
}

// maskProc covers what must not be seen and makes read-only what must not be
// written. The covers are the host's own null device, and one empty directory
// that cannot be written.
func (b *Builder) maskProc() {
	for _, path := range procReadOnly() {
		b.control(func() { b.protect(path) })
	}
	for _, m := range procMasks() {
		b.control(func() { b.mask("/proc/", b.proc, m) })
	}
	for _, m := range b.plan.sysMasks() {
		b.control(func() { b.mask("/sys/", b.sys, m) })
	}
}

func (b *Builder) protect(path string) {
	b.p.Step("make read-only", "/proc/"+path)
	mount := b.p.OpenTree("readonly", b.proc, path, cloneTree)
	missing := b.p.SkipOn(program.Errno(unix.ENOENT))
	b.restrict(mount, unix.MOUNT_ATTR_RDONLY)
	b.attachWith(mount, b.p.Openat2("readonly", b.proc, path, openPath, 0, kernelResolve), kernelAttributes|unix.MOUNT_ATTR_RDONLY, 0)
	b.p.Land(missing)
}

func (b *Builder) mask(prefix string, fs program.Arg, m mask) {
	b.p.Step("mask", prefix+m.path)
	target := b.p.Openat2("mask", fs, m.path, openPath, 0, kernelResolve)
	missing := b.p.SkipOn(program.Errno(unix.ENOENT), program.Errno(unix.EACCES))
	const clone = unix.OPEN_TREE_CLONE | unix.OPEN_TREE_CLOEXEC
	if m.dir {
		b.p.MoveMount(b.p.OpenTree("cover", b.store, emptyDir, clone), target)
	} else {
		b.p.MoveMount(b.p.OpenTree("cover", b.null, "", clone|unix.AT_EMPTY_PATH), target)
	}
	b.p.Land(missing)
}

// attach mounts what the user asked for.
func (b *Builder) attach(i int) {
	m := &b.plan.Mounts[i]
	b.p.Step("mount", m.Target)
	mount, target := b.mounts[i], b.mountPoint(m.Target, m.Type == Tmpfs || m.From.Dir)
	if m.Type == Tmpfs || m.From.Dir {
		b.expectOther(target, b.root)
	}
	switch m.Type {
	case Tmpfs:
		mount = b.tmpfs(m.Mode, m.Size, m.Attributes)
	case Overlay:
		mount = b.overlay(mount, target, m.Attributes)
		b.p.Chdir("/")
	case Bind:
	}
	if m.Type == Bind {
		b.attachWith(mount, target, m.Attributes, m.From.Kept)
	} else {
		b.p.MoveMount(mount, target)
	}
	b.p.Close(mount)
	b.p.Close(target)
}

// mountFiles mounts the files that bryo writes.
func (b *Builder) mountFiles() {
	for i, f := range b.plan.Files {
		b.p.Step("make", f.Target)
		above, name := b.root, f.Target[1:]
		var missing []program.Label
		for _, d := range parents(f.Target) {
			if !f.Lax {
				b.makeDir(above, d)
			}
			above = b.lookup(d, unix.O_DIRECTORY)
			if f.Lax {
				missing = append(missing, b.p.SkipOn(program.Errno(unix.ENOENT), program.Errno(unix.ENOTDIR)))
			}
			name = f.Target[1+len(d)+1:]
		}
		if !f.Lax {
			b.p.Mknodat(above, name, unix.S_IFREG|0o644, 0)
			b.p.Tolerate(program.Errno(unix.EEXIST))
		}
		// A link in its place (Debian's resolv.conf may be one) is covered itself.
		target := b.p.Openat2("target", above, name, openPath|unix.O_NOFOLLOW, 0, unix.RESOLVE_BENEATH|unix.RESOLVE_NO_MAGICLINKS)
		if f.Lax {
			missing = append(missing, b.p.SkipOn(program.Errno(unix.ENOENT)))
		}
		b.p.MoveMount(b.files[i], target)
		for _, l := range missing {
			b.p.Land(l)
		}
	}
}
