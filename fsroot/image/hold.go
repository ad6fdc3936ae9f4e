package image

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// Adding keeps layers from being removed until it is closed, so that what was
// looked up stays: who adds an image has it, and who takes hold of one.
func (s *Shelf) Adding() (*os.File, error) { return s.flock(lockFile, unix.LOCK_SH) }

// Hold keeps an image on the shelf until the file is closed by all who have it,
// or they end: who runs in the image passes it on. A record is never replaced,
// so that the lock is where others look for it.
func (s *Shelf) Hold(image *Image) (*os.File, error) {
	adding, err := s.Adding()
	if err != nil {
		return nil, err
	}
	defer adding.Close()
	f, err := s.open(recordName(image.ID), unix.O_RDONLY)
	if errors.Is(err, unix.ENOENT) {
		return nil, errNotFound(image.ID)
	}
	if err != nil {
		return nil, err
	}
	if err := flock(f, unix.LOCK_SH); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// Keep is what keeps an image on the shelf for a container that need not run.
type Keep struct {
	Image string // its id
	State string // the absolute path of the container's state: without it, this means nothing
}

// Keep keeps an image for a container until Release, or until the container's
// state is gone.
func (s *Shelf) Keep(image *Image, container, state string) error {
	if strings.ContainsRune(container, '/') || !filepath.IsAbs(state) {
		return fmt.Errorf("keep an image for container %q in %q: it is none", container, state)
	}
	held, err := s.Hold(image)
	if err != nil {
		return err
	}
	return errors.Join(s.WriteJSON(keepName(container), Keep{image.ID, state}), held.Close())
}

// Release ends what Keep began; a container that keeps none is no error.
func (s *Shelf) Release(container string) error {
	err := unix.Unlinkat(s.Fd(), keepName(container), 0)
	if errors.Is(err, unix.ENOENT) {
		return nil
	}
	return os.NewSyscallError("unlink", err)
}

func keepName(container string) string { return holdsDir + "/" + container + recordEnd }
