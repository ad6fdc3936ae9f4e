package image

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// names are all names with the ids of their images.
func (s *Shelf) names() (map[string]string, error) {
	names := map[string]string{}
	if err := s.ReadJSON(namesFile, &names); err != nil && !errors.Is(err, unix.ENOENT) {
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
		if _, err := s.Record(image.ID); err != nil {
			return err // it is gone meanwhile
		}
		names[name.String()] = image.ID
		return nil
	})
}

// Add puts an image on the shelf, whose layers are there, under a name. One that
// is there stays as it is.
func (s *Shelf) Add(image *Image, name Reference) error {
	return s.rename(func(names map[string]string) error {
		names[name.String()] = image.ID
		return s.add(image)
	})
}

// AddAs is Add under the names that its user has called the image's file, and those
// that the image says it has. By its own word it takes none from another image, nor
// gets one that is found before another's, since who made it need not be who owns
// the name: those that it did not get are returned.
func (s *Shelf) AddAs(image *Image, called, said []Reference) (others []string, err error) {
	return others, s.rename(func(names map[string]string) error {
		for _, name := range called {
			names[name.String()] = image.ID
		}
		for _, name := range said {
			if isOthers(names, name, image.ID) {
				others = append(others, name.String())
				continue
			}
			names[name.String()] = image.ID
		}
		return s.add(image)
	})
}

// isOthers says whether a name leads to another image than this one, or, without
// its registry, which is this machine, would no longer lead to that.
func isOthers(names map[string]string, name Reference, id string) bool {
	short, isLocal := strings.CutPrefix(name.String(), local+"/")
	meant := candidates(short)
	if !isLocal {
		meant = []Reference{name}
	}
	return slices.ContainsFunc(meant, func(r Reference) bool {
		of := names[r.String()]
		return of != "" && of != id
	})
}

func (s *Shelf) add(image *Image) error {
	var st unix.Stat_t
	name := RecordName(image.ID)
	if err := unix.Fstatat(s.Fd(), name, &st, unix.AT_SYMLINK_NOFOLLOW); !errors.Is(err, unix.ENOENT) {
		return err
	}
	return s.WriteJSON(name, image)
}

// Untag takes a name from its image.
func (s *Shelf) Untag(name string) error {
	return s.rename(func(names map[string]string) error {
		delete(names, name)
		return nil
	})
}

// Drop takes an image with all its names off the shelf, and returns these. Its
// layers stay.
func (s *Shelf) Drop(id string) (own []string, err error) {
	return own, s.rename(func(names map[string]string) error {
		own = namesOf(names, id)
		for _, name := range own {
			delete(names, name)
		}
		if err := unix.Unlinkat(s.Fd(), RecordName(id), 0); err != nil {
			return &os.PathError{Op: "remove", Path: RecordName(id), Err: err}
		}
		return nil
	})
}

// NameOf is the name of an image by which it was looked up, or "" if that was its
// id.
func (s *Shelf) NameOf(image *Image, text string) string {
	for _, candidate := range candidates(text) {
		if name := candidate.String(); slices.Contains(image.Names, name) {
			return name
		}
	}
	return ""
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
	return s.writeAlone(namesFile, names)
}

// WriteJSON replaces a file of the shelf as a whole.
func (s *Shelf) WriteJSON(name string, value any) error {
	data, err := json.Marshal(value)
	if err != nil {
		return err
	}
	return s.WriteFile(name, data)
}

// WriteFile replaces a file of the shelf as a whole, for good. Several processes
// may do so at the same time.
func (s *Shelf) WriteFile(name string, data []byte) error {
	return s.write(name, name+HalfFile+strconv.Itoa(os.Getpid()), data)
}

// writeAlone is WriteJSON where no other process does so: what one leaves that was
// killed, the next one takes.
func (s *Shelf) writeAlone(name string, value any) error {
	data, err := json.Marshal(value)
	if err != nil {
		return err
	}
	return s.write(name, name+HalfFile, data)
}

func (s *Shelf) write(name, beside string, data []byte) error {
	if err := s.Unlink(beside); err != nil {
		return err
	}
	f, err := s.OpenFile(beside, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL) // what is left may be another id's
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

// HalfFile is in the names of files that are not complete.
const HalfFile = ".half-"

// flock takes a lock of the shelf, which is given up when the file is closed.
func (s *Shelf) flock(name string, how int) (*os.File, error) {
	f, err := s.OpenFile(name, unix.O_RDONLY|unix.O_CREAT)
	if err != nil {
		return nil, err
	}
	if err := flock(f, how); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// Lock waits for the lock of a file of a directory, and says whether it has its name
// still: who had it before may have removed it.
func Lock(f *os.File, dir int, name string) (named bool, err error) {
	if err := flock(f, unix.LOCK_EX); err != nil {
		return false, err
	}
	var mine, now unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &mine); err != nil {
		return false, os.NewSyscallError("fstat", err)
	}
	err = unix.Fstatat(dir, name, &now, unix.AT_SYMLINK_NOFOLLOW)
	if errors.Is(err, unix.ENOENT) {
		return false, nil
	}
	return err == nil && mine.Ino == now.Ino && mine.Dev == now.Dev, os.NewSyscallError("stat", err)
}

func flock(f *os.File, how int) error {
	for {
		if err := unix.Flock(int(f.Fd()), how); !errors.Is(err, unix.EINTR) {
			return os.NewSyscallError("flock", err)
		}
	}
}
