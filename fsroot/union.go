package fsroot

import (
	"errors"
	"fmt"
	"os"
	"path"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"bryo/fsroot/owner"
)

// Union is layers as an overlay file system will show them, for reading before
// there is one. Links lead where they do inside, and never out of the layers.
type Union struct{ layers []int } // the topmost first

// Add opens more layers, directories of one on the host, below the others.
func (u *Union) Add(dir string, names ...string) (err error) {
	const flags = unix.O_PATH | unix.O_DIRECTORY | unix.O_CLOEXEC
	parent, err := unix.Open(dir, flags, 0)
	if err != nil {
		return &os.PathError{Op: "open", Path: dir, Err: err}
	}
	defer func() { err = errors.Join(err, unix.Close(parent)) }()
	return u.AddAt(parent, names...)
}

// AddAt is Add for a directory that is open.
func (u *Union) AddAt(dir int, names ...string) error {
	for _, name := range names {
		fd, err := unix.Openat(dir, name, unix.O_PATH|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
		if err != nil {
			return fmt.Errorf("layer %s: %w", name, err)
		}
		u.layers = append(u.layers, fd)
	}
	return nil
}

// Close closes the layers.
func (u *Union) Close() error {
	var errs []error
	for _, fd := range u.layers {
		errs = append(errs, unix.Close(fd))
	}
	u.layers = nil
	return errors.Join(errs...)
}

// Stat looks at the root directory of a layer; 0 is the topmost.
func (u *Union) Stat(layer int) (st unix.Stat_t, err error) {
	err = unix.Fstat(u.layers[layer], &st)
	return st, err
}

// Notes are the attributes of the root directory of a layer that say whom it, and
// links in it, belong to.
func (u *Union) Notes(layer int) []owner.Attr {
	return owner.At(fmt.Sprintf("/proc/self/fd/%d", u.layers[layer])).Notes()
}

// place is what a path leads to: a directory of each of these layers, which show
// as one, or a file of one layer.
type place struct {
	path string // without links
	in   []int  // indices of layers, the topmost first
	mode uint32
}

// Has says whether a path is there.
func (u *Union) Has(unsafePath string) bool {
	_, err := u.find(unsafePath)
	return err == nil
}

// IsDir says whether it leads to a directory.
func (u *Union) IsDir(unsafePath string) bool {
	p, err := u.find(unsafePath)
	return err == nil && p.mode&unix.S_IFMT == unix.S_IFDIR
}

// ReadFile reads a regular file of at most limit bytes.
func (u *Union) ReadFile(unsafePath string, limit int) (data []byte, err error) {
	p, err := u.find(unsafePath)
	if err == nil {
		var fd int
		fd, err = u.open(p.in[0], p.path, unix.O_RDONLY|unix.O_NONBLOCK|unix.O_NOCTTY)
		if err == nil {
			data, err = readRegular(fd, limit)
			err = errors.Join(err, unix.Close(fd))
		}
	}
	if err != nil {
		return nil, fmt.Errorf("%s of the image: %w", unsafePath, err)
	}
	return data, nil
}

// The most that a look-up does: a layer may lead it in circles.
const (
	mostLinks = 40 // path_resolution(7)
	mostSteps = 1024
)

// find looks a path up, name by name.
func (u *Union) find(unsafePath string) (*place, error) {
	top := &place{path: ".", mode: unix.S_IFDIR}
	for i := range u.layers {
		top.in = append(top.in, i)
	}
	f := &finding{above: []*place{top}, ahead: strings.Split(unsafePath, "/")}
	for steps := 0; len(f.ahead) > 0; steps++ {
		if steps == mostSteps {
			return nil, unix.ELOOP
		}
		if err := f.step(u); err != nil {
			return nil, err
		}
	}
	return f.at(), nil
}

// finding is a look-up of a path.
type finding struct {
	above []*place // directories on the way, the root first, and what was found
	ahead []string
	links int
}

func (f *finding) at() *place { return f.above[len(f.above)-1] }

// step looks the next name up.
func (f *finding) step(u *Union) error {
	name := f.ahead[0]
	f.ahead = f.ahead[1:]
	switch {
	case f.at().mode&unix.S_IFMT != unix.S_IFDIR:
		return unix.ENOTDIR
	case name == "" || name == ".":
		return nil
	case name == "..":
		f.above = f.above[:max(1, len(f.above)-1)]
		return nil
	}
	next, err := u.look(f.at(), name)
	if err != nil {
		return err
	}
	if next.mode&unix.S_IFMT != unix.S_IFLNK {
		f.above = append(f.above, next)
		return nil
	}
	if f.links++; f.links > mostLinks {
		return unix.ELOOP
	}
	target, err := u.readlink(next)
	if err != nil {
		return err
	}
	if strings.HasPrefix(target, "/") {
		f.above = f.above[:1]
	}
	f.ahead = slices.Concat(strings.Split(target, "/"), f.ahead)
	return nil
}

// look finds a name in a directory.
func (u *Union) look(dir *place, name string) (*place, error) {
	found := &place{path: path.Join(dir.path, name)}
	fds, in, err := u.shown(dir.in, found.path)
	if err != nil {
		return nil, err
	}
	defer closeAll(fds)
	if len(fds) == 0 {
		return nil, unix.ENOENT
	}
	var st unix.Stat_t
	err = unix.Fstat(fds[0], &st)
	found.in, found.mode = in, st.Mode
	return found, err
}

// OpenDir opens a directory in all layers that show in it, the topmost first, as
// O_PATH. The caller closes them.
func (u *Union) OpenDir(unsafePath string) ([]int, error) {
	p, err := u.find(unsafePath)
	if err != nil {
		return nil, err
	}
	if p.mode&unix.S_IFMT != unix.S_IFDIR {
		return nil, unix.ENOTDIR
	}
	fds, _, err := u.shown(p.in, p.path)
	return fds, err
}

// shown opens a path of layers in those of them that show in it: one for a file.
func (u *Union) shown(in []int, path string) (fds, of []int, err error) {
	var layers []int
	for _, i := range in {
		layers = append(layers, u.layers[i])
	}
	fds, indices, err := merged(layers, path)
	for _, i := range indices {
		of = append(of, in[i])
	}
	return fds, of, err
}

// Merged opens a name of a directory that is open in several layers, the topmost
// first, in those that show in it, as O_PATH. The caller closes them.
func Merged(dirs []int, name string) (fds []int, err error) {
	fds, _, err = merged(dirs, name)
	return fds, err
}

// merged is what overlayfs.rst says: what is no directory hides all below it, as
// does one that is opaque, and a whiteout, which is a device 0:0.
func merged(dirs []int, path string) (fds, of []int, err error) {
	for i, dir := range dirs {
		fd, err := openBeneath(dir, path, unix.O_PATH)
		if errors.Is(err, unix.ENOENT) {
			continue
		}
		var st unix.Stat_t
		if err == nil {
			err = unix.Fstat(fd, &st)
			fds, of = append(fds, fd), append(of, i)
		}
		if err != nil {
			closeAll(fds)
			return nil, nil, err
		}
		kind := st.Mode & unix.S_IFMT
		if len(fds) > 1 && kind != unix.S_IFDIR || kind == unix.S_IFCHR && st.Rdev == 0 {
			closeAll(fds[len(fds)-1:])
			return fds[:len(fds)-1], of[:len(of)-1], nil
		}
		if kind != unix.S_IFDIR || isOpaque(fd) {
			break
		}
	}
	return fds, of, nil
}

func closeAll(fds []int) {
	for _, fd := range fds {
		_ = unix.Close(fd)
	}
}

// isOpaque says whether a directory hides those below it.
func isOpaque(fd int) bool {
	var value [1]byte
	n, err := unix.Getxattr(fmt.Sprintf("/proc/self/fd/%d", fd), "user.overlay.opaque", value[:]) // O_PATH has no other way
	return err == nil && n == 1 && value[0] == 'y'
}

func (u *Union) open(layer int, path string, flags uint64) (int, error) {
	return openBeneath(u.layers[layer], path, flags)
}

// openBeneath opens a path without links below a directory.
func openBeneath(dir int, path string, flags uint64) (int, error) {
	how := unix.OpenHow{
		Flags:   flags | unix.O_NOFOLLOW | unix.O_CLOEXEC,
		Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_SYMLINKS | unix.RESOLVE_NO_XDEV,
	}
	const tries = 100
	for try := 0; ; try++ {
		fd, err := unix.Openat2(dir, path, &how)
		if raced := errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.EINTR); !raced || try == tries {
			return fd, err
		}
	}
}

func (u *Union) readlink(link *place) (string, error) {
	fd, err := u.open(link.in[0], link.path, unix.O_PATH)
	if err != nil {
		return "", err
	}
	target := make([]byte, unix.PathMax)
	n, err := unix.Readlinkat(fd, "", target)
	if err = errors.Join(err, unix.Close(fd)); err != nil {
		return "", err
	}
	return string(target[:n]), nil
}
