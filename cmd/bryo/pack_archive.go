package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"bryo/fsroot/tree"
	"bryo/rootless/tty"
)

// newArchive is an archive in a file.
type newArchive struct {
	*tree.NewFile

	dir  int
	name string
}

func openArchive(path string) (destination, error) {
	if info, err := os.Lstat(path); err == nil && !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is there, and no file that an archive can replace\nfix: for a layout write oci:%s; for standard output, -", path, path)
	}
	dir, err := unix.Open(filepath.Dir(path), unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("%s: %w\nfix: make the directory first", filepath.Dir(path), err)
	}
	const mode = 0o666 // as the umask has it
	name := filepath.Base(path)
	file, err := tree.Create(dir, "."+name+".bryo-pack", mode)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("make %s: %w", path, err), unix.Close(dir))
	}
	return &newArchive{file, dir, name}, nil
}

func (n *newArchive) descriptor() int { return int(n.Fd()) }
func (n *newArchive) finish() error   { return n.Commit(n.name) }
func (n *newArchive) discard() error  { return n.Abort() }
func (n *newArchive) close() error    { return errors.Join(n.Close(), unix.Close(n.dir)) }

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
