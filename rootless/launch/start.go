package launch

import (
	"errors"
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"

	"bryo/rootless"
	"bryo/rootless/program"
)

// Container is a container whose command runs.
type Container struct {
	PID   int // of its PID 1, in bryo's PID namespace
	PIDFD int

	image int // the sealed stage, which can supervise, too
}

// A StepError is a system call of the launch that the kernel refused.
type StepError struct{ program.Failure }

func (e *StepError) Error() string { return e.Step + ": " + e.Unwrap().Error() }

// Unwrap gives the errno.
func (e *StepError) Unwrap() error { return unix.Errno(e.Errno) }

// ErrEnded means that the launch was ended from outside, by a signal.
var ErrEnded = errors.New("the launch was ended by a signal")

// pipe is one pipe's descriptors, bare: os.File would start the runtime's
// poller, which a launch does not need.
type pipe struct{ read, write descriptor }

// descriptor is an open file; the zero value is none.
type descriptor struct{ number int }

func (d descriptor) fd() int { return d.number - 1 }

func (d *descriptor) close() {
	if d.number > 0 {
		_ = unix.Close(d.fd())
		d.number = 0
	}
}

func (d descriptor) Read(b []byte) (int, error) {
	for {
		n, err := unix.Read(d.fd(), b)
		switch {
		case errors.Is(err, unix.EINTR):
		case err != nil:
			return 0, os.NewSyscallError("read", err)
		case n == 0:
			return 0, io.EOF
		default:
			return n, nil
		}
	}
}

func newPipe() (pipe, error) {
	var fds [2]int
	if err := unix.Pipe2(fds[:], unix.O_CLOEXEC); err != nil {
		return pipe{}, os.NewSyscallError("pipe2", err)
	}
	return pipe{descriptor{fds[0] + 1}, descriptor{fds[1] + 1}}, nil
}

func (p *pipe) close() {
	p.read.close()
	p.write.close()
}

// launch is what Start holds while it works.
type launch struct {
	plan   *rootless.Plan
	errors pipe
	maps   pipe
	parent int
	image  int
	setup  *program.Program
	stage  *program.Program
	child  *program.Child
}

// Start makes the container and returns once its command has been executed.
// The caller has locked the main thread. On an error nothing is left.
func Start(plan *rootless.Plan) (*Container, error) {
	l := &launch{plan: plan, parent: -1, image: -1}
	defer l.close()
	if err := l.prepare(); err != nil {
		return nil, err
	}
	child, err := program.Start(l.setup, plan.Namespaces.CloneFlags(), l.errors.write.fd())
	if err != nil {
		return nil, err
	}
	l.child = child
	if err := l.finish(); err != nil {
		l.abort()
		return nil, err
	}
	c := &Container{PID: child.PID, PIDFD: child.PIDFD, image: l.image}
	l.image = -1
	return c, nil
}

// prepare makes what the child inherits, and the programs.
func (l *launch) prepare() (err error) {
	if l.errors, err = newPipe(); err != nil {
		return err
	}
	if l.plan.IDs.Helpers {
		if l.maps, err = newPipe(); err != nil {
			return err
		}
	}
	if l.parent, err = unix.PidfdOpen(os.Getpid(), 0); err != nil {
		return os.NewSyscallError("pidfd_open", err)
	}
	fds := descriptors{errors: l.errors.write.fd(), parent: l.parent, maps: l.maps.read.fd()}
	l.stage = compileStage(l.plan, fds)
	if l.image, err = program.Image(l.stage, fds.errors); err != nil {
		return err
	}
	fds.stage = l.image
	l.setup = compileSetup(l.plan, fds)
	return nil
}

// finish is the parent's part until the command runs.
func (l *launch) finish() error {
	l.errors.write.close()
	if l.plan.IDs.Helpers {
		if err := mapIDs(l.plan, l.child.PID); err != nil {
			return err
		}
		if _, err := unix.Write(l.maps.write.fd(), []byte{1}); err != nil {
			return fmt.Errorf("tell that ids are mapped: %w", err)
		}
	}
	report, err := l.child.ReadReport(l.errors.read, l.stage)
	if err != nil {
		return err
	}
	if err := l.child.Release(); err != nil {
		return err
	}
	if err := outcome(&report); err != nil {
		return err
	}
	// The child's change of ids made this process undumpable, with which it
	// shared memory: prctl(2).
	return os.NewSyscallError("prctl", unix.Prctl(unix.PR_SET_DUMPABLE, 1, 0, 0, 0))
}

// outcome is nil when the report ends with the command running.
func outcome(report *program.Report) error {
	failed, is := report.Failed()
	if !is {
		return nil
	}
	if failed.Call == program.CompareName && failed.Errno == program.Errno(unix.ENOENT) {
		return notExecuted(report.Failures, failed.Object)
	}
	return &StepError{failed}
}

// abort ends the child and waits for it.
func (l *launch) abort() {
	_ = unix.PidfdSendSignal(l.child.PIDFD, unix.SIGKILL, nil, 0)
	_, _ = wait(l.child.PID)
	_ = unix.Close(l.child.PIDFD)
	_ = l.child.Release()
}

// wait waits for a child to end.
func wait(pid int) (unix.WaitStatus, error) {
	var status unix.WaitStatus
	for {
		_, err := unix.Wait4(pid, &status, 0, nil)
		if !errors.Is(err, unix.EINTR) {
			return status, os.NewSyscallError("wait4", err)
		}
	}
}

func (l *launch) close() {
	l.errors.close()
	l.maps.close()
	for _, fd := range []int{l.parent, l.image} {
		if fd >= 0 {
			_ = unix.Close(fd)
		}
	}
}
