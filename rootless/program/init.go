package program

import (
	"syscall"

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

// Both need memory for what the kernel writes, and the operations are behind
// them: the arena then holds
//
//	24 all signals | 32 status | 64 siginfo_t: 64 signal, 72 reason, 80 sender, 88 value or status
const (
	allAt    = 24
	statusAt = 32
	infoAt   = 64
	reasonAt = infoAt + 8
	senderAt = infoAt + 16
	valueAt  = infoAt + 24
)

// nextSignal waits for a signal, all of which are blocked; 0 is none, and a
// child's end.
//
//go:nosplit
//go:norace
func nextSignal(arena uintptr) uintptr {
	*word(arena + allAt) = ^uint64(0)
	signal, _, errno := syscall.RawSyscall6(unix.SYS_RT_SIGTIMEDWAIT, arena+allAt, arena+infoAt, 0, 8, 0, 0)
	if errno != 0 || signal == uintptr(unix.SIGCHLD) {
		return 0
	}
	return signal
}

// half is the 4 bytes at an address.
//
//go:nosplit
//go:norace
func half(at uintptr) uint32 { return *(*uint32)(pointer(at)) }

// reapInGo is the init of a PID namespace.
//
//go:nosplit
//go:norace
func reapInGo(arena, command, end uintptr) {
	if keep := (arena + pageAlign) &^ (pageAlign - 1); end > keep {
		_, _, _ = syscall.RawSyscall6(unix.SYS_MUNMAP, keep, end-keep, 0, 0, 0, 0)
	}
	for {
		pid, _, errno := syscall.RawSyscall6(unix.SYS_WAIT4, ^uintptr(0), arena+statusAt, unix.WNOHANG, 0, 0, 0)
		if errno == 0 && pid == command {
			exit(shellStatus(half(arena + statusAt)))
		}
		if errno == 0 && pid > 0 {
			continue
		}
		if signal := nextSignal(arena); signal != 0 {
			forward(command, signal, half(arena+reasonAt) == siQueue && half(arena+valueAt) == 1)
		}
	}
}

// shellStatus is the exit code, or 128+n for a signal.
//
//go:nosplit
//go:norace
func shellStatus(status uint32) uintptr {
	if signal := status & 0x7f; signal != 0 {
		return 128 + uintptr(signal)
	}
	return uintptr(status >> 8 & 0xff)
}

// forward sends a signal on to the command, or to its group: see reap.
//
//go:nosplit
//go:norace
func forward(command, signal uintptr, group bool) {
	switch {
	case stops(signal):
		signal, group = uintptr(unix.SIGSTOP), true
	case signal == uintptr(unix.SIGCONT):
		group = true
	}
	if group {
		_, _, errno := syscall.RawSyscall6(unix.SYS_KILL, -command, signal, 0, 0, 0, 0)
		if errno != syscall.ESRCH {
			return
		}
	}
	_, _, _ = syscall.RawSyscall6(unix.SYS_KILL, command, signal, 0, 0, 0, 0)
}

// superviseInGo stands in for bryo while the container runs.
//
//go:nosplit
//go:norace
func superviseInGo(arena, pidfd uintptr) {
	_, _, _ = syscall.RawSyscall6(unix.SYS_CLOSE_RANGE, 0, pidfd-1, 0, 0, 0, 0)
	_, _, _ = syscall.RawSyscall6(unix.SYS_CLOSE_RANGE, pidfd+1, ^uintptr(0), 0, 0, 0, 0)
	for {
		*word(arena + senderAt) = 0 // it stays so while the init runs
		_, _, errno := syscall.RawSyscall6(unix.SYS_WAITID, unix.P_PIDFD, pidfd, arena+infoAt, unix.WEXITED|unix.WNOHANG, 0, 0)
		if errno != 0 {
			exit(failureCode)
		}
		if half(arena+senderAt) != 0 {
			status := uintptr(half(arena + valueAt))
			if half(arena+reasonAt) != cldExited {
				status += 128
			}
			exit(status)
		}
		if signal := nextSignal(arena); signal != 0 && half(arena+reasonAt) != siTkill {
			pass(arena, pidfd, signal)
		}
	}
}

// pass gives a signal to the init, with whether it came from the terminal, and
// stops this process where the signal says so.
//
//go:nosplit
//go:norace
func pass(arena, pidfd, signal uintptr) {
	*word(arena + valueAt) = 0
	if half(arena+reasonAt) == siKernel {
		*word(arena + valueAt) = 1
	}
	*word(arena + reasonAt) = siQueue
	_, _, _ = syscall.RawSyscall6(unix.SYS_PIDFD_SEND_SIGNAL, pidfd, signal, arena+infoAt, 0, 0, 0)
	if stops(signal) {
		self, _, _ := syscall.RawSyscall6(unix.SYS_GETPID, 0, 0, 0, 0, 0, 0)
		_, _, _ = syscall.RawSyscall6(unix.SYS_KILL, self, uintptr(unix.SIGSTOP), 0, 0, 0, 0)
	}
}

// stops tells the signals by which a terminal stops processes.
//
//go:nosplit
//go:norace
func stops(signal uintptr) bool {
	return signal == uintptr(unix.SIGTSTP) || signal == uintptr(unix.SIGTTIN) || signal == uintptr(unix.SIGTTOU)
}
