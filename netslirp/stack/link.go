package stack

import (
	"encoding/binary"
	"fmt"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/buffer"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
)

const (
	vnetSize     = 10 // struct virtio_net_hdr
	ethernetSize = 14
	small        = 2048      // what is rather copied than kept in a large buffer
	mostBytes    = 256 << 10 // in large packets, of one turn: what has been read is still in the processor's cache when it is sent on
	largest      = 65536     // the size of netstack's own largest buffers, which are used again
)

// link is netstack's end of the container's network device. The device gives
// and takes packets of up to 64 KiB, which the kernel of the container's side
// takes for many: the virtio header of each says into what it is to be cut, and
// that its checksum is still to be made.
type link struct {
	fd       int
	ethernet bool
	mtu      uint32
	tap      func([]byte, bool)
	echo     func(packet []byte) bool // takes echo requests, which netstack would answer itself

	reading sync.Mutex // held while there is a look at
	head    []byte     // of what is read, and
	view    *buffer.View
	ring    *ring // nil until packets have come too fast for one call each
	refused bool  // there will be none
	acks    acks

	packets    atomic.Uint64 // from the container
	dispatcher atomic.Pointer[stack.NetworkDispatcher]
	peer       atomic.Pointer[[6]byte] // the container's hardware address

	writing sync.RWMutex // held for writing by close: a timer of netstack's may send late, when the number is another file's
	closed  bool
}

func newLink(o Options) (*link, error) {
	l := &link{fd: o.FD, ethernet: o.Ethernet, mtu: o.MTU, tap: o.Tap}
	if err := unix.SetNonblock(o.FD, true); err != nil {
		return nil, fmt.Errorf("network device: %w", err)
	}
	l.head = make([]byte, vnetSize+l.linkSize())
	if !o.Ethernet {
		l.refused = true
		// A device that was made without offloads stays so: it is slower.
		_ = unix.IoctlSetInt(o.FD, unix.TUNSETOFFLOAD, unix.TUN_F_CSUM|unix.TUN_F_TSO4|unix.TUN_F_TSO6)
	}
	return l, nil
}

func (l *link) close() {
	l.reading.Lock()
	if l.ring != nil {
		l.ring.close()
		l.ring, l.refused = nil, true
	}
	l.reading.Unlock()
	l.writing.Lock()
	defer l.writing.Unlock()
	l.closed = true
	_ = unix.Close(l.fd)
}

// Read delivers packets that have come, at most so many, and says whether there
// may be more. It does not wait.
func (l *link) Read(most int) (more bool, err error) {
	l.reading.Lock()
	defer l.reading.Unlock()
	long := 0 // bytes in large packets
	for more = true; more && err == nil && most > 0 && long < mostBytes; most-- {
		var length int
		if length, more, err = l.next(); length >= small {
			long += length
		}
	}
	if more && err == nil && long == 0 {
		err = l.hurry()
	}
	if long == 0 && !more {
		l.acks.hold()
	} else {
		l.Flush(true)
	}
	return more, err
}

// next delivers a packet, as readOne, by way of the ring if there is one.
func (l *link) next() (length int, more bool, err error) {
	if l.ring == nil {
		return l.readOne()
	}
	packet, arrived, err := l.ring.first()
	if arrived == none {
		return 0, false, err
	}
	defer l.ring.pass()
	switch {
	case arrived == queued:
		if length, more, err = l.readOne(); !more && err == nil {
			length, _, err = l.readOne() // the first call may tell of the device
		}
	case arrived == framed && len(packet) > len(l.head):
		head, body := packet[:len(l.head)], packet[len(l.head):]
		length = len(body)
		l.deliver(head, body, buffer.MakeWithData(body))
	}
	return length, true, err
}

// readOne delivers a packet; none may be there, or too short a one.
func (l *link) readOne() (length int, more bool, err error) {
	if l.view == nil {
		l.view = buffer.NewViewSize(largest)
	}
	body := l.view.AsSlice()
	n, errno := readv(l.fd, l.head, body)
	switch {
	case errno == unix.EINTR || errno == unix.EINVAL:
		return 0, true, nil // EINVAL: a packet that no vnet header can describe, and that is gone
	case errno == unix.EAGAIN || errno == unix.EIO || errno == unix.ENETDOWN:
		return 0, false, nil // nothing there, or set down by the container, which may set it up again
	case errno != 0:
		return 0, false, errno
	case n <= len(l.head):
		return 0, true, nil
	}
	body = body[:n-len(l.head)]
	if len(body) < small {
		l.deliver(l.head, body, buffer.MakeWithData(body))
		return len(body), true, nil
	}
	l.view.CapLength(len(body))
	payload := apart(l.view)
	l.view = nil
	l.deliver(l.head, body, payload)
	return len(body), true, nil
}

// Flush sends acknowledgements that have waited for a turn of the loop, or all.
func (l *link) Flush(all bool) { l.acks.release(all, l.sendAs) }

// apart puts a packet's IP header before the rest in a view of its own: netstack
// holds on to the header while it looks at the packet, and would copy all that
// shares a view with it.
func apart(packet *buffer.View) buffer.Buffer {
	data := packet.AsSlice()
	size := header.IPv6MinimumSize
	if protocol, _ := version(data); protocol == header.IPv4ProtocolNumber {
		size = int(data[0]&0xf) * 4
	}
	size = min(size, len(data))
	b := buffer.MakeWithData(data[:size])
	packet.TrimFront(size)
	rest := buffer.MakeWithView(packet)
	b.Merge(&rest)
	return b
}

// learn keeps the container's hardware address, of an ethernet header.
func (l *link) learn(frame []byte) {
	if len(frame) < ethernetSize {
		return
	}
	source := [6]byte(frame[6:12])
	if known := l.peer.Load(); known == nil || *known != source {
		l.peer.Store(&source)
	}
}

// deliver hands a packet to netstack. data is what payload holds.
func (l *link) deliver(head, data []byte, payload buffer.Buffer) {
	if l.ethernet {
		l.learn(head[vnetSize:])
	}
	protocol, known := version(data)
	if known && l.tap != nil {
		l.tap(data, false)
	}
	l.packets.Add(1)
	dispatcher := l.dispatcher.Load()
	if !known || dispatcher == nil || (l.echo != nil && l.echo(data)) {
		payload.Release()
		return
	}
	packet := stack.NewPacketBuffer(stack.PacketBufferOptions{Payload: payload})
	defer packet.DecRef()
	// The kernel vouches for what it has not put on a wire yet.
	packet.RXChecksumValidated = head[0]&(unix.VIRTIO_NET_HDR_F_NEEDS_CSUM|unix.VIRTIO_NET_HDR_F_DATA_VALID) != 0
	(*dispatcher).DeliverNetworkPacket(protocol, packet)
}

// version tells a packet's protocol by its first byte.
func version(packet []byte) (protocol tcpip.NetworkProtocolNumber, known bool) {
	switch packet[0] >> 4 {
	case header.IPv4Version:
		return header.IPv4ProtocolNumber, true
	case header.IPv6Version:
		return header.IPv6ProtocolNumber, true
	default:
		return 0, false
	}
}

// WritePackets implements stack.LinkEndpoint.
func (l *link) WritePackets(packets stack.PacketBufferList) (int, tcpip.Error) {
	var storage [most][]byte
	for i, packet := range packets.AsSlice() {
		head := vnetHeader(packet.GSOOptions, packet.HeaderSize(), packet.Data().Size(), uint16(l.linkSize()))
		if l.acks.take(packet, head) {
			continue
		}
		parts := append(storage[:0], head[:])
		if l.ethernet {
			frame := l.frame(packet.NetworkProtocolNumber)
			parts = append(parts, frame[:])
		}
		parts = append(parts, packet.AsSlices()...)
		if len(parts) > most {
			whole := packet.ToView().AsSlice()
			parts = append(parts[:len(parts)-len(packet.AsSlices())], whole)
		}
		if l.tap != nil {
			l.tap(packet.ToView().AsSlice(), true)
		}
		if errno := l.write(parts); errno == unix.EBADF || errno == unix.EBADFD {
			return i, &tcpip.ErrClosedForSend{}
		} // anything else is lost, as on a wire
	}
	return packets.Len(), nil
}

// send writes an IP packet that is whole.
func (l *link) send(packet []byte) { l.sendAs([vnetSize]byte{}, packet) }

func (l *link) sendAs(head [vnetSize]byte, packet []byte) {
	parts := [][]byte{head[:]}
	if l.ethernet {
		protocol, _ := version(packet)
		frame := l.frame(protocol)
		parts = append(parts, frame[:])
	}
	if l.tap != nil {
		l.tap(packet, true)
	}
	_ = l.write(append(parts, packet))
}

// write puts a packet on the device unless that is closed.
func (l *link) write(parts [][]byte) unix.Errno {
	l.writing.RLock()
	defer l.writing.RUnlock()
	if l.closed {
		return unix.EBADF
	}
	return writev(l.fd, parts)
}

func (l *link) linkSize() int {
	if l.ethernet {
		return ethernetSize
	}
	return 0
}

// frame is the ethernet header of a packet to the container, whose address is
// both ends': nobody else is on this wire.
func (l *link) frame(protocol tcpip.NetworkProtocolNumber) (f [ethernetSize]byte) {
	const local = 0x02
	f[6] = local
	if peer := l.peer.Load(); peer != nil {
		copy(f[:6], peer[:])
	}
	binary.BigEndian.PutUint16(f[12:], uint16(protocol))
	return f
}

// vnetHeader is the struct virtio_net_hdr of an outgoing packet: flags,
// gso_type, hdr_len, gso_size, csum_start, csum_offset.
func vnetHeader(o stack.GSO, headers, payload int, before uint16) (h [vnetSize]byte) {
	if o.Type == stack.GSONone {
		return h
	}
	ne := binary.NativeEndian
	ne.PutUint16(h[2:], uint16(headers)+before)
	if o.NeedsCsum {
		h[0] = unix.VIRTIO_NET_HDR_F_NEEDS_CSUM
		ne.PutUint16(h[6:], o.L3HdrLen+before)
		ne.PutUint16(h[8:], o.CsumOffset)
	}
	if payload <= int(o.MSS) {
		return h
	}
	h[1] = unix.VIRTIO_NET_HDR_GSO_TCPV4
	if o.Type == stack.GSOTCPv6 {
		h[1] = unix.VIRTIO_NET_HDR_GSO_TCPV6
	}
	ne.PutUint16(h[4:], o.MSS)
	return h
}

// MTU implements stack.LinkEndpoint, as do all below.
func (l *link) MTU() uint32 { return l.mtu }

// SetMTU does nothing: bryo chose it.
func (l *link) SetMTU(uint32) {}

// MaxHeaderLength is 0: headers are written apart.
func (l *link) MaxHeaderLength() uint16 { return 0 }

// LinkAddress is none.
func (l *link) LinkAddress() tcpip.LinkAddress { return "" }

// SetLinkAddress does nothing.
func (l *link) SetLinkAddress(tcpip.LinkAddress) {}

// Capabilities has no TX offload: netstack would leave packets without GSO
// options without a checksum, and the kernel drops them.
func (l *link) Capabilities() stack.LinkEndpointCapabilities {
	return stack.CapabilityRXChecksumOffload
}

// IsAttached says whether packets can be delivered.
func (l *link) IsAttached() bool { return l.dispatcher.Load() != nil }

// Attach says where to.
func (l *link) Attach(d stack.NetworkDispatcher) {
	if d == nil {
		l.dispatcher.Store(nil)
		return
	}
	l.dispatcher.Store(&d)
}

// Wait has nothing to wait for: Run does.
func (l *link) Wait() {}

// ARPHardwareType is none.
func (l *link) ARPHardwareType() header.ARPHardwareType { return header.ARPHardwareNone }

// AddHeader does nothing.
func (l *link) AddHeader(*stack.PacketBuffer) {}

// ParseHeader does nothing.
func (l *link) ParseHeader(*stack.PacketBuffer) bool { return true }

// Close does nothing: Stack.Close does.
func (l *link) Close() {}

// SetOnCloseAction does nothing.
func (l *link) SetOnCloseAction(func()) {}

// GSOMaxSize is what a packet may have at most, without its headers.
func (l *link) GSOMaxSize() uint32 {
	return header.IPv4MaximumPayloadSize - header.TCPHeaderMaximumSize - header.IPv4MaximumHeaderSize
}

// SupportedGSO says that the kernel cuts.
func (l *link) SupportedGSO() stack.SupportedGSO { return stack.HostGSOSupported }
