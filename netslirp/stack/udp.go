package stack

import (
	"context"
	"errors"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/tcpip/adapters/gonet"
	"gvisor.dev/gvisor/pkg/tcpip/transport/udp"
	"gvisor.dev/gvisor/pkg/waiter"

	"bryo/netslirp"
)

const (
	mostFlows    = 2048 // of datagrams
	largestUDP   = 65535
	receiveUDP   = 1 << 20
	dnsPatience  = 10 * time.Second
	mostQuestion = 4096
	mostAsking   = 512 // ports and streams that ask our name server
)

// udpTable bounds the flows of datagrams. When it is full the one that has been
// idle for longest makes room.
type udpTable struct {
	mu    sync.Mutex
	flows map[*udpFlow]struct{}
}

// udpFlow is a pair of sockets.
type udpFlow struct {
	conn *gonet.UDPConn // the container's side
	host *os.File
	used atomic.Int64 // when, Unix nanoseconds
}

func (u *udpFlow) touch() { u.used.Store(time.Now().UnixNano()) }

func (u *udpFlow) close() {
	_ = u.conn.Close()
	_ = u.host.Close()
}

func (t *udpTable) add(u *udpFlow) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.flows == nil {
		t.flows = make(map[*udpFlow]struct{})
	}
	if len(t.flows) >= mostFlows {
		var oldest *udpFlow
		for f := range t.flows {
			if oldest == nil || f.used.Load() < oldest.used.Load() {
				oldest = f
			}
		}
		oldest.close()
		delete(t.flows, oldest)
	}
	t.flows[u] = struct{}{}
}

func (t *udpTable) remove(u *udpFlow) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.flows, u)
}

// acceptUDP begins a flow with its first datagram. False makes netstack answer
// that the port cannot be reached.
func (s *Stack) acceptUDP(request *udp.ForwarderRequest) bool {
	if s.ctx.Err() != nil {
		return true
	}
	f := flow(netslirp.UDP, request.ID())
	if isDNS(f.Destination) {
		return s.acceptQuestion(request)
	}
	d := s.options.Decide(f)
	record := s.start(f, d)
	if d.Verdict != netslirp.Allow {
		s.end(record, nil)
		return false
	}
	host, err := dialUDP(d.Dial)
	if err != nil {
		s.end(record, err)
		return false
	}
	conn, err := acceptDatagrams(request)
	if err != nil {
		_ = host.Close()
		s.end(record, err)
		return true
	}
	u := &udpFlow{conn: conn, host: host}
	u.touch()
	if !s.begin() {
		u.close()
		return true
	}
	s.udp.add(u)
	go func() {
		defer s.flows.Done()
		err := s.exchange(u, record)
		s.udp.remove(u)
		s.end(record, err)
	}()
	return true
}

func acceptDatagrams(request *udp.ForwarderRequest) (*gonet.UDPConn, error) {
	queue := &waiter.Queue{}
	endpoint, err := request.CreateEndpoint(queue)
	if err != nil {
		return nil, errors.New(err.String())
	}
	endpoint.SocketOptions().SetReceiveBufferSize(receiveUDP, false)
	endpoint.SocketOptions().SetSendBufferSize(receiveUDP, false)
	return gonet.NewUDPConn(queue, endpoint), nil
}

func dialUDP(to netip.AddrPort) (*os.File, error) {
	family, address := socketAddress(to)
	fd, err := unix.Socket(family, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, os.NewSyscallError("socket", err)
	}
	if err := unix.Connect(fd, address); err != nil {
		return nil, errors.Join(os.NewSyscallError("connect", err), unix.Close(fd))
	}
	return os.NewFile(uintptr(fd), "host"), nil
}

// exchange moves datagrams until both ways have been idle.
func (s *Stack) exchange(u *udpFlow, record *Record) error {
	stop := context.AfterFunc(s.ctx, u.close)
	defer stop()
	var refused atomic.Bool
	var wg sync.WaitGroup
	wg.Go(func() {
		buf := make([]byte, largestUDP)
		for s.readUDP(u, u.host, buf, func(n int) {
			s.spend(s.down, n)
			_, _ = u.conn.Write(buf[:n])
			record.Received += uint64(n)
		}, &refused) {
		}
		u.close()
	})
	buf := make([]byte, largestUDP)
	for s.readUDP(u, u.conn, buf, func(n int) {
		s.spend(s.up, n)
		_, _ = u.host.Write(buf[:n])
		record.Sent += uint64(n)
	}, &refused) {
	}
	u.close()
	wg.Wait()
	if refused.Load() {
		return unix.ECONNREFUSED
	}
	return nil
}

// readUDP takes one datagram; false ends the flow. One that was refused ends,
// so that the next datagram is answered as unreachable, or begins anew.
func (s *Stack) readUDP(u *udpFlow, from datagrams, buf []byte, take func(int), refused *atomic.Bool) bool {
	_ = from.SetReadDeadline(time.Now().Add(s.options.UDPIdle))
	n, err := from.Read(buf)
	switch {
	case err == nil:
		u.touch()
		take(n)
		return true
	case errors.Is(err, unix.ECONNREFUSED):
		refused.Store(true)
		return false
	case errors.Is(err, os.ErrDeadlineExceeded):
		return time.Since(time.Unix(0, u.used.Load())) < s.options.UDPIdle
	default:
		return false
	}
}

// acceptQuestion answers datagrams to our name server.
func (s *Stack) acceptQuestion(request *udp.ForwarderRequest) bool {
	if s.options.DNS == nil {
		return false
	}
	if !s.ask() {
		return true // lost, as on a wire: it is asked again
	}
	conn, err := acceptDatagrams(request)
	if err != nil {
		s.asked()
		return true
	}
	if !s.begin() {
		s.asked()
		_ = conn.Close()
		return true
	}
	go func() {
		defer s.flows.Done()
		defer s.asked()
		defer conn.Close()
		stop := context.AfterFunc(s.ctx, func() { _ = conn.Close() })
		defer stop()
		buf := make([]byte, mostQuestion)
		for {
			_ = conn.SetReadDeadline(time.Now().Add(dnsPatience))
			n, err := conn.Read(buf)
			if err != nil {
				return
			}
			if answer := s.options.DNS.Answer(s.ctx, append([]byte(nil), buf[:n]...), false); answer != nil {
				_, _ = conn.Write(answer)
			}
		}
	}()
	return true
}

// datagrams is either side of a flow.
type datagrams interface {
	Read(b []byte) (int, error)
	SetReadDeadline(t time.Time) error
}
