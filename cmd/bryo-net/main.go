// Bryo-net is the network of one container: bryo starts it, and nobody else
// has reason to. It runs outside the container, in its user's own namespaces,
// and confines itself before it reads the first packet. With the word port it is a
// client of another one.

// Sizing GOMAXPROCS by the cgroup would read all of /proc/self/mountinfo at
// every start.
//
//go:debug containermaxprocs=0
//go:debug updatemaxprocs=0
package main

import (
	"fmt"
	"io"
	"os"
	"runtime"

	netstack "gvisor.dev/gvisor/pkg/log"
)

func main() {
	// One thread does the work of a packet from end to end, as every other
	// network of this kind does it. With more, netstack's own goroutines wait for
	// each other's locks in circles, and threads wake each other at every step.
	runtime.GOMAXPROCS(1)
	os.Exit(run(os.Args[1:]))
}

// run is bryo-net's life; what it says goes to bryo's standard error.
func run(args []string) int {
	// netstack would tell of odd packets, which the container can make many of.
	netstack.SetTarget(&netstack.Writer{Next: io.Discard}) //nolint:forbidigo // it is not the standard log, and to silence it
	work := serve
	switch {
	case len(args) == 1 && args[0] == "inside":
		work = inside
	case len(args) > 0 && args[0] == "port":
		if err := askPorts(args[1:], os.Stdout); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		return 0
	case len(args) > 0:
		fmt.Fprintln(os.Stderr, "bryo-net: bryo run starts this program; there is nothing to do by hand")
		return 1
	}
	if err := work(); err != nil {
		fmt.Fprintf(os.Stderr, "bryo: network: %v\n", err)
		return 1
	}
	return 0
}
