package tree

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// ErrLink means that a link is on the way that nobody asked to follow.
var ErrLink = errors.New("it is a link")

// OpenNamed opens a directory of the host by the path that its user wrote. What
// was copied out of a container may be on the way, so that links are not followed
// but those that root made, and one at the end that a slash comes behind.
func OpenNamed(path string) (fd int, err error) {
	start := "."
	if strings.HasPrefix(path, "/") {
		start = "/"
	}
	if fd, err = unix.Open(start, openPath|unix.O_DIRECTORY, 0); err != nil {
		return -1, pathError("open", start, err)
	}
	w := walk{at: fd, ahead: names(path), asked: strings.HasSuffix(path, "/")}
	for len(w.ahead) > 0 {
		if err := w.step(); err != nil {
			return -1, errors.Join(pathError("open", path, err), unix.Close(w.at))
		}
	}
	return w.at, nil
}

func names(path string) []string {
	return slices.DeleteFunc(strings.Split(path, "/"), func(name string) bool { return name == "" })
}

// walk is a look-up of a path, name by name, each opened by itself.
type walk struct {
	at    int
	ahead []string
	asked bool // a link at the end is followed
	links int
}

func (w *walk) step() error {
	name := w.ahead[0]
	fd, err := openAt(w.at, name, unix.O_PATH)
	if err != nil {
		return err
	}
	var st unix.Stat_t
	err = unix.Fstat(fd, &st)
	switch kind := st.Mode & unix.S_IFMT; {
	case err == nil && kind == unix.S_IFLNK:
		return errors.Join(w.follow(fd, name, &st), unix.Close(fd))
	case err == nil && kind != unix.S_IFDIR:
		err = unix.ENOTDIR
	}
	if err != nil {
		return errors.Join(err, unix.Close(fd))
	}
	err = unix.Close(w.at)
	w.at, w.ahead = fd, w.ahead[1:]
	return err
}

// follow puts where a link leads in its place.
func (w *walk) follow(fd int, name string, st *unix.Stat_t) error {
	const most = 40 // as the kernel: path_resolution(7)
	byRoot := st.Uid == 0 && os.Geteuid() != 0
	if !byRoot && (!w.asked || len(w.ahead) > 1) {
		return fmt.Errorf("%q: %w", name, ErrLink)
	}
	if w.links++; w.links > most {
		return unix.ELOOP
	}
	target, err := readlink(fd)
	if err != nil {
		return err
	}
	if strings.HasPrefix(target, "/") {
		root, err := unix.Open("/", openPath|unix.O_DIRECTORY, 0)
		if err != nil {
			return err
		}
		err = unix.Close(w.at)
		if w.at = root; err != nil {
			return err
		}
	}
	w.asked = w.asked && byRoot // a link behind a link is not what was asked for
	w.ahead = slices.Concat(names(target), w.ahead[1:])
	return nil
}
