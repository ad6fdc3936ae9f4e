package tty

import (
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

// Place is where a process stands with its session's terminal.
type Place uint8

// Only the group in the foreground may read a terminal or change its mode, and
// gets the signals of its keys.
const (
	Detached Place = iota // the session has no terminal
	Foreground
	Background
)

// Where says where this process stands.
func Where() Place {
	fd, err := unix.Open("/dev/tty", unix.O_RDWR|unix.O_CLOEXEC|unix.O_NOCTTY, 0)
	if err != nil {
		return Detached
	}
	defer func() { _ = unix.Close(fd) }()
	switch group, err := unix.IoctlGetInt(fd, unix.TIOCGPGRP); {
	case err != nil:
		return Detached
	case group == unix.Getpgrp():
		return Foreground
	default:
		return Background
	}
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
