package stack

import (
	"sync"

	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
)

// Netstack acknowledges at once. Where a short question came, the answer mostly
// comes before anybody has missed the acknowledgement, and carries it: a packet
// less, and the question is on its way before the container hears of it.

const (
	mostHeld    = 64
	longestHeld = header.IPv6MinimumSize + header.TCPMinimumSize + 12 // with timestamps; with more it tells of losses
)

// acks holds acknowledgements back for a moment, the last of each connection.
type acks struct {
	mu      sync.Mutex
	holding bool // somebody will release them
	held    []heldAck
}

type heldAck struct {
	connection connection
	old        bool // it was there when they were released last
	head       [vnetSize]byte
	packet     []byte
}

// connection is the addresses and ports of a packet.
type connection struct {
	addresses [2 * header.IPv6AddressSize]byte
	ports     [4]byte
}

// take says whether it keeps a packet. A packet that says more than one that is
// held, which any later one of the connection does, takes its place.
func (a *acks) take(packet *stack.PacketBuffer, head [vnetSize]byte) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if !a.holding && len(a.held) == 0 {
		return false
	}
	network, transport := packet.NetworkHeader().Slice(), packet.TransportHeader().Slice()
	if packet.TransportProtocolNumber != header.TCPProtocolNumber || len(transport) < header.TCPMinimumSize {
		return false
	}
	c := connectionOf(network, transport)
	for i := range a.held {
		if a.held[i].connection == c {
			a.held[i] = a.held[len(a.held)-1]
			a.held = a.held[:len(a.held)-1]
			break
		}
	}
	size := len(network) + len(transport)
	if !a.holding || header.TCP(transport).Flags() != header.TCPFlagAck || packet.Data().Size() > 0 || size > longestHeld || len(a.held) == mostHeld {
		return false
	}
	a.held = append(a.held, heldAck{connection: c, head: head, packet: append(append(make([]byte, 0, size), network...), transport...)})
	return true
}

func connectionOf(network, transport []byte) (c connection) {
	const at4, at6 = 12, 8 // where the addresses begin
	if network[0]>>4 == header.IPv4Version {
		copy(c.addresses[:], network[at4:at4+2*header.IPv4AddressSize])
	} else {
		copy(c.addresses[:], network[at6:at6+2*header.IPv6AddressSize])
	}
	copy(c.ports[:], transport)
	return c
}

// hold begins to hold.
func (a *acks) hold() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.holding = true
}

// release gives what is held to send: all, and no more is held, or what has been
// held for a whole turn of the loop.
func (a *acks) release(all bool, send func(head [vnetSize]byte, packet []byte)) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.holding = a.holding && !all
	left := a.held[:0]
	for _, h := range a.held {
		if all || h.old {
			send(h.head, h.packet)
			continue
		}
		h.old = true
		left = append(left, h)
	}
	a.held = left
}
