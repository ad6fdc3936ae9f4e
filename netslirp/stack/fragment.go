package stack

import (
	"encoding/binary"
	"net/netip"
	"sync"
	"time"

	"gvisor.dev/gvisor/pkg/tcpip/header"
)

const (
	mostAssemblies   = 16 // messages of which not all has come
	assemblyPatience = 5 * time.Second
	fragmentUnit     = 8 // bytes: offsets count these
	mostMessage      = 65535 - header.IPv4MinimumSize
)

// A fragment is part of an ICMP message.
type fragment struct {
	fragmentKey

	at      int
	more    bool
	payload []byte
	packet  []byte // the whole
}

// fragmentKey is the message a fragment is of.
type fragmentKey struct {
	source, destination netip.Addr
	id                  uint32
}

// parseFragment finds part of an ICMP message in an IP packet, which is the
// container's.
func parseFragment(packet []byte) (f fragment, is bool) {
	if len(packet) < header.IPv4MinimumSize {
		return f, false
	}
	if packet[0]>>4 == header.IPv4Version {
		f, is = parseFragment4(packet)
	} else if len(packet) >= header.IPv6MinimumSize+header.IPv6FragmentHeaderSize {
		f, is = parseFragment6(packet)
	}
	whole := f.more && len(f.payload)%fragmentUnit != 0
	return f, is && !whole && len(f.payload) > 0 && f.at+len(f.payload) <= mostMessage
}

func parseFragment4(packet []byte) (f fragment, is bool) {
	ip := header.IPv4(packet)
	at, end := int(ip.HeaderLength()), int(ip.TotalLength())
	if at < header.IPv4MinimumSize || end > len(packet) || end < at || ip.Protocol() != uint8(header.ICMPv4ProtocolNumber) {
		return f, false
	}
	key := fragmentKey{netip.AddrFrom4(ip.SourceAddress().As4()), netip.AddrFrom4(ip.DestinationAddress().As4()), uint32(ip.ID())}
	f = fragment{key, int(ip.FragmentOffset()), ip.More(), packet[at:end], packet[:end]}
	return f, f.more || f.at != 0
}

func parseFragment6(packet []byte) (f fragment, is bool) {
	ip := header.IPv6(packet)
	at, end := header.IPv6MinimumSize+header.IPv6FragmentHeaderSize, header.IPv6MinimumSize+int(ip.PayloadLength())
	if end > len(packet) || end < at || ip.NextHeader() != header.IPv6FragmentHeader {
		return f, false
	}
	part := header.IPv6Fragment(packet[header.IPv6MinimumSize:at])
	if part.NextHeader() != uint8(header.ICMPv6ProtocolNumber) {
		return f, false
	}
	key := fragmentKey{netip.AddrFrom16(ip.SourceAddress().As16()), netip.AddrFrom16(ip.DestinationAddress().As16()), part.ID()}
	return fragment{key, int(part.FragmentOffset()) * fragmentUnit, part.More(), packet[at:end], packet[:end]}, true
}

// fragmentTable has the messages that are not whole. The container can fill it,
// and then loses its own.
type fragmentTable struct {
	mu      sync.Mutex
	pending map[fragmentKey]*assembly
}

type assembly struct {
	begun time.Time
	data  []byte
	have  [(mostMessage/fragmentUnit)/64 + 1]uint64 // a bit for each unit
	units int                                       // that are there
	total int                                       // 0 until the last fragment
	first []byte                                    // the packet with the beginning
}

// add returns the echo request that the fragment completes.
func (t *fragmentTable) add(f fragment, now time.Time) (e echo, whole bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	a := t.find(f.fragmentKey, now)
	if !a.put(f) {
		delete(t.pending, f.fragmentKey)
		return e, false
	}
	if a.total == 0 || a.units != (a.total+fragmentUnit-1)/fragmentUnit {
		return e, false
	}
	delete(t.pending, f.fragmentKey)
	question := byte(header.ICMPv4Echo)
	if f.source.Is6() {
		question = byte(header.ICMPv6EchoRequest)
	}
	if len(a.data) < header.ICMPv4MinimumSize || a.data[0] != question {
		return e, false
	}
	return echo{
		source: f.source, destination: f.destination, id: binary.BigEndian.Uint16(a.data[4:]),
		message: a.data, packet: a.first,
	}, true
}

// find is the message's assembly, for which an older one may have to go.
func (t *fragmentTable) find(key fragmentKey, now time.Time) *assembly {
	var oldest fragmentKey
	var begun time.Time
	for k, a := range t.pending {
		if now.Sub(a.begun) > assemblyPatience {
			delete(t.pending, k)
		} else if begun.IsZero() || a.begun.Before(begun) {
			oldest, begun = k, a.begun
		}
	}
	if a := t.pending[key]; a != nil {
		return a
	}
	if len(t.pending) >= mostAssemblies {
		delete(t.pending, oldest)
	}
	if t.pending == nil {
		t.pending = make(map[fragmentKey]*assembly)
	}
	a := &assembly{begun: now}
	t.pending[key] = a
	return a
}

// put is false if the fragment contradicts the others: RFC 5722 wants no
// message of such.
func (a *assembly) put(f fragment) bool {
	end := f.at + len(f.payload)
	if a.total != 0 && (end > a.total || !f.more) {
		return false
	}
	for unit := f.at / fragmentUnit; unit*fragmentUnit < end; unit++ {
		word, bit := &a.have[unit/64], uint64(1)<<(unit%64)
		if *word&bit != 0 {
			return false
		}
		*word |= bit
		a.units++
	}
	if !f.more {
		if len(a.data) > end {
			return false
		}
		a.total = end
	}
	if f.at == 0 {
		a.first = append([]byte(nil), f.packet...)
	}
	if end > len(a.data) {
		a.data = append(a.data, make([]byte, end-len(a.data))...)
	}
	copy(a.data[f.at:], f.payload)
	return true
}
