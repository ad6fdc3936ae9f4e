package confine

import (
	"slices"

	"golang.org/x/sys/unix"
)

// What a filter refuses whatever its profile says, for what other controls leave
// open.

// OwnProcesses refuses to change limits, priority and processors of processes by
// their number, or of all of a user: root inside is the user, and the kernel asks
// for no more. It is for a container that sees processes other than its own.
// Threads have numbers, too: of those only the caller's own, by 0, can be changed.
func (p *Profile) OwnProcesses() {
	const process, ioprioProcess = 0, 1 // PRIO_PROCESS, IOPRIO_WHO_PROCESS
	first := refused(unix.EPERM, "prlimit64", "sched_setaffinity", "sched_setscheduler", "sched_setattr", "sched_setparam")
	p.before(
		first.unless(0, 0),
		refused(unix.EPERM, "setpriority").unless(0, process), refused(unix.EPERM, "setpriority").unless(1, 0),
		refused(unix.EPERM, "ioprio_set").unless(0, ioprioProcess), refused(unix.EPERM, "ioprio_set").unless(1, 0),
	)
}

// PlainTCP refuses ways to a TCP connection that Landlock's rules do not see:
// Multipath TCP and SMC, which are other protocols to it, and data that is sent
// without connect(2); besides what hides these from a filter.
func (p *Profile) PlainTCP() {
	const (
		family, protocol  = 0, 2 // arguments of socket(2)
		words             = 0xffffffff
		protocolSMC       = 256 // IPPROTO_SMC, Linux 6.11
		flags, shortFlags = 3, 2
	)
	p.before(
		refused(unix.EPERM, "socketcall", "io_uring_setup"),
		refused(unix.EAFNOSUPPORT, "socket").where(family, words, unix.AF_SMC),
		refused(unix.EPROTONOSUPPORT, "socket").where(protocol, words, unix.IPPROTO_MPTCP),
		refused(unix.EPROTONOSUPPORT, "socket").where(protocol, words, protocolSMC),
		refused(unix.EOPNOTSUPP, "send", "sendto", "sendmmsg").where(flags, unix.MSG_FASTOPEN, unix.MSG_FASTOPEN),
		refused(unix.EOPNOTSUPP, "sendmsg").where(shortFlags, unix.MSG_FASTOPEN, unix.MSG_FASTOPEN),
	)
}

// before puts rules where they count: the first that matches does.
func (p *Profile) before(rules ...ProfileRule) { p.Syscalls = slices.Concat(rules, p.Syscalls) }

func refused(errno unix.Errno, names ...string) ProfileRule {
	number := uint32(errno)
	return ProfileRule{Names: names, Action: "SCMP_ACT_ERRNO", ErrnoRet: &number}
}

// where has a rule match if these bits of an argument have a value.
func (r ProfileRule) where(index uint8, bits, value uint64) ProfileRule {
	r.Args = append(r.Args, ProfileArg{Index: index, Value: bits, ValueTwo: value, Op: "SCMP_CMP_MASKED_EQ"})
	return r
}

// unless has a rule match if an argument is something else, in bits, too, that
// the kernel does not look at.
func (r ProfileRule) unless(index uint8, value uint64) ProfileRule {
	r.Args = append(r.Args, ProfileArg{Index: index, Value: value, Op: "SCMP_CMP_NE"})
	return r
}
