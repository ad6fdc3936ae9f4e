package squash

import (
	"errors"
	"math"
	"os"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// notification is struct seccomp_notif.
type notification struct {
	id           uint64
	pid          uint32 // of the thread, in this process's PID namespace
	flags        uint32
	number       int32
	architecture uint32
	instruction  uint64
	args         [6]uint64
}

// response is struct seccomp_notif_resp.
type response struct {
	id    uint64
	value int64
	errno int32 // negative
	flags uint32
}

func receive(listener int, n *notification) error {
	*n = notification{}
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(listener), unix.SECCOMP_IOCTL_NOTIF_RECV, uintptr(unsafe.Pointer(n)))
	if errno != 0 {
		return errno
	}
	return nil
}

// send answers; whoever asked may be gone.
func send(listener int, r *response) {
	_, _, _ = unix.Syscall(unix.SYS_IOCTL, uintptr(listener), unix.SECCOMP_IOCTL_NOTIF_SEND, uintptr(unsafe.Pointer(r)))
}

// waits says whether whoever asked still waits for its answer, so that its number is
// still its own.
func waits(listener int, id uint64) bool {
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(listener), unix.SECCOMP_IOCTL_NOTIF_ID_VALID, uintptr(unsafe.Pointer(&id)))
	return errno == 0
}

// handOver has the kernel change to the other process at once at each message, where
// it can (Linux 6.6).
func handOver(listener int) {
	_, _, _ = unix.Syscall(unix.SYS_IOCTL, uintptr(listener), unix.SECCOMP_IOCTL_NOTIF_SET_FLAGS, unix.SECCOMP_USER_NOTIF_FD_SYNC_WAKE_UP)
}

const page = 4096 // the smallest there is

// readMemory reads as much of it as there is, page by page.
func readMemory(pid int, address uint64, into []byte) (int, error) {
	var remote [maxPages + 1]unix.RemoteIovec
	pages, size := 0, 0
	for size < len(into) && pages < len(remote) {
		part := min(page-int(address%page), len(into)-size)
		if address > math.MaxUint64-page {
			break
		}
		remote[pages] = unix.RemoteIovec{Base: uintptr(address), Len: part}
		pages, size, address = pages+1, size+part, address+uint64(part)
	}
	if pages == 0 {
		return 0, unix.EFAULT
	}
	local := []unix.Iovec{{Base: &into[0]}}
	local[0].SetLen(size)
	return unix.ProcessVMReadv(pid, local, remote[:pages], 0)
}

// maxPages is what is read at most at once.
const maxPages = 64

func writeMemory(pid int, address uint64, data []byte) error {
	if len(data) == 0 {
		return nil
	}
	local := []unix.Iovec{{Base: &data[0]}}
	local[0].SetLen(len(data))
	n, err := unix.ProcessVMWritev(pid, local, []unix.RemoteIovec{{Base: uintptr(address), Len: len(data)}}, 0)
	if err != nil || n < len(data) {
		return unix.EFAULT
	}
	return nil
}

// bytesOf are those that the kernel has filled in.
func bytesOf[T unix.Stat_t | unix.Statx_t](st *T) []byte {
	return unsafe.Slice((*byte)(unsafe.Pointer(st)), unsafe.Sizeof(*st))
}

// await waits for a call to answer, for so many milliseconds; false when there is
// nobody left to make one.
func await(listener, timeout int) (bool, error) {
	poll := []unix.PollFd{{Fd: int32(listener), Events: unix.POLLIN}}
	var until *unix.Timespec
	if timeout >= 0 {
		t := unix.NsecToTimespec(int64(timeout) * int64(time.Millisecond))
		until = &t
	}
	for {
		n, err := unix.Ppoll(poll, until, nil)
		switch {
		case err == nil && n == 0:
			return false, unix.ETIMEDOUT
		case errors.Is(err, unix.EINTR):
		case err != nil:
			return false, os.NewSyscallError("poll", err)
		default:
			return poll[0].Revents&unix.POLLIN != 0, nil
		}
	}
}
