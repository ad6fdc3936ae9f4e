package host

import (
	"errors"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"bryo/rootless/program"
)

// A child that waits, or that the kernel holds up, is ended after this time.
const patience = 10 * time.Second

// errnoOf is the errno in err; a failure without one counts as EIO.
func errnoOf(err error) unix.Errno {
	var errno unix.Errno
	switch {
	case err == nil:
		return 0
	case errors.As(err, &errno):
		return errno
	}
	return unix.EIO
}

// newChild is a program whose process does not outlive this one.
func newChild() *program.Program {
	p := program.New()
	p.Step("end", "with the parent")
	p.Prctl(unix.PR_SET_PDEATHSIG, uint64(unix.SIGKILL))
	return p
}

// whileWaiting makes a child in new namespaces that waits, and calls do with
// its process id. The namespaces end with it.
func whileWaiting(flags uint64, do func(pid int)) attempt {
	p := newChild()
	p.Step("wait", "")
	limit := p.Vector(program.Num(int(patience/time.Second)), program.Num(0))
	p.Syscall(unix.SYS_PPOLL, program.Num(0), program.Num(0), limit, program.Num(0), program.Num(0))
	p.Exit(0)
	child, err := program.Start(p, flags, -1)
	if err != nil {
		return attempt{tried: true, errno: errnoOf(err), call: "clone3"}
	}
	do(child.PID)
	_ = unix.PidfdSendSignal(child.PIDFD, unix.SIGKILL, nil, 0)
	reap(child)
	return attempt{tried: true}
}

// reap waits for the end of a child and gives back what it used.
func reap(child *program.Child) (status unix.WaitStatus) {
	for {
		if _, err := unix.Wait4(child.PID, &status, 0, nil); !errors.Is(err, unix.EINTR) {
			break
		}
	}
	_ = unix.Close(child.PIDFD)
	_ = child.Release()
	return status
}

// carryOut runs a program in new namespaces to its end. Its failures are those
// of operations that report what they tolerate.
func carryOut(p *program.Program, flags uint64) (attempt, []program.Failure) {
	read, write, err := os.Pipe()
	if err != nil {
		return attempt{tried: true, errno: errnoOf(err), call: "pipe2"}, nil
	}
	defer read.Close()
	child, err := program.Start(p, flags, int(write.Fd()))
	_ = write.Close()
	if err != nil {
		return attempt{tried: true, errno: errnoOf(err), call: "clone3"}, nil
	}
	_ = read.SetReadDeadline(time.Now().Add(patience))
	report, err := child.ReadReport(read, nil)
	if err != nil {
		_ = unix.PidfdSendSignal(child.PIDFD, unix.SIGKILL, nil, 0)
	}
	status := reap(child)
	ran := attempt{tried: true, errno: errnoOf(err), call: "read"}
	if status.Signaled() {
		ran.signal = status.Signal()
	}
	return ran, report.Failures
}
