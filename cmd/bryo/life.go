package main

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"bryo/rootless/launch"
	"bryo/rootless/ns"
)

// life is what run does besides the container itself.
type life struct {
	StatusFD int    // JSON lines go there, unless it is noStatus
	PIDFile  string // the container's pid is written there
	Lasts    bool   // something has to be done when the container has ended
}

const noStatus = -1

// stays says that this process is needed while the container runs.
func (l life) stays() bool { return l.StatusFD != noStatus || l.PIDFile != "" || l.Lasts }

// check refuses a descriptor that is not there before anything is made, and
// keeps it from the container.
func (l life) check() error {
	if err := l.checkStatus(); err != nil {
		return err
	}
	if l.PIDFile == "" {
		return nil
	}
	if err := writePID(l.PIDFile, ""); err != nil {
		return fmt.Errorf("--pidfile: %w", err)
	}
	return nil
}

func (l life) checkStatus() error {
	if l.StatusFD == noStatus {
		return nil
	}
	flags := unix.FD_CLOEXEC
	if l.StatusFD <= unix.Stderr {
		flags = 0 // the command has it, too
	}
	if _, err := unix.FcntlInt(uintptr(l.StatusFD), unix.F_SETFD, flags); err != nil {
		return fmt.Errorf("--status-fd %d: no such open descriptor\nfix: open it in the shell, as: bryo run --status-fd 3 ... 3>status.json", l.StatusFD)
	}
	return nil
}

// await waits for the container's end. When nothing of Go is needed while it
// runs, a supervisor of a few KB takes this process's place.
func (l life) await(c *launch.Container, terminal bool, s streams) (int, error) {
	if !terminal && !l.stays() {
		if err := c.Become(); !errors.Is(err, launch.ErrNoSupervisor) {
			return 0, errors.Join(err, c.Kill())
		}
	}
	return l.supervise(c, terminal, s)
}

// supervise stays with a container that needs more than a supervisor can do:
// a terminal, a status stream, a pid file.
func (l life) supervise(c *launch.Container, terminal bool, s streams) (code int, err error) {
	var window *console
	if terminal {
		window = &console{in: int(s.in.Fd()), out: int(s.out.Fd())}
		defer func() { err = errors.Join(err, window.end()) }()
	}
	forward := forwardSignals(c, window)
	defer forward.stop()
	if err := errors.Join(c.Deliver(), l.begun(c)); err != nil {
		return 0, errors.Join(err, c.Kill())
	}
	defer func() { err = errors.Join(err, l.ended(code)) }()
	if terminal {
		err := errors.Join(window.begin(), c.Attach(window.in, window.out))
		if errors.Is(err, unix.EPIPE) { // nobody reads any more: as for any program
			return signalExitBase + int(unix.SIGPIPE), c.Kill()
		}
		if err != nil {
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
	return l.write(b.String() + "}\n")
}

func writePID(path, text string) error {
	const mode = 0o644
	return os.WriteFile(path, []byte(text), mode)
}

// tell tells the exit code.
func (l life) tell(code int) error { return l.write(fmt.Sprintf("{\"exit-code\": %d}\n", code)) }

func (l life) write(line string) error {
	if l.StatusFD == noStatus {
		return nil
	}
	if _, err := unix.Write(l.StatusFD, []byte(line)); err != nil {
		return fmt.Errorf("write to --status-fd %d: %w", l.StatusFD, err)
	}
	return nil
}

// removePID removes the pid file.
func (l life) removePID() error {
	if l.PIDFile == "" {
		return nil
	}
	if err := os.Remove(l.PIDFile); !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return nil
}

func (l life) ended(code int) error {
	if err := l.removePID(); err != nil {
		return err
	}
	return l.tell(code)
}
