package confine

import "golang.org/x/sys/unix"

// CompanionRules are the first rules of the filters of bryo's other processes:
// what Go's runtime needs, which makes threads and neither processes nor code,
// and what none of them has reason to try, which ends the process. pid is the
// process itself, which its runtime sends signals to.
func CompanionRules(pid int) []CallRule {
	rules := append(threadRules(pid), fcntlRules()...)
	rules = append(rules, Rules(ActAllow, runtimeCalls()...)...)
	rules = append(rules, Rules(ActAllow, machineCalls()...)...)
	rules = append(rules, CallRule{Number: unix.SYS_CLONE3, Action: ActErrno(unix.ENOSYS)}) // its flags lie in memory; clone's do not
	return append(rules, Rules(ActKillProcess,
		unix.SYS_EXECVE, unix.SYS_EXECVEAT, unix.SYS_PTRACE, unix.SYS_PROCESS_VM_READV, unix.SYS_PROCESS_VM_WRITEV, unix.SYS_UNSHARE,
		unix.SYS_SETNS, unix.SYS_MOUNT, unix.SYS_MOVE_MOUNT, unix.SYS_OPEN_TREE, unix.SYS_FSOPEN, unix.SYS_PIVOT_ROOT, unix.SYS_CHROOT,
		unix.SYS_BPF, unix.SYS_PERF_EVENT_OPEN, unix.SYS_IO_URING_SETUP, unix.SYS_USERFAULTFD, unix.SYS_KEYCTL, unix.SYS_ADD_KEY,
		unix.SYS_REQUEST_KEY, unix.SYS_INIT_MODULE, unix.SYS_FINIT_MODULE, unix.SYS_KEXEC_LOAD, unix.SYS_PIDFD_GETFD)...)
}

// Rules say the same of several calls, whatever their arguments.
func Rules(action Action, numbers ...int) []CallRule {
	rules := make([]CallRule, len(numbers))
	for i, n := range numbers {
		rules[i] = CallRule{Number: uint32(n), Action: action}
	}
	return rules
}

// AllowIf is a rule for a call that is allowed with some arguments.
func AllowIf(number int, conditions ...Condition) CallRule {
	return CallRule{Number: uint32(number), Conditions: conditions, Action: ActAllow}
}

// Masked demands that the bits of an argument that are in mask are value.
func Masked(index uint8, mask, value uint64) Condition {
	return Condition{Index: index, Comparison: MaskedEqual, Mask: mask, Value: value}
}

// Int demands that an argument that the kernel takes for an int, and of which it
// does not look at the rest, is value.
func Int(index uint8, value uint64) Condition { return Masked(index, 0xffffffff, value) }

func runtimeCalls() []int {
	return []int{
		// data
		unix.SYS_READ, unix.SYS_WRITE, unix.SYS_READV, unix.SYS_WRITEV, unix.SYS_PREAD64, unix.SYS_CLOSE, unix.SYS_FSTAT, unix.SYS_LSEEK,
		unix.SYS_DUP, unix.SYS_DUP3, unix.SYS_PIPE2, unix.SYS_READLINKAT, unix.SYS_STATX, unix.SYS_GETDENTS64, fstatat,
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

func threadRules(pid int) []CallRule {
	const threads = unix.CLONE_VM | unix.CLONE_THREAD | unix.CLONE_SIGHAND
	const namespaces = unix.CLONE_NEWUSER | unix.CLONE_NEWNS | unix.CLONE_NEWNET | unix.CLONE_NEWPID | unix.CLONE_NEWIPC | unix.CLONE_NEWUTS | unix.CLONE_NEWCGROUP
	return []CallRule{
		AllowIf(unix.SYS_CLONE, Masked(0, threads|namespaces, threads)),
		AllowIf(unix.SYS_MMAP, Masked(2, unix.PROT_EXEC, 0)),
		AllowIf(unix.SYS_MPROTECT, Masked(2, unix.PROT_EXEC, 0)),
		AllowIf(unix.SYS_TGKILL, Condition{Index: 0, Value: uint64(pid)}),
		AllowIf(unix.SYS_PRLIMIT64, Condition{Index: 0, Value: 0}, Condition{Index: 2, Value: 0}),
	}
}

// fcntlRules leave out what could have signals sent to anybody's process.
func fcntlRules() (rules []CallRule) {
	for _, command := range []uint64{unix.F_GETFD, unix.F_SETFD, unix.F_GETFL, unix.F_DUPFD_CLOEXEC, unix.F_GETPIPE_SZ, unix.F_SETPIPE_SZ} {
		rules = append(rules, AllowIf(unix.SYS_FCNTL, Int(1, command)))
	}
	return append(rules, AllowIf(unix.SYS_FCNTL, Int(1, unix.F_SETFL), Masked(2, unix.O_ASYNC, 0)))
}
