package program

import (
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// What reap and supervise of interp_*.s do, in Go: see carryOut for what such
// code may do.

// Values of siginfo_t: sigaction(2).
const (
	siQueue  = 0xffff_ffff // -1
	siTkill  = 0xffff_fffa // -6
	siKernel = 0x80

	cldExited = 1
)

// signalInfo is siginfo_t in words: what is a word of 4 bytes in the kernel's
// is half of one here, the first the lower half.
type signalInfo struct {
	signal, code, sender, value uint64

	rest [12]uint64
}

// nextSignal waits for a signal, all of which are blocked; 0 or less is none.
//
//go:nosplit
//go:norace
func nextSignal(info *signalInfo) int {
	all := ^uint64(0)
	r, _, errno := syscall.RawSyscall6(unix.SYS_RT_SIGTIMEDWAIT, uintptr(unsafe.Pointer(&all)), uintptr(unsafe.Pointer(info)), 0, 8, 0, 0)
	if errno != 0 {
		return 0
	}
	return int(r)
}

// reapInGo is the init of a PID namespace.
//
//go:nosplit
//go:norace
func reapInGo(command, arena, end uintptr) {
	_, _, _ = syscall.RawSyscall6(unix.SYS_MUNMAP, arena, end-arena, 0, 0, 0, 0)
	var status uint64
	var info signalInfo
	for {
		pid, _, errno := syscall.RawSyscall6(unix.SYS_WAIT4, ^uintptr(0), uintptr(unsafe.Pointer(&status)), unix.WNOHANG, 0, 0, 0)
		switch {
		case errno == 0 && pid == command:
			if signal := status & 0x7f; signal != 0 {
				exit(128 + uintptr(signal))
			}
			exit(uintptr(status >> 8 & 0xff))
		case errno == 0 && pid > 0:
			continue
		}
		if signal := nextSignal(&info); signal > 0 && signal != int(unix.SIGCHLD) {
			forward(command, signal, uint32(info.code) == siQueue && uint32(info.value) == 1)
		}
	}
}

// forward sends a signal on to the command, or to its group: see reap.
//
//go:nosplit
//go:norace
func forward(command uintptr, signal int, group bool) {
	switch unix.Signal(signal) {
	case unix.SIGTSTP, unix.SIGTTIN, unix.SIGTTOU:
		signal, group = int(unix.SIGSTOP), true
	case unix.SIGCONT:
		group = true
	}
	if group {
		_, _, errno := syscall.RawSyscall6(unix.SYS_KILL, -command, uintptr(signal), 0, 0, 0, 0)
		if errno != syscall.ESRCH {
			return
		}
	}
	_, _, _ = syscall.RawSyscall6(unix.SYS_KILL, command, uintptr(signal), 0, 0, 0, 0)
}

// superviseInGo stands in for bryo while the container runs.
//
//go:nosplit
//go:norace
func superviseInGo(pidfd uintptr) {
	_, _, _ = syscall.RawSyscall6(unix.SYS_CLOSE_RANGE, 0, pidfd-1, 0, 0, 0, 0)
	_, _, _ = syscall.RawSyscall6(unix.SYS_CLOSE_RANGE, pidfd+1, ^uintptr(0), 0, 0, 0, 0)
	var info signalInfo
	for {
		info.sender = 0 // it stays so while the init runs
		_, _, errno := syscall.RawSyscall6(unix.SYS_WAITID, unix.P_PIDFD, pidfd, uintptr(unsafe.Pointer(&info)), unix.WEXITED|unix.WNOHANG, 0, 0)
		switch status := uint32(info.value); {
		case errno != 0:
			exit(failureCode)
		case uint32(info.sender) == 0:
		case uint32(info.code) == cldExited:
			exit(uintptr(status))
		default:
			exit(128 + uintptr(status))
		}
		if signal := nextSignal(&info); signal > 0 && signal != int(unix.SIGCHLD) && uint32(info.code) != siTkill {
			pass(pidfd, signal, &info)
		}
	}
}

// pass gives a signal to the init, with whether it came from the terminal, and
// stops this process where the signal says so.
//
//go:nosplit
//go:norace
func pass(pidfd uintptr, signal int, info *signalInfo) {
	info.value = 0
	if uint32(info.code) == siKernel {
		info.value = 1
	}
	info.code = siQueue
	_, _, _ = syscall.RawSyscall6(unix.SYS_PIDFD_SEND_SIGNAL, pidfd, uintptr(signal), uintptr(unsafe.Pointer(info)), 0, 0, 0)
	switch unix.Signal(signal) {
	case unix.SIGTSTP, unix.SIGTTIN, unix.SIGTTOU:
		self, _, _ := syscall.RawSyscall6(unix.SYS_GETPID, 0, 0, 0, 0, 0, 0)
		_, _, _ = syscall.RawSyscall6(unix.SYS_KILL, self, uintptr(unix.SIGSTOP), 0, 0, 0, 0)
	}
}
