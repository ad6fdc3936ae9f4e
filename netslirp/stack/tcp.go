package stack

import (
	"container/list"
	"context"
	"errors"
	"io"
	"net/netip"
	"os"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
	"golang.org/x/time/rate"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/adapters/gonet"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"
	"gvisor.dev/gvisor/pkg/waiter"

	"bryo/netslirp"
)

const (
	firstWindow = 256 << 10 // netstack's receive window at first
	firstBuffer = 256 << 10
	sendBuffer  = 1 << 20
	mostBuffer  = 4 << 20
	mostPending = 1024 // connections that are being made

	fewConnections = 8 // have large buffers; with more, each has smaller ones
	crowdedBuffer  = 96 << 10

	patience  = 2 * time.Minute // of a connect, as the kernel's own
	smallCopy = 16 << 10
	largeCopy = 128 << 10
)

// acceptTCP makes the host's connection first: what that says is what the
// container hears.
func (s *Stack) acceptTCP(request *tcp.ForwarderRequest) {
	if !s.begin() {
		request.Complete(false)
		return
	}
	defer s.flows.Done()
	f, sequence := flow(netslirp.TCP, request.ID()), s.sequences.take(request.ID())
	if isDNS(f.Destination) {
		s.acceptDNS(request)
		return
	}
	d := s.options.Decide(f)
	record := s.start(f, d)
	if d.Verdict != netslirp.Allow {
		request.Complete(true)
		s.end(record, nil)
		return
	}
	host, err := s.dial(d.Dial)
	if err != nil {
		request.Complete(s.refuses(f, err, sequence))
		s.end(record, err)
		return
	}
	conn, endpoint, err := accept(request)
	if err != nil {
		_ = host.Close()
		s.end(record, err)
		return
	}
	endpoint.SocketOptions().SetKeepAlive(true)
	if s.connections.Add(1) > fewConnections {
		endpoint.SocketOptions().SetSendBufferSize(crowdedBuffer, true)
		endpoint.SocketOptions().SetReceiveBufferSize(crowdedBuffer, true)
	}
	defer s.connections.Add(-1)
	s.end(record, s.relay(conn, endpoint, host, record))
}

// refuses says whether a connect that failed is answered by a reset. A host or
// network that cannot be reached is told by ICMP, and a time that ran out is
// heard as one: the container's SYN stays without an answer.
func (s *Stack) refuses(f Flow, err error, sequence uint32) bool {
	switch {
	case errors.Is(err, unix.ETIMEDOUT), errors.Is(err, os.ErrDeadlineExceeded):
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

func accept(request *tcp.ForwarderRequest) (*gonet.TCPConn, tcpip.Endpoint, error) {
	queue := &waiter.Queue{}
	endpoint, err := request.CreateEndpoint(queue)
	if err != nil {
		request.Complete(true)
		return nil, nil, errors.New(err.String())
	}
	request.Complete(false)
	endpoint.SocketOptions().SetDelayOption(false)
	return gonet.NewTCPConn(queue, endpoint), endpoint, nil
}

// dial connects a socket of the host's.
func (s *Stack) dial(to netip.AddrPort) (*os.File, error) {
	family, address := socketAddress(to)
	fd, err := unix.Socket(family, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, os.NewSyscallError("socket", err)
	}
	for _, o := range [][3]int{
		{unix.IPPROTO_TCP, unix.TCP_NODELAY, 1}, {unix.SOL_SOCKET, unix.SO_KEEPALIVE, 1},
	} {
		_ = unix.SetsockoptInt(fd, o[0], o[1], o[2])
	}
	if to.Addr().IsLoopback() {
		_ = unix.SetsockoptString(fd, unix.IPPROTO_TCP, unix.TCP_CONGESTION, "reno") // others pace, on a wire that is memory
	}
	err = unix.Connect(fd, address)
	if err != nil && !errors.Is(err, unix.EINPROGRESS) {
		return nil, errors.Join(os.NewSyscallError("connect", err), unix.Close(fd))
	}
	file := os.NewFile(uintptr(fd), "host")
	if err == nil {
		return file, nil
	}
	if err := s.connected(file); err != nil {
		_ = file.Close()
		return nil, err
	}
	return file, nil
}

// connected waits for the outcome of a connect.
func (s *Stack) connected(file *os.File) error {
	stop := context.AfterFunc(s.ctx, func() { _ = file.SetDeadline(time.Now()) })
	defer stop()
	if err := file.SetWriteDeadline(time.Now().Add(patience)); err != nil {
		return err
	}
	defer s.waiting.add(file)()
	raw, err := file.SyscallConn()
	if err != nil {
		return err
	}
	var status int
	var failed error
	tried := false
	err = raw.Write(func(fd uintptr) bool {
		if !tried { // the poller says so once the socket can be written
			tried = true
			poll := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLOUT}}
			if n, _ := unix.Poll(poll, 0); n == 0 {
				return false
			}
		}
		status, failed = unix.GetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_ERROR)
		return true
	})
	if err = errors.Join(err, failed); err != nil {
		return err
	}
	if status != 0 {
		return os.NewSyscallError("connect", syscall.Errno(status))
	}
	return file.SetWriteDeadline(time.Time{})
}

// waiting are the sockets whose connect has no outcome yet. When a container
// floods the world, the one that has waited for longest makes room.
type waiting struct {
	mu    sync.Mutex
	files list.List
}

const mostWaiting = mostPending / 2

// add makes room, and returns what removes the socket.
func (w *waiting) add(file *os.File) (remove func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.files.Len() >= mostWaiting {
		oldest, _ := w.files.Remove(w.files.Front()).(*os.File)
		_ = oldest.SetWriteDeadline(time.Now())
	}
	place := w.files.PushBack(file)
	return func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.files.Remove(place) // nothing, if it made room
	}
}

func socketAddress(to netip.AddrPort) (int, unix.Sockaddr) {
	if to.Addr().Is4() {
		return unix.AF_INET, &unix.SockaddrInet4{Port: int(to.Port()), Addr: to.Addr().As4()}
	}
	return unix.AF_INET6, &unix.SockaddrInet6{Port: int(to.Port()), Addr: to.Addr().As16()}
}

// relay copies both ways until both have ended, each in its own time.
func (s *Stack) relay(conn *gonet.TCPConn, endpoint tcpip.Endpoint, host *os.File, record *Record) error {
	abort := func() {
		endpoint.Abort()
		reset(host)
		_ = host.Close()
	}
	// What the host's socket has taken is sent on even if the container is gone.
	stop := context.AfterFunc(s.ctx, func() {
		_ = host.Close()
		endpoint.Abort()
	})
	defer stop()
	var up error
	var wg sync.WaitGroup
	wg.Go(func() {
		up = s.pump(host, conn, s.up, &record.Sent)
		if up != nil {
			abort()
			return
		}
		_ = shutdown(host, unix.SHUT_WR)
	})
	down := s.pump(conn, host, s.down, &record.Received)
	if down != nil {
		abort()
	} else {
		_ = conn.CloseWrite()
	}
	wg.Wait()
	_ = conn.Close()
	_ = host.Close()
	return errors.Join(up, down)
}

// pump copies one way. Its buffer is small until one is filled, and given back
// when nothing comes.
func (s *Stack) pump(to io.Writer, from io.Reader, l *rate.Limiter, count *uint64) error {
	small := s.small.Get().(*[]byte) //nolint:forcetypeassert // the pool holds nothing else
	defer func() { s.small.Put(small) }()
	buf := *small
	var large *[]byte
	defer func() {
		if large != nil {
			s.large.Put(large)
		}
	}()
	for {
		n, err := from.Read(buf)
		if n > 0 {
			s.spend(l, n)
			if _, err := to.Write(buf[:n]); err != nil {
				return err
			}
			*count += uint64(n)
		}
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return err
		case n < smallCopy && large != nil:
			s.large.Put(large)
			large, buf = nil, *small
		case n == len(buf) && large == nil && s.connections.Load() <= fewConnections:
			large = s.large.Get().(*[]byte) //nolint:forcetypeassert // the pool holds nothing else
			buf = *large
		}
	}
}

// reset makes the next close send a reset.
func reset(host *os.File) {
	_ = control(host, func(fd int) error {
		return unix.SetsockoptLinger(fd, unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1})
	})
}

func shutdown(host *os.File, how int) error {
	return control(host, func(fd int) error { return unix.Shutdown(fd, how) })
}

func control(file *os.File, do func(fd int) error) error {
	raw, err := file.SyscallConn()
	if err != nil {
		return err
	}
	var done error
	err = raw.Control(func(fd uintptr) { done = do(int(fd)) })
	return errors.Join(err, done)
}
