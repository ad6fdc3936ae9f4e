package launch

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"bryo/rootless/program"
)

// startSquash takes the listener over from the command and starts who answers.
func (l *launch) startSquash() error {
	if l.plan.Squash == nil {
		return nil
	}
	l.squash.write.close()
	fd, err := program.Receive(l.squash.read.fd())
	if err != nil {
		return err
	}
	listener := descriptor{fd + 1}
	defer listener.close()
	err = l.answer(listener.fd())
	var step *StepError
	if errors.As(err, &step) && errors.Is(step, unix.ESRCH) {
		return nil // the command has ended, without such a call
	}
	return err
}

func (l *launch) answer(listener int) error {
	fds := squashFDs{inside: l.pidfd.fd(), listener: listener}
	if l.plan.Entered != 0 {
		fds.inside = l.plan.Entered
	}
	for _, open := range []struct {
		path string
		to   *int
	}{{"/proc", &fds.proc}, {"/proc/self/exe", &fds.executable}} {
		fd, err := unix.Open(open.path, unix.O_PATH|unix.O_CLOEXEC, 0)
		if err != nil {
			return &os.PathError{Op: "open", Path: open.path, Err: err}
		}
		d := descriptor{fd + 1}
		defer d.close()
		*open.to = fd
	}
	var image descriptor
	defer image.close()
	var failed error
	child, err := executed(func(errorFD int) (*program.Program, *program.Program) {
		stage := compileAnswering(l.plan, fds, errorFD)
		fd, err := program.Image(stage, errorFD)
		if err != nil {
			failed = err
			return nil, nil
		}
		image = descriptor{fd + 1}
		return compileEnterPorts(fd, fds.inside, fds.listener, fds.proc, fds.executable, errorFD), stage
	})
	if err = errors.Join(failed, err); err != nil {
		return fmt.Errorf("squash: %w", err)
	}
	return unix.Close(child.PIDFD)
}
