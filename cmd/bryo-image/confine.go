package main

import (
	"fmt"
	"os"

	"github.com/landlock-lsm/go-landlock/landlock"
	"golang.org/x/sys/unix"
)

// confineSelf gives up, for all threads and for good, all files but those below
// the root and, for reading, the image. Capabilities and new privileges went
// before, see launch.Helper. image is -1 for none.
func confineSelf(root, image int) error {
	if err := unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0); err != nil {
		return os.NewSyscallError("prctl", err)
	}
	if err := unix.Setrlimit(unix.RLIMIT_CORE, &unix.Rlimit{}); err != nil {
		return os.NewSyscallError("setrlimit", err)
	}
	rules := []landlock.Rule{landlock.RWDirs(byNumber(root)).WithRefer()}
	if image >= 0 {
		if isDir, err := directory(image); err != nil {
			return err
		} else if isDir {
			rules = append(rules, landlock.RODirs(byNumber(image)))
		}
	}
	// Kernels before 5.19 have no rule for names of a file in several
	// directories, and get none of it. All is in one set of rules: another one
	// would deny such names, whatever it is about.
	if err := landlock.V6.BestEffort().Restrict(rules...); err != nil {
		return fmt.Errorf("landlock: %w", err)
	}
	return filterCalls(callRules()) // and all system calls but those in its lists
}

func byNumber(fd int) string { return fmt.Sprintf("/proc/self/fd/%d", fd) }

func directory(fd int) (bool, error) {
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return false, os.NewSyscallError("fstat", err)
	}
	return st.Mode&unix.S_IFMT == unix.S_IFDIR, nil
}
