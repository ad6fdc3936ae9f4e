package main

import (
	"os"

	"golang.org/x/sys/unix"

	"bryo/rootless/confine"
)

// callRules are the system calls of a Go program that makes files and reads
// them, whatever their names: which of them it reaches is Landlock's to say. Of
// devices it makes the one that stands for no file in an overlay file system.
func callRules() []confine.CallRule {
	rules := append(confine.CompanionRules(os.Getpid()),
		confine.AllowIf(unix.SYS_MKNODAT, confine.Masked(2, unix.S_IFMT, unix.S_IFIFO)),
		confine.AllowIf(unix.SYS_MKNODAT, confine.Masked(2, unix.S_IFMT, unix.S_IFCHR), confine.Int(3, 0)),
	)
	rules = append(rules, confine.Rules(confine.ActAllow, renameCalls()...)...)
	return append(rules, confine.Rules(confine.ActAllow,
		// names
		unix.SYS_OPENAT, unix.SYS_OPENAT2, unix.SYS_MKDIRAT, unix.SYS_SYMLINKAT, unix.SYS_LINKAT, unix.SYS_UNLINKAT,
		// contents
		unix.SYS_PWRITE64, unix.SYS_FTRUNCATE, unix.SYS_FALLOCATE, unix.SYS_COPY_FILE_RANGE, unix.SYS_SENDFILE, unix.SYS_SPLICE,
		unix.SYS_FADVISE64, unix.SYS_FSYNC, unix.SYS_FDATASYNC, unix.SYS_SYNCFS, unix.SYS_SYNC_FILE_RANGE,
		// attributes
		unix.SYS_FCHMOD, unix.SYS_FCHMODAT, unix.SYS_FCHOWN, unix.SYS_FCHOWNAT, unix.SYS_UTIMENSAT, unix.SYS_UMASK, unix.SYS_FSETXATTR,
		unix.SYS_FGETXATTR, unix.SYS_FLISTXATTR, unix.SYS_FREMOVEXATTR, unix.SYS_FSTATFS, unix.SYS_FLOCK)...)
}
