package program

import "golang.org/x/sys/unix"

// How often a path look-up is made again when renames race with it
// (openat2(2), RESOLVE_IN_ROOT).
const lookups = 128

func styled(s style, n uint64) Arg { return Arg{n: n, style: s} }

// OpenTree clones the mounts at path, or opens it, as flags say: open_tree(2).
func (p *Program) OpenTree(name string, dir Arg, path string, flags uint64) Arg {
	return p.get(name, unix.SYS_OPEN_TREE, dir, Text(path), styled(openTreeFlags, flags))
}

// Openat2 opens path below dir; how it may be resolved is the guarantee:
// openat2(2).
func (p *Program) Openat2(name string, dir Arg, path string, flags, mode, resolve uint64) Arg {
	how := p.Vector(styled(openFlags, flags), styled(asOctal, mode), styled(resolveFlags, resolve))
	fd := p.get(name, unix.SYS_OPENAT2, dir, Text(path), how, Num(24))
	p.Retry(lookups)
	return fd
}

// Openat opens a path that nothing hostile can have changed: openat(2).
func (p *Program) Openat(name string, dir Arg, path string, flags, mode uint64) Arg {
	return p.get(name, unix.SYS_OPENAT, dir, Text(path), styled(openFlags, flags), styled(asOctal, mode))
}

// Close closes a file descriptor.
func (p *Program) Close(fd Arg) { p.do(unix.SYS_CLOSE, fd) }

// CloseRange closes or marks all of first..last: close_range(2).
func (p *Program) CloseRange(first, last, flags uint64) {
	p.do(unix.SYS_CLOSE_RANGE, Num(first), styled(asUnsigned, last), Num(flags))
}

// Read reads up to n bytes.
func (p *Program) Read(fd Arg, into Buffer, off, n int) {
	p.do(unix.SYS_READ, fd, into.At(off), Num(n))
}

// Write writes a string whole: the kernel's own files take it in one go.
func (p *Program) Write(fd Arg, data string) { p.do(unix.SYS_WRITE, fd, Blob(data), Num(len(data))) }

// WriteFrom writes n bytes of scratch memory.
func (p *Program) WriteFrom(fd Arg, from Buffer, off, n int) {
	p.do(unix.SYS_WRITE, fd, from.At(off), Num(n))
}

// Fsopen begins a new file system: fsopen(2).
func (p *Program) Fsopen(kind string) Arg {
	return p.get(kind, unix.SYS_FSOPEN, Text(kind), styled(fsopenFlags, unix.FSOPEN_CLOEXEC))
}

// FsconfigString sets one of its options: fsconfig(2).
func (p *Program) FsconfigString(fs Arg, key, value string) {
	p.do(unix.SYS_FSCONFIG, fs, styled(fsconfigCommand, unix.FSCONFIG_SET_STRING), Text(key), Text(value), Num(0))
}

// FsconfigFlag sets an option that has no value.
func (p *Program) FsconfigFlag(fs Arg, key string) {
	p.do(unix.SYS_FSCONFIG, fs, styled(fsconfigCommand, unix.FSCONFIG_SET_FLAG), Text(key), Num(0), Num(0))
}

// FsconfigCreate makes the superblock.
func (p *Program) FsconfigCreate(fs Arg) {
	p.do(unix.SYS_FSCONFIG, fs, styled(fsconfigCommand, unix.FSCONFIG_CMD_CREATE), Num(0), Num(0), Num(0))
}

// Fsmount makes a mount of it that is attached nowhere yet: fsmount(2).
func (p *Program) Fsmount(name string, fs Arg, attributes uint64) Arg {
	return p.get(name, unix.SYS_FSMOUNT, fs, styled(fsmountFlags, unix.FSMOUNT_CLOEXEC), styled(mountAttributes, attributes))
}

// MoveMount attaches a mount onto an open file or directory: move_mount(2).
func (p *Program) MoveMount(from, onto Arg) {
	p.do(unix.SYS_MOVE_MOUNT, from, Text(""), onto, Text(""),
		styled(moveMountFlags, unix.MOVE_MOUNT_F_EMPTY_PATH|unix.MOVE_MOUNT_T_EMPTY_PATH))
}

// MountSetattr sets and resets attributes of a mount: mount_setattr(2).
// With flags AT_RECURSIVE it does so for the whole tree below it.
func (p *Program) MountSetattr(mount Arg, set, reset, propagation, flags uint64) {
	attr := p.Vector(styled(mountAttributes, set), styled(mountAttributes, reset), styled(propagationFlags, propagation), Num(0))
	p.do(unix.SYS_MOUNT_SETATTR, mount, Text(""), styled(atFlags, unix.AT_EMPTY_PATH|flags), attr, Num(32))
}

// Mount is mount(2), for what has no newer call: propagation, and remounting
// on kernels without mount_setattr.
func (p *Program) Mount(source, target, kind string, flags uint64, data string) {
	p.do(unix.SYS_MOUNT, textOrNull(source), Text(target), textOrNull(kind), styled(mountFlags, flags), textOrNull(data))
}

func textOrNull(s string) Arg {
	if s == "" {
		return Arg{style: asPointer}
	}
	return Text(s)
}

// Umount is umount2(2).
func (p *Program) Umount(target string, flags uint64) {
	p.do(unix.SYS_UMOUNT2, Text(target), styled(umountFlags, flags))
}

// PivotRoot is pivot_root(2).
func (p *Program) PivotRoot(root, old string) { p.do(unix.SYS_PIVOT_ROOT, Text(root), Text(old)) }

// Chdir is chdir(2).
func (p *Program) Chdir(path string) { p.do(unix.SYS_CHDIR, Text(path)) }

// Fchdir is fchdir(2).
func (p *Program) Fchdir(dir Arg) { p.do(unix.SYS_FCHDIR, dir) }

// Mkdirat is mkdirat(2).
func (p *Program) Mkdirat(dir Arg, path string, mode uint64) {
	p.do(unix.SYS_MKDIRAT, dir, Text(path), styled(asOctal, mode))
}

// Mknodat is mknodat(2).
func (p *Program) Mknodat(dir Arg, path string, mode, device uint64) {
	p.do(unix.SYS_MKNODAT, dir, Text(path), styled(asOctal, mode), Num(device))
}

// Symlinkat is symlinkat(2).
func (p *Program) Symlinkat(target string, dir Arg, path string) {
	p.do(unix.SYS_SYMLINKAT, Text(target), dir, Text(path))
}

// Unlinkat removes a name of a file.
func (p *Program) Unlinkat(dir Arg, path string) {
	p.do(unix.SYS_UNLINKAT, dir, Text(path), Num(0))
}

// Fchown is fchown(2).
func (p *Program) Fchown(fd Arg, uid, gid uint32) { p.do(unix.SYS_FCHOWN, fd, Num(uid), Num(gid)) }

// Fchmod is fchmod(2).
func (p *Program) Fchmod(fd Arg, mode uint64) { p.do(unix.SYS_FCHMOD, fd, styled(asOctal, mode)) }

// Fsetxattr gives a file an extended attribute.
func (p *Program) Fsetxattr(fd Arg, name, value string) {
	p.do(unix.SYS_FSETXATTR, fd, Text(name), Blob(value), Num(len(value)), Num(0))
}

// Offsets into struct statx (statx(2)).
const (
	StatxMode   = 0x1c // 2 bytes
	StatxInode  = 0x20 // 8 bytes
	StatxDevice = 0x80 // rdev: major, minor, 4 bytes each
	StatxOn     = 0x88 // dev: major, minor, 4 bytes each
)

// Statx reads what the kernel says of an open file.
func (p *Program) Statx(fd Arg) Buffer {
	b := p.Buffer("statx", 256, "")
	p.do(unix.SYS_STATX, fd, Text(""), styled(atFlags, unix.AT_EMPTY_PATH), styled(asHex, unix.STATX_BASIC_STATS), b.At(0))
	return b
}

// Getcwd reads the working directory's path as the kernel sees it.
func (p *Program) Getcwd() Buffer {
	b := p.Buffer("cwd", unix.PathMax, "")
	p.do(unix.SYS_GETCWD, b.At(0), Num(unix.PathMax))
	return b
}

// Dup3 is dup3(2).
func (p *Program) Dup3(from Arg, to int, flags uint64) {
	p.do(unix.SYS_DUP3, from, FD(to), styled(openFlags, flags))
}

// SetCloexec marks a descriptor to be closed by execve.
func (p *Program) SetCloexec(fd Arg) {
	p.do(unix.SYS_FCNTL, fd, styled(fcntlCommand, unix.F_SETFD), Num(unix.FD_CLOEXEC))
}

// ClearCloexec lets a descriptor survive execve.
func (p *Program) ClearCloexec(fd Arg) {
	p.do(unix.SYS_FCNTL, fd, styled(fcntlCommand, unix.F_SETFD), Num(0))
}

// Prctl is prctl(2).
func (p *Program) Prctl(option uint64, args ...uint64) {
	all := make([]Arg, 1, 5)
	all[0] = styled(prctlOption, option)
	for _, n := range args {
		all = append(all, Num(n))
	}
	p.do(unix.SYS_PRCTL, all...)
}

// PrctlName sets the name that ps shows.
func (p *Program) PrctlName(name string) {
	p.do(unix.SYS_PRCTL, styled(prctlOption, unix.PR_SET_NAME), Text(name))
}

// Execve replaces the process: execve(2).
func (p *Program) Execve(path string, argv, env Arg) { p.do(unix.SYS_EXECVE, Text(path), argv, env) }

// ExecFD replaces the process by an open file: execveat(2).
func (p *Program) ExecFD(fd, argv, env Arg) {
	p.do(unix.SYS_EXECVEAT, fd, Text(""), argv, env, styled(atFlags, unix.AT_EMPTY_PATH))
}

// Fork makes a child by clone3(2) with these flags; both go on with the next
// operation. The result is 0 in the child.
func (p *Program) Fork(flags, exitSignal uint64) Arg {
	args := p.Vector(styled(cloneFlags, flags), Arg{}, Arg{}, Arg{}, Num(exitSignal), Arg{}, Arg{}, Arg{}, Arg{}, Arg{}, Arg{})
	return p.get("child", unix.SYS_CLONE3, args, Num(88))
}

// Exit ends the process.
func (p *Program) Exit(code int) { p.do(unix.SYS_EXIT_GROUP, Num(code)) }

// Syscall is any other call: a raw number and its arguments.
func (p *Program) Syscall(nr int, args ...Arg) { p.do(nr, args...) }

// SyscallResult is Syscall for a call whose result is used; name is for the
// listing.
func (p *Program) SyscallResult(name string, nr int, args ...Arg) Arg {
	return p.get(name, nr, args...)
}
