package confine

import (
	"os"

	"golang.org/x/sys/unix"
)

// NetworkCalls are the system calls of a Go program that moves data between
// sockets of some families, and reads files. All others have to fail by the
// filter's default, but for those that such a program has no reason to try:
// they end the process.
func NetworkCalls(families ...uint64) []CallRule {
	rules := append(socketRules(families), GoCalls()...)
	for _, n := range socketCalls() {
		rules = append(rules, CallRule{Number: uint32(n), Action: ActAllow})
	}
	return rules
}

// GoCalls are those that any Go program of bryo's needs beside its own, and those
// that end it.
func GoCalls() []CallRule {
	var rules []CallRule
	add := func(action Action, numbers ...int) {
		for _, n := range numbers {
			rules = append(rules, CallRule{Number: uint32(n), Action: action})
		}
	}
	rules = append(rules, conditionalCalls()...)
	add(ActAllow, plainCalls()...)
	add(ActAllow, machineCalls()...)
	add(ActErrno(unix.ENOSYS), unix.SYS_CLONE3) // its flags lie in memory; clone's do not
	add(ActKillProcess,
		unix.SYS_EXECVE, unix.SYS_EXECVEAT, unix.SYS_PTRACE, unix.SYS_PROCESS_VM_READV, unix.SYS_PROCESS_VM_WRITEV, unix.SYS_UNSHARE,
		unix.SYS_SETNS, unix.SYS_MOUNT, unix.SYS_MOVE_MOUNT, unix.SYS_OPEN_TREE, unix.SYS_FSOPEN, unix.SYS_PIVOT_ROOT, unix.SYS_CHROOT,
		unix.SYS_BPF, unix.SYS_PERF_EVENT_OPEN, unix.SYS_IO_URING_SETUP, unix.SYS_USERFAULTFD, unix.SYS_KEYCTL, unix.SYS_ADD_KEY,
		unix.SYS_REQUEST_KEY, unix.SYS_INIT_MODULE, unix.SYS_FINIT_MODULE, unix.SYS_KEXEC_LOAD, unix.SYS_PIDFD_GETFD)
	return rules
}

// plainCalls are allowed whatever their arguments.
func plainCalls() []int {
	return []int{
		// data
		unix.SYS_READ, unix.SYS_WRITE, unix.SYS_READV, unix.SYS_WRITEV, unix.SYS_PREAD64, unix.SYS_CLOSE, unix.SYS_FSTAT, unix.SYS_LSEEK,
		unix.SYS_SPLICE, unix.SYS_SENDFILE, unix.SYS_DUP, unix.SYS_DUP3, unix.SYS_PIPE2, unix.SYS_READLINKAT, unix.SYS_STATX,
		unix.SYS_GETDENTS64,
		// waiting
		unix.SYS_EPOLL_CREATE1, unix.SYS_EPOLL_CTL, unix.SYS_EPOLL_PWAIT, unix.SYS_PPOLL, unix.SYS_EVENTFD2, unix.SYS_NANOSLEEP,
		unix.SYS_CLOCK_NANOSLEEP, unix.SYS_CLOCK_GETTIME, unix.SYS_FUTEX, unix.SYS_RESTART_SYSCALL,
		// Go's runtime
		unix.SYS_MUNMAP, unix.SYS_MADVISE, unix.SYS_MREMAP, unix.SYS_BRK, unix.SYS_MINCORE, unix.SYS_RT_SIGACTION, unix.SYS_RT_SIGPROCMASK,
		unix.SYS_RT_SIGRETURN, unix.SYS_SIGALTSTACK, unix.SYS_GETTID, unix.SYS_GETPID, unix.SYS_GETUID, unix.SYS_GETEUID, unix.SYS_GETGID,
		unix.SYS_GETEGID, unix.SYS_SCHED_YIELD, unix.SYS_SCHED_GETAFFINITY, unix.SYS_SET_ROBUST_LIST, unix.SYS_RSEQ, unix.SYS_GETRANDOM,
		unix.SYS_EXIT, unix.SYS_EXIT_GROUP, unix.SYS_UNAME,
	}
}

func socketCalls() []int {
	return []int{
		unix.SYS_CONNECT, unix.SYS_BIND, unix.SYS_LISTEN, unix.SYS_ACCEPT4, unix.SYS_ACCEPT, unix.SYS_GETSOCKNAME, unix.SYS_GETPEERNAME,
		unix.SYS_GETSOCKOPT, unix.SYS_SETSOCKOPT, unix.SYS_SENDTO, unix.SYS_RECVFROM, unix.SYS_SENDMSG, unix.SYS_RECVMSG, unix.SYS_SENDMMSG,
		unix.SYS_RECVMMSG, unix.SYS_SHUTDOWN,
	}
}

// socketRules let sockets of some families be made.
func socketRules(families []uint64) (rules []CallRule) {
	const words = 0xffffffff // an int: the kernel does not look at the rest
	isInt := func(index uint8, value uint64) Condition {
		return Masked(index, words, value)
	}
	for _, family := range families {
		rules = append(rules, CallRule{Number: unix.SYS_SOCKET, Conditions: []Condition{isInt(0, family)}, Action: ActAllow})
	}
	netlink := []Condition{isInt(0, unix.AF_NETLINK), isInt(2, unix.NETLINK_ROUTE)} //nolint:mnd // its third argument
	return append(rules,
		CallRule{Number: unix.SYS_SOCKET, Conditions: netlink, Action: ActAllow},
		CallRule{Number: unix.SYS_IOCTL, Conditions: []Condition{isInt(1, unix.SIOCINQ)}, Action: ActAllow}, // how much there is to read
		CallRule{Number: unix.SYS_OPENAT, Conditions: []Condition{Masked(2, unix.O_ACCMODE|unix.O_CREAT|unix.O_TRUNC, unix.O_RDONLY)}, Action: ActAllow})
}

// conditionalCalls are allowed with some arguments.
func conditionalCalls() []CallRule {
	const words = 0xffffffff // an int: the kernel does not look at the rest
	const threads = unix.CLONE_VM | unix.CLONE_THREAD | unix.CLONE_SIGHAND
	allow := func(number int, conditions ...Condition) CallRule {
		return CallRule{Number: uint32(number), Conditions: conditions, Action: ActAllow}
	}
	rules := []CallRule{
		allow(unix.SYS_CLONE, Masked(0, threads|unix.CLONE_NEWUSER|unix.CLONE_NEWNS|unix.CLONE_NEWNET|unix.CLONE_NEWPID|unix.CLONE_NEWIPC|unix.CLONE_NEWUTS|unix.CLONE_NEWCGROUP, threads)),
		allow(fstatat), // a file's size and time say whether it changed
		allow(unix.SYS_MMAP, Masked(2, unix.PROT_EXEC, 0)),
		allow(unix.SYS_MPROTECT, Masked(2, unix.PROT_EXEC, 0)),
		allow(unix.SYS_TGKILL, Condition{Index: 0, Value: uint64(os.Getpid())}),
		allow(unix.SYS_PRLIMIT64, Condition{Index: 0, Value: 0}, Condition{Index: 2, Value: 0}),
	}
	// With the others a process could have signals sent to anybody's process.
	for _, command := range []uint64{unix.F_GETFD, unix.F_SETFD, unix.F_GETFL, unix.F_DUPFD_CLOEXEC, unix.F_GETPIPE_SZ, unix.F_SETPIPE_SZ} {
		rules = append(rules, allow(unix.SYS_FCNTL, Masked(1, words, command)))
	}
	return append(rules, allow(unix.SYS_FCNTL, Masked(1, words, unix.F_SETFL), Masked(2, unix.O_ASYNC, 0)))
}
