package netslirp

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// ProbeTun says why /dev/net/tun cannot be used; nil if it can.
func ProbeTun() error {
	fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		return fmt.Errorf("/dev/net/tun: %w", err)
	}
	features, err := unix.IoctlGetInt(fd, unix.TUNGETFEATURES)
	if err == nil && features&unix.IFF_VNET_HDR == 0 {
		err = unix.EOPNOTSUPP
	}
	if err != nil {
		return errors.Join(fmt.Errorf("/dev/net/tun: %w", err), unix.Close(fd))
	}
	return unix.Close(fd)
}
