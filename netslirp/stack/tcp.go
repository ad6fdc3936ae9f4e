package stack

import (
	"container/list"
	"errors"
	"net/netip"
	"os"
	"sync"

	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"
	"gvisor.dev/gvisor/pkg/waiter"

	"bryo/netslirp"
	"bryo/netslirp/loop"
)

const (
	firstWindow = 256 << 10 // netstack's receive window at first
	firstBuffer = 256 << 10
	sendBuffer  = 1 << 20
	mostBuffer  = 4 << 20
	mostPending = 1024 // connections that are being made
	mostSpare   = 4    // goroutines that wait for one to make

	fewConnections = 8 // have large buffers; with more, each has smaller ones
	crowdedBuffer  = 96 << 10
)

// acceptTCP is begun for every connection. A goroutine that has made one goes on
// with the next if it can: its stack has grown already.
func (s *Stack) acceptTCP(request *tcp.ForwarderRequest) {
	select {
	case s.requests <- request:
		return
	default:
	}
	for request != nil {
		s.connect(request)
		request = s.nextRequest()
	}
}

func (s *Stack) nextRequest() *tcp.ForwarderRequest {
	defer s.spare.Add(-1)
	if s.spare.Add(1) > mostSpare {
		return nil
	}
	select {
	case request := <-s.requests:
		return request
	case <-s.ctx.Done():
		return nil
	}
}

// connect makes the host's connection first: what that says is what the
// container hears.
func (s *Stack) connect(request *tcp.ForwarderRequest) {
	if !s.begin() {
		request.Complete(false)
		return
	}
	f, sequence := flow(netslirp.TCP, request.ID()), s.sequences.take(request.ID())
	if isDNS(f.Destination) {
		defer s.flows.Done()
		s.acceptDNS(request)
		return
	}
	d := s.options.Decide(f)
	record := s.start(f, d)
	if d.Verdict != netslirp.Allow {
		request.Complete(true)
		s.end(record, nil)
		s.flows.Done()
		return
	}
	relay := &relay{stack: s, record: record}
	relay.Owner = relay
	if err := s.dial(relay, d.Dial); err != nil {
		request.Complete(s.refuses(f, err, sequence))
		s.end(record, err)
		s.flows.Done()
		return
	}
	if err := s.accept(request, relay); err != nil {
		s.loop.Remove(&relay.Socket)
		s.end(record, err)
		s.flows.Done()
	}
}

// refuses says whether a connect that failed is answered by a reset. A host or
// network that cannot be reached is told by ICMP, and a time that ran out is
// heard as one: the container's SYN stays without an answer.
func (s *Stack) refuses(f Flow, err error, sequence uint32) bool {
	switch {
	case errors.Is(err, unix.ETIMEDOUT), errors.Is(err, errMadeRoom):
	case errors.Is(err, unix.EHOSTUNREACH):
		s.unreachable(f, noHost, sequence)
	case errors.Is(err, unix.ENETUNREACH):
		s.unreachable(f, noNet, sequence)
	default:
		return true
	}
	return false
}

// sequences remembers the sequence numbers of the connections that are being
// made: a message about a SYN has to quote it.
type sequences struct {
	mu      sync.Mutex
	pending map[stack.TransportEndpointID]uint32
}

func (q *sequences) add(id stack.TransportEndpointID, sequence uint32) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.pending == nil {
		q.pending = make(map[stack.TransportEndpointID]uint32)
	}
	if len(q.pending) < mostPending {
		q.pending[id] = sequence
	}
}

func (q *sequences) take(id stack.TransportEndpointID) uint32 {
	q.mu.Lock()
	defer q.mu.Unlock()
	sequence := q.pending[id]
	delete(q.pending, id)
	return sequence
}

// syn hands a packet to the forwarder, which takes SYNs of new connections.
func (s *Stack) syn(forward func(stack.TransportEndpointID, *stack.PacketBuffer) bool) func(stack.TransportEndpointID, *stack.PacketBuffer) bool {
	return func(id stack.TransportEndpointID, packet *stack.PacketBuffer) bool {
		if h := header.TCP(packet.TransportHeader().Slice()); len(h) >= header.TCPMinimumSize && h.Flags() == header.TCPFlagSyn {
			s.sequences.add(id, h.SequenceNumber())
		}
		return forward(id, packet)
	}
}

// handshake completes a connection that the container began. netstack waits for
// what the queue tells, and takes it for a failure unless the connection stands.
func (s *Stack) handshake(request *tcp.ForwarderRequest, queue *waiter.Queue) (tcpip.Endpoint, error) {
	defer s.waiting.add(func() { queue.Notify(waiter.WritableEvents) })()
	endpoint, err := request.CreateEndpoint(queue)
	if err != nil {
		request.Complete(true)
		return nil, errors.New(err.String())
	}
	request.Complete(false)
	endpoint.SocketOptions().SetDelayOption(false)
	return endpoint, nil
}

// accept gives a relay its container's side; from then on the loop has it.
func (s *Stack) accept(request *tcp.ForwarderRequest, r *relay) error {
	endpoint, err := s.handshake(request, &r.queue)
	if err != nil {
		return err
	}
	s.keepAlive(endpoint)
	if s.connections.Add(1) > fewConnections {
		endpoint.SocketOptions().SetSendBufferSize(crowdedBuffer, true)
		endpoint.SocketOptions().SetReceiveBufferSize(crowdedBuffer, true)
	}
	r.begin(endpoint)
	return nil
}

// probes is how often a silent end is asked whether it is still there.
const probes = 3

// keepAlive has netstack notice a container's side that is gone without a word.
func (s *Stack) keepAlive(endpoint tcpip.Endpoint) {
	idle, interval := tcpip.KeepaliveIdleOption(s.options.KeepAlive), tcpip.KeepaliveIntervalOption(s.options.KeepAlive/probes)
	for _, option := range []tcpip.SettableSocketOption{&idle, &interval} {
		_ = endpoint.SetSockOpt(option) // netstack's TCP has them
	}
	_ = endpoint.SetSockOptInt(tcpip.KeepaliveCountOption, probes)
	endpoint.SocketOptions().SetKeepAlive(true)
}

// dial connects a socket of the host's.
func (s *Stack) dial(r *relay, to netip.AddrPort) error {
	family, address := loop.Address(to)
	fd, err := unix.Socket(family, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return os.NewSyscallError("socket", err)
	}
	idle, interval := s.options.KeepAlive, s.options.KeepAlive/probes
	for _, o := range [][3]int{
		{unix.IPPROTO_TCP, unix.TCP_NODELAY, 1},
		{unix.SOL_SOCKET, unix.SO_KEEPALIVE, 1},
		{unix.IPPROTO_TCP, unix.TCP_KEEPIDLE, int(idle.Seconds())},
		{unix.IPPROTO_TCP, unix.TCP_KEEPINTVL, max(1, int(interval.Seconds()))},
		{unix.IPPROTO_TCP, unix.TCP_KEEPCNT, probes},
	} {
		_ = unix.SetsockoptInt(fd, o[0], o[1], o[2])
	}
	if to.Addr().IsLoopback() {
		_ = unix.SetsockoptString(fd, unix.IPPROTO_TCP, unix.TCP_CONGESTION, "reno") // others pace, on a wire that is memory
	}
	err = unix.Connect(fd, address)
	if err != nil && !errors.Is(err, unix.EINPROGRESS) {
		return errors.Join(os.NewSyscallError("connect", err), unix.Close(fd))
	}
	outcome := make(chan error, 2) // its own, and that it made room
	r.FD, r.outcome = fd, outcome
	if err := s.loop.Add(&r.Socket); err != nil {
		return errors.Join(err, unix.Close(fd))
	}
	defer s.waiting.add(func() {
		select {
		case outcome <- errMadeRoom:
		default: // it has one by now
		}
	})()
	select {
	case err = <-outcome:
	case <-s.ctx.Done():
		err = s.ctx.Err()
	}
	if err != nil {
		s.loop.Remove(&r.Socket)
	}
	return err
}

// errMadeRoom is the end of a connection that waited for longest.
var errMadeRoom = errors.New("made room for others")

// waiting are connections that are being made: connects without an outcome, and
// handshakes whose last word the container owes. When it floods the world, or
// sends from addresses that are not its own, the one that has waited for longest
// makes room, and netstack's forwarder, which has places for so many, is never
// full of them.
type waiting struct {
	mu    sync.Mutex
	gives list.List // of func()
}

const mostWaiting = mostPending / 2

// add takes what makes a connection give up, which is called without waiting, and
// may be called early and more than once. It returns what removes it.
func (w *waiting) add(give func()) (remove func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if oldest := w.gives.Front(); w.gives.Len() >= mostWaiting {
		if give, is := oldest.Value.(func()); is {
			give()
		}
		w.gives.MoveToBack(oldest) // it removes itself, or did not hear it
	}
	place := w.gives.PushBack(give)
	return func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.gives.Remove(place)
	}
}
