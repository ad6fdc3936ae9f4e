package program

import (
	"errors"
	"runtime"
	"syscall"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

// fork makes a child that runs an interpreter and nothing else of Go.
//
//go:nosplit
//go:norace
func fork(flags, arena uintptr, portable bool) (pid uintptr, errno syscall.Errno) {
	pid, _, errno = syscall.RawSyscall6(unix.SYS_CLONE, flags|uintptr(unix.SIGCHLD), 0, 0, 0, 0, 0)
	if pid == 0 && errno == 0 {
		if portable {
			carryOut(arena)
		}
		carryOutHere(arena)
	}
	return pid, errno
}

// startForked is Start by fork: the child has a copy of this process's memory
// but shares the arena.
func startForked(p *Program, flags uint64, errorFD int, portable bool) (*Child, error) {
	arena, err := unix.Mmap(-1, 0, p.size(), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED|unix.MAP_ANON)
	if err != nil {
		return nil, err
	}
	base := uintptr(unsafe.Pointer(&arena[0]))
	p.assemble(arena, uint64(base), errorFD)
	pid, err := forkMasked(uintptr(flags), base, portable)
	if err != nil {
		return nil, errors.Join(err, unix.Munmap(arena))
	}
	pidfd, err := unix.PidfdOpen(pid, 0)
	return &Child{PID: pid, PIDFD: pidfd, program: p, arena: arena}, err
}

func forkMasked(flags, base uintptr, portable bool) (int, error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	var old unix.Sigset_t
	all := allSignals()
	if err := unix.PthreadSigmask(unix.SIG_SETMASK, &all, &old); err != nil {
		return 0, err
	}
	pid, errno := fork(flags, base, portable)
	_ = unix.PthreadSigmask(unix.SIG_SETMASK, &old, nil)
	if errno != 0 {
		return 0, &CloneError{errno}
	}
	return int(pid), nil
}

// runForked is run by both interpreters in turn.
func runForked(portable bool) func(*testing.T, uint64, func(*Program, *pipes)) outcome {
	return func(t *testing.T, flags uint64, build func(p *Program, x *pipes)) outcome {
		t.Helper()
		x := newPipes(t)
		p := New()
		build(p, x)
		c, err := startForked(p, flags&^unix.CLONE_NEWTIME, x.errorFD, portable)
		return x.finish(t, x.started(t, c, err, flags), nil)
	}
}
