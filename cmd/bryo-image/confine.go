package main

import (
	"fmt"
	"os"

	"github.com/landlock-lsm/go-landlock/landlock"
	"golang.org/x/sys/unix"

	"bryo/rootless/confine"
)

// confineSelf gives up, for all threads and for good, all files but what is open,
// what is below the directory that is to be written and, for reading, below those
// that are read. Capabilities and new privileges went before, see launch.Helper.
func confineSelf(written int, read ...int) error {
	if err := confine.Undumpable(); err != nil {
		return err
	}
	var rules []landlock.Rule
	for i, fd := range append([]int{written}, read...) {
		isDir, err := directory(fd)
		switch {
		case err != nil:
			return err
		case isDir && i == 0:
			rules = append(rules, landlock.RWDirs(byNumber(fd)).WithRefer())
		case isDir:
			rules = append(rules, landlock.RODirs(byNumber(fd)))
		}
	}
	// Kernels before 5.19 have no rule for names of a file in several
	// directories, and get none of it. All is in one set of rules: another one
	// would deny such names, whatever it is about.
	if err := landlock.V6.BestEffort().Restrict(rules...); err != nil {
		return fmt.Errorf("landlock: %w", err)
	}
	return confine.AllowOnly(callRules()) // and all system calls but those in its lists
}

func byNumber(fd int) string { return fmt.Sprintf("/proc/self/fd/%d", fd) }

func directory(fd int) (bool, error) {
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return false, os.NewSyscallError("fstat", err)
	}
	return st.Mode&unix.S_IFMT == unix.S_IFDIR, nil
}
