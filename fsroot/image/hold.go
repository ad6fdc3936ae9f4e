package image

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// Adding keeps layers from being removed until it is closed: who adds an image
// has it, from when it is known which layers need not be read.
func (s *Shelf) Adding() (*os.File, error) { return s.flock(lockFile, unix.LOCK_SH) }

// Removing is there as long as nobody adds an image. It is nil if somebody does.
func (s *Shelf) Removing() (*os.File, error) {
	f, err := s.flock(lockFile, unix.LOCK_EX|unix.LOCK_NB)
	if errors.Is(err, unix.EWOULDBLOCK) {
		return nil, nil //nolint:nilnil // there is neither
	}
	return f, err
}

// Hold keeps an image on the shelf until the file is closed by all who have it,
// or they end: who runs in the image passes it on. A record is never replaced,
// so that the lock is where others look for it.
func (s *Shelf) Hold(image *Image) (*os.File, error) {
	f, err := s.OpenFile(RecordName(image.ID), unix.O_RDONLY)
	if errors.Is(err, unix.ENOENT) {
		return nil, errNotFound(image.ID)
	}
	if err != nil {
		return nil, err
	}
	var st unix.Stat_t
	if err = flock(f, unix.LOCK_SH); err == nil {
		err = unix.Fstat(int(f.Fd()), &st)
	}
	if err == nil && st.Nlink == 0 { // removed between the two
		err = errNotFound(image.ID)
	}
	if err != nil {
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
	return errors.Join(s.writeAlone(keepName(container), Keep{image.ID, state}), held.Close())
}

// Release ends what Keep began; a container that keeps none is no error.
func (s *Shelf) Release(container string) error {
	for _, name := range []string{keepName(container) + HalfFile, keepName(container)} {
		if err := s.Unlink(name); err != nil {
			return err
		}
	}
	return nil
}

func keepName(container string) string { return holdsDir + "/" + container + RecordEnd }

// Users are the containers that keep an image. The second result is open if
// nothing holds the image now, and nothing can until it is closed.
func (s *Shelf) Users(id string) (containers []string, free *os.File, err error) {
	kept, err := s.keeps()
	if err != nil {
		return nil, nil, err
	}
	for container, keep := range kept {
		if keep.Image == id && keep.lasts() {
			containers = append(containers, container)
		}
	}
	slices.Sort(containers)
	f, err := s.OpenFile(RecordName(id), unix.O_RDONLY)
	if err != nil {
		return containers, nil, err
	}
	err = flock(f, unix.LOCK_EX|unix.LOCK_NB)
	if err == nil {
		return containers, f, nil
	}
	if errors.Is(err, unix.EWOULDBLOCK) {
		err = nil
	}
	return containers, nil, errors.Join(err, f.Close())
}

// keeps are what keeps images, by containers. What nobody can read keeps nothing,
// but stays: its container may be another version's.
func (s *Shelf) keeps() (map[string]Keep, error) {
	names, err := s.Names(holdsDir)
	kept := map[string]Keep{}
	for _, name := range names {
		container, is := strings.CutSuffix(name, RecordEnd)
		var keep Keep
		if is && s.ReadJSON(keepName(container), &keep) == nil {
			kept[container] = keep
		}
	}
	return kept, err
}

// lasts says whether the container is still there.
func (k Keep) lasts() bool {
	var st unix.Stat_t
	return !errors.Is(unix.Fstatat(unix.AT_FDCWD, k.State, &st, unix.AT_SYMLINK_NOFOLLOW), unix.ENOENT)
}

// ReleaseGone ends what keeps images for containers that are gone, as those of an
// earlier run of the machine are.
func (s *Shelf) ReleaseGone() error {
	kept, err := s.keeps()
	for container, keep := range kept {
		if !keep.lasts() {
			err = errors.Join(err, s.Release(container))
		}
	}
	return err
}
