package confine

import "golang.org/x/sys/unix"

// fstatat is called differently on every machine.
const fstatat = unix.SYS_NEWFSTATAT

// machineCalls are those that only some machines have.
func machineCalls() []int { return []int{unix.SYS_EPOLL_WAIT, unix.SYS_POLL, unix.SYS_ARCH_PRCTL} }
