package netslirp

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// ProbeTun says why /dev/net/tun cannot be used; nil if it can.
func ProbeTun() error {
	fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		return fmt.Errorf("/dev/net/tun: %w", err)
	}
	return unix.Close(fd)
}
