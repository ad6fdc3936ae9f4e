package netslirp

import (
	"encoding/binary"
	"math"

	"golang.org/x/sys/unix"

	"bryo/rootless/program"
)

// The end of the veth pair that bryo-net's packet socket is bound to.
const (
	vethPeer      = "bryo0"
	vethPeerIndex = deviceIndex + 1
)

// VethMAC is the address of the container's end of a veth pair. Frames to the
// container carry it as their destination. Those from it carry it as both: the
// device has no ARP, and the kernel's own stack drops them at the other end.
func VethMAC() [6]byte { return [6]byte{0x02, 'b', 'r', 'y', 'o', 0} }

// VethPair adds the calls that make the container's network device where there
// is no /dev/net/tun: a veth pair, of which one end is in the network namespace
// that the caller is in, configured as by Tun. The result is a packet socket
// (packet(7)) on the other end: it carries Ethernet frames, a struct
// virtio_net_hdr before each. That end is in a namespace that nothing but the
// socket keeps alive: when the last who has it is gone, so is the pair.
func VethPair(p *program.Program, mtu uint32) program.Arg {
	p.Step("make", "a veth pair for "+Interface)
	home := p.Openat("home", program.CWD(), "/proc/self/ns/net", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	p.Syscall(unix.SYS_UNSHARE, program.Num(unix.CLONE_NEWNET))
	message := newVeth()
	const word, result = 4, 8 // the descriptor is the message's last word; a result is longer
	buffer := p.Buffer("message", len(message)-word+result, string(message))
	p.Syscall(unix.SYS_FCNTL, home, program.Num(unix.F_DUPFD_CLOEXEC), program.Num(0))
	p.Into(buffer.At(len(message) - word))
	netlink := tell(p, buffer.At(0), len(message))
	acknowledged(p, netlink)
	p.Close(netlink)
	setting(p, "ipv6/conf/"+vethPeer+"/disable_ipv6", "1")
	peer := peerSocket(p, mtu)
	p.Step("return", "to the container's network namespace")
	p.Syscall(unix.SYS_SETNS, home, program.Num(unix.CLONE_NEWNET))
	p.Close(home)
	configure(p, mtu)
	cut(p)
	return peer
}

// cut has the container's kernel cut what many packets are made of, but for TCP,
// which alone the other end knows how to: a program may send datagrams in one
// piece (udp(7), UDP_SEGMENT), and older kernels cannot put that into a struct
// virtio_net_hdr. The words are those of ETHTOOL_SFEATURES, linux/ethtool.h, the
// bits those of linux/netdev_features.h. A kernel that knows them not is
// without what they stand for.
func cut(p *program.Program) {
	const (
		gre, greChecksum, ipip4, ipip6        = 1 << 22, 1 << 23, 1 << 24, 1 << 25
		udpTunnel, udpTunnelChecksum, partial = 1 << 26, 1 << 27, 1 << 28
		sctp                                  = 1 << 30
		datagrams, fragments                  = 1 << (33 - 32), 1 << (34 - 32) // of the second word
	)
	ne := binary.NativeEndian
	off := ne.AppendUint32(nil, unix.ETHTOOL_SFEATURES)
	for _, word := range []uint32{
		2, // words, of each a mask and what it is to be
		gre | greChecksum | ipip4 | ipip6 | udpTunnel | udpTunnelChecksum | partial | sctp, 0,
		datagrams | fragments, 0,
	} {
		off = ne.AppendUint32(off, word)
	}
	name := ne.Uint64([]byte(Interface + "\x00\x00\x00\x00"))
	request := p.Vector(program.Num(name), program.Num(0), program.Blob(string(off)), program.Num(0), program.Num(0)) // struct ifreq
	p.Step("cut early", "what is no TCP")
	socket := p.SyscallResult("socket", unix.SYS_SOCKET, program.Num(unix.AF_INET), program.Num(unix.SOCK_DGRAM|unix.SOCK_CLOEXEC), program.Num(0))
	p.Syscall(unix.SYS_IOCTL, socket, program.Num(unix.SIOCETHTOOL), request)
	p.Tolerate()
	p.Close(socket)
}

// ask sends a message to the kernel, which has acted on it when the call is over.
func ask(p *program.Program, message []byte) program.Arg {
	return tell(p, program.Blob(string(message)), len(message))
}

func tell(p *program.Program, message program.Arg, length int) program.Arg {
	netlink := p.SyscallResult("netlink", unix.SYS_SOCKET,
		program.Num(unix.AF_NETLINK), program.Num(unix.SOCK_RAW|unix.SOCK_CLOEXEC), program.Num(unix.NETLINK_ROUTE))
	to := string(binary.NativeEndian.AppendUint16(nil, unix.AF_NETLINK)) + string(make([]byte, unix.SizeofSockaddrNetlink-2))
	p.Syscall(unix.SYS_SENDTO, netlink, message, program.Num(length), program.Num(0),
		program.Blob(to), program.Num(len(to)))
	return netlink
}

// lengthen makes the device's queue longer, where the kernel lets it: the older
// ioctl takes a capability outside the namespace.
func lengthen(p *program.Program) {
	const packets = 1000
	p.Step("lengthen", "queue of "+Interface)
	body := append(link(deviceIndex), attribute(unix.IFLA_TXQLEN, binary.NativeEndian.AppendUint32(nil, packets))...)
	p.Close(ask(p, envelope(unix.RTM_SETLINK, unix.NLM_F_REQUEST, body)))
}

// acknowledged reads the answer, a struct nlmsgerr. The usual refusal is of a
// kernel without veth, and the interpreter cannot tell which one it is.
func acknowledged(p *program.Program, netlink program.Arg) {
	const size = 1024
	answer := p.Buffer("answer", size, "")
	p.Read(netlink, answer, 0, size)
	errno := binary.NativeEndian.Uint64([]byte{0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0})
	p.Compare(answer.Load(unix.SizeofNlMsghdr), errno, 0, uint64(unix.EOPNOTSUPP))
}

// peerSocket brings the other end up and binds a packet socket to it. Until it
// is bound it receives nothing, so that every frame has its header.
func peerSocket(p *program.Program, mtu uint32) program.Arg {
	p.Step("bring up", vethPeer)
	socket := p.SyscallResult("socket", unix.SYS_SOCKET,
		program.Num(unix.AF_INET), program.Num(unix.SOCK_DGRAM|unix.SOCK_CLOEXEC), program.Num(0))
	set := func(call uint64, fill func([]byte)) {
		p.Syscall(unix.SYS_IOCTL, socket, program.Num(call), requestFor(vethPeer, fill))
	}
	set(unix.SIOCSIFMTU, func(r []byte) { binary.NativeEndian.PutUint32(r, mtu) })
	set(unix.SIOCSIFFLAGS, func(r []byte) {
		binary.NativeEndian.PutUint16(r, unix.IFF_NOARP|unix.IFF_UP|unix.IFF_RUNNING)
	})
	p.Close(socket)
	p.Step("open", "a packet socket on "+vethPeer)
	packets := p.SyscallResult("packets", unix.SYS_SOCKET,
		program.Num(unix.AF_PACKET), program.Num(unix.SOCK_RAW|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC), program.Num(0))
	const buffer = 4 << 20
	option(p, packets, unix.SOL_PACKET, unix.PACKET_VNET_HDR, 1)
	option(p, packets, unix.SOL_PACKET, unix.PACKET_IGNORE_OUTGOING, 1)
	// The queue of this end throws all away until a worker of the kernel's has seen that the other is up.
	option(p, packets, unix.SOL_PACKET, unix.PACKET_QDISC_BYPASS, 1)
	option(p, packets, unix.SOL_SOCKET, unix.SO_RCVBUF, buffer)
	p.Tolerate()
	option(p, packets, unix.SOL_SOCKET, unix.SO_SNDBUF, buffer)
	p.Tolerate()
	addr := binary.NativeEndian.AppendUint16(nil, unix.AF_PACKET) // struct sockaddr_ll
	addr = binary.BigEndian.AppendUint16(addr, unix.ETH_P_ALL)
	addr = binary.NativeEndian.AppendUint32(addr, vethPeerIndex)
	addr = append(addr, make([]byte, unix.SizeofSockaddrLinklayer-len(addr))...)
	p.Syscall(unix.SYS_BIND, packets, program.Blob(string(addr)), program.Num(len(addr)))
	return packets
}

// option is setsockopt(2) of an int.
func option(p *program.Program, socket program.Arg, level, name int, value uint32) {
	word := binary.NativeEndian.AppendUint32(nil, value)
	p.Syscall(unix.SYS_SETSOCKOPT, socket, program.Num(level), program.Num(name), program.Blob(string(word)), program.Num(len(word)))
}

// newVeth is the message that makes the pair: rtnetlink(7). Its last word is for
// a descriptor of the namespace that the container's end goes to.
func newVeth() []byte {
	const peerInfo = 1 // VETH_INFO_PEER
	mac := VethMAC()
	peer := append(link(deviceIndex), attribute(unix.IFLA_IFNAME, []byte(Interface+"\x00"))...)
	peer = append(peer, attribute(unix.IFLA_ADDRESS, mac[:])...)
	peer = append(peer, attribute(unix.IFLA_NET_NS_FD, make([]byte, 4))...)
	data := attribute(unix.IFLA_INFO_DATA, attribute(peerInfo, peer))
	info := append(attribute(unix.IFLA_INFO_KIND, []byte("veth\x00")), data...)
	body := append(link(vethPeerIndex), attribute(unix.IFLA_IFNAME, []byte(vethPeer+"\x00"))...)
	body = append(body, attribute(unix.IFLA_LINKINFO, info)...)
	return envelope(unix.RTM_NEWLINK, unix.NLM_F_REQUEST|unix.NLM_F_ACK|unix.NLM_F_CREATE|unix.NLM_F_EXCL, body)
}

// envelope puts a struct nlmsghdr before a message.
func envelope(kind, flags uint16, body []byte) []byte {
	ne := binary.NativeEndian
	m := ne.AppendUint32(nil, uint32(unix.SizeofNlMsghdr+len(body)))
	m = ne.AppendUint16(m, kind)
	m = ne.AppendUint16(m, flags)
	m = ne.AppendUint64(m, 1) // sequence number and port
	return append(m, body...)
}

// link is a struct ifinfomsg.
func link(index uint32) []byte {
	m := make([]byte, unix.SizeofIfInfomsg)
	binary.NativeEndian.PutUint32(m[4:], index)
	return m
}

// attribute is a struct rtattr and its value, padded.
func attribute(kind uint16, value []byte) []byte {
	const align = 4
	size := unix.SizeofRtAttr + len(value)
	if size > math.MaxUint16 {
		panic("netslirp: an attribute of more than 64 KiB")
	}
	a := binary.NativeEndian.AppendUint16(nil, uint16(size))
	a = binary.NativeEndian.AppendUint16(a, kind)
	a = append(a, value...)
	return append(a, make([]byte, (align-size%align)%align)...)
}
