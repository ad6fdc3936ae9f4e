//go:build !amd64

package squash

import "golang.org/x/sys/unix"

const sysFstatat = unix.SYS_FSTATAT

// oldHandlers are the calls that these machines do not have.
func oldHandlers(int32) map[int32]func(*call) answer { return nil }
