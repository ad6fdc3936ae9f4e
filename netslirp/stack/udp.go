package stack

import (
	"bytes"
	"context"
	"errors"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/transport/udp"
	"gvisor.dev/gvisor/pkg/waiter"

	"bryo/netslirp"
)

const (
	mostFlows  = 2048 // of datagrams
	largestUDP = 65535
	receiveUDP = 1 << 20
	domainIdle = 10 * time.Second // of a question to a name server, which is answered once
)

// udpTable bounds the flows of datagrams. When it is full the one that has been
// idle for longest makes room.
type udpTable struct {
	mu    sync.Mutex
	flows map[*udpFlow]struct{}
}

// udpFlow is a pair of sockets. What comes from the container is sent on by the
// device's reader; what comes from the host has a goroutine that waits for it.
type udpFlow struct {
	flow     Flow
	endpoint tcpip.Endpoint // the container's side
	host     *os.File
	raw      syscall.RawConn // of host

	used           atomic.Int64 // when, nanoseconds since the record began
	sent, received atomic.Uint64
	ended          atomic.Bool
	failure        atomic.Pointer[error] // the last one
	record         *Record
}

func (u *udpFlow) touch() { u.used.Store(int64(time.Since(u.record.Start))) }

// stop makes the flow end. It waits for nothing.
func (u *udpFlow) stop() {
	u.ended.Store(true)
	_ = u.host.SetReadDeadline(time.Now())
}

// add makes room for a flow by ending another one.
func (t *udpTable) add(u *udpFlow) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.flows == nil {
		t.flows = make(map[*udpFlow]struct{})
	}
	if len(t.flows) >= mostFlows {
		t.evict()
	}
	t.flows[u] = struct{}{}
}

// evict ends the flow that has been idle for longest. The caller has the lock.
func (t *udpTable) evict() {
	var oldest *udpFlow
	var since time.Time
	for f := range t.flows {
		if used := f.record.Start.Add(time.Duration(f.used.Load())); oldest == nil || used.Before(since) {
			oldest, since = f, used
		}
	}
	if oldest != nil {
		oldest.stop()
		delete(t.flows, oldest)
	}
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
		s.unreachable(f, prohibited, 0)
		s.end(record, nil)
		return true
	}
	host, err := dialUDP(d.Dial)
	if err != nil {
		s.end(record, err)
		if errors.Is(err, unix.EMFILE) { // the next datagram may find room
			s.udp.mu.Lock()
			defer s.udp.mu.Unlock()
			s.udp.evict()
			return true
		}
		why, known := reasonOf(err)
		if known {
			s.unreachable(f, why, 0)
		}
		return known
	}
	if err := s.beginUDP(request, host, record); err != nil {
		_ = host.Close()
		s.end(record, err)
	}
	return true
}

func (s *Stack) beginUDP(request *udp.ForwarderRequest, host *os.File, record *Record) error {
	raw, err := host.SyscallConn()
	if err != nil {
		return err
	}
	queue := &waiter.Queue{}
	endpoint, failed := request.CreateEndpoint(queue)
	if failed != nil {
		return errors.New(failed.String())
	}
	endpoint.SocketOptions().SetReceiveBufferSize(receiveUDP, false)
	endpoint.SocketOptions().SetSendBufferSize(receiveUDP, false)
	u := &udpFlow{flow: record.Flow, endpoint: endpoint, host: host, raw: raw, record: record}
	u.touch()
	if !s.begin() {
		endpoint.Close()
		return context.Canceled
	}
	s.udp.add(u)
	entry := waiter.NewFunctionEntry(waiter.ReadableEvents|waiter.EventErr, func(waiter.EventMask) { s.sendUDP(u) })
	queue.EventRegister(&entry)
	s.sendUDP(u) // the first datagram came before the entry
	go func() {
		defer s.flows.Done()
		s.hearUDP(u)
		s.udp.remove(u)
		u.ended.Store(true)
		u.endpoint.Close()
		_ = u.host.Close()
		u.record.Sent, u.record.Received = u.sent.Load(), u.received.Load()
		var last error
		if failure := u.failure.Load(); failure != nil {
			last = *failure
		}
		s.end(u.record, last)
	}()
	return nil
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

// sendUDP sends all that the container's side has. It is called by the device's
// reader and must not wait: what is beyond the rate, or finds the host's socket
// full, is lost, as on a wire.
func (s *Stack) sendUDP(u *udpFlow) {
	if u.ended.Load() || s.ctx.Err() != nil {
		return
	}
	buf := s.large.Get().(*[]byte) //nolint:forcetypeassert // the pool holds nothing else
	defer s.large.Put(buf)
	for !u.ended.Load() {
		into := tcpip.SliceWriter(*buf)
		result, failed := u.endpoint.Read(&into, tcpip.ReadOptions{})
		if _, none := failed.(*tcpip.ErrWouldBlock); none {
			return
		}
		if failed != nil {
			u.stop() // the container has closed its socket, and said so
			return
		}
		u.touch()
		data := (*buf)[:result.Count]
		if s.up != nil && !s.up.AllowN(time.Now(), len(data)) {
			continue
		}
		err := sendNow(u.raw, data)
		if s.refuse(u, err) {
			err = sendNow(u.raw, data) // the error was of one before
		}
		if err == nil {
			u.sent.Add(uint64(len(data)))
		}
	}
}

// refuse tells the container what the host's socket says of it.
func (s *Stack) refuse(u *udpFlow, err error) bool {
	why, is := reasonOf(err)
	if is {
		u.failure.Store(&err)
		s.unreachable(u.flow, why, 0)
	}
	return is
}

// sendNow sends without waiting.
func sendNow(raw syscall.RawConn, data []byte) error {
	var failed error
	err := raw.Control(func(fd uintptr) {
		if len(data) == 0 {
			_, failed = unix.Write(int(fd), nil) // writev sends nothing of no parts
		} else if errno := writev(int(fd), [][]byte{data}); errno != 0 {
			failed = errno
		}
	})
	if err != nil {
		return err
	}
	return failed
}

// hearUDP passes on what the world answers until both ways have been idle. An
// answer that something cannot be reached does not end a flow: it may change.
func (s *Stack) hearUDP(u *udpFlow) {
	stop := context.AfterFunc(s.ctx, u.stop)
	defer stop()
	const domain = 53
	idle := s.options.UDPIdle
	if u.flow.Destination.Port() == domain {
		idle = min(idle, domainIdle)
	}
	for {
		quiet := time.Since(u.record.Start) - time.Duration(u.used.Load())
		if quiet >= idle {
			return
		}
		_ = u.host.SetReadDeadline(time.Now().Add(idle - quiet))
		if u.ended.Load() {
			return
		}
		err := s.drain(u.raw, func(data []byte) bool {
			u.touch()
			var from bytes.Reader
			from.Reset(data)
			if _, failed := u.endpoint.Write(&from, tcpip.WriteOptions{}); failed == nil {
				u.received.Add(uint64(len(data)))
			}
			return !u.ended.Load()
		})
		if err != nil && !s.refuse(u, err) && !errors.Is(err, os.ErrDeadlineExceeded) {
			return
		}
	}
}

// drain gives take what comes from a socket of the host's, until take wants no
// more, which is no error. There is a buffer only while something is there.
func (s *Stack) drain(raw syscall.RawConn, take func([]byte) bool) error {
	var failed error
	err := raw.Read(func(fd uintptr) bool {
		if s.down != nil {
			var none [1]byte
			n, _, _ := unix.Recvfrom(int(fd), none[:], unix.MSG_PEEK|unix.MSG_TRUNC|unix.MSG_DONTWAIT)
			s.spend(s.down, n)
		}
		buf := s.large.Get().(*[]byte) //nolint:forcetypeassert // the pool holds nothing else
		defer s.large.Put(buf)
		for {
			n, err := unix.Read(int(fd), *buf)
			switch {
			case errors.Is(err, unix.EINTR):
				continue
			case errors.Is(err, unix.EAGAIN):
				return false
			case err != nil:
				failed = err
				return true
			}
			if !take((*buf)[:n]) || s.down != nil {
				return true
			}
		}
	})
	return errors.Join(err, failed)
}
