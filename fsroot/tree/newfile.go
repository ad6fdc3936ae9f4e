package tree

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// NewFile is a file that gets its name when it is complete. Where the file system
// has no files without a name it has another one until then, which is one for all
// files of a directory: somebody makes them one by one.
type NewFile struct {
	*os.File

	dir   int
	half  string
	named bool // as half
}

// Create begins a file in a directory. What one that was killed has left as half
// is removed.
func Create(dir int, half string, mode uint32) (*NewFile, error) {
	n := &NewFile{dir: dir, half: half}
	fd, err := unix.Openat(dir, ".", unix.O_TMPFILE|unix.O_RDWR|unix.O_CLOEXEC, mode)
	if errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.EISDIR) || errors.Is(err, unix.ENOENT) {
		n.named = true
		if err = n.clear(); err == nil {
			fd, err = unix.Openat(dir, half, unix.O_RDWR|unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW|unix.O_CLOEXEC, mode)
		}
	}
	if err != nil {
		return nil, err
	}
	n.File = os.NewFile(uintptr(fd), half)
	return n, nil
}

func (n *NewFile) clear() error {
	if err := unix.Unlinkat(n.dir, n.half, 0); err != nil && !errors.Is(err, unix.ENOENT) {
		return err
	}
	return nil
}

// Commit gives the file its name, once it is on the disk; what has that is replaced.
func (n *NewFile) Commit(name string) error {
	err := n.Sync()
	if err == nil && !n.named {
		if err = n.clear(); err == nil {
			err = unix.Linkat(unix.AT_FDCWD, fmt.Sprintf("/proc/self/fd/%d", n.Fd()), n.dir, n.half, unix.AT_SYMLINK_FOLLOW)
		}
	}
	if err == nil {
		err = unix.Renameat(n.dir, n.half, n.dir, name)
	}
	if err != nil {
		return fmt.Errorf("name it %s: %w", name, err)
	}
	return nil
}

// Abort leaves no name behind. The file is still to be closed.
func (n *NewFile) Abort() error {
	if n.named {
		return n.clear()
	}
	return nil
}
