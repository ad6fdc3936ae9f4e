package tree

import (
	"errors"
	"os"
	"path"
	"strings"

	"golang.org/x/sys/unix"
)

// Tree is a directory below which all paths are looked up. The caller keeps the
// descriptor open.
type Tree struct {
	fd      int
	resolve uint64
}

// InRoot is a container's root: links lead where they would for the
// container, and never out of it.
func InRoot(fd int) Tree { return Tree{fd, unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS} }

// Beneath is a directory of the host, below which no link is followed.
func Beneath(fd int) Tree {
	return Tree{fd, unix.RESOLVE_BENEATH | unix.RESOLVE_NO_SYMLINKS | unix.RESOLVE_NO_MAGICLINKS}
}

const openPath = unix.O_PATH | unix.O_CLOEXEC

func (t Tree) open(unsafePath string, flags uint64) (int, error) {
	how := unix.OpenHow{Flags: flags | unix.O_CLOEXEC, Resolve: t.resolve}
	name := strings.TrimPrefix(path.Clean("/"+unsafePath), "/")
	if name == "" {
		name = "."
	}
	const tries = 10000 // somebody may rename without end
	for try := 0; ; try++ {
		fd, err := unix.Openat2(t.fd, name, &how)
		if raced := errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.EINTR); !raced || try == tries {
			return fd, err
		}
	}
}

// IsDir says whether a path leads to a directory.
func (t Tree) IsDir(unsafePath string) bool {
	fd, err := t.open(unsafePath, openPath|unix.O_DIRECTORY)
	return err == nil && unix.Close(fd) == nil
}

// OpenFile opens a regular file for reading.
func (t Tree) OpenFile(unsafePath string) (*os.File, error) {
	fd, err := t.open(unsafePath, unix.O_RDONLY|unix.O_NONBLOCK|unix.O_NOCTTY)
	if err != nil {
		return nil, pathError("open", unsafePath, err)
	}
	var st unix.Stat_t
	if err = unix.Fstat(fd, &st); err == nil && st.Mode&unix.S_IFMT != unix.S_IFREG {
		err = errors.New("not a regular file")
	}
	if err != nil {
		return nil, errors.Join(pathError("open", unsafePath, err), unix.Close(fd))
	}
	return os.NewFile(uintptr(fd), unsafePath), nil
}

// parent opens the directory that a path's last name is in.
func (t Tree) parent(unsafePath string) (fd int, name string, err error) {
	clean := path.Clean("/" + unsafePath)
	fd, err = t.open(path.Dir(clean), openPath|unix.O_DIRECTORY)
	return fd, path.Base(clean), err
}

// errLeased is what a process inside can do to any file of its own: fcntl(2).
var errLeased = errors.New("a process holds a lease on it, and lets nobody open it")

// openAt opens a name of a directory, and no link.
func openAt(dir int, name string, flags int) (int, error) {
	const tries = 100 // by signals
	for try := 0; ; try++ {
		fd, err := unix.Openat(dir, name, flags|unix.O_NOFOLLOW|unix.O_CLOEXEC|unix.O_NOCTTY|unix.O_NONBLOCK, 0)
		switch {
		case errors.Is(err, unix.EAGAIN):
			return -1, errLeased
		case !errors.Is(err, unix.EINTR) || try == tries:
			return fd, err
		}
	}
}

// readlink reads a link that is open, as O_PATH.
func readlink(fd int) (string, error) {
	target := make([]byte, unix.PathMax)
	n, err := unix.Readlinkat(fd, "", target)
	if err != nil {
		return "", err
	}
	return string(target[:n]), nil
}

func pathError(op, unsafePath string, err error) error {
	return &os.PathError{Op: op, Path: unsafePath, Err: err}
}
