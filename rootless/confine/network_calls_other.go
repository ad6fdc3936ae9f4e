//go:build !amd64

package confine

import "golang.org/x/sys/unix"

// fstatat is called differently on every machine.
const fstatat = unix.SYS_FSTATAT

// machineCalls are those that only some machines have.
func machineCalls() []int { return nil }
