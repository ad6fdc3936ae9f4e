// Bench runs bryo and its peers in turn on this machine and prints their
// figures as ratios, below 1 where bryo needs less, above 1 where it moves more.
// It asserts nothing.
//
//	bench [-only start,mounts,sleepers,memory,filter,detached,net] [-rounds N] [-sleepers N,...] [-tool PATH]
//	      [-net-rounds N] [-net-time D] [-net-only TESTS] [-net-paths WORDS]
//
// Whoever starts it, everything is measured without privileges, in up to three
// kinds of processes, which are this executable again and again:
//
//	bench              reads the flags, prints the tables
//	 `- world          root only: in mount and PID namespaces of its own, so that
//	 |   |             what it mounts, and all that runs below, ends with it
//	 |   `- measure    the user $BRYO_TEST_USER: starts the tools
//	 `- measure        without root, in the machine as it is
//	     `- network    root of new user and network namespaces, the fake host
//	         `- agent  servers, and clients inside the containers of every tool
//
// A world has a pure cgroup2 on /sys/fs/cgroup, where the machine's layout is
// another, because some peers refuse that. The table with 1000 more mounts comes
// from a second world that has them.
//
// The network's figures come from agents on both sides of each path, which are
// told over their standard input what to send where. So the network needs no
// tool but what is compared, and nothing leaves the fake host, whose one route
// leads nowhere.
package main
