package main

import (
	"os"

	"golang.org/x/sys/unix"

	"bryo/rootless/confine"
)

// callRules are the system calls of a Go program that moves data between
// sockets, with ports also unix sockets.
func callRules(withPorts bool) []confine.CallRule {
	const changes = unix.O_ACCMODE | unix.O_CREAT | unix.O_TRUNC
	rules := append(confine.CompanionRules(os.Getpid()),
		confine.AllowIf(unix.SYS_OPENAT, confine.Masked(2, changes, unix.O_RDONLY)),
		confine.AllowIf(unix.SYS_IOCTL, confine.Int(1, unix.SIOCINQ)), // how much there is to read
		confine.AllowIf(unix.SYS_SOCKET, confine.Int(0, unix.AF_INET)),
		confine.AllowIf(unix.SYS_SOCKET, confine.Int(0, unix.AF_INET6)),
		confine.AllowIf(unix.SYS_SOCKET, confine.Int(0, unix.AF_NETLINK), confine.Int(2, unix.NETLINK_ROUTE)),
	)
	if withPorts {
		rules = append(rules, confine.AllowIf(unix.SYS_SOCKET, confine.Int(0, unix.AF_UNIX))) // to the side in the container
	}
	return append(rules, confine.Rules(confine.ActAllow,
		unix.SYS_SPLICE, unix.SYS_SENDFILE,
		unix.SYS_CONNECT, unix.SYS_BIND, unix.SYS_LISTEN, unix.SYS_ACCEPT4, unix.SYS_ACCEPT, unix.SYS_GETSOCKNAME, unix.SYS_GETPEERNAME,
		unix.SYS_GETSOCKOPT, unix.SYS_SETSOCKOPT, unix.SYS_SENDTO, unix.SYS_RECVFROM, unix.SYS_SENDMSG, unix.SYS_RECVMSG, unix.SYS_SENDMMSG,
		unix.SYS_RECVMMSG, unix.SYS_SHUTDOWN)...)
}
