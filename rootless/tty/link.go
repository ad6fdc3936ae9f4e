package tty

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// endOfInput is the character that ends input on a terminal (VEOF), ctrl-D.
const endOfInput = 4

// Link passes bytes between a container's terminal and bryo's input and
// output.
type Link struct {
	Master  int // the container's pty master
	In, Out int
	Ended   int // a descriptor that becomes readable when the container has ended

	input  []byte // read and not yet taken by the container
	last   byte   // of all input so far
	closed bool   // there is no more input
}

// Copy passes bytes until the container has ended and all that it wrote has
// been passed on. The end of input is passed on as ctrl-D. It waits nowhere
// but in poll(2): a container that does not read its terminal holds up nothing
// else.
func (l *Link) Copy() error {
	if err := unix.SetNonblock(l.Master, true); err != nil {
		return os.NewSyscallError("nonblock", err)
	}
	for {
		master, in, ended, err := l.poll()
		switch {
		case err != nil:
			return err
		case master&unix.POLLIN != 0:
			if _, err := l.pass(); err != nil {
				return err
			}
			continue // what was written comes before the end
		case ended != 0:
			return l.drain()
		}
		if master&unix.POLLOUT != 0 {
			l.feed()
		}
		if in != 0 {
			l.read()
		}
		if master&(unix.POLLHUP|unix.POLLERR) != 0 {
			// Nobody has the terminal open, or not yet again.
			l.input = nil
			over, err := l.pause()
			if err != nil {
				return err
			}
			if over {
				return l.drain()
			}
		}
	}
}

// poll waits for what can be done, and says what.
func (l *Link) poll() (master, in, ended int16, err error) {
	fds := [...]unix.PollFd{
		{Fd: int32(l.Master), Events: unix.POLLIN},
		{Fd: int32(l.In), Events: unix.POLLIN},
		{Fd: int32(l.Ended), Events: unix.POLLIN},
	}
	if len(l.input) > 0 {
		fds[0].Events |= unix.POLLOUT
	}
	if len(l.input) > 0 || l.closed {
		fds[1].Fd = -1
	}
	_, err = unix.Poll(fds[:], -1)
	if errors.Is(err, unix.EINTR) {
		return 0, 0, 0, nil
	}
	return fds[0].Revents, fds[1].Revents, fds[2].Revents, os.NewSyscallError("poll", err)
}

// pause waits a moment for the end where poll would report the hang-up again
// and again.
func (l *Link) pause() (over bool, err error) {
	const milliseconds = 20
	n, err := unix.Poll([]unix.PollFd{{Fd: int32(l.Ended), Events: unix.POLLIN}}, milliseconds)
	if errors.Is(err, unix.EINTR) {
		return false, nil
	}
	return n > 0, os.NewSyscallError("poll", err)
}

// read takes input; its end becomes a ctrl-D.
func (l *Link) read() {
	var buffer [4096]byte
	n, err := unix.Read(l.In, buffer[:])
	switch {
	case errors.Is(err, unix.EINTR) || errors.Is(err, unix.EAGAIN):
	case err != nil || n == 0:
		l.closed = true
		l.input = []byte{endOfInput}
		if l.last != 0 && l.last != '\n' {
			l.input = append(l.input, endOfInput) // the first one only ends the line
		}
	default:
		l.input = append(l.input, buffer[:n]...)
		l.last = buffer[n-1]
	}
}

// feed gives the container as much input as it takes.
func (l *Link) feed() {
	n, err := unix.Write(l.Master, l.input)
	if err == nil {
		l.input = l.input[n:]
	}
}

// pass passes on what the container has written. A master whose slaves are
// all closed says EIO, which is no error: poll tells of the end.
func (l *Link) pass() (n int, err error) {
	var buffer [32 << 10]byte
	n, err = unix.Read(l.Master, buffer[:])
	if err != nil {
		return 0, nil //nolint:nilerr // see above
	}
	return n, writeAll(l.Out, buffer[:n])
}

// drain passes on the last words: poll looks at one descriptor after the other,
// and the container may write and end when it has looked at the terminal.
func (l *Link) drain() error {
	for {
		if n, err := l.pass(); n == 0 || err != nil {
			return err
		}
	}
}

func writeAll(fd int, data []byte) error {
	for len(data) > 0 {
		n, err := unix.Write(fd, data)
		switch {
		case errors.Is(err, unix.EINTR):
		case errors.Is(err, unix.EAGAIN):
			_, _ = unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLOUT}}, -1)
		case err != nil:
			return os.NewSyscallError("write", err)
		}
		data = data[max(n, 0):]
	}
	return nil
}
