package stack

import (
	"encoding/binary"
	"errors"

	"golang.org/x/sys/unix"
)

const (
	frameSize = small
	ringSize  = 1 << 20
	blockSize = 64 << 10 // what the kernel allocates in one piece
)

// Where struct tpacket2_hdr has what, behind the status.
const (
	lengthAt = 4
	keptAt   = 8
	macAt    = 12
)

var errRing = errors.New("the packet ring is of no use")

// ring is where a packet socket puts what comes, in memory that the kernel
// shares, so that a short packet takes no call: packet(7), TPACKET_V2. V3 hands
// over blocks of packets, the last ones of a burst a timer's tick late.
//
//	0                           32            mac - 10      mac          end: kept bytes
//	| status, length, kept, mac | sockaddr_ll | vnet header | the packet |
//
// The status says whose the frame is. A packet that is too long for a frame is
// kept in part, and waits as a whole in the socket's queue.
type ring struct {
	memory []byte
	at     int // the frame that is the next to come
}

// arrival is what the kernel did with a packet.
type arrival int

const (
	none   arrival = iota
	framed         // it is here
	queued         // it is to be read from the socket
	lost           // there was no room for it
)

// newRing gives a packet socket a ring. What waits in the socket is lost, and
// what comes until then: the kernel waits for its other processors, for some
// milliseconds. With an error there is none, and unless it is errRing, the
// socket is as before.
func newRing(fd int) (*ring, error) {
	const version2 = 1
	request := unix.TpacketReq{
		Block_size: blockSize, Block_nr: ringSize / blockSize,
		Frame_size: frameSize, Frame_nr: ringSize / frameSize,
	}
	if err := errors.Join(
		unix.SetsockoptInt(fd, unix.SOL_PACKET, unix.PACKET_VERSION, version2),
		unix.SetsockoptInt(fd, unix.SOL_PACKET, unix.PACKET_COPY_THRESH, 1),
	); err != nil {
		return nil, err
	}
	if err := unix.SetsockoptTpacketReq(fd, unix.SOL_PACKET, unix.PACKET_RX_RING, &request); err != nil {
		return nil, err
	}
	memory, err := unix.Mmap(fd, 0, ringSize, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err == nil {
		return &ring{memory: memory}, nil
	}
	if undo := unix.SetsockoptTpacketReq(fd, unix.SOL_PACKET, unix.PACKET_RX_RING, &unix.TpacketReq{}); undo != nil {
		err = errors.Join(errRing, err, undo)
	}
	return nil, err
}

// hurry makes a ring for a socket that has lost packets while short ones came:
// most of what those cost is saved. Before, it would be memory that a quiet
// container needs not, and time at its start; and what is lost while it is made
// is lost where packets are lost anyway.
func (l *link) hurry() error {
	if l.ring != nil || l.refused {
		return nil
	}
	counts, err := unix.GetsockoptTpacketStats(l.fd, unix.SOL_PACKET, unix.PACKET_STATISTICS)
	if err == nil && counts.Drops == 0 {
		return nil
	}
	l.ring, err = newRing(l.fd)
	l.refused = err != nil
	if errors.Is(err, errRing) {
		return err
	}
	return nil
}

// first looks at the packet that is next, with the vnet header before it. It is
// the kernel's again after pass.
func (r *ring) first() ([]byte, arrival, error) {
	frame := r.memory[r.at : r.at+frameSize]
	status := word(frame).Load()
	if status&unix.TP_STATUS_USER == 0 {
		return nil, none, nil
	}
	if status&unix.TP_STATUS_COPY != 0 {
		return nil, queued, nil
	}
	ne := binary.NativeEndian
	length, kept, mac := ne.Uint32(frame[lengthAt:]), ne.Uint32(frame[keptAt:]), uint32(ne.Uint16(frame[macAt:]))
	if kept < length {
		return nil, lost, nil
	}
	if mac < unix.SizeofTpacket2Hdr+vnetSize || mac > frameSize || kept > frameSize-mac {
		return nil, none, errRing
	}
	return frame[mac-vnetSize : mac+kept], framed, nil
}

// pass gives the frame back.
func (r *ring) pass() {
	word(r.memory[r.at:]).Store(unix.TP_STATUS_KERNEL)
	r.at = (r.at + frameSize) % len(r.memory)
}

func (r *ring) close() { _ = unix.Munmap(r.memory) }
