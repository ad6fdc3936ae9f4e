package ports

import (
	"os"
	"syscall"

	"golang.org/x/sys/unix"

	"bryo/netslirp/loop"
)

const (
	turnSize   = 1 << 20 // what one way moves before others have their turn, bytes
	pipeSize   = 1 << 20 // as much as everybody may have: pipe(7), pipe-max-size
	leastSlots = 16      // of a pipe that is of use; those of a user who has many are smaller
	mostPipes  = 32      // so that the user's other programs get large ones, too
	mostSpare  = 2       // pipes with nothing in them
	copySize   = 128 << 10
)

// way is one direction of a relay. What the other side does not take waits in a
// pipe, or in the socket that it has come from.
type way struct {
	from, to *end
	idle     bool // there is nothing to read until the kernel tells
	ending   bool // what is to be read ends with the end, or an error, which is told once
	full     bool // the other side takes no more until the kernel tells
	ended    bool
	pipe     *pipe
}

// open says whether something can be done now.
func (w *way) open() bool {
	return !w.ended && !w.full && (!w.idle || w.pipe != nil && w.pipe.held > 0)
}

// move passes on what can be, and keeps no pipe that is empty.
func (d *driver) move(w *way) error {
	if !w.open() {
		return nil
	}
	if w.pipe == nil {
		w.pipe = d.pipes.take()
	}
	defer d.pipes.give(w)
	for left := turnSize; left > 0; {
		n, err := d.step(w)
		if err != nil || !w.open() {
			return err
		}
		left -= n
	}
	d.loop.Queue(&w.from.Socket, loop.Readable)
	return nil
}

func (d *driver) step(w *way) (int, error) {
	if w.pipe != nil {
		return w.splice()
	}
	return w.copy(d.room())
}

// room is memory for what is under way during one turn.
func (d *driver) room() []byte {
	if d.buffer == nil {
		d.buffer = make([]byte, copySize)
	}
	return d.buffer
}

// splice moves pages from socket to socket, by the pipe.
func (w *way) splice() (int, error) {
	if w.pipe.held == 0 {
		n, errno := splice(w.from.FD, w.pipe.in, turnSize)
		if n == 0 {
			return 0, w.nothing("splice", errno)
		}
		w.pipe.held = n
		w.idle = n < w.pipe.slots && !w.ending // or else it may be full: each slot has a byte at least
	}
	n, errno := splice(w.pipe.out, w.to.FD, w.pipe.held)
	w.pipe.held -= n
	return n, w.taken("splice", errno)
}

// splice does not tell the scheduler: neither side blocks.
func splice(from, to, most int) (int, unix.Errno) {
	n, _, errno := syscall.RawSyscall6(unix.SYS_SPLICE, uintptr(from), 0, uintptr(to), 0, uintptr(most), unix.SPLICE_F_NONBLOCK)
	if errno != 0 {
		return 0, errno
	}
	return int(n), 0
}

// copy leaves in the socket what the other side does not take.
func (w *way) copy(buffer []byte) (int, error) {
	n, _, err := unix.Recvfrom(w.from.FD, buffer, unix.MSG_PEEK|unix.MSG_DONTWAIT)
	if err != nil || n == 0 {
		return 0, w.nothing("recvfrom", errno(err))
	}
	n, err = unix.SendmsgN(w.to.FD, buffer[:n], nil, nil, unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL)
	if err != nil {
		return 0, w.taken("sendmsg", errno(err))
	}
	_, _, err = unix.Recvfrom(w.from.FD, buffer[:n], unix.MSG_TRUNC|unix.MSG_DONTWAIT)
	return n, os.NewSyscallError("recvfrom", err)
}

func errno(err error) unix.Errno {
	e, _ := err.(unix.Errno) //nolint:errorlint // x/sys/unix returns nothing else
	return e
}

// nothing has been read, because of an error or the end.
func (w *way) nothing(call string, errno unix.Errno) error {
	if errno == 0 {
		w.ended = true
		_ = unix.Shutdown(w.to.FD, unix.SHUT_WR) // it may be gone, which its own side tells
		return nil
	}
	w.idle = errno == unix.EAGAIN
	return lasting(call, errno)
}

// taken looks at what the other side says to it.
func (w *way) taken(call string, errno unix.Errno) error {
	w.full = errno == unix.EAGAIN
	return lasting(call, errno)
}

// lasting leaves out what is no error.
func lasting(call string, errno unix.Errno) error {
	if errno == unix.EAGAIN || errno == unix.EINTR || errno == 0 {
		return nil
	}
	return os.NewSyscallError(call, errno)
}

// pipe is where pages wait between two sockets.
type pipe struct {
	out, in int
	slots   int // pieces that it takes
	held    int // bytes
}

func (p *pipe) close() {
	_ = unix.Close(p.out)
	_ = unix.Close(p.in)
}

// pipes are all that there are.
type pipes struct {
	spare []*pipe
	count int
}

// take returns an empty pipe; nil, if there are too many.
func (p *pipes) take() *pipe {
	if n := len(p.spare); n > 0 {
		taken := p.spare[n-1]
		p.spare = p.spare[:n-1]
		return taken
	}
	var ends [2]int
	if p.count == mostPipes || unix.Pipe2(ends[:], unix.O_CLOEXEC|unix.O_NONBLOCK) != nil {
		return nil
	}
	made := &pipe{out: ends[0], in: ends[1]}
	size, err := unix.FcntlInt(uintptr(made.in), unix.F_SETPIPE_SZ, pipeSize)
	if err != nil {
		size, err = unix.FcntlInt(uintptr(made.in), unix.F_GETPIPE_SZ, 0)
	}
	if made.slots = size / os.Getpagesize(); err != nil || made.slots < leastSlots {
		made.close()
		return nil
	}
	p.count++
	return made
}

// give takes the pipe from a way, unless there is something in it.
func (p *pipes) give(w *way) {
	if w.pipe == nil || w.pipe.held > 0 {
		return
	}
	if len(p.spare) < mostSpare {
		p.spare = append(p.spare, w.pipe)
	} else {
		p.drop(w.pipe)
	}
	w.pipe = nil
}

// drop closes a pipe with what is in it.
func (p *pipes) drop(dropped *pipe) {
	dropped.close()
	p.count--
}

// close closes what is spare.
func (p *pipes) close() {
	for _, s := range p.spare {
		p.drop(s)
	}
	p.spare = nil
}
