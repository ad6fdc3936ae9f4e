package tty

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// Size is a window size in characters.
type Size struct{ Rows, Columns uint16 }

// Is says whether a descriptor is a terminal.
func Is(fd int) bool {
	_, err := unix.IoctlGetTermios(fd, unix.TCGETS)
	return err == nil
}

// SizeOf is the window size of a terminal; that of a new one is zero.
func SizeOf(fd int) (Size, error) {
	w, err := unix.IoctlGetWinsize(fd, unix.TIOCGWINSZ)
	if err != nil {
		return Size{}, os.NewSyscallError("window size", err)
	}
	return Size{w.Row, w.Col}, nil
}

// Resize sets the window size; the kernel tells the processes on it.
func Resize(fd int, s Size) error {
	return os.NewSyscallError("window size", unix.IoctlSetWinsize(fd, unix.TIOCSWINSZ, &unix.Winsize{Row: s.Rows, Col: s.Columns}))
}

// Raw puts a terminal into raw mode, in which every key goes to the container,
// and returns what puts it back: cfmakeraw(3).
func Raw(fd int) (restore func() error, err error) {
	old, err := unix.IoctlGetTermios(fd, unix.TCGETS)
	if err != nil {
		return nil, os.NewSyscallError("terminal mode", err)
	}
	raw := *old
	raw.Iflag &^= unix.IGNBRK | unix.BRKINT | unix.PARMRK | unix.ISTRIP | unix.INLCR | unix.IGNCR | unix.ICRNL | unix.IXON
	raw.Oflag &^= unix.OPOST
	raw.Lflag &^= unix.ECHO | unix.ECHONL | unix.ICANON | unix.ISIG | unix.IEXTEN
	raw.Cflag &^= unix.CSIZE | unix.PARENB
	raw.Cflag |= unix.CS8
	raw.Cc[unix.VMIN], raw.Cc[unix.VTIME] = 1, 0
	if err := unix.IoctlSetTermios(fd, unix.TCSETS, &raw); err != nil {
		return nil, os.NewSyscallError("terminal mode", err)
	}
	return func() error {
		return os.NewSyscallError("terminal mode", unix.IoctlSetTermios(fd, unix.TCSETS, old))
	}, nil
}

// endOfInput is the character that ends input on a terminal (VEOF), ctrl-D.
const endOfInput = 4

// Link passes bytes between a container's terminal and bryo's input and
// output.
type Link struct {
	Master  int // the container's pty master
	In, Out int
	Ended   int // a descriptor that becomes readable when the container has ended
}

// Copy passes bytes until the container has ended and all that it wrote has
// been passed on. The end of input is passed on as ctrl-D.
func (l Link) Copy() error {
	in, ended := int32(l.In), int32(l.Ended)
	for {
		fds := []unix.PollFd{
			{Fd: int32(l.Master), Events: unix.POLLIN},
			{Fd: in, Events: unix.POLLIN},
			{Fd: ended, Events: unix.POLLIN},
		}
		if _, err := unix.Poll(fds, -1); err != nil && !errors.Is(err, unix.EINTR) {
			return os.NewSyscallError("poll", err)
		}
		if fds[0].Revents&unix.POLLIN != 0 {
			if err := pass(l.Master, l.Out); err != nil {
				return err
			}
			continue
		}
		if fds[2].Revents != 0 || fds[0].Revents&unix.POLLNVAL != 0 {
			return nil
		}
		if fds[1].Revents != 0 && l.feed() {
			in = -1
		}
		if fds[0].Revents&unix.POLLHUP != 0 && in < 0 {
			// Nobody has the terminal open now; only the end is left to wait for.
			return l.waitEnded()
		}
	}
}

// feed passes input on; over says that there is no more.
func (l Link) feed() (over bool) {
	var buffer [4096]byte
	n, err := unix.Read(l.In, buffer[:])
	switch {
	case errors.Is(err, unix.EINTR) || errors.Is(err, unix.EAGAIN):
		return false
	case err != nil || n == 0:
		_, _ = unix.Write(l.Master, []byte{endOfInput})
		return true
	}
	return writeAll(l.Master, buffer[:n]) != nil
}

func (l Link) waitEnded() error {
	fds := []unix.PollFd{{Fd: int32(l.Ended), Events: unix.POLLIN}}
	for {
		if _, err := unix.Poll(fds, -1); !errors.Is(err, unix.EINTR) {
			return os.NewSyscallError("poll", err)
		}
	}
}

// pass copies what can be read now. A master whose slaves are all closed says
// EIO, which is the end of the output.
func pass(from, to int) error {
	var buffer [32 << 10]byte
	n, err := unix.Read(from, buffer[:])
	if err != nil || n == 0 {
		return nil //nolint:nilerr // EIO: see above; the end shows by itself
	}
	return writeAll(to, buffer[:n])
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
