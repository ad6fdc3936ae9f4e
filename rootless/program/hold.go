//go:build (amd64 || arm64) && !portable

package program

import (
	"os"
	"slices"
	"unsafe"

	"golang.org/x/sys/unix"
)

// handlers are the addresses of the signal handler and of what it returns to.
func handlers() (keep, back uintptr)

// action is struct sigaction of rt_sigaction(2).
type action struct {
	handler, flags, restorer, mask uintptr
}

// Held are the signals that Hold keeps back.
type Held struct {
	actions [numSignals + 1]action
	mask    unix.Sigset_t
}

const numSignals = 64

// Hold keeps signals to this process pending, from now until Release or into
// whatever the process executes. Go has no word for it: the runtime's threads
// each take signals, and what comes between a launch and the supervisor's
// execve would be lost or end bryo. What the caller ignores stays ignored. The
// goroutine is locked to its thread.
func Hold() (*Held, error) {
	h := &Held{}
	all := unignored()
	if err := unix.PthreadSigmask(unix.SIG_SETMASK, &all, &h.mask); err != nil {
		return nil, os.NewSyscallError("sigprocmask", err)
	}
	const info, restorer, onStack, restart = 0x4, 0x04000000, 0x08000000, 0x10000000 // SA_*
	keep, back := handlers()
	mine := action{handler: keep, flags: info | restorer | onStack | restart, restorer: back, mask: ^uintptr(0)}
	for _, s := range heldSignals() {
		if err := sigaction(s, &mine, &h.actions[s]); err != nil {
			return nil, err
		}
	}
	return h, nil
}

// Release lets signals through again: to handlers that were installed
// meanwhile, and otherwise to those that were there.
func (h *Held) Release() error {
	keep, _ := handlers()
	for _, s := range heldSignals() {
		var now action
		if err := sigaction(s, nil, &now); err != nil {
			return err
		}
		if now.handler != keep {
			continue
		}
		if err := sigaction(s, &h.actions[s], nil); err != nil {
			return err
		}
	}
	return os.NewSyscallError("sigprocmask", unix.PthreadSigmask(unix.SIG_SETMASK, &h.mask, nil))
}

// Watch gives a descriptor, signalfd(2), that can be read while one of these
// signals is kept back; those that the caller ignores never are. Looking at it
// leaves them where they are; Take does not.
func (*Held) Watch(signals ...unix.Signal) (fd int, err error) {
	var set unix.Sigset_t
	for _, s := range signals {
		set.Val[0] |= 1 << (s - 1)
	}
	fd, err = unix.Signalfd(-1, &set, unix.SFD_CLOEXEC|unix.SFD_NONBLOCK)
	return fd, os.NewSyscallError("signalfd", err)
}

// Take reads from what Watch gave the signal that can be read; false when there
// is none, or when another thread has it and is about to give it back.
func Take(watched int) (unix.Signal, bool) {
	var info unix.SignalfdSiginfo
	n, err := unix.Read(watched, unsafe.Slice((*byte)(unsafe.Pointer(&info)), unsafe.Sizeof(info)))
	return unix.Signal(info.Signo), err == nil && n == int(unsafe.Sizeof(info))
}

// heldSignals are those that are forwarded, without what the program's own
// faults raise and what Go's runtime sends itself.
func heldSignals() []unix.Signal {
	own := append(Ignored(), unix.SIGKILL, unix.SIGSTOP, unix.SIGCHLD, unix.SIGURG, unix.SIGPIPE, unix.SIGPROF,
		unix.SIGSEGV, unix.SIGBUS, unix.SIGFPE, unix.SIGILL, unix.SIGTRAP, unix.SIGSYS)
	var held []unix.Signal
	for s := unix.Signal(1); s <= numSignals; s++ {
		if !slices.Contains(own, s) {
			held = append(held, s)
		}
	}
	return held
}

func sigaction(s unix.Signal, mine, old *action) error {
	_, _, errno := unix.RawSyscall6(unix.SYS_RT_SIGACTION, uintptr(s), uintptr(unsafe.Pointer(mine)), uintptr(unsafe.Pointer(old)), 8, 0, 0)
	if errno != 0 {
		return os.NewSyscallError("sigaction", errno)
	}
	return nil
}
