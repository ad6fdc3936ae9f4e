package main

import (
	"fmt"
	"os"
	"runtime"
	"syscall"
	"unsafe"

	"github.com/landlock-lsm/go-landlock/landlock"
	"golang.org/x/sys/unix"

	"bryo/rootless/confine"
)

// confineSelf gives up what a network needs not, for all threads and for good:
// new privileges, capabilities, files but for reading readDirs, and the system
// calls that are in no list of calls. What comes from the container is read
// afterwards.
func confineSelf(readDirs []string, withPorts bool) error {
	if err := unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0); err != nil {
		return os.NewSyscallError("prctl", err)
	}
	if err := unix.Setrlimit(unix.RLIMIT_CORE, &unix.Rlimit{}); err != nil {
		return os.NewSyscallError("setrlimit", err)
	}
	if _, _, errno := syscall.AllThreadsSyscall6(unix.SYS_PRCTL, unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0, 0); errno != 0 {
		return os.NewSyscallError("prctl", errno)
	}
	if err := dropCapabilities(); err != nil {
		return err
	}
	// The newest that leaves alone what ports need: connecting to a socket that
	// has a path. Kernels before 5.13 have none of it.
	files := landlock.V6.BestEffort()
	if err := files.RestrictPaths(landlock.RODirs(readDirs...), landlock.ROFiles(portLimit).IgnoreIfMissing()); err != nil {
		return fmt.Errorf("landlock: %w", err)
	}
	if err := files.RestrictScoped(); err != nil {
		return fmt.Errorf("landlock: %w", err)
	}
	return confine.Load(callRules(withPorts), confine.ActErrno(unix.EPERM))
}

// portLimit is read when a port is refused, to say why.
const portLimit = "/proc/sys/net/ipv4/ip_unprivileged_port_start"

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
