package ports

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// The names in Options.Dir that both sides meet by; rootlesskit chose them.
const (
	socketName = ".bp.sock"
	readyName  = ".bp-ready.pipe"
)

// dirPrefix is before the digits in the name of every Options.Dir.
const dirPrefix = "bryo-net-"

// MakeDir makes an Options.Dir in another directory, and removes those that
// nobody uses any more. The new one is locked as long as this process lives.
func MakeDir(parent string) (string, error) {
	sweep(parent)
	const tries = 16
	for range tries {
		path, err := os.MkdirTemp(parent, dirPrefix)
		if err != nil {
			return "", err
		}
		fd, err := openDir(path)
		if errors.Is(err, fs.ErrNotExist) {
			continue // another's sweep was faster than the lock
		}
		if err != nil {
			return "", err
		}
		// Where there are no locks, nobody gets one to remove it either.
		for errors.Is(unix.Flock(fd, unix.LOCK_EX), unix.EINTR) {
		}
		if isDir(path, fd) {
			return path, nil
		}
		_ = unix.Close(fd)
	}
	return "", fmt.Errorf("make a directory in %s: each one was removed at once", parent)
}

// RemoveDir removes Options.Dir with what both sides made in it, and leaves it
// when there is anything else.
func RemoveDir(dir string) {
	_ = unix.Unlink(dir + "/" + socketName)
	_ = unix.Unlink(dir + "/" + readyName)
	_ = unix.Rmdir(dir)
}

// sweep removes the directories of processes that were killed, with those that
// would have removed them.
func sweep(parent string) {
	names, _ := filepath.Glob(filepath.Join(parent, dirPrefix+"*"))
	for _, path := range names {
		digits := strings.TrimPrefix(filepath.Base(path), dirPrefix)
		if digits != "" && strings.Trim(digits, "0123456789") == "" {
			removeAbandoned(path)
		}
	}
}

// removeAbandoned removes a directory that is the user's alone, that nobody has
// locked, and at whose socket nobody listens.
func removeAbandoned(path string) {
	fd, err := openDir(path)
	if err != nil {
		return
	}
	defer unix.Close(fd)
	var st unix.Stat_t
	const others = 0o077
	if unix.Fstat(fd, &st) != nil || int(st.Uid) != os.Geteuid() || st.Mode&others != 0 {
		return
	}
	if unix.Flock(fd, unix.LOCK_EX|unix.LOCK_NB) != nil || !isDir(path, fd) {
		return
	}
	// The other side may still be there, which removes it itself.
	if socket, err := Pin(path + "/" + socketName); err == nil {
		defer socket.close()
		if !socket.stale() {
			return
		}
	}
	// By the descriptor, whatever has the name by now; a directory with more in
	// it stays.
	_ = unix.Unlinkat(fd, socketName, 0)
	_ = unix.Unlinkat(fd, readyName, 0)
	_ = unix.Rmdir(path)
}

func openDir(path string) (int, error) {
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1, &os.PathError{Op: "open", Path: path, Err: err}
	}
	return fd, nil
}

// isDir says whether the open directory still has this name.
func isDir(path string, fd int) bool {
	var open, named unix.Stat_t
	return unix.Fstat(fd, &open) == nil && unix.Lstat(path, &named) == nil && open.Dev == named.Dev && open.Ino == named.Ino
}
