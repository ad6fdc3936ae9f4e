package ports

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// Socket is one socket in the file system, told from another that gets its name
// later.
type Socket struct {
	path string
	fd   int // O_PATH: while it is open, no other file gets the inode's number
	stat unix.Stat_t
}

// Pin remembers the socket that has the name now.
func Pin(path string) (*Socket, error) {
	fd, err := unix.Open(path, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: path, Err: err}
	}
	s := &Socket{path: path, fd: fd}
	err = unix.Fstat(fd, &s.stat)
	if err == nil && s.stat.Mode&unix.S_IFMT != unix.S_IFSOCK {
		err = unix.ENOTSOCK
	}
	if err != nil {
		_ = unix.Close(fd)
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return s, nil
}

// Remove removes the socket, and nothing else that has its name by now.
func (s *Socket) Remove() {
	var now unix.Stat_t
	if unix.Lstat(s.path, &now) == nil && now.Dev == s.stat.Dev && now.Ino == s.stat.Ino {
		_ = unix.Unlink(s.path)
	}
	_ = unix.Close(s.fd)
}

// The names in Options.Dir that both sides meet by; rootlesskit chose them.
const (
	socketName = ".bp.sock"
	readyName  = ".bp-ready.pipe"
)

// RemoveDir removes Options.Dir with what both sides made in it, and leaves it
// when there is anything else.
func RemoveDir(dir string) {
	_ = unix.Unlink(dir + "/" + socketName)
	_ = unix.Unlink(dir + "/" + readyName)
	_ = unix.Rmdir(dir)
}
