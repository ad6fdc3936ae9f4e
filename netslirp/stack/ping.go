package stack

import (
	"encoding/binary"
	"errors"
	"net/netip"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/checksum"
	"gvisor.dev/gvisor/pkg/tcpip/header"

	"bryo/netslirp"
	"bryo/netslirp/loop"
)

const (
	mostPings    = 256 // conversations with one address and identifier
	pingPatience = 10 * time.Second
)

// An echo is a question of ICMP, without its IP header.
type echo struct {
	source, destination netip.Addr
	id                  uint16
	message             []byte // from the ICMP header on
	packet              []byte // the whole
}

// parseEcho finds an echo request in an IP packet, which is the container's.
func parseEcho(packet []byte) (e echo, is bool) {
	if len(packet) < header.IPv4MinimumSize {
		return e, false
	}
	if packet[0]>>4 == header.IPv4Version {
		e, is = parseEcho4(packet)
	} else if len(packet) >= header.IPv6MinimumSize {
		e, is = parseEcho6(packet)
	}
	if is {
		e.id = binary.BigEndian.Uint16(e.message[4:])
	}
	return e, is
}

// parseEcho4 leaves fragments to netstack, which drops such requests.
func parseEcho4(packet []byte) (e echo, is bool) {
	ip := header.IPv4(packet)
	at, end := int(ip.HeaderLength()), int(ip.TotalLength())
	if at < header.IPv4MinimumSize || end > len(packet) || end < at+header.ICMPv4MinimumSize {
		return e, false
	}
	whole := !ip.More() && ip.FragmentOffset() == 0
	if !whole || ip.Protocol() != uint8(header.ICMPv4ProtocolNumber) || packet[at] != uint8(header.ICMPv4Echo) {
		return e, false
	}
	return echo{
		source: netip.AddrFrom4(ip.SourceAddress().As4()), destination: netip.AddrFrom4(ip.DestinationAddress().As4()),
		message: packet[at:end], packet: packet[:end],
	}, true
}

func parseEcho6(packet []byte) (e echo, is bool) {
	ip := header.IPv6(packet)
	at, end := header.IPv6MinimumSize, header.IPv6MinimumSize+int(ip.PayloadLength())
	if end > len(packet) || end < at+header.ICMPv6EchoMinimumSize ||
		ip.NextHeader() != uint8(header.ICMPv6ProtocolNumber) || packet[at] != uint8(header.ICMPv6EchoRequest) {
		return e, false
	}
	return echo{
		source: netip.AddrFrom16(ip.SourceAddress().As16()), destination: netip.AddrFrom16(ip.DestinationAddress().As16()),
		message: packet[at:end], packet: packet[:end],
	}, true
}

// pingKey is a conversation.
type pingKey struct {
	source, destination netip.Addr
	id                  uint16
}

// pingTable has the ping socket of each conversation.
type pingTable struct {
	mu        sync.Mutex
	flows     map[pingKey]*pingFlow
	fragments fragmentTable
}

// pingFlow is a conversation. It is the loop's, like what calls echo.
type pingFlow struct {
	loop.Socket

	stack  *Stack
	key    pingKey
	asked  echo // without its message
	record *Record
	rest   *time.Timer
	used   time.Time
	ended  bool
}

// echo takes the packet if it is an echo request, or part of one. Ping sockets
// answer for the world, icmp(7); where the host does not allow them the answer
// is that it is prohibited.
func (s *Stack) echo(packet []byte) bool {
	e, is := parseEcho(packet)
	if !is {
		f, partial := parseFragment(packet)
		if !partial {
			return false
		}
		if e, is = s.pings.fragments.add(f, time.Now()); !is {
			return true
		}
	}
	if s.ctx.Err() != nil {
		return true
	}
	switch e.destination {
	case netslirp.Gateway4(), netslirp.Gateway6(), netslirp.DNS4(), netslirp.DNS6():
		s.reply(e, append([]byte(nil), e.message...))
		return true
	}
	key := pingKey{e.source, e.destination, e.id}
	s.pings.mu.Lock()
	u := s.pings.flows[key]
	full := len(s.pings.flows) >= mostPings
	s.pings.mu.Unlock()
	if u == nil && !full {
		u = s.openPing(key, e)
	}
	if u == nil {
		return true
	}
	errno := sendDatagram(u.FD, e.message)
	if errno == 0 {
		u.record.Sent += uint64(len(e.message))
	} else if why, is := reasonOf(errno); is {
		s.decline(e, why)
	}
	return true
}

// openPing begins a conversation, or says why there is none.
func (s *Stack) openPing(key pingKey, e echo) *pingFlow {
	f := Flow{netslirp.ICMP, netip.AddrPortFrom(e.source, 0), netip.AddrPortFrom(e.destination, 0)}
	d := s.options.Decide(f)
	record := s.start(f, d)
	if d.Verdict != netslirp.Allow {
		s.decline(e, prohibited)
		s.end(record, nil)
		return nil
	}
	fd, err := dialPing(d.Dial.Addr())
	if err != nil {
		why, known := reasonOf(err)
		if !known {
			why = prohibited
		}
		s.decline(e, why)
		s.end(record, err)
		return nil
	}
	u := &pingFlow{stack: s, key: key, asked: e, record: record, used: time.Now()}
	u.asked.message, u.asked.packet = nil, nil
	u.FD, u.Owner = fd, u
	if !s.begin() {
		_ = unix.Close(fd)
		return nil
	}
	if err := s.loop.Add(&u.Socket); err != nil {
		_ = unix.Close(fd)
		s.flows.Done()
		return nil
	}
	u.rest = time.AfterFunc(pingPatience, func() { s.loop.Queue(&u.Socket, wantsRest) })
	s.pings.mu.Lock()
	defer s.pings.mu.Unlock()
	if s.pings.flows == nil {
		s.pings.flows = make(map[pingKey]*pingFlow)
	}
	s.pings.flows[key] = u
	return u
}

func dialPing(to netip.Addr) (fd int, err error) {
	protocol := unix.IPPROTO_ICMP
	if to.Is6() {
		protocol = unix.IPPROTO_ICMPV6
	}
	family, address := loop.Address(netip.AddrPortFrom(to, 0))
	fd, err = unix.Socket(family, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, protocol)
	if err != nil {
		return -1, os.NewSyscallError("socket", err)
	}
	if err := unix.Connect(fd, address); err != nil {
		return -1, errors.Join(os.NewSyscallError("connect", err), unix.Close(fd))
	}
	return fd, nil
}

// Turn implements loop.Owner: answers are passed on, with the container's own
// identifier, since the socket has another one.
func (u *pingFlow) Turn(w loop.Wants) {
	if u.ended {
		return
	}
	on := u.stack.ctx.Err() == nil
	if on && w&loop.Readable != 0 {
		on = u.sendDown()
	}
	if on && w&wantsRest != 0 {
		left := pingPatience - time.Since(u.used)
		if on = left > 0; on {
			u.rest.Reset(left)
		}
	}
	if !on {
		u.End()
	}
}

func (u *pingFlow) sendDown() bool {
	b := u.stack.batches.Get().(*batch) //nolint:forcetypeassert // the pool holds nothing else
	defer u.stack.batches.Put(b)
	for range mostDatagrams {
		n, errno := receive(u.FD, b.room())
		if errno == unix.EAGAIN {
			return true
		}
		if _, known := reasonOf(errno); errno != 0 && errno != unix.EINTR && !known {
			return false
		}
		if n >= header.ICMPv4MinimumSize {
			u.used = time.Now()
			u.record.Received += uint64(n)
			answer := b.room()[:n]
			binary.BigEndian.PutUint16(answer[4:], u.asked.id)
			u.stack.reply(u.asked, answer)
		}
	}
	u.stack.loop.Queue(&u.Socket, loop.Readable)
	return true
}

// End implements loop.Owner.
func (u *pingFlow) End() {
	if u.ended {
		return
	}
	u.ended = true
	u.rest.Stop()
	u.stack.pings.mu.Lock()
	delete(u.stack.pings.flows, u.key)
	u.stack.pings.mu.Unlock()
	u.stack.loop.Remove(&u.Socket)
	u.stack.end(u.record, nil)
	u.stack.flows.Done()
}

// reply sends an answer to the one who asked.
func (s *Stack) reply(e echo, message []byte) {
	if e.source.Is4() {
		message[0] = uint8(header.ICMPv4EchoReply)
	} else {
		message[0] = uint8(header.ICMPv6EchoReply)
	}
	s.sendICMP(e.destination, e.source, message)
}

// decline says why a request did not arrive: the message has its beginning.
func (s *Stack) decline(e echo, why reason) {
	if !s.stack.AllowICMPMessage() {
		return
	}
	const quoted = 1200
	message := make([]byte, 8, 8+quoted)
	message[0], message[1] = why.code(e.source.Is6())
	from := netslirp.Gateway4()
	if e.source.Is6() {
		from = netslirp.Gateway6()
	}
	const least4 = 548 // RFC 1812, 4.3.2.3
	limit := quoted
	if e.source.Is4() {
		limit = least4
	}
	s.sendICMP(from, e.source, append(message, e.packet[:min(limit, len(e.packet))]...))
}

// sendICMP makes the packet, in fragments if it is large.
func (s *Stack) sendICMP(from, to netip.Addr, message []byte) {
	const ttl = 64
	message[2], message[3] = 0, 0
	if to.Is6() {
		source, destination := tcpip.AddrFrom16(from.As16()), tcpip.AddrFrom16(to.As16())
		sum := header.ICMPv6Checksum(header.ICMPv6ChecksumParams{Header: message, Src: source, Dst: destination})
		binary.BigEndian.PutUint16(message[2:], sum)
		if header.IPv6MinimumSize+len(message) > int(s.options.MTU) {
			s.sendFragments6(source, destination, message)
			return
		}
		packet := make([]byte, header.IPv6MinimumSize, header.IPv6MinimumSize+len(message))
		header.IPv6(packet).Encode(&header.IPv6Fields{
			PayloadLength: uint16(len(message)), TransportProtocol: header.ICMPv6ProtocolNumber, HopLimit: ttl, SrcAddr: source, DstAddr: destination,
		})
		s.link.send(append(packet, message...))
		return
	}
	binary.BigEndian.PutUint16(message[2:], ^checksum.Checksum(message, 0))
	s.sendFragments4(from, to, message)
}

func (s *Stack) sendFragments4(from, to netip.Addr, message []byte) {
	const ttl = 64
	room := max(1, (int(s.options.MTU)-header.IPv4MinimumSize)/fragmentUnit) * fragmentUnit
	id := uint16(time.Now().UnixNano())
	for at := 0; at < len(message); at += room {
		part := message[at:min(at+room, len(message))]
		packet := make([]byte, header.IPv4MinimumSize, header.IPv4MinimumSize+len(part))
		fields := &header.IPv4Fields{
			TotalLength: uint16(header.IPv4MinimumSize + len(part)), ID: id, TTL: ttl, Protocol: uint8(header.ICMPv4ProtocolNumber),
			FragmentOffset: uint16(at), SrcAddr: tcpip.AddrFrom4(from.As4()), DstAddr: tcpip.AddrFrom4(to.As4()),
		}
		if at+len(part) < len(message) {
			fields.Flags = header.IPv4FlagMoreFragments
		}
		ip := header.IPv4(packet)
		ip.Encode(fields)
		ip.SetChecksum(^ip.CalculateChecksum())
		s.link.send(append(packet, part...))
	}
}

func (s *Stack) sendFragments6(from, to tcpip.Address, message []byte) {
	const ttl, heads = 64, header.IPv6MinimumSize + header.IPv6FragmentHeaderSize
	room := max(1, (int(s.options.MTU)-heads)/fragmentUnit) * fragmentUnit
	id := uint32(time.Now().UnixNano())
	for at := 0; at < len(message); at += room {
		part := message[at:min(at+room, len(message))]
		packet := make([]byte, heads, heads+len(part))
		header.IPv6(packet).Encode(&header.IPv6Fields{
			PayloadLength: uint16(header.IPv6FragmentHeaderSize + len(part)), TransportProtocol: header.IPv6FragmentHeader,
			HopLimit: ttl, SrcAddr: from, DstAddr: to,
		})
		packet[header.IPv6MinimumSize] = uint8(header.ICMPv6ProtocolNumber)
		place := uint16(at) // in units, and so with three bits to spare
		if at+len(part) < len(message) {
			place |= 1
		}
		binary.BigEndian.PutUint16(packet[header.IPv6MinimumSize+2:], place)
		binary.BigEndian.PutUint32(packet[header.IPv6MinimumSize+4:], id)
		s.link.send(append(packet, part...))
	}
}
