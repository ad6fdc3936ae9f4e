package confine

import (
	"fmt"
	"os"
	"runtime"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Undumpable has nobody look into this process: no tracer of the same user, and no
// core dump.
func Undumpable() error {
	if err := unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0); err != nil {
		return os.NewSyscallError("prctl", err)
	}
	return os.NewSyscallError("setrlimit", unix.Setrlimit(unix.RLIMIT_CORE, &unix.Rlimit{}))
}

// GiveUp has this process, in all threads and for good, without capabilities and
// new privileges, and undumpable.
func GiveUp() error {
	if err := Undumpable(); err != nil {
		return err
	}
	if _, _, errno := syscall.AllThreadsSyscall6(unix.SYS_PRCTL, unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0, 0); errno != 0 {
		return os.NewSyscallError("prctl", errno)
	}
	return dropCapabilities()
}

// dropCapabilities empties all sets: root, too, may run containers.
func dropCapabilities() error {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var none [2]unix.CapUserData
	_, _, errno := syscall.AllThreadsSyscall(unix.SYS_CAPSET, uintptr(unsafe.Pointer(&header)), uintptr(unsafe.Pointer(&none)), 0)
	runtime.KeepAlive(&none)
	if errno != 0 {
		return os.NewSyscallError("capset", errno)
	}
	return nil
}

// AllowOnly leaves all threads of this process the system calls that rules allow, in
// the machine's own ABI. Others are an EPERM.
func AllowOnly(rules []CallRule) error {
	architecture, err := machine()
	if err != nil {
		return err
	}
	f := Filter{Architecture: architecture, Rules: rules, Default: ActErrno(unix.EPERM)}
	return f.load()
}

func (f *Filter) load() error {
	program, err := f.Compile()
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
