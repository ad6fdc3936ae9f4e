package stack

import (
	"errors"
	"os"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
	"golang.org/x/time/rate"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"
	"gvisor.dev/gvisor/pkg/waiter"

	"bryo/netslirp/loop"
)

// turnSize bounds what one way of a connection moves before others have their
// turn, bytes.
const turnSize = 512 << 10

// What a flow may have to do beside what the loop hears: the host has sent, or
// takes more.
const (
	wantsUp    = loop.Own << iota // the container has sent
	resumeUp                      // the rate allows more
	takesDown                     // the container takes more
	resumeDown                    // the rate allows more
	wantsEnd                      // the container's side is closed, or has failed
	wantsRest                     // it may have been idle for long
)

// relay is a connection: netstack's endpoint and a socket of the host's. What
// one has is written to the other from where it lies, without a buffer between;
// what the other does not take stays where it is. All but NotifyEvent is the
// loop's.
type relay struct {
	loop.Socket

	stack    *Stack
	outcome  chan error  // of the connect; nil once it is known
	ready    atomic.Bool // endpoint is there
	endpoint tcpip.Endpoint
	queue    waiter.Queue
	entry    waiter.Entry
	record   *Record

	up, down way
	hostEnds bool // what is to be read ends with the end, or an error
	ended    atomic.Bool
}

// way is one direction.
type way struct {
	ended  bool
	full   bool // the other side takes no more, and will say when it does
	paused bool // by the rate
}

// open says whether something is to be done, given that there is something to
// send, or room for it, or the rate allows more.
func (w *way) open(sent, taken, resumed bool) bool {
	w.full = w.full && !taken
	w.paused = w.paused && !resumed
	return (sent || taken || resumed) && !w.ended && !w.full && !w.paused
}

// NotifyEvent implements waiter.EventListener. Netstack holds locks.
func (r *relay) NotifyEvent(mask waiter.EventMask) {
	var w loop.Wants
	if mask&waiter.ReadableEvents != 0 {
		w |= wantsUp
	}
	if mask&waiter.WritableEvents != 0 {
		w |= takesDown
	}
	if mask&(waiter.EventErr|waiter.EventHUp) != 0 {
		w |= wantsUp | takesDown | wantsEnd
	}
	r.stack.loop.Queue(&r.Socket, w)
}

// begin hands a relay to the loop: its container's side is there.
func (r *relay) begin(endpoint tcpip.Endpoint) {
	r.entry.Init(r, waiter.ReadableEvents|waiter.WritableEvents|waiter.EventErr|waiter.EventHUp)
	r.queue.EventRegister(&r.entry)
	r.endpoint = endpoint
	r.ready.Store(true)
	if !r.stack.loop.Queue(&r.Socket, wantsUp|loop.Readable) {
		r.End()
	}
}

// Turn implements loop.Owner.
func (r *relay) Turn(w loop.Wants) {
	if r.ended.Load() {
		return
	}
	r.hostEnds = r.hostEnds || w&loop.Ends != 0 // it is told once
	if !r.ready.Load() {
		if r.outcome != nil {
			r.outcome <- os.NewSyscallError("connect", r.stack.loop.Outcome(&r.Socket)) // Dial may be giving it up
			r.outcome = nil
		}
		return
	}
	if err := r.send(w); err != nil {
		r.abort(err)
	} else if r.up.ended && r.down.ended {
		r.finish(nil)
	}
}

// send does both ways what is wanted.
func (r *relay) send(w loop.Wants) error {
	if r.up.open(w&wantsUp != 0, w&loop.Writable != 0, w&resumeUp != 0) {
		if err := r.sendUp(); err != nil {
			return err
		}
	}
	if r.down.open(w&loop.Readable != 0, w&takesDown != 0, w&resumeDown != 0) {
		if err := r.sendDown(); err != nil {
			return err
		}
	}
	if w&wantsEnd != 0 && r.up.ended && tcp.EndpointState(r.endpoint.State()) == tcp.StateError {
		return unix.ECONNRESET // nothing is left to read that would tell
	}
	return nil
}

// sendUp writes to the host what the container has sent.
func (r *relay) sendUp() error {
	host := hostWriter{fd: r.FD, left: turnSize}
	limit := r.stack.up
	if limit != nil {
		host.left = min(host.left, limit.Burst())
	}
	for host.err == nil {
		result, failed := r.endpoint.Read(&host, tcpip.ReadOptions{})
		r.record.Sent += uint64(result.Count)
		if result.Count >= small {
			r.endpoint.ModerateRecvBuf(result.Count)
		}
		if r.up.paused = r.pause(limit, result.Count, resumeUp); r.up.paused {
			return nil
		}
		switch failed.(type) {
		case nil, *tcpip.ErrBadBuffer: // the host's socket tells
		case *tcpip.ErrWouldBlock:
			return nil
		case *tcpip.ErrClosedForReceive:
			r.up.ended = true
			_ = unix.Shutdown(r.FD, unix.SHUT_WR) // it may be gone, which its own side tells
			return nil
		default:
			return failure(failed)
		}
	}
	switch {
	case errors.Is(host.err, errTurn):
		r.stack.loop.Queue(&r.Socket, wantsUp) // netstack does not tell that there is more
	case errors.Is(host.err, unix.EAGAIN):
		r.up.full = true
	default:
		return os.NewSyscallError("sendto", host.err)
	}
	return nil
}

// errTurn ends a turn.
var errTurn = errors.New("enough for now")

// hostWriter writes to a socket of the host's.
type hostWriter struct {
	fd, left int
	err      error
}

// Write implements io.Writer.
func (w *hostWriter) Write(p []byte) (int, error) {
	if w.left == 0 {
		w.err = errTurn
		return 0, w.err
	}
	part := p[:min(len(p), w.left)]
	n, errno := send(w.fd, part)
	w.left -= n
	switch {
	case errno != 0:
		w.err = errno
	case n < len(part):
		w.err = unix.EAGAIN
	case n < len(p):
		w.err = errTurn
	}
	return n, w.err
}

// sendDown has netstack read what the host has sent.
func (r *relay) sendDown() error {
	for left := turnSize; left > 0; {
		size, ended, err := pending(r.FD)
		switch {
		case err != nil:
			return err
		case ended:
			r.down.ended = true
			return failure(r.endpoint.Shutdown(tcpip.ShutdownWrite))
		case size == 0:
			return nil
		}
		count, err := r.receive(min(size, left))
		if err != nil || r.down.full || r.down.paused {
			return err
		}
		left -= count
		if count == size && !r.hostEnds {
			return nil // of what comes now the loop hears
		}
	}
	r.stack.loop.Queue(&r.Socket, loop.Readable)
	return nil
}

// receive has netstack read so many bytes, or what it takes of them.
func (r *relay) receive(size int) (int, error) {
	limit := r.stack.down
	if limit != nil {
		size = min(size, limit.Burst())
	}
	host := hostReader{fd: r.FD, left: size}
	count, failed := r.endpoint.Write(&host, tcpip.WriteOptions{})
	r.record.Received += uint64(count)
	r.down.paused = r.pause(limit, int(count), resumeDown)
	if _, full := failed.(*tcpip.ErrWouldBlock); full || failed == nil {
		r.down.full = int(count) < size
		return int(count), nil
	}
	return int(count), failure(failed)
}

// failure is an error of netstack's as one of Go's.
func failure(err tcpip.Error) error {
	if err == nil {
		return nil
	}
	return errors.New(err.String())
}

// hostReader reads from a socket of the host's what is there: Len bytes.
type hostReader struct {
	fd, left int
}

// Len implements tcpip.Payloader.
func (h *hostReader) Len() int { return h.left }

// Read implements tcpip.Payloader.
func (h *hostReader) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	n, errno := receive(h.fd, p)
	if errno != 0 {
		return 0, errno
	}
	h.left -= n
	return n, nil
}

// pending returns how many bytes a socket has to read.
func pending(fd int) (size int, ended bool, err error) {
	size, errno := unread(fd)
	if errno != 0 {
		return 0, false, os.NewSyscallError("ioctl", errno)
	}
	if size > 0 {
		return size, false, nil
	}
	var one [1]byte
	n, _, err := unix.Recvfrom(fd, one[:], unix.MSG_PEEK|unix.MSG_DONTWAIT)
	switch {
	case errors.Is(err, unix.EAGAIN), errors.Is(err, unix.EINTR):
		return 0, false, nil
	case err != nil:
		return 0, false, os.NewSyscallError("recvfrom", err)
	default:
		return n, n == 0, nil
	}
}

// pause says whether one way has to wait until the rate allows more; it is
// then told to resume.
func (r *relay) pause(limit *rate.Limiter, count int, resume loop.Wants) bool {
	if limit == nil || count == 0 {
		return false
	}
	now := time.Now()
	d := limit.ReserveN(now, count).DelayFrom(now)
	if d > 0 {
		time.AfterFunc(d, func() { r.stack.loop.Queue(&r.Socket, resume) })
	}
	return d > 0
}

// abort makes both sides hear of a reset.
func (r *relay) abort(err error) {
	r.endpoint.Abort()
	_ = unix.SetsockoptLinger(r.FD, unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1})
	r.finish(err)
}

// End implements loop.Owner.
func (r *relay) End() {
	if r.ready.Load() { // or else it is dial's
		r.endpoint.Abort()
		r.finish(nil)
	}
}

// finish ends a relay. What the host's socket has taken is sent on.
func (r *relay) finish(err error) {
	if r.ended.Swap(true) {
		return
	}
	r.queue.EventUnregister(&r.entry)
	r.endpoint.Close()
	r.stack.loop.Remove(&r.Socket)
	r.stack.connections.Add(-1)
	r.stack.end(r.record, err)
	r.stack.flows.Done()
}
