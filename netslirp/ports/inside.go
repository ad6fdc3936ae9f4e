package ports

import (
	"io"
	"sync"
	"time"

	"github.com/rootless-containers/rootlesskit/v3/pkg/port/builtin"
	"github.com/rootless-containers/rootlesskit/v3/pkg/port/builtin/opaque"
	"golang.org/x/sys/unix"
)

// RunChild is the side inside: it makes the connections that the other side
// asks for, until stop is closed. The caller is in the container's user and
// network namespaces, and still sees the host's files.
func RunChild(settings map[string]string, stop <-chan struct{}) error {
	ended := make(chan struct{})
	var wg sync.WaitGroup
	defer wg.Wait()
	defer close(ended)
	wg.Go(func() {
		select {
		case <-stop:
			wake(settings[opaque.ChildReadyPipePath], ended)
		case <-ended:
		}
	})
	return builtin.NewChildDriver(io.Discard).RunChildDriver(settings, stop, "")
}

// wake stands in for the other side of a driver until that has ended: it waits
// in open(2) for somebody who may never come, see fifo(7).
func wake(pipe string, ended <-chan struct{}) {
	const step = time.Millisecond
	tick := time.NewTicker(step)
	defer tick.Stop()
	for {
		select {
		case <-ended:
			return
		case <-tick.C:
		}
		if fd, err := unix.Open(pipe, unix.O_RDWR|unix.O_NONBLOCK|unix.O_CLOEXEC|unix.O_NOFOLLOW, 0); err == nil {
			_ = unix.Close(fd)
		}
	}
}
