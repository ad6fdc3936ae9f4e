package main

import (
	"fmt"

	"github.com/landlock-lsm/go-landlock/landlock"
	"golang.org/x/sys/unix"

	"bryo/rootless/confine"
)

// confineSelf gives up what a network needs not, for all threads and for good:
// new privileges, capabilities, files but for reading readDirs, and the system
// calls that are not in confine.NetworkCalls. What comes from the container is read
// afterwards.
func confineSelf(readDirs []string, withPorts bool) error {
	if err := confine.GiveUp(); err != nil {
		return err
	}
	// The newest that leaves alone what ports need: connecting to a socket that
	// has a path. Kernels before 5.13 have none of it.
	files := landlock.V6.BestEffort()
	if err := files.RestrictPaths(landlock.RODirs(readDirs...), landlock.ROFiles(portLimit).IgnoreIfMissing()); err != nil {
		return fmt.Errorf("landlock: %w", err)
	}
	if err := files.RestrictScoped(); err != nil {
		return fmt.Errorf("landlock: %w", err)
	}
	return filterCalls(withPorts)
}

// portLimit is read when a port is refused, to say why.
const portLimit = "/proc/sys/net/ipv4/ip_unprivileged_port_start"

// filterCalls loads the seccomp filter, with ports for unix sockets to the side in
// the container, too.
func filterCalls(withPorts bool) error {
	families := []uint64{unix.AF_INET, unix.AF_INET6}
	if withPorts {
		families = append(families, unix.AF_UNIX)
	}
	return confine.AllowOnly(confine.NetworkCalls(families...))
}
