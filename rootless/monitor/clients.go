package monitor

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"time"

	"golang.org/x/sys/unix"
)

const (
	mostClients = 64
	mostBehind  = 1 << 20  // bytes that a client has not taken
	mostInput   = 64 << 10 // bytes that the command has not taken
	moment      = 200 * time.Millisecond
)

// client is somebody who is attached. One that does not read is let go: it
// holds up nobody.
type client struct {
	fd     int
	in     []byte
	out    []byte
	closed bool
}

// listen makes a socket that only the user can connect to: its directory is
// the user's alone.
func listen(dir, name string) (int, error) {
	path, done, err := short(dir, name)
	if err != nil {
		return 0, err
	}
	defer done()
	_ = os.Remove(path) // of a monitor that was killed
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return 0, os.NewSyscallError("socket", err)
	}
	const backlog = 16
	if err := errors.Join(unix.Bind(fd, &unix.SockaddrUnix{Name: path}), unix.Listen(fd, backlog)); err != nil {
		return 0, errors.Join(os.NewSyscallError("bind", err), unix.Close(fd))
	}
	return fd, nil
}

// short is a path that fits into a socket's address, whatever the directory's.
func short(dir, name string) (path string, done func(), err error) {
	fd, err := unix.Open(dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return "", nil, os.NewSyscallError("open", err)
	}
	return fmt.Sprintf("/proc/self/fd/%d/%s", fd, name), func() { _ = unix.Close(fd) }, nil
}

// Dial connects to the monitor of a container whose directory this is. The
// caller closes the descriptor.
func Dial(dir string) (int, error) {
	path, done, err := short(dir, SocketName)
	if err != nil {
		return -1, err
	}
	defer done()
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, os.NewSyscallError("socket", err)
	}
	if err := unix.Connect(fd, &unix.SockaddrUnix{Name: path}); err != nil {
		return -1, errors.Join(os.NewSyscallError("connect", err), unix.Close(fd))
	}
	return fd, nil
}

// Keeper returns a pidfd of the process that looks after the container whose
// directory this is, as the kernel knows it: who listens. The caller closes it.
func Keeper(dir string) (pidfd int, err error) {
	fd, err := Dial(dir)
	if err != nil {
		return -1, err
	}
	defer unix.Close(fd)
	peer, err := unix.GetsockoptUcred(fd, unix.SOL_SOCKET, unix.SO_PEERCRED)
	if err != nil {
		return -1, os.NewSyscallError("getsockopt", err)
	}
	if pidfd, err = unix.PidfdOpen(int(peer.Pid), 0); err != nil {
		return -1, os.NewSyscallError("pidfd_open", err)
	}
	again, err := Dial(dir) // it still lives: the number was its own
	if err != nil {
		return -1, errors.Join(err, unix.Close(pidfd))
	}
	return pidfd, unix.Close(again)
}

func (m *Monitor) accept() {
	fd, _, err := unix.Accept4(m.fds.Listener, unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK)
	if err != nil {
		return
	}
	peer, err := unix.GetsockoptUcred(fd, unix.SOL_SOCKET, unix.SO_PEERCRED)
	if err != nil || int(peer.Uid) != os.Getuid() || len(m.clients) >= mostClients {
		_ = unix.Close(fd)
		return
	}
	m.clients = append(m.clients, &client{fd: fd})
}

// wants is what to wait for.
func (c *client) wants(room bool) (events int16) {
	if room {
		events |= unix.POLLIN
	}
	if len(c.out) > 0 {
		events |= unix.POLLOUT
	}
	return events
}

// send gives a client a message, now or when it takes more. One that is far
// behind has a moment to catch up: whoever reads at all loses nothing.
func (c *client) send(kind Kind, data []byte) {
	if c.closed {
		return
	}
	c.out = Append(c.out, kind, data)
	c.flush()
	if len(c.out) > mostBehind {
		c.drain(time.Now().Add(moment), mostBehind/2) //nolint:mnd // half of it, so that this is not for every chunk
		c.closed = c.closed || len(c.out) > mostBehind
	}
}

func (c *client) flush() {
	for len(c.out) > 0 && !c.closed {
		n, err := unix.SendmsgN(c.fd, c.out, nil, nil, unix.MSG_NOSIGNAL|unix.MSG_DONTWAIT)
		switch {
		case errors.Is(err, unix.EAGAIN), errors.Is(err, unix.EINTR):
			return
		case err != nil:
			c.closed = true
			return
		}
		c.out = c.out[n:]
	}
}

// drain gives a client until then to take all but so much of what is left.
func (c *client) drain(deadline time.Time, but int) {
	for len(c.out) > but && !c.closed && time.Now().Before(deadline) {
		_, _ = unix.Poll([]unix.PollFd{{Fd: int32(c.fd), Events: unix.POLLOUT}}, int(time.Until(deadline).Milliseconds()))
		c.flush()
	}
}

// serve does what a client's descriptor is ready for.
func (m *Monitor) serve(e event) {
	i := slices.IndexFunc(m.clients, func(c *client) bool { return c.fd == e.fd })
	if i < 0 {
		return
	}
	c := m.clients[i]
	if e.how&unix.POLLOUT != 0 {
		c.flush()
	}
	if e.how&^unix.POLLOUT == 0 {
		return
	}
	n, err := unix.Read(c.fd, m.buf)
	switch {
	case errors.Is(err, unix.EAGAIN), errors.Is(err, unix.EINTR):
		return
	case n <= 0:
		c.closed = true
		return
	}
	c.in = append(c.in, m.buf[:n]...)
	for {
		kind, data, rest, ok, err := Cut(c.in)
		if err != nil {
			c.closed = true
			return
		}
		if !ok {
			return
		}
		m.obey(kind, data)
		c.in = rest
	}
}

func (m *Monitor) obey(kind Kind, data []byte) {
	switch kind {
	case Input:
		m.take(data)
	case EndOfInput:
		m.endInput()
	case Size:
		m.resize(data)
	case Output, ErrorOutput, End: // not for us
	}
}

func (m *Monitor) dropClosed() {
	m.clients = slices.DeleteFunc(m.clients, func(c *client) bool {
		if c.closed {
			_ = unix.Close(c.fd)
		}
		return c.closed
	})
}
