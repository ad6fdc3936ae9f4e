package main

import (
	"errors"
	"fmt"
	"os"
	ossignal "os/signal"
	"slices"
	"strconv"
	"strings"

	"github.com/rootless-containers/rootlesskit/v3/pkg/sigproxy/signal"
	"golang.org/x/sys/unix"

	"bryo/rootless/launch"
	"bryo/rootless/ns"
	"bryo/rootless/program"
	"bryo/rootless/tty"
)

// life is what run does besides the container itself.
type life struct {
	StatusFD int    // JSON lines go there, unless it is noStatus
	PIDFile  string // the container's pid is written there
}

const noStatus = -1

// stays says that this process is needed while the container runs.
func (l life) stays() bool { return l.StatusFD != noStatus || l.PIDFile != "" }

// check refuses a descriptor that is not there before anything is made, and
// keeps it from the container.
func (l life) check() error {
	if l.PIDFile != "" {
		if err := writePID(l.PIDFile, ""); err != nil {
			return fmt.Errorf("--pidfile: %w", err)
		}
	}
	if l.StatusFD == noStatus {
		return nil
	}
	flags := unix.FD_CLOEXEC
	if l.StatusFD <= int(unix.Stderr) {
		flags = 0 // the command has it, too
	}
	if _, err := unix.FcntlInt(uintptr(l.StatusFD), unix.F_SETFD, flags); err != nil {
		return fmt.Errorf("--status-fd %d: no such open descriptor\nfix: open it in the shell, as: bryo run --status-fd 3 ... 3>status.json", l.StatusFD)
	}
	return nil
}

// supervise stays with a container that needs more than a supervisor can do:
// a terminal, a status stream, a pid file.
func (l life) supervise(c *launch.Container, terminal bool, s streams) (code int, err error) {
	forward := signals(c, terminal)
	defer forward.stop()
	if err := errors.Join(c.Deliver(), l.begun(c)); err != nil {
		return 0, errors.Join(err, c.Kill())
	}
	defer func() { err = errors.Join(err, l.ended(code)) }()
	if terminal {
		if err := attach(c, s); err != nil {
			return 0, errors.Join(err, c.Kill())
		}
	}
	return c.Wait()
}

// begun tells about the running container, in bubblewrap's words.
func (l life) begun(c *launch.Container) error {
	if l.PIDFile != "" {
		if err := writePID(l.PIDFile, strconv.Itoa(c.PID)+"\n"); err != nil {
			return err
		}
	}
	if l.StatusFD == noStatus {
		return nil
	}
	var b strings.Builder
	fmt.Fprintf(&b, `{"child-pid": %d`, c.PID)
	for _, k := range ns.All() {
		fmt.Fprintf(&b, `, "%s-namespace": %d`, k.File(), c.Namespaces[k])
	}
	return l.tell(b.String() + "}\n")
}

func writePID(path, text string) error {
	const mode = 0o644
	return os.WriteFile(path, []byte(text), mode)
}

func (l life) tell(line string) error {
	if l.StatusFD == noStatus {
		return nil
	}
	if _, err := unix.Write(l.StatusFD, []byte(line)); err != nil {
		return fmt.Errorf("write to --status-fd %d: %w", l.StatusFD, err)
	}
	return nil
}

// notBegun removes what check made.
func (l life) notBegun() error {
	if l.PIDFile == "" {
		return nil
	}
	if err := os.Remove(l.PIDFile); !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return nil
}

func (l life) ended(code int) error {
	if err := l.notBegun(); err != nil {
		return err
	}
	return l.tell(fmt.Sprintf("{\"exit-code\": %d}\n", code))
}

// attach connects bryo's terminal with the container's, in raw mode.
func attach(c *launch.Container, s streams) (err error) {
	if in := int(s.in.Fd()); tty.Is(in) {
		restore, err := tty.Raw(in)
		if err != nil {
			return err
		}
		defer func() { _ = restore() }()
	}
	return c.Attach(int(s.in.Fd()), int(s.out.Fd()))
}

// forwarder passes every signal that bryo gets on to the command.
type forwarder struct {
	signals chan os.Signal
	done    chan struct{}
}

func signals(c *launch.Container, terminal bool) *forwarder {
	const room = 128
	f := &forwarder{signals: make(chan os.Signal, room), done: make(chan struct{})}
	ignored := program.Ignored()
	signal.CatchAll(f.signals)
	for _, s := range ignored {
		ossignal.Ignore(s) // as nohup(1) wants it
	}
	go func() {
		defer close(f.done)
		for s := range f.signals {
			number, ok := s.(unix.Signal)
			if ok {
				pass(c, number, terminal)
			}
		}
	}()
	return f
}

// pass passes one signal on. A change of the window goes to the terminal; a
// stop stops bryo, too, so that the shell sees it.
func pass(c *launch.Container, s unix.Signal, terminal bool) {
	if slices.Contains([]unix.Signal{unix.SIGCHLD, unix.SIGURG, unix.SIGPIPE}, s) {
		return // the runtime's and our own
	}
	if size, err := tty.SizeOf(0); s == unix.SIGWINCH && terminal && err == nil {
		_ = c.Resize(size)
		return
	}
	_ = c.Signal(s)
	if s == unix.SIGTSTP || s == unix.SIGTTIN || s == unix.SIGTTOU {
		_ = unix.Kill(os.Getpid(), unix.SIGSTOP)
	}
}

func (f *forwarder) stop() {
	signal.StopCatch(f.signals) // closes the channel
	<-f.done
}
