package confine

import (
	"fmt"
	"os"
	"runtime"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Load confines the whole process, all threads of it and for good, to what a
// filter allows. It has no new privileges already.
func Load(rules []CallRule, otherwise Action) error {
	architecture, err := Native()
	if err != nil {
		return err
	}
	filter := Filter{Architecture: architecture, Rules: rules, Default: otherwise}
	program, err := filter.Compile()
	if err != nil {
		return err
	}
	bpf := unix.SockFprog{Len: uint16(len(program)), Filter: &program[0]}
	failed, _, errno := syscall.RawSyscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER,
		unix.SECCOMP_FILTER_FLAG_TSYNC, uintptr(unsafe.Pointer(&bpf)))
	runtime.KeepAlive(program)
	switch {
	case errno != 0:
		return os.NewSyscallError("seccomp", errno)
	case failed != 0:
		return fmt.Errorf("seccomp: thread %d could not be confined", failed)
	}
	return nil
}
