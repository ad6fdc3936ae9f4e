package image

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"

	"golang.org/x/sys/unix"
)

// names are all names with the ids of their images.
func (s *Shelf) names() (map[string]string, error) {
	names := map[string]string{}
	if err := s.readJSON(namesFile, &names); err != nil && !errors.Is(err, unix.ENOENT) {
		return nil, err
	}
	return names, nil
}

func namesOf(names map[string]string, id string) (list []string) {
	for name, of := range names {
		if of == id {
			list = append(list, name)
		}
	}
	slices.Sort(list)
	return list
}

// Tag gives a name to an image. One that has it loses it.
func (s *Shelf) Tag(image *Image, name Reference) error {
	return s.rename(func(names map[string]string) error {
		if _, err := s.record(image.ID); err != nil {
			return err // it is gone meanwhile
		}
		names[name.String()] = image.ID
		return nil
	})
}

// rename changes names, one process at a time.
func (s *Shelf) rename(change func(names map[string]string) error) error {
	lock, err := s.flock(namesLock, unix.LOCK_EX)
	if err != nil {
		return err
	}
	defer lock.Close()
	names, err := s.names()
	if err == nil {
		err = change(names)
	}
	if err != nil {
		return err
	}
	return s.WriteJSON(namesFile, names)
}

// WriteJSON replaces a file of the shelf as a whole.
func (s *Shelf) WriteJSON(name string, value any) error {
	data, err := json.Marshal(value)
	if err != nil {
		return err
	}
	return s.WriteFile(name, data)
}

// WriteFile replaces a file of the shelf as a whole, for good.
func (s *Shelf) WriteFile(name string, data []byte) (err error) {
	beside := name + half + strconv.Itoa(os.Getpid())
	f, err := s.open(beside, unix.O_WRONLY|unix.O_CREAT|unix.O_TRUNC)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err == nil {
		err = f.Sync()
	}
	err = errors.Join(err, f.Close())
	if err == nil {
		err = unix.Renameat(s.Fd(), beside, s.Fd(), name)
	}
	if err != nil {
		return errors.Join(fmt.Errorf("write %s of the shelf: %w", name, err), unix.Unlinkat(s.Fd(), beside, 0))
	}
	return nil
}

// half is in the names of what is not complete.
const half = ".half-"

// flock takes a lock of the shelf, which is given up when the file is closed.
func (s *Shelf) flock(name string, how int) (*os.File, error) {
	f, err := s.open(name, unix.O_RDONLY|unix.O_CREAT)
	if err != nil {
		return nil, err
	}
	if err := flock(f, how); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

func flock(f *os.File, how int) error {
	for {
		if err := unix.Flock(int(f.Fd()), how); !errors.Is(err, unix.EINTR) {
			return os.NewSyscallError("flock", err)
		}
	}
}
