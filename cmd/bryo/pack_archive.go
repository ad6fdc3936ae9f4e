package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"bryo/rootless/tty"
)

// newFile is a file that has no name until it is complete.
type newFile struct {
	*os.File

	dir        int
	name, half string
	named      bool // as half, where there are no files without a name
}

func newArchive(path string) (*newFile, error) {
	if info, err := os.Lstat(path); err == nil && !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is there, and no file that an archive can replace\nfix: for a layout write oci:%s; for standard output, -", path, path)
	}
	dir, err := unix.Open(filepath.Dir(path), unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("%s: %w\nfix: make the directory first", filepath.Dir(path), err)
	}
	n := &newFile{dir: dir, name: filepath.Base(path)}
	n.half = "." + n.name + ".bryo-pack"
	if err := n.create(); err != nil {
		return nil, errors.Join(fmt.Errorf("make %s: %w", path, err), unix.Close(dir))
	}
	return n, nil
}

func (n *newFile) create() error {
	const mode = 0o666 // as the umask has it
	fd, err := unix.Openat(n.dir, ".", unix.O_TMPFILE|unix.O_RDWR|unix.O_CLOEXEC, mode)
	if errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.EISDIR) || errors.Is(err, unix.ENOENT) {
		n.named = true
		if err = n.clear(); err == nil {
			fd, err = unix.Openat(n.dir, n.half, unix.O_RDWR|unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW|unix.O_CLOEXEC, mode)
		}
	}
	if err == nil {
		n.File = os.NewFile(uintptr(fd), n.name)
	}
	return err
}

// clear removes what one that was killed has left.
func (n *newFile) clear() error {
	if err := unix.Unlinkat(n.dir, n.half, 0); err != nil && !errors.Is(err, unix.ENOENT) {
		return err
	}
	return nil
}

func (n *newFile) descriptor() int { return int(n.Fd()) }

func (n *newFile) finish() error {
	err := n.Sync()
	if !n.named && err == nil {
		if err = n.clear(); err == nil {
			err = unix.Linkat(unix.AT_FDCWD, fmt.Sprintf("/proc/self/fd/%d", n.Fd()), n.dir, n.half, unix.AT_SYMLINK_FOLLOW)
		}
	}
	if err == nil {
		err = unix.Renameat(n.dir, n.half, n.dir, n.name)
	}
	if err != nil {
		return fmt.Errorf("name it %s: %w", n.name, err)
	}
	return nil
}

func (n *newFile) discard() error {
	if n.named {
		return n.clear()
	}
	return nil
}

func (n *newFile) close() error { return errors.Join(n.Close(), unix.Close(n.dir)) }

// piped is an archive that goes to standard output when it is complete: what comes
// first in it says how long the rest is.
type piped struct {
	*os.File

	to io.Writer
}

func openPiped(s streams) (destination, error) {
	if tty.Is(int(s.out.Fd())) {
		return nil, errors.New("an archive is not for a terminal\nfix: redirect it, as: bryo pack DIRECTORY - | podman load")
	}
	f, err := os.CreateTemp("", "bryo-pack-")
	if err != nil {
		return nil, err
	}
	return piped{f, s.out}, os.Remove(f.Name())
}

func (p piped) descriptor() int { return int(p.Fd()) }

func (p piped) finish() error {
	if _, err := p.Seek(0, io.SeekStart); err != nil {
		return err
	}
	_, err := io.Copy(p.to, p.File)
	return err
}

func (p piped) discard() error { return nil }
func (p piped) close() error   { return p.Close() }
