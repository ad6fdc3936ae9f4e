package ports

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"time"

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
	s.close()
}

func (s *Socket) close() { _ = unix.Close(s.fd) }

// stale says that the socket is the user's own and that nobody holds its other
// end, which connect(2) tells of the very file that was pinned.
func (s *Socket) stale() bool {
	if int(s.stat.Uid) != os.Geteuid() {
		return false
	}
	// Whatever type of socket nobody holds any more, it refuses this one.
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return false
	}
	defer unix.Close(fd)
	err = unix.Connect(fd, &unix.SockaddrUnix{Name: "/proc/self/fd/" + strconv.Itoa(s.fd)})
	return errors.Is(err, unix.ECONNREFUSED)
}

// clearStale removes a socket that a process left which was killed, with all
// that would have removed it. Until unlock, nobody else who comes for the same
// does so, who would remove what has its name by then.
func clearStale(path string) (unlock func(), cleared bool) {
	unlock, locked := lockDir(filepath.Dir(path))
	if !locked {
		return nil, false
	}
	socket, err := Pin(path)
	if err != nil {
		unlock()
		return nil, false
	}
	// Between bind and listen it refuses, too: that takes microseconds.
	const moment = 100 * time.Millisecond
	if !socket.stale() || !after(moment, socket.stale) {
		socket.close()
		unlock()
		return nil, false
	}
	socket.Remove()
	return unlock, true
}

func after(d time.Duration, f func() bool) bool {
	time.Sleep(d)
	return f()
}

// lockDir locks a directory, flock(2). It gives up on one that somebody has:
// in /tmp, that may be anybody.
func lockDir(path string) (unlock func(), locked bool) {
	const tries, step = 50, 20 * time.Millisecond
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, false
	}
	for range tries {
		if unix.Flock(fd, unix.LOCK_EX|unix.LOCK_NB) == nil {
			return func() { _ = unix.Close(fd) }, true
		}
		time.Sleep(step)
	}
	_ = unix.Close(fd)
	return nil, false
}

// shorten gives a path that fits into a socket's address, whatever the
// directory's, until done is called.
func shorten(path string) (short string, done func(), err error) {
	const longest = 107 // of sun_path, unix(7)
	if len(path) <= longest {
		return path, func() {}, nil
	}
	dir := filepath.Dir(path)
	fd, err := unix.Open(dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return "", nil, &os.PathError{Op: "open", Path: dir, Err: err}
	}
	return fmt.Sprintf("/proc/self/fd/%d/%s", fd, filepath.Base(path)), func() { _ = unix.Close(fd) }, nil
}
