package stack

import (
	"bytes"
	"context"
	"errors"
	"net/netip"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/transport/udp"
	"gvisor.dev/gvisor/pkg/waiter"

	"bryo/netslirp"
	"bryo/netslirp/loop"
)

const (
	mostFlows     = 2048 // of datagrams
	mostDatagrams = 64   // of one socket, before others have their turn
	largestUDP    = 65535
	receiveUDP    = 1 << 20
	domainIdle    = 10 * time.Second // of a question to a name server, which is answered once
)

// udpTable bounds the flows of datagrams. When it is full the one that has been
// idle for longest makes room.
type udpTable struct {
	mu    sync.Mutex
	flows map[*udpFlow]struct{}
}

// udpFlow is netstack's endpoint and a socket of the host's. All but what others
// look at is the loop's.
type udpFlow struct {
	loop.Socket

	stack    *Stack
	flow     Flow
	endpoint tcpip.Endpoint
	queue    waiter.Queue
	entry    waiter.Entry
	record   *Record
	rest     *time.Timer
	idle     time.Duration
	single   bool // the kernel cuts no datagrams for this socket
	paused   bool // by the rate

	used    atomic.Int64 // when, nanoseconds since the record began
	stopped atomic.Bool  // it is to end
	ended   bool
	failure error // the last one
}

func (u *udpFlow) touch() { u.used.Store(int64(time.Since(u.record.Start))) }

// NotifyEvent implements waiter.EventListener. Netstack holds locks.
func (u *udpFlow) NotifyEvent(waiter.EventMask) { u.stack.loop.Queue(&u.Socket, wantsUp) }

// stop makes the flow end. It waits for nothing.
func (u *udpFlow) stop() {
	u.stopped.Store(true)
	u.stack.loop.Queue(&u.Socket, wantsEnd)
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
		_ = unix.Close(host)
		s.end(record, err)
	}
	return true
}

func (s *Stack) beginUDP(request *udp.ForwarderRequest, host int, record *Record) error {
	u := &udpFlow{stack: s, flow: record.Flow, record: record, idle: s.options.UDPIdle}
	const domain = 53
	if u.flow.Destination.Port() == domain {
		u.idle = min(u.idle, domainIdle)
	}
	endpoint, failed := request.CreateEndpoint(&u.queue)
	if failed != nil {
		return errors.New(failed.String())
	}
	endpoint.SocketOptions().SetReceiveBufferSize(receiveUDP, false)
	endpoint.SocketOptions().SetSendBufferSize(receiveUDP, false)
	u.endpoint, u.FD, u.Owner = endpoint, host, u
	u.touch()
	if !s.begin() {
		endpoint.Close()
		return context.Canceled
	}
	if err := s.loop.Add(&u.Socket); err != nil {
		endpoint.Close()
		s.flows.Done()
		return err
	}
	u.rest = time.AfterFunc(u.idle, func() { s.loop.Queue(&u.Socket, wantsRest) })
	s.udp.add(u)
	u.entry.Init(u, waiter.ReadableEvents|waiter.EventErr)
	u.queue.EventRegister(&u.entry)
	s.loop.Queue(&u.Socket, wantsUp) // the first datagram came before the entry
	return nil
}

func dialUDP(to netip.AddrPort) (int, error) {
	family, address := loop.Address(to)
	fd, err := unix.Socket(family, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return -1, os.NewSyscallError("socket", err)
	}
	if err := unix.Connect(fd, address); err != nil {
		return -1, errors.Join(os.NewSyscallError("connect", err), unix.Close(fd))
	}
	_ = unix.SetsockoptInt(fd, unix.IPPROTO_UDP, unix.UDP_GRO, 1) // from Linux 5.0; without it, one datagram at a time
	return fd, nil
}

// Turn implements loop.Owner.
func (u *udpFlow) Turn(w loop.Wants) {
	if u.ended {
		return
	}
	if u.stopped.Load() || u.stack.ctx.Err() != nil {
		u.End()
		return
	}
	if w&resumeDown != 0 {
		u.paused = false
	}
	on := true
	if w&wantsUp != 0 {
		on = u.sendUp()
	}
	if on && w&(loop.Readable|resumeDown) != 0 && !u.paused {
		on = u.sendDown()
	}
	if on && w&wantsRest != 0 {
		on = u.goesOn()
	}
	if !on {
		u.End()
	}
}

// goesOn says whether the flow has been used of late.
func (u *udpFlow) goesOn() bool {
	quiet := time.Since(u.record.Start) - time.Duration(u.used.Load())
	if quiet >= u.idle {
		return false
	}
	u.rest.Reset(u.idle - quiet)
	return true
}

// End implements loop.Owner.
func (u *udpFlow) End() {
	if u.ended {
		return
	}
	u.ended = true
	u.rest.Stop()
	u.stack.udp.remove(u)
	u.queue.EventUnregister(&u.entry)
	u.endpoint.Close()
	u.stack.loop.Remove(&u.Socket)
	u.stack.end(u.record, u.failure)
	u.stack.flows.Done()
}

// sendUp sends all that the container's side has; false ends the flow. What is
// beyond the rate, or finds the host's socket full, is lost, as on a wire.
func (u *udpFlow) sendUp() bool {
	b := u.stack.batches.Get().(*batch) //nolint:forcetypeassert // the pool holds nothing else
	defer u.stack.batches.Put(b)
	for {
		into := tcpip.SliceWriter(b.room())
		result, failed := u.endpoint.Read(&into, tcpip.ReadOptions{})
		if failed != nil {
			u.send(b)
			_, none := failed.(*tcpip.ErrWouldBlock)
			return none // or else the container has closed its socket, and said so
		}
		if u.stack.up != nil && !u.stack.up.AllowN(time.Now(), result.Count) {
			continue
		}
		u.collect(b, result.Count)
	}
}

// collect keeps what was read into the room, if need be in a new batch.
func (u *udpFlow) collect(b *batch, n int) {
	if !b.takes(n) {
		data := b.room()[:n]
		u.send(b)
		copy(b.room(), data)
	}
	b.take(n)
}

// send empties a batch.
func (u *udpFlow) send(b *batch) {
	if b.count == 0 {
		return
	}
	u.touch()
	if b.count > 1 && !u.single {
		sent, again := u.sendSegments(b)
		if !again {
			u.record.Sent += uint64(sent)
			b.clear()
			return
		}
		u.single = true
	}
	for data := range b.each {
		if u.sendOne(data) {
			u.record.Sent += uint64(len(data))
		}
	}
	b.clear()
}

// sendSegments has the kernel cut a batch; again says that it does not.
func (u *udpFlow) sendSegments(b *batch) (sent int, again bool) {
	errno := sendSegments(u.FD, b.bytes(), b.size)
	if errno != 0 && u.refuse(errno) {
		errno = sendSegments(u.FD, b.bytes(), b.size) // the error was of one before
	}
	if errno == 0 {
		return len(b.bytes()), false
	}
	// Perhaps the path's packets are smaller, or the device makes no checksums.
	return 0, slices.Contains([]unix.Errno{unix.EINVAL, unix.EIO, unix.EMSGSIZE, unix.EOPNOTSUPP, unix.ENOPROTOOPT}, errno)
}

func (u *udpFlow) sendOne(data []byte) bool {
	errno := sendDatagram(u.FD, data)
	if errno != 0 && u.refuse(errno) {
		errno = sendDatagram(u.FD, data) // the error was of one before
	}
	return errno == 0
}

// refuse tells the container what the host's socket says of it.
func (u *udpFlow) refuse(err error) bool {
	if errors.Is(err, unix.EMSGSIZE) { // from now on the host cuts what is larger
		u.stack.narrow(u.flow, u.FD, u.record.Dial.Addr().Is4())
		return true
	}
	why, is := reasonOf(err)
	if is {
		u.failure = err
		u.stack.unreachable(u.flow, why, 0)
	}
	return is
}

// sendDown passes on what the world answers; false ends the flow. An answer that
// something cannot be reached does not: it may change.
func (u *udpFlow) sendDown() bool {
	b := u.stack.batches.Get().(*batch) //nolint:forcetypeassert // the pool holds nothing else
	defer u.stack.batches.Put(b)
	for range mostDatagrams {
		n, size, errno := receiveSegments(u.FD, b.room())
		switch {
		case errno == unix.EAGAIN:
			return true
		case errno == unix.EINTR:
			continue
		case errno != 0:
			if !u.refuse(errno) {
				u.failure = errno
				return false
			}
			continue
		}
		u.touch()
		u.deliver(b.room()[:n], size)
		if limit := u.stack.down; limit != nil && n > 0 {
			now := time.Now()
			if d := limit.ReserveN(now, min(n, limit.Burst())).DelayFrom(now); d > 0 {
				u.paused = true
				time.AfterFunc(d, func() { u.stack.loop.Queue(&u.Socket, resumeDown) })
				return true
			}
		}
	}
	u.stack.loop.Queue(&u.Socket, loop.Readable)
	return true
}

// deliver hands datagrams of one size, the last of which may be smaller, to the
// container.
func (u *udpFlow) deliver(data []byte, size int) {
	for first := true; first || len(data) > 0; first = false {
		one := data
		if size > 0 {
			one = data[:min(size, len(data))]
		}
		data = data[len(one):]
		var from bytes.Reader
		from.Reset(one)
		if _, failed := u.endpoint.Write(&from, tcpip.WriteOptions{}); failed == nil {
			u.record.Received += uint64(len(one))
		}
	}
}

// batch is datagrams of one size that follow each other, but that the last may
// be smaller: udp(7), UDP_SEGMENT.
type batch struct {
	buf   [2 * (largestUDP + 1)]byte
	used  int
	size  int // of each
	count int
	full  bool // the last is smaller
}

const mostSegments = 64 // that every kernel takes

// room is what one more datagram can be read into, whatever its size.
func (b *batch) room() []byte { return b.buf[b.used : b.used+largestUDP+1] }

// takes says whether a datagram in the room may stay there.
func (b *batch) takes(n int) bool {
	if b.count == 0 {
		return true
	}
	const most = 65000 // with headers, of one packet
	return !b.full && n > 0 && n <= b.size && b.count < mostSegments && b.used+n <= most
}

// take keeps what is in the room.
func (b *batch) take(n int) {
	if b.count == 0 {
		b.size = n
	}
	b.used += n
	b.count++
	b.full = n < b.size
}

func (b *batch) bytes() []byte { return b.buf[:b.used] }

func (b *batch) clear() { b.used, b.size, b.count, b.full = 0, 0, 0, false }

// each yields the datagrams.
func (b *batch) each(yield func([]byte) bool) {
	for i := range b.count {
		if !yield(b.buf[i*b.size : min((i+1)*b.size, b.used)]) {
			return
		}
	}
}
