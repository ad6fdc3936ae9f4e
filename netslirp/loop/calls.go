package loop

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// epollWait waits without telling the scheduler: none of its goroutines run
// meanwhile.
func epollWait(fd int, events []unix.EpollEvent, milliseconds int) (int, unix.Errno) {
	n, _, errno := unix.RawSyscall6(unix.SYS_EPOLL_PWAIT, uintptr(fd), uintptr(unsafe.Pointer(&events[0])), uintptr(len(events)), uintptr(milliseconds), 0, 0)
	if errno != 0 {
		return 0, errno
	}
	return int(n), 0
}
