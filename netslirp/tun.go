package netslirp

import (
	"encoding/binary"

	"golang.org/x/sys/unix"

	"bryo/rootless/program"
)

// deviceIndex is the interface's number, chosen so that routes need no look-up.
const deviceIndex = 1000

// Tun adds the calls that make the container's network device, in the network
// namespace that the caller is in: tun.rst of the kernel's documentation. The
// result is its descriptor. /dev/net/tun is the host's, so that this comes before
// the root is entered.
func Tun(p *program.Program, mtu uint32) program.Arg {
	p.Step("make", "network device "+Interface)
	flags := uint16(unix.IFF_TUN | unix.IFF_NO_PI | unix.IFF_VNET_HDR)
	fd := p.Openat("tun", program.CWD(), "/dev/net/tun", unix.O_RDWR|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	index := binary.NativeEndian.AppendUint32(nil, deviceIndex)
	p.Syscall(unix.SYS_IOCTL, fd, program.Num(unix.TUNSETIFINDEX), program.Blob(string(index)))
	p.Syscall(unix.SYS_IOCTL, fd, program.Num(unix.TUNSETIFF), request(func(r []byte) { binary.NativeEndian.PutUint16(r, flags) }))
	const offload = unix.TUN_F_CSUM | unix.TUN_F_TSO4 | unix.TUN_F_TSO6
	p.Syscall(unix.SYS_IOCTL, fd, program.Num(unix.TUNSETOFFLOAD), program.Num(offload))
	p.Tolerate() // the kernel then splits segments itself
	configure(p, mtu)
	return fd
}

// request is a struct ifreq for the device: netdevice(7).
func request(fill func(union []byte)) program.Arg { return requestFor(Interface, fill) }

func requestFor(name string, fill func(union []byte)) program.Arg {
	const nameSize, size = unix.IFNAMSIZ, 40
	r := make([]byte, size)
	copy(r, name)
	fill(r[nameSize:])
	return program.Blob(string(r))
}

// inet is a struct sockaddr_in.
func inet(to []byte, addr [4]byte) {
	binary.NativeEndian.PutUint16(to, unix.AF_INET)
	copy(to[4:], addr[:])
}

// configure gives the device its addresses and routes. It has no neighbours to
// look for: NOARP, which setting the flags would clear.
func configure(p *program.Program, mtu uint32) {
	p.Step("configure", "network device "+Interface)
	socket := p.SyscallResult("socket", unix.SYS_SOCKET, program.Num(unix.AF_INET), program.Num(unix.SOCK_DGRAM|unix.SOCK_CLOEXEC), program.Num(0))
	set := func(call uint64, fill func([]byte)) {
		p.Syscall(unix.SYS_IOCTL, socket, program.Num(call), request(fill))
	}
	set(unix.SIOCSIFMTU, func(r []byte) { binary.NativeEndian.PutUint32(r, mtu) })
	set(unix.SIOCSIFADDR, func(r []byte) { inet(r, Address4().As4()) })
	set(unix.SIOCSIFNETMASK, func(r []byte) { inet(r, [4]byte{255, 255, 255, 0}) })
	set(unix.SIOCSIFFLAGS, func(r []byte) {
		binary.NativeEndian.PutUint16(r, unix.IFF_NOARP|unix.IFF_MULTICAST|unix.IFF_UP|unix.IFF_RUNNING)
	})
	p.Syscall(unix.SYS_IOCTL, socket, program.Num(unix.SIOCADDRT), defaultRoute(p))
	p.Close(socket)
	lengthen(p)
	configure6(p)
	tune(p)
}

// defaultRoute is a struct rtentry: route.h.
func defaultRoute(p *program.Program) program.Arg {
	const (
		size      = 120
		gatewayAt = 24
		genmaskAt = 40
		flagsAt   = 56
		deviceAt  = 88
		up        = 1 // RTF_UP
		gateway   = 2 // RTF_GATEWAY
	)
	r := make([]byte, size)
	inet(r[8:], [4]byte{})
	inet(r[gatewayAt:], Gateway4().As4())
	inet(r[genmaskAt:], [4]byte{})
	binary.NativeEndian.PutUint16(r[flagsAt:], up|gateway)
	words := make([]program.Arg, 0, size/8)
	for at := 0; at < size; at += 8 {
		if at == deviceAt {
			words = append(words, program.Text(Interface))
			continue
		}
		words = append(words, program.Num(binary.NativeEndian.Uint64(r[at:])))
	}
	return p.Vector(words...)
}

// configure6 does the same for IPv6, which a kernel may be without, or have
// turned off. It says so by several errors, so that every one is tolerated.
func configure6(p *program.Program) {
	const (
		up      = 1
		gateway = 2
	)
	p.Step("configure", "IPv6 of "+Interface)
	socket := p.SyscallResult("socket", unix.SYS_SOCKET, program.Num(unix.AF_INET6), program.Num(unix.SOCK_DGRAM|unix.SOCK_CLOEXEC), program.Num(0))
	none := p.SkipOn()
	ne := binary.NativeEndian
	netlink := ask(p, newAddress6())
	acknowledged(p, netlink)
	off := p.SkipOn() // net.ipv6.conf.default.disable_ipv6
	to := Gateway6().As16()
	route := make([]byte, 32, 80) // struct in6_rtmsg: destination and source are ::
	route = append(route, to[:]...)
	route = ne.AppendUint32(route, 0) // type
	route = append(route, 0, 0, 0, 0) // prefix lengths
	route = ne.AppendUint32(route, 1) // metric
	route = ne.AppendUint32(route, 0) // padding
	route = ne.AppendUint64(route, 0) // info
	route = ne.AppendUint32(route, up|gateway)
	route = ne.AppendUint32(route, deviceIndex)
	p.Syscall(unix.SYS_IOCTL, socket, program.Num(unix.SIOCADDRT), program.Blob(string(route)))
	p.Land(off)
	p.Close(netlink)
	p.Close(socket)
	p.Land(none)
}

// newAddress6 is the message that adds the address, usable from the start: the
// older ioctl leaves it tentative for as long as the kernel takes to see that
// the device can have no duplicates.
func newAddress6() []byte {
	address := Address6().As16()
	body := []byte{unix.AF_INET6, Bits6, unix.IFA_F_NODAD, unix.RT_SCOPE_UNIVERSE} // struct ifaddrmsg
	body = binary.NativeEndian.AppendUint32(body, deviceIndex)
	body = append(body, attribute(unix.IFA_LOCAL, address[:])...)
	body = append(body, attribute(unix.IFA_ADDRESS, address[:])...)
	return envelope(unix.RTM_NEWADDR, unix.NLM_F_REQUEST|unix.NLM_F_ACK|unix.NLM_F_CREATE|unix.NLM_F_EXCL, body)
}

// tune sets what of the namespace is better than its defaults. Reno paces
// nothing: with bbr, the leg inside the machine would be a fifth as fast.
func tune(p *program.Program) {
	setting(p, "ipv4/tcp_congestion_control", "reno")
}

// setting writes a file below /proc/sys/net, which shows the namespace of who
// opens it. A value that is refused changes nothing.
func setting(p *program.Program, name, value string) {
	p.Step("set", "net/"+name)
	file := p.Openat("file", program.CWD(), "/proc/sys/net/"+name, unix.O_WRONLY|unix.O_CLOEXEC, 0)
	none := p.SkipOn()
	p.Write(file, value)
	p.Tolerate()
	p.Close(file)
	p.Land(none)
}
