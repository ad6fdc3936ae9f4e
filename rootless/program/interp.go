package program

import (
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// carryOut is the interpreter in Go: what interp_*.s does, for other
// architectures, in a process of its own. It and what it calls allocate
// nothing, keep to a few words of stack, and need neither the runtime nor g:
// it runs in a child made by clone(2) out of a Go process, and as the entry of
// an executable whose runtime never starts (see executable.go). So it calls
// syscall.RawSyscall6: that of x/sys/unix goes by a wrapper that looks for g.
//
//go:nosplit
//go:norace
func carryOut(arena uintptr) {
	for op := arena + headerSize; ; op += opSize {
		switch int64(*word(op)) {
		case opReap:
			reapInGo(arena, argument(op, 0), argument(op, 1))
		case opSupervise:
			superviseInGo(arena, argument(op, 0))
		}
		errno, ok := perform(op)
		if ok {
			continue
		}
		tolerated := *word(op + 64)
		if tolerated != ^uint64(0) && (errno > 63 || tolerated>>errno&1 == 0) {
			tell(arena, op, errno)
			exit(failureCode)
		}
		if *word(op + 56)&reportFlag != 0 {
			tell(arena, op, errno)
		}
		op += uintptr(*word(op + 72))
	}
}

// perform carries one operation out.
//
//go:nosplit
//go:norace
func perform(op uintptr) (errno Errno, ok bool) {
	a0, a1, a2 := argument(op, 0), argument(op, 1), argument(op, 2)
	a3, a4, a5 := argument(op, 3), argument(op, 4), argument(op, 5)
	number := int64(*word(op))
	if number == opCompare {
		return uint64(a3), a0&a1 == a2
	}
	r, _, e := syscall.RawSyscall6(uintptr(number), a0, a1, a2, a3, a4, a5)
	for retries := word(op + 88); e == syscall.EAGAIN && *retries > 0; *retries-- {
		r, _, e = syscall.RawSyscall6(uintptr(number), a0, a1, a2, a3, a4, a5)
	}
	if e != 0 {
		return uint64(e), false
	}
	if at := *word(op + 80); at != 0 {
		*word(uintptr(at)) = uint64(r)
	}
	return 0, true
}

// argument is the operation's n-th argument, as the call takes it.
//
//go:nosplit
//go:norace
func argument(op, n uintptr) uintptr {
	w := *word(op + 8 + 8*n)
	if *word(op + 56)>>n&1 != 0 {
		w = *word(uintptr(w))
	}
	return uintptr(w)
}

// tell writes a record to the error pipe.
//
//go:nosplit
//go:norace
func tell(arena, op uintptr, errno Errno) {
	*word(arena + 8) = uint64(op)
	*word(arena + 16) = errno
	_, _, _ = syscall.RawSyscall6(unix.SYS_WRITE, uintptr(*word(arena)), arena+8, recordSize, 0, 0, 0)
}

// exit ends the process.
//
//go:nosplit
//go:norace
func exit(code uintptr) {
	for {
		_, _, _ = syscall.RawSyscall6(unix.SYS_EXIT_GROUP, code, 0, 0, 0, 0, 0)
	}
}

// word is the memory at an address.
//
//go:nosplit
//go:norace
func word(at uintptr) *uint64 { return (*uint64)(pointer(at)) }

// pointer is an address that lies outside the Go heap.
//
//go:nosplit
//go:norace
func pointer(at uintptr) unsafe.Pointer { return *(*unsafe.Pointer)(unsafe.Pointer(&at)) }
