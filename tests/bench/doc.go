// Bench runs bryo and its peers in turn on this machine and prints their
// figures as ratios, below 1 where bryo needs less. It asserts nothing.
//
//	bench [-only start,mounts,sleepers,memory] [-rounds N] [-sleepers N,...] [-tool PATH]
//
// Whoever starts it, everything is measured without privileges, in up to three
// kinds of processes, which are this executable again and again:
//
//	bench              reads the flags, prints the tables
//	 `- world          root only: in mount and PID namespaces of its own, so that
//	 |   |             what it mounts, and all that runs below, ends with it
//	 |   `- measure    the user $BRYO_TEST_USER: starts the tools
//	 `- measure        without root, in the machine as it is
//
// A world has a pure cgroup2 on /sys/fs/cgroup, where the machine's layout is
// another, because some peers refuse that. The table with 1000 more mounts comes
// from a second world that has them.
package main
