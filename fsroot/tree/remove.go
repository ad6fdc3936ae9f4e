package tree

import (
	"errors"
	"io"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// Clear removes all that is in the tree, however deep it lies, and leaves the
// tree's own directory empty.
func (t Tree) Clear() error {
	top, err := t.open(".", unix.O_RDONLY|unix.O_DIRECTORY)
	if err != nil {
		return pathError("open", ".", err)
	}
	in := os.NewFile(uintptr(top), ".")
	r := &remover{top: top}
	err = r.empty(in, 0)
	return errors.Join(err, r.finish(), in.Close())
}

// remover removes directories. What lies deeper than it has descriptors for is
// moved up to the top first.
type remover struct {
	top   int
	moved []string // names at the top
	count int
}

// remove removes what has a name in a directory, whatever it is.
func (r *remover) remove(dir int, name string, depth int) error {
	err := unix.Unlinkat(dir, name, 0)
	if !errors.Is(err, unix.EISDIR) {
		return err
	}
	if depth > deepest {
		return r.moveUp(dir, name)
	}
	fd, err := openAt(dir, name, unix.O_RDONLY|unix.O_DIRECTORY)
	if errors.Is(err, unix.EACCES) {
		fd, err = openForced(dir, name)
	}
	if err != nil {
		return err
	}
	in := os.NewFile(uintptr(fd), name)
	err = r.empty(in, depth+1)
	if err = errors.Join(err, in.Close()); err != nil {
		return err
	}
	return unix.Unlinkat(dir, name, unix.AT_REMOVEDIR)
}

func (r *remover) empty(in *os.File, depth int) error {
	for {
		const some = 256
		names, err := in.Readdirnames(some)
		for _, name := range names {
			if err := r.remove(int(in.Fd()), name, depth); err != nil && !errors.Is(err, unix.ENOENT) {
				return err
			}
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

func (r *remover) moveUp(dir int, name string) error {
	for {
		r.count++
		to := ".bryo-removed-" + strconv.Itoa(r.count)
		err := unix.Renameat2(dir, name, r.top, to, unix.RENAME_NOREPLACE)
		if err == nil {
			r.moved = append(r.moved, to)
		}
		if !errors.Is(err, unix.EEXIST) {
			return err
		}
	}
}

// finish removes what was moved up, which may be deep again.
func (r *remover) finish() error {
	for len(r.moved) > 0 {
		name := r.moved[len(r.moved)-1]
		r.moved = r.moved[:len(r.moved)-1]
		if err := r.remove(r.top, name, 0); err != nil && !errors.Is(err, unix.ENOENT) {
			return err
		}
	}
	return nil
}

// openForced opens a directory of the caller's that gives him no rights, as overlay
// makes some.
func openForced(dir int, name string) (fd int, err error) {
	at, err := openAt(dir, name, unix.O_PATH|unix.O_DIRECTORY)
	if err != nil {
		return -1, err
	}
	defer func() { err = errors.Join(err, unix.Close(at)) }()
	const private = 0o700
	if err := unix.Chmod("/proc/self/fd/"+strconv.Itoa(at), private); err != nil { // O_PATH has no other way
		return -1, unix.EACCES
	}
	return openAt(at, ".", unix.O_RDONLY|unix.O_DIRECTORY)
}
