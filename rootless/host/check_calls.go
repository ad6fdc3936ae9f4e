package host

import (
	"strings"

	"golang.org/x/sys/unix"

	"bryo/rootless/program"
)

// call is a system call that a launch makes, with arguments that every kernel
// refuses before it looks at who asks.
type call struct {
	name         string
	number       int
	major, minor int   // the kernel that brought it
	without      Level // what is left when it is missing
	args         []program.Arg
}

func callList() []call {
	none, zero, all := program.Num(-1), program.Num(0), program.Num(^uint32(0))
	return []call{
		{"mount", unix.SYS_MOUNT, 1, 0, Unusable, nil},
		{"umount2", unix.SYS_UMOUNT2, 1, 0, Unusable, []program.Arg{zero, all}},
		{"pivot_root", unix.SYS_PIVOT_ROOT, 2, 4, Unusable, nil},
		{"setns", unix.SYS_SETNS, 3, 0, Degraded, []program.Arg{none}},
		{"seccomp", unix.SYS_SECCOMP, 3, 17, Unusable, []program.Arg{all}},
		{"memfd_create", unix.SYS_MEMFD_CREATE, 3, 17, Unusable, []program.Arg{zero, all}},
		{"execveat", unix.SYS_EXECVEAT, 3, 19, Unusable, []program.Arg{none, zero, zero, zero, all}},
		{"statx", unix.SYS_STATX, 4, 11, Unusable, []program.Arg{none, zero, all, all}},
		{"pidfd_send_signal", unix.SYS_PIDFD_SEND_SIGNAL, 5, 1, Unusable, []program.Arg{none, zero, zero, all}},
		{"open_tree", unix.SYS_OPEN_TREE, 5, 2, Unusable, []program.Arg{none, zero, all}},
		{"move_mount", unix.SYS_MOVE_MOUNT, 5, 2, Unusable, []program.Arg{none, zero, none, zero, all}},
		{"fsopen", unix.SYS_FSOPEN, 5, 2, Unusable, []program.Arg{zero, all}},
		{"fsconfig", unix.SYS_FSCONFIG, 5, 2, Unusable, []program.Arg{none, all}},
		{"fsmount", unix.SYS_FSMOUNT, 5, 2, Unusable, []program.Arg{none, all}},
		{"pidfd_open", unix.SYS_PIDFD_OPEN, 5, 3, Unusable, []program.Arg{none, all}},
		{"openat2", unix.SYS_OPENAT2, 5, 6, Unusable, nil},
		{"close_range", unix.SYS_CLOSE_RANGE, 5, 9, Unusable, []program.Arg{program.Num(1), zero}},
		{"mount_setattr", unix.SYS_MOUNT_SETATTR, 5, 12, Note, []program.Arg{none, zero, all}},
	}
}

// stepVerb parts a step's name into verb and object.
func stepVerb(step string) (verb, object string) {
	verb, object, _ = strings.Cut(step, " ")
	return verb, object
}
