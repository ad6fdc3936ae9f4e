package main

import (
	"golang.org/x/sys/unix"

	"bryo/rootless/confine"
)

// callRules are the system calls of a Go program that makes files and reads
// them, whatever their names: which of them it reaches is Landlock's to say. Of
// devices it makes the one that stands for no file in an overlay file system.
func callRules() []confine.CallRule {
	const mode, device, all = 2, 3, 0xffffffff // arguments of mknodat(2)
	rules := append(confine.GoCalls(),
		confine.CallRule{Number: unix.SYS_MKNODAT, Action: confine.ActAllow, Conditions: []confine.Condition{confine.Masked(mode, unix.S_IFMT, unix.S_IFIFO)}},
		confine.CallRule{Number: unix.SYS_MKNODAT, Action: confine.ActAllow, Conditions: []confine.Condition{confine.Masked(mode, unix.S_IFMT, unix.S_IFCHR), confine.Masked(device, all, 0)}},
	)
	for _, number := range append(treeCalls(), renameCalls()...) {
		rules = append(rules, confine.CallRule{Number: uint32(number), Action: confine.ActAllow})
	}
	return rules
}

// treeCalls make files, and give them what they have.
func treeCalls() []int {
	return []int{
		// names
		unix.SYS_OPENAT, unix.SYS_OPENAT2, unix.SYS_MKDIRAT, unix.SYS_SYMLINKAT, unix.SYS_LINKAT, unix.SYS_UNLINKAT,
		// contents
		unix.SYS_PWRITE64, unix.SYS_FTRUNCATE, unix.SYS_FALLOCATE, unix.SYS_COPY_FILE_RANGE, unix.SYS_FADVISE64, unix.SYS_FSYNC,
		unix.SYS_FDATASYNC, unix.SYS_SYNCFS, unix.SYS_SYNC_FILE_RANGE,
		// attributes
		unix.SYS_FCHMOD, unix.SYS_FCHMODAT, unix.SYS_FCHOWN, unix.SYS_FCHOWNAT, unix.SYS_UTIMENSAT, unix.SYS_UMASK, unix.SYS_FSETXATTR,
		unix.SYS_FGETXATTR, unix.SYS_FLISTXATTR, unix.SYS_FREMOVEXATTR, unix.SYS_FSTATFS, unix.SYS_FLOCK,
	}
}
