//go:build portable || !(amd64 || arm64)

package program

import (
	"slices"
	"syscall"

	"golang.org/x/sys/unix"
)

// sharing: the child is a copy of this process, and so runs Go code on a
// stack of its own.
const sharing = 0

// clone makes a child with clone3(2) that is a copy of this process and runs
// the interpreter.
//
//go:nosplit
//go:norace
func clone(args, size, arena uintptr) (pid, errno uintptr) {
	r, _, e := syscall.RawSyscall6(unix.SYS_CLONE3, args, size, 0, 0, 0, 0)
	if e == 0 && r == 0 {
		carryOut(arena)
	}
	return r, uintptr(e)
}

// startable lets the child make its time namespace itself: the clocks of one
// that it is born into cannot be set any more, those of one that it enters by
// execve can.
func startable(p *Program, flags uint64) (*Program, uint64) {
	if flags&unix.CLONE_NEWTIME == 0 {
		return p, flags
	}
	first := New()
	first.Step("make", "time namespace")
	first.Syscall(unix.SYS_UNSHARE, styled(cloneFlags, unix.CLONE_NEWTIME))
	all := *p
	all.ops = slices.Concat(first.ops, p.ops)
	return &all, flags &^ unix.CLONE_NEWTIME
}

// imageBytes is the file, in memory of its own that the caller unmaps.
func imageBytes(p *Program, errorFD int) ([]byte, error) { return executableImage(p, errorFD) }

// supervisor is an image that waits for pidfd, and its environment.
func supervisor(_, pidfd int) (file int, env []string, err error) {
	p := New()
	p.do(opSupervise, FD(pidfd))
	file, err = Image(p, -1)
	return file, nil, err
}
