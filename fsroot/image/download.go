package image

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// Download opens the directory of what is being downloaded, and of what is there
// of it from an earlier time. It is locked: who else wants it waits, until it is
// closed. The file's name is its path.
func (s *Shelf) Download(what string) (*os.File, error) {
	sum := sha256.Sum256([]byte(what))
	name := DownloadsDir + "/" + hex.EncodeToString(sum[:])
	const tries = 1000 // each of which somebody else has won
	for range tries {
		if err := errors.Join(s.Mkdir(DownloadsDir), s.Mkdir(name)); err != nil {
			return nil, err
		}
		f, err := s.openDownload(name)
		if f != nil || err != nil {
			return f, err
		}
	}
	return nil, &os.PathError{Op: "lock", Path: name, Err: unix.EBUSY}
}

// openDownload is without a result if the directory is gone once it is locked:
// who had it is done with it.
func (s *Shelf) openDownload(name string) (*os.File, error) {
	fd, err := unix.Openat(s.Fd(), name, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if errors.Is(err, unix.ENOENT) {
		return nil, nil
	}
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: name, Err: err}
	}
	f := os.NewFile(uintptr(fd), filepath.Join(s.path, name))
	named, err := Lock(f, s.Fd(), name)
	if !named || err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// Digests are those of all layers that are on the shelf, for images under a map
// of ids, as they come.
func (s *Shelf) Digests(idMap string) (list []string, err error) {
	names, err := s.Names(DigestsDir)
	for _, name := range names {
		if digest := strings.Replace(name, "-", ":", 1); s.HasLayer(digest, idMap) {
			list = append(list, digest)
		}
	}
	return list, err
}
