package stack

import (
	"runtime"
	"sync/atomic"
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

// send and receive do not wait, and need not tell the scheduler. An empty
// buffer is an error of the caller.
func send(fd int, data []byte) (int, unix.Errno) {
	n, _, errno := unix.RawSyscall6(unix.SYS_SENDTO, uintptr(fd), uintptr(unsafe.Pointer(&data[0])), uintptr(len(data)), unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL, 0, 0)
	return count(n, errno)
}

func receive(fd int, data []byte) (int, unix.Errno) {
	n, _, errno := unix.RawSyscall6(unix.SYS_RECVFROM, uintptr(fd), uintptr(unsafe.Pointer(&data[0])), uintptr(len(data)), unix.MSG_DONTWAIT, 0, 0)
	return count(n, errno)
}

// sendDatagram sends one, which may be empty.
func sendDatagram(fd int, data []byte) unix.Errno {
	_, _, errno := unix.RawSyscall6(unix.SYS_SENDTO, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(data))), uintptr(len(data)), unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL, 0, 0)
	return errno
}

// sizeMessage is a control message that says how large each datagram is.
type sizeMessage struct {
	header unix.Cmsghdr
	size   uint16
	_      [6]byte
}

// sendSegments has the kernel make datagrams of a size of the data: udp(7),
// UDP_SEGMENT.
func sendSegments(fd int, data []byte, size int) unix.Errno {
	control := sizeMessage{header: unix.Cmsghdr{Level: unix.SOL_UDP, Type: unix.UDP_SEGMENT}, size: uint16(size)}
	control.header.SetLen(unix.CmsgLen(int(unsafe.Sizeof(control.size))))
	vector := unix.Iovec{Base: &data[0]}
	vector.SetLen(len(data))
	message := unix.Msghdr{Iov: &vector, Control: (*byte)(unsafe.Pointer(&control))}
	message.SetIovlen(1)
	message.SetControllen(int(unsafe.Sizeof(control)))
	_, _, errno := unix.RawSyscall(unix.SYS_SENDMSG, uintptr(fd), uintptr(unsafe.Pointer(&message)), unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL)
	return errno
}

// receiveSegments reads one datagram, or several of a size that the kernel has
// put together: udp(7), UDP_GRO. A size of 0 is of one.
func receiveSegments(fd int, data []byte) (n, size int, errno unix.Errno) {
	var control struct {
		header unix.Cmsghdr
		size   int32
		_      [4]byte
	}
	vector := unix.Iovec{Base: &data[0]}
	vector.SetLen(len(data))
	message := unix.Msghdr{Iov: &vector, Control: (*byte)(unsafe.Pointer(&control))}
	message.SetIovlen(1)
	message.SetControllen(int(unsafe.Sizeof(control)))
	r, _, errno := unix.RawSyscall(unix.SYS_RECVMSG, uintptr(fd), uintptr(unsafe.Pointer(&message)), unix.MSG_DONTWAIT)
	if errno != 0 {
		return 0, 0, errno
	}
	if message.Controllen > 0 && control.header.Level == unix.SOL_UDP && control.header.Type == unix.UDP_GRO {
		size = int(control.size)
	}
	return int(r), size, 0
}

// unread is how many bytes a socket has to read: tcp(7), SIOCINQ.
func unread(fd int) (int, unix.Errno) {
	var size int32
	_, _, errno := unix.RawSyscall(unix.SYS_IOCTL, uintptr(fd), unix.SIOCINQ, uintptr(unsafe.Pointer(&size)))
	return int(size), errno
}

// count is a call's result: none is done where it failed.
func count(n uintptr, errno unix.Errno) (int, unix.Errno) {
	if errno != 0 {
		return 0, errno
	}
	return int(n), 0
}

// word is the first of memory that the kernel reads and writes meanwhile.
func word(memory []byte) *atomic.Uint32 {
	_ = memory[unsafe.Sizeof(uint32(0))-1]
	return (*atomic.Uint32)(unsafe.Pointer(&memory[0]))
}
