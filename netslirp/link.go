package netslirp

import (
	"encoding/binary"

	"golang.org/x/sys/unix"

	"bryo/rootless/program"
)

// LoopbackUp adds the calls that bring lo up in a new network namespace, where
// the kernel leaves it down: netdevice(7).
func LoopbackUp(p *program.Program) {
	const nameSize, requestSize = unix.IFNAMSIZ, 40
	request := make([]byte, requestSize) // struct ifreq
	copy(request, "lo")
	binary.NativeEndian.PutUint16(request[nameSize:], unix.IFF_UP|unix.IFF_RUNNING)
	p.Step("bring up", "lo")
	socket := p.SyscallResult("socket", unix.SYS_SOCKET,
		program.Num(unix.AF_INET), program.Num(unix.SOCK_DGRAM|unix.SOCK_CLOEXEC), program.Num(0))
	p.Syscall(unix.SYS_IOCTL, socket, program.Num(unix.SIOCSIFFLAGS), program.Blob(string(request)))
	p.Close(socket)
}
