package confine

import (
	"runtime"

	"golang.org/x/sys/unix"
)

// ActNotify has the kernel ask another process: seccomp_unotify(2).
const ActNotify = Action(unix.SECCOMP_RET_USER_NOTIF)

// SquashFilter asks about the calls that package squash answers, of the machine's
// own ABI; programs of another one see what is. It refuses nothing, and stands
// beside a container's own filter, which counts first.
func SquashFilter() (Seccomp, error) {
	if _, err := machine(); err != nil {
		return Seccomp{}, err
	}
	program, err := squashProgram(runtime.GOARCH)
	return Seccomp{Profile: "squash", Filter: encode(program)}, err
}

func squashProgram(machine string) ([]unix.SockFilter, error) {
	var filters []Filter
	for i, abi := range abisOf(machine) {
		f := Filter{Architecture: abi.architecture, Default: ActAllow}
		if i == 0 {
			f.Rules = squashRules(abi.numbers())
		}
		filters = append(filters, f)
	}
	return Compile(filters...)
}

func squashRules(numbers map[string]uint32) (rules []CallRule) {
	const words = 0xffffffff
	add := func(action Action, names []string, conditions ...Condition) {
		for _, name := range names {
			if number, there := numbers[name]; there {
				rules = append(rules, CallRule{number, conditions, action})
			}
		}
	}
	add(ActNotify, []string{
		"chown", "lchown", "fchown", "fchownat", "stat", "lstat", "fstat", "newfstatat", "statx",
		"getuid", "geteuid", "getgid", "getegid", "getresuid", "getresgid", "getgroups",
		"setuid", "setgid", "setreuid", "setregid", "setresuid", "setresgid", "setfsuid", "setfsgid", "setgroups",
	})
	add(ActNotify, []string{"creat", "mkdir", "mkdirat", "symlink", "symlinkat", "mknod", "mknodat", "openat2"})
	add(ActNotify, []string{"open"}, Condition{1, MaskedEqual, unix.O_CREAT, unix.O_CREAT})
	add(ActNotify, []string{"openat"}, Condition{2, MaskedEqual, unix.O_CREAT, unix.O_CREAT})
	add(ActNotify, []string{"prctl"}, Condition{0, MaskedEqual, words, unix.PR_SET_KEEPCAPS})
	// It has the caller's user, and no other use.
	const done = unix.Errno(0)
	add(ActErrno(done), []string{"setrlimit"}, Condition{0, MaskedEqual, words, unix.RLIMIT_LOCKS})
	add(ActErrno(done), []string{"prlimit64"}, Condition{1, MaskedEqual, words, unix.RLIMIT_LOCKS}, Condition{2, NotEqual, 0, 0})
	return rules
}
