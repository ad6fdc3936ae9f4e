package stack

import (
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"
)

// readv reads one packet into a header and a body without telling the
// scheduler: the descriptor does not block, and a hand-over of the thread would
// cost more than the call.
func readv(fd int, header, body []byte) (int, unix.Errno) {
	vector := [2]unix.Iovec{{Base: &header[0]}, {Base: &body[0]}}
	vector[0].SetLen(len(header))
	vector[1].SetLen(len(body))
	n, _, errno := unix.RawSyscall(unix.SYS_READV, uintptr(fd), uintptr(unsafe.Pointer(&vector)), uintptr(len(vector)))
	return int(n), errno
}

// most is how many parts a packet may have.
const most = 64

// writev writes one packet from its parts.
func writev(fd int, parts [][]byte) unix.Errno {
	var vector [most]unix.Iovec
	count := 0
	for _, part := range parts {
		if len(part) > 0 && count < most {
			vector[count].Base = &part[0]
			vector[count].SetLen(len(part))
			count++
		}
	}
	_, _, errno := unix.RawSyscall(unix.SYS_WRITEV, uintptr(fd), uintptr(unsafe.Pointer(&vector)), uintptr(count))
	runtime.KeepAlive(parts)
	return errno
}
