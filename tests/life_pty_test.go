package tests

import (
	"fmt"
	"os"
	"os/exec"
	"syscall"

	"golang.org/x/sys/unix"
)

// screen is a terminal with somebody before it: pty(7).
type screen struct {
	*tail

	s             *site
	master, slave *os.File
}

const (
	ctrlC = "\x03"
	ctrlD = "\x04"
	ctrlZ = "\x1a"
)

func newScreen(s *site) *screen {
	s.t.Helper()
	const flags = unix.O_RDWR | unix.O_NOCTTY | unix.O_CLOEXEC
	open := func(path string) int {
		fd, err := unix.Open(path, flags, 0)
		if err != nil {
			s.t.Skipf("no terminal to be had: %s: %v", path, err)
		}
		return fd
	}
	master := open("/dev/ptmx")
	if err := unix.IoctlSetPointerInt(master, unix.TIOCSPTLCK, 0); err != nil {
		s.t.Fatal(err)
	}
	n, err := unix.IoctlGetInt(master, unix.TIOCGPTN)
	if err != nil {
		s.t.Fatal(err)
	}
	slave := open(fmt.Sprintf("/dev/pts/%d", n))
	// Not blocking, so that Close ends the reader.
	if err := unix.SetNonblock(master, true); err != nil {
		s.t.Fatal(err)
	}
	c := &screen{tail: &tail{}, s: s, master: os.NewFile(uintptr(master), "ptmx"), slave: os.NewFile(uintptr(slave), "pts")}
	c.resize(24, 80)
	read := make(chan struct{})
	go func() {
		defer close(read)
		buffer := make([]byte, 32<<10)
		for {
			n, err := c.master.Read(buffer)
			if err != nil {
				return // EIO when nobody has the slave open
			}
			_, _ = c.Write(buffer[:n])
		}
	}()
	s.t.Cleanup(func() {
		_ = c.slave.Close()
		_ = c.master.Close()
		<-read
	})
	return c
}

// start has a command lead a session on the terminal.
func (c *screen) start(cmd *exec.Cmd) {
	c.s.t.Helper()
	cmd.Stdin, cmd.Stdout, cmd.Stderr = c.slave, c.slave, c.slave
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	if err := cmd.Start(); err != nil {
		c.s.t.Fatal(err)
	}
}

// key types.
func (c *screen) key(text string) {
	c.s.t.Helper()
	if _, err := c.master.WriteString(text); err != nil {
		c.s.t.Fatal(err)
	}
}

func (c *screen) expect(word string) {
	c.s.t.Helper()
	c.await(c.s.t, word)
}

func (c *screen) resize(rows, columns uint16) {
	c.s.t.Helper()
	if err := unix.IoctlSetWinsize(int(c.slave.Fd()), unix.TIOCSWINSZ, &unix.Winsize{Row: rows, Col: columns}); err != nil {
		c.s.t.Fatal(err)
	}
}

// mode is the terminal's: termios(3).
func (c *screen) mode() unix.Termios {
	c.s.t.Helper()
	mode, err := unix.IoctlGetTermios(int(c.slave.Fd()), unix.TCGETS)
	if err != nil {
		c.s.t.Fatal(err)
	}
	return *mode
}

func (c *screen) raw() bool { return c.mode().Lflag&unix.ICANON == 0 }
