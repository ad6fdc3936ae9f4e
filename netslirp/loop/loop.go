package loop

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"sync"
	"sync/atomic"
	"syscall"

	"golang.org/x/sys/unix"
)

const (
	mostEvents  = 64
	mostPackets = 64 // from the device, before others have their turn
	lull        = 1  // milliseconds without an event, after which the thread is given up
)

// edge is EPOLLET as what it is, an unsigned bit.
const edge = 1 << 31

// Loop waits for a device and for sockets, and does what can be done at once, on
// one goroutine.
type Loop struct {
	epoll  int
	file   *os.File // of epoll: waits in the runtime's poller
	raw    syscall.RawConn
	bell   int // an eventfd, which others ring
	device Device
	parks  func() // is called when nothing is left to do
	events [mostEvents]unix.EpollEvent
	guests atomic.Int32 // goroutines of this process that wait in the runtime's poller

	mu      sync.Mutex
	sockets map[int32]*Socket // by their numbers
	next    int32             // generation
	ready   []*Socket
	asleep  bool
	stopped bool // Run is to end
	ended   bool // it has
}

// Device is what the loop moves packets from and to.
type Device interface {
	// Read delivers packets, at most so many, and says whether there may be more.
	Read(most int) (more bool, err error)
	// Flush sends what has been held back for a turn of the loop, or all.
	Flush(all bool)
}

// none is the device of a loop that has only sockets.
type none struct{}

func (none) Read(int) (bool, error) { return false, nil }
func (none) Flush(bool)             {}

// Socket is a descriptor that the loop watches.
type Socket struct {
	FD    int // -1 once it is removed
	Owner Owner

	generation int32 // numbers are used again
	wants      Wants // under the loop's lock
}

// Owner is the flow that a socket belongs to.
type Owner interface {
	// Turn does what can be done without waiting.
	Turn(w Wants)
	// End gives the flow up. The loop has ended.
	End()
}

// Wants says what a flow may have to do.
type Wants uint16

// What the kernel tells of a socket. From Own on, bits mean what the owner makes
// of them.
const (
	Readable Wants = 1 << iota
	Writable
	Ends // it receives no more, or has failed
	Own
)

// ofDevice is the generation of the device and of the bell.
const ofDevice = 0

// New makes a loop; without a device, it has only sockets. Close frees it.
func New(d Device) (*Loop, error) {
	if d == nil {
		d = none{}
	}
	l := &Loop{device: d, sockets: make(map[int32]*Socket), bell: -1, parks: func() {}}
	var err error
	if l.epoll, err = unix.EpollCreate1(unix.EPOLL_CLOEXEC); err != nil {
		return nil, os.NewSyscallError("epoll_create1", err)
	}
	if err := unix.SetNonblock(l.epoll, true); err != nil { // os.NewFile polls what does not block
		return nil, errors.Join(os.NewSyscallError("fcntl", err), unix.Close(l.epoll))
	}
	l.file = os.NewFile(uintptr(l.epoll), "epoll")
	if l.raw, err = l.file.SyscallConn(); err != nil {
		return nil, errors.Join(err, l.Close())
	}
	if l.bell, err = unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK); err != nil {
		return nil, errors.Join(os.NewSyscallError("eventfd2", err), l.Close())
	}
	return l, nil
}

// Close frees the loop's descriptors. Run has ended, or was never called.
func (l *Loop) Close() error {
	err := l.file.Close()
	if l.bell >= 0 {
		err = errors.Join(err, unix.Close(l.bell))
	}
	return err
}

func (l *Loop) watch(fd int, events uint32, generation int32) error {
	event := unix.EpollEvent{Events: events | edge, Fd: int32(fd), Pad: generation}
	return os.NewSyscallError("epoll_ctl", unix.EpollCtl(l.epoll, unix.EPOLL_CTL_ADD, fd, &event))
}

// Add makes the loop hear of a socket.
func (l *Loop) Add(s *Socket) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.stopped {
		return os.ErrClosed
	}
	l.next++
	if l.next == ofDevice {
		l.next++
	}
	s.generation = l.next
	if err := l.watch(s.FD, unix.EPOLLIN|unix.EPOLLOUT|unix.EPOLLRDHUP, s.generation); err != nil {
		return err
	}
	l.sockets[int32(s.FD)] = s
	return nil
}

// Remove closes a socket, of which nothing is heard any more.
func (l *Loop) Remove(s *Socket) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.sockets[int32(s.FD)] == s {
		delete(l.sockets, int32(s.FD))
	}
	_ = unix.Close(s.FD)
	s.FD = -1
}

// Outcome is the error that a socket has, as that its connect failed: socket(7),
// SO_ERROR. Others may remove the socket meanwhile.
func (l *Loop) Outcome(s *Socket) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	status, err := unix.GetsockoptInt(s.FD, unix.SOL_SOCKET, unix.SO_ERROR)
	if err == nil && status != 0 {
		err = unix.Errno(status)
	}
	return err
}

// Invite counts a goroutine of this process that waits in the runtime's poller
// and is not to wait for the loop, until Dismiss.
func (l *Loop) Invite() { l.guests.Add(1) }

// Dismiss ends what Invite began.
func (l *Loop) Dismiss() { l.guests.Add(-1) }

// OnPark has f called whenever nothing is left to do. Run has not begun.
func (l *Loop) OnPark(f func()) { l.parks = f }

// End gives up all flows once Run has ended, or where it never ran.
func (l *Loop) End() {
	l.mu.Lock()
	l.stopped, l.ended = true, true
	var left []Owner
	for _, s := range l.sockets {
		left = append(left, s.Owner)
	}
	l.mu.Unlock()
	for _, o := range left {
		o.End()
	}
}

// Queue has a socket's flow looked at. It may be called by anybody; false says
// that nobody looks any more.
func (l *Loop) Queue(s *Socket, what Wants) bool {
	l.mu.Lock()
	if s.wants == 0 {
		l.ready = append(l.ready, s)
	}
	s.wants |= what
	ring := l.asleep
	l.asleep = false
	ended := l.ended
	l.mu.Unlock()
	if ring {
		l.ring()
	}
	return !ended
}

func (l *Loop) ring() {
	one := [8]byte{1}
	_, _ = unix.Write(l.bell, one[:])
}

// Stop makes Run end; it may be called more than once.
func (l *Loop) Stop() {
	l.mu.Lock()
	l.stopped = true
	l.mu.Unlock()
	l.ring()
}

// Run does what is ready until Stop, or until the device is gone, whose
// descriptor fd is; -1 is of none.
func (l *Loop) Run(fd int) error {
	err := l.watch(l.bell, unix.EPOLLIN, ofDevice)
	if fd >= 0 {
		err = errors.Join(err, l.watch(fd, unix.EPOLLIN, ofDevice))
	}
	if err != nil {
		return err
	}
	more := false // the device may have packets
	for {
		count, stopped, err := l.wait(more)
		if stopped || err != nil {
			return err
		}
		for _, event := range l.events[:count] {
			more = l.dispatch(event) || more
		}
		if more {
			if more, err = l.device.Read(mostPackets); err != nil {
				return fmt.Errorf("the network device is gone: %w", err)
			}
		}
		runtime.Gosched() // netstack's goroutines take the packets
		for _, s := range l.takeReady() {
			l.turn(s)
		}
		l.device.Flush(false)
	}
}

// dispatch says whether the event is the device's.
func (l *Loop) dispatch(event unix.EpollEvent) bool {
	switch {
	case event.Pad != ofDevice:
		l.mu.Lock()
		s := l.sockets[event.Fd]
		known := s != nil && s.generation == event.Pad
		l.mu.Unlock()
		if known {
			l.Queue(s, wantsOf(event.Events))
		}
	case int(event.Fd) == l.bell:
		var count [8]byte
		_, _ = unix.Read(l.bell, count[:])
	default:
		return true
	}
	return false
}

func wantsOf(events uint32) (w Wants) {
	if events&(unix.EPOLLIN|unix.EPOLLRDHUP|unix.EPOLLERR|unix.EPOLLHUP) != 0 {
		w |= Readable
	}
	if events&(unix.EPOLLOUT|unix.EPOLLERR|unix.EPOLLHUP) != 0 {
		w |= Writable
	}
	if events&(unix.EPOLLRDHUP|unix.EPOLLERR|unix.EPOLLHUP) != 0 {
		w |= Ends
	}
	return w
}

func (l *Loop) takeReady() []*Socket {
	l.mu.Lock()
	defer l.mu.Unlock()
	taken := l.ready
	l.ready = nil
	return taken
}

func (l *Loop) turn(s *Socket) {
	l.mu.Lock()
	w := s.wants
	s.wants = 0
	l.mu.Unlock()
	s.Owner.Turn(w)
}

// wait returns the number of events, of which busy may be none.
func (l *Loop) wait(busy bool) (count int, stopped bool, err error) {
	if !busy {
		runtime.Gosched() // others may have something to do, or give us something
	}
	l.mu.Lock()
	stopped = l.stopped
	busy = busy || len(l.ready) > 0
	l.asleep = !busy
	l.mu.Unlock()
	if stopped {
		return 0, true, nil
	}
	if count, err = l.waitShortly(busy); count > 0 || busy || err != nil {
		l.awake()
		return count, false, err
	}
	l.device.Flush(true)
	l.parks()
	var failed error
	err = l.raw.Read(func(uintptr) bool {
		count, failed = l.poll(0)
		return count > 0 || failed != nil
	})
	l.awake()
	return count, false, errors.Join(err, failed)
}

// waitShortly does not give up the thread: the next event mostly comes at once,
// and a runtime that finds nothing to do wakes others to look after it. Timers
// are late by as much, which none of netstack's mind; whoever waits in the
// runtime's poller would be, too.
func (l *Loop) waitShortly(busy bool) (int, error) {
	if busy || l.guests.Load() > 0 {
		return l.poll(0)
	}
	return l.poll(lull)
}

// poll is epoll_wait(2), but that an interrupted call has no events.
func (l *Loop) poll(milliseconds int) (int, error) {
	count, errno := epollWait(l.epoll, l.events[:], milliseconds)
	if errno != 0 && errno != unix.EINTR {
		return 0, os.NewSyscallError("epoll_pwait", errno)
	}
	return count, nil
}

func (l *Loop) awake() {
	l.mu.Lock()
	l.asleep = false
	l.mu.Unlock()
}
