package confine

import (
	"testing"

	"golang.org/x/sys/unix"
)

// What is asked about, and what is left alone: on every machine, for the calls
// that it has.
func TestSquashFilter(t *testing.T) {
	for _, machine := range []string{"amd64", "arm64", "riscv64"} {
		abis := abisOf(machine)
		program, err := squashProgram(machine)
		if err != nil {
			t.Fatal(err)
		}
		for _, row := range []struct {
			name string
			args [6]uint64
			want Action
		}{
			{"chown", [6]uint64{}, ActNotify},
			{"fchownat", [6]uint64{}, ActNotify},
			{"newfstatat", [6]uint64{}, ActNotify},
			{"statx", [6]uint64{}, ActNotify},
			{"getuid", [6]uint64{}, ActNotify},
			{"setgroups", [6]uint64{}, ActNotify},
			{"open", [6]uint64{0, unix.O_RDWR}, ActAllow},
			{"open", [6]uint64{0, unix.O_RDWR | unix.O_CREAT}, ActNotify},
			{"openat", [6]uint64{0, 0, unix.O_RDONLY}, ActAllow},
			{"openat", [6]uint64{0, 0, unix.O_WRONLY | unix.O_CREAT | unix.O_EXCL}, ActNotify},
			{"mknodat", [6]uint64{}, ActNotify},
			{"prctl", [6]uint64{unix.PR_SET_NAME}, ActAllow},
			{"prctl", [6]uint64{unix.PR_SET_KEEPCAPS, 1}, ActNotify},
			{"read", [6]uint64{}, ActAllow},
			{"execve", [6]uint64{}, ActAllow}, // the launch's last call, which nobody answers yet
			{"sendmsg", [6]uint64{}, ActAllow},
			{"seccomp", [6]uint64{}, ActAllow},
			{"prlimit64", [6]uint64{0, unix.RLIMIT_NOFILE, 1}, ActAllow},
			{"prlimit64", [6]uint64{0, unix.RLIMIT_LOCKS, 1}, ActErrno(0)},
			{"prlimit64", [6]uint64{0, unix.RLIMIT_LOCKS | 1<<32, 1}, ActErrno(0)},
			{"prlimit64", [6]uint64{0, unix.RLIMIT_LOCKS, 0, 1}, ActAllow},
		} {
			number, there := abis[0].numbers()[row.name]
			if !there {
				continue
			}
			if got, err := interpret(program, call{number, abis[0].architecture.Audit, row.args}); err != nil || got != row.want {
				t.Errorf("%s, %s%v: %#x, want %#x; %v", machine, row.name, row.args, got, row.want, err)
			}
		}
		for _, other := range abis[1:] {
			if got, err := interpret(program, call{number: 4, architecture: other.architecture.Audit}); err != nil || got != ActAllow {
				t.Errorf("%s: its other ABI: %#x, %v", machine, got, err)
			}
		}
	}
}
