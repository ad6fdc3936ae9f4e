package launch

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"bryo/rootless/program"
	"bryo/rootless/tty"
)

// Become replaces this process by a supervisor of a few KB that forwards
// signals, ends with the container's exit code, and takes the container down
// when it is killed. It returns only if that was not possible.
//
// ErrNoSupervisor says that the kernel does not let it: then Wait.
func (c *Container) Become() error {
	if c.image.number == 0 {
		return ErrNoSupervisor
	}
	return program.Become(c.image.fd(), c.PIDFD)
}

// ErrNoSupervisor means that there is no executable memfd to be replaced by.
var ErrNoSupervisor = errors.New("no supervisor without executable memfds")

// Wait waits for the container to end and returns its exit code.
func (c *Container) Wait() (int, error) {
	status, err := wait(c.PID)
	if err != nil {
		return 0, err
	}
	c.ended()
	return exitCode(status), nil
}

// ended is what there is to do once the container's processes are gone.
func (c *Container) ended() {
	c.net.ended()
	if c.group != nil {
		_ = c.group.Remove() // the next one sweeps
		c.group = nil
	}
}

// Deliver lets the signals that have come since Start, and all later ones,
// reach this process's handlers.
func (c *Container) Deliver() error { return c.held.Release() }

// Signal passes a signal on to the command.
func (c *Container) Signal(s unix.Signal) error { return unix.PidfdSendSignal(c.PIDFD, s, nil, 0) }

// SignalGroup passes a signal from the terminal on to the command's group.
func (c *Container) SignalGroup(s unix.Signal) error { return program.SignalGroup(c.PIDFD, s) }

// Kill ends the container and waits for it.
func (c *Container) Kill() error {
	if err := c.Signal(unix.SIGKILL); err != nil {
		return fmt.Errorf("kill the container: %w", err)
	}
	_, err := wait(c.PID)
	c.ended()
	return err
}

// Attach connects the container's terminal with bryo's input and output until
// the container has ended.
func (c *Container) Attach(in, out int) error {
	link := tty.Link{Master: c.master.fd(), In: in, Out: out, Ended: c.PIDFD}
	return link.Copy()
}

// Resize gives the container's terminal a window size.
func (c *Container) Resize(s tty.Size) error { return tty.Resize(c.master.fd(), s) }
