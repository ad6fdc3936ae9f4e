package stack

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

// loop waits for the device and for the sockets of all flows, and does what can
// be done at once, on one goroutine: a packet, what netstack makes of it and the
// host's socket meet without anybody being woken.
type loop struct {
	epoll  int
	file   *os.File // of epoll: waits in the runtime's poller
	raw    syscall.RawConn
	bell   int // an eventfd, which others ring
	device device
	parks  func() // is called when nothing is left to do
	events [mostEvents]unix.EpollEvent
	guests atomic.Int32 // goroutines of this process that wait in the runtime's poller

	mu      sync.Mutex
	sockets map[int32]*socket // by their numbers
	next    int32             // generation
	ready   []*socket
	asleep  bool
	stopped bool // run is to end
	ended   bool // it has
}

// device is what the loop moves packets from and to.
type device interface {
	// read delivers packets, at most so many, and says whether there may be more.
	read(most int) (more bool, err error)
	// flush sends what has been held back for a turn of the loop, or all.
	flush(all bool)
}

// socket is one of the host's, which the loop watches.
type socket struct {
	fd         int
	generation int32 // numbers are used again
	wants      wants // under the loop's lock
	owner      owner
}

// owner is the flow that a socket belongs to.
type owner interface {
	// turn does what can be done without waiting.
	turn(w wants)
	// end gives the flow up. The loop has ended.
	end()
}

// wants says what a flow may have to do.
type wants uint16

const (
	wantsUp    wants = 1 << iota // the container has sent
	takesUp                      // the host takes more
	resumeUp                     // the rate allows more
	wantsDown                    // the host has sent
	takesDown                    // the container takes more
	resumeDown                   // the rate allows more
	wantsEnd                     // the container's side is closed, or has failed
	hostEnds                     // the host's side sends no more, or has failed
	wantsRest                    // it may have been idle for long
)

// ofDevice is the generation of the device and of the bell.
const ofDevice = 0

func newLoop(d device) (*loop, error) {
	l := &loop{device: d, sockets: make(map[int32]*socket), bell: -1}
	var err error
	if l.epoll, err = unix.EpollCreate1(unix.EPOLL_CLOEXEC); err != nil {
		return nil, os.NewSyscallError("epoll_create1", err)
	}
	if err := unix.SetNonblock(l.epoll, true); err != nil { // os.NewFile polls what does not block
		return nil, errors.Join(os.NewSyscallError("fcntl", err), unix.Close(l.epoll))
	}
	l.file = os.NewFile(uintptr(l.epoll), "epoll")
	if l.raw, err = l.file.SyscallConn(); err != nil {
		return nil, errors.Join(err, l.close())
	}
	if l.bell, err = unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK); err != nil {
		return nil, errors.Join(os.NewSyscallError("eventfd2", err), l.close())
	}
	return l, nil
}

func (l *loop) close() error {
	err := l.file.Close()
	if l.bell >= 0 {
		err = errors.Join(err, unix.Close(l.bell))
	}
	return err
}

func (l *loop) watch(fd int, events uint32, generation int32) error {
	event := unix.EpollEvent{Events: events | edge, Fd: int32(fd), Pad: generation}
	return os.NewSyscallError("epoll_ctl", unix.EpollCtl(l.epoll, unix.EPOLL_CTL_ADD, fd, &event))
}

// add makes the loop hear of a socket.
func (l *loop) add(s *socket) error {
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
	if err := l.watch(s.fd, unix.EPOLLIN|unix.EPOLLOUT|unix.EPOLLRDHUP, s.generation); err != nil {
		return err
	}
	l.sockets[int32(s.fd)] = s
	return nil
}

// remove closes a socket, of which nothing is heard any more.
func (l *loop) remove(s *socket) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.sockets[int32(s.fd)] == s {
		delete(l.sockets, int32(s.fd))
	}
	_ = unix.Close(s.fd)
	s.fd = -1
}

// end gives up all flows once run has ended, or where it never ran.
func (l *loop) end() {
	l.mu.Lock()
	l.stopped, l.ended = true, true
	var left []owner
	for _, s := range l.sockets {
		left = append(left, s.owner)
	}
	l.mu.Unlock()
	for _, o := range left {
		o.end()
	}
}

// queue has a socket's flow looked at. It may be called by anybody; false says
// that nobody looks any more.
func (l *loop) queue(s *socket, what wants) bool {
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

func (l *loop) ring() {
	one := [8]byte{1}
	_, _ = unix.Write(l.bell, one[:])
}

// stop makes run end; it may be called more than once.
func (l *loop) stop() {
	l.mu.Lock()
	l.stopped = true
	l.mu.Unlock()
	l.ring()
}

// run does what is ready until stop, or until the device, whose descriptor fd
// is, is gone.
func (l *loop) run(fd int) error {
	if err := errors.Join(l.watch(l.bell, unix.EPOLLIN, ofDevice), l.watch(fd, unix.EPOLLIN, ofDevice)); err != nil {
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
			if more, err = l.device.read(mostPackets); err != nil {
				return fmt.Errorf("the network device is gone: %w", err)
			}
		}
		runtime.Gosched() // netstack's goroutines take the packets
		for _, s := range l.takeReady() {
			l.turn(s)
		}
		l.device.flush(false)
	}
}

// dispatch says whether the event is the device's.
func (l *loop) dispatch(event unix.EpollEvent) bool {
	switch {
	case event.Pad != ofDevice:
		l.mu.Lock()
		s := l.sockets[event.Fd]
		known := s != nil && s.generation == event.Pad
		l.mu.Unlock()
		if known {
			l.queue(s, wantsOf(event.Events))
		}
	case int(event.Fd) == l.bell:
		var count [8]byte
		_, _ = unix.Read(l.bell, count[:])
	default:
		return true
	}
	return false
}

func wantsOf(events uint32) (w wants) {
	if events&(unix.EPOLLIN|unix.EPOLLRDHUP|unix.EPOLLERR|unix.EPOLLHUP) != 0 {
		w |= wantsDown
	}
	if events&(unix.EPOLLOUT|unix.EPOLLERR|unix.EPOLLHUP) != 0 {
		w |= takesUp
	}
	if events&(unix.EPOLLRDHUP|unix.EPOLLERR|unix.EPOLLHUP) != 0 {
		w |= hostEnds
	}
	return w
}

func (l *loop) takeReady() []*socket {
	l.mu.Lock()
	defer l.mu.Unlock()
	taken := l.ready
	l.ready = nil
	return taken
}

func (l *loop) turn(s *socket) {
	l.mu.Lock()
	w := s.wants
	s.wants = 0
	l.mu.Unlock()
	s.owner.turn(w)
}

// wait returns the number of events, of which busy may be none.
func (l *loop) wait(busy bool) (count int, stopped bool, err error) {
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
	l.device.flush(true)
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
func (l *loop) waitShortly(busy bool) (int, error) {
	if busy || l.guests.Load() > 0 {
		return l.poll(0)
	}
	return l.poll(lull)
}

// poll is epoll_wait(2), but that an interrupted call has no events.
func (l *loop) poll(milliseconds int) (int, error) {
	count, errno := epollWait(l.epoll, l.events[:], milliseconds)
	if errno != 0 && errno != unix.EINTR {
		return 0, os.NewSyscallError("epoll_pwait", errno)
	}
	return count, nil
}

func (l *loop) awake() {
	l.mu.Lock()
	l.asleep = false
	l.mu.Unlock()
}
