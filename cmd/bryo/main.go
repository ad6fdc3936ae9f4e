// Bryo runs programs in rootless containers.

// Sizing GOMAXPROCS by the cgroup would read all of /proc/self/mountinfo at
// every start.
//
//go:debug containermaxprocs=0
//go:debug updatemaxprocs=0
package main

import (
	"os"
	"runtime"
)

// The kernel ends a container when the thread that made it ends, and only the
// main thread lives as long as the process. The runtime keeps main on it for
// a lock that is taken here.
func init() { //nolint:gochecknoinits // nowhere else is main's thread the main thread for sure
	runtime.LockOSThread()
}

func main() {
	os.Exit(run(os.Args[1:], streams{in: os.Stdin, out: os.Stdout, err: os.Stderr}))
}
