package launch

import (
	"os"

	"golang.org/x/sys/unix"
)

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

// newSocket makes a pair of connected sockets that keep messages apart.
func newSocket() (pipe, error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return pipe{}, os.NewSyscallError("socketpair", err)
	}
	return pipe{descriptor{fds[0] + 1}, descriptor{fds[1] + 1}}, nil
}
