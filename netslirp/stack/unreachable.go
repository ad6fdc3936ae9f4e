package stack

import (
	"encoding/binary"
	"errors"

	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/header"

	"bryo/netslirp"
)

// A reason is why a packet did not arrive.
type reason int

const (
	noPort reason = iota
	noHost
	noNet
	prohibited
	tooBig
)

const (
	codeFilter4 = 13 // communication administratively prohibited, RFC 1812
	codeFilter6 = 1  // RFC 4443
)

// code is the type and the code of the message that says so.
func (r reason) code(six bool) (kind, code byte) {
	if six && r == tooBig {
		return byte(header.ICMPv6PacketTooBig), 0
	}
	if six {
		codes := [...]byte{noPort: 4, noHost: 3, noNet: 0, prohibited: codeFilter6}
		return byte(header.ICMPv6DstUnreachable), codes[r]
	}
	codes := [...]byte{noPort: 3, noHost: 1, noNet: 0, prohibited: codeFilter4, tooBig: 4}
	return byte(header.ICMPv4DstUnreachable), codes[r]
}

// reasonOf is what the container is to hear of an error of the host's socket.
func reasonOf(err error) (r reason, is bool) {
	switch {
	case errors.Is(err, unix.ECONNREFUSED):
		return noPort, true
	case errors.Is(err, unix.EHOSTUNREACH):
		return noHost, true
	case errors.Is(err, unix.ENETUNREACH):
		return noNet, true
	case errors.Is(err, unix.EACCES), errors.Is(err, unix.EPERM):
		return prohibited, true
	default:
		return 0, false
	}
}

// unreachable tells the container that a packet of the flow did not arrive;
// sequence is the TCP one of it, without which nobody believes the message.
func (s *Stack) unreachable(f Flow, why reason, sequence uint32) { s.tell(f, why, 0, sequence) }

// narrow tells the container how large packets of a flow may be, if a path that
// the host's socket has learned of is narrower than the device.
func (s *Stack) narrow(f Flow, fd int, four bool) {
	level, option := unix.IPPROTO_IPV6, unix.IPV6_MTU
	if four {
		level, option = unix.IPPROTO_IP, unix.IP_MTU
	}
	if mtu, err := unix.GetsockoptInt(fd, level, option); err == nil && mtu > 0 && mtu < int(s.options.MTU) {
		s.tell(f, tooBig, uint32(mtu), 0)
	}
}

// tell sends a message of ICMP about a packet that the container has sent. It
// quotes the packet's beginning, made anew from the flow. Like all that netstack
// sends itself, there are only so many in a second.
func (s *Stack) tell(f Flow, why reason, mtu, sequence uint32) {
	if s.ctx.Err() != nil || !s.stack.AllowICMPMessage() {
		return
	}
	source, destination := f.Source.Addr(), f.Destination.Addr()
	if source.Is4() != destination.Is4() {
		return
	}
	from := destination
	if why != noPort {
		from = netslirp.Gateway4()
		if source.Is6() {
			from = netslirp.Gateway6()
		}
	}
	const head = 8
	message := make([]byte, head, head+header.IPv6MinimumSize+head)
	message[0], message[1] = why.code(source.Is6())
	binary.BigEndian.PutUint32(message[head/2:], mtu)
	s.sendICMP(from, source, append(message, quote(f, sequence)...))
}

// quote is a packet of a flow up to the eighth byte behind the IP header.
func quote(f Flow, sequence uint32) []byte {
	const transport, ttl = 8, 64
	protocol := header.UDPProtocolNumber
	if f.Protocol == netslirp.TCP {
		protocol = header.TCPProtocolNumber
	}
	var packet []byte
	source, destination := f.Source.Addr(), f.Destination.Addr()
	if source.Is6() {
		packet = make([]byte, header.IPv6MinimumSize, header.IPv6MinimumSize+transport)
		header.IPv6(packet).Encode(&header.IPv6Fields{
			PayloadLength: transport, TransportProtocol: protocol, HopLimit: ttl,
			SrcAddr: tcpip.AddrFrom16(source.As16()), DstAddr: tcpip.AddrFrom16(destination.As16()),
		})
	} else {
		packet = make([]byte, header.IPv4MinimumSize, header.IPv4MinimumSize+transport)
		ip := header.IPv4(packet)
		ip.Encode(&header.IPv4Fields{
			TotalLength: header.IPv4MinimumSize + transport, TTL: ttl, Protocol: uint8(protocol),
			SrcAddr: tcpip.AddrFrom4(source.As4()), DstAddr: tcpip.AddrFrom4(destination.As4()),
		})
		ip.SetChecksum(^ip.CalculateChecksum())
	}
	packet = binary.BigEndian.AppendUint16(packet, f.Source.Port())
	packet = binary.BigEndian.AppendUint16(packet, f.Destination.Port())
	if f.Protocol == netslirp.TCP {
		return binary.BigEndian.AppendUint32(packet, sequence)
	}
	packet = binary.BigEndian.AppendUint16(packet, header.UDPMinimumSize)
	return binary.BigEndian.AppendUint16(packet, 0)
}
