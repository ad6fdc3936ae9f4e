package tree

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// A layer can stand alone, in the form that overlay file systems stack, mounted
// with userxattr: a whiteout is a character device 0:0, which everybody can make,
// and a directory that hides what lower layers have in it has an attribute. An
// image cannot set either of them by itself.
const (
	overlayOpaque = "user.overlay.opaque"
	// overlayOrigin has the kernel look for whiteouts when it lists a directory
	// that no lower layer has.
	overlayOrigin = "user.overlay.origin"
)

// Layer is what has to be known of a layer to stack it.
type Layer struct {
	// Implicit are the directories that it has without an entry for them, as
	// absolute paths: what lower layers say of them holds.
	Implicit []string `json:",omitempty"`
	// Noted are directories that may have notes of their links' owners.
	Noted []string `json:",omitempty"`
	// Opaque says that it hides all of the lower layers.
	Opaque bool `json:",omitempty"`
	// Bytes are those of its files, holes among them.
	Bytes int64
}

// alone is such a layer while it is made.
type alone struct {
	implicit map[uint64]string // by their inodes
	noted    map[string]bool
	sum      int    // bytes of them
	top      uint64 // the root's inode
	opaque   bool
}

// Budget is what is left of the limits of an image whose layers are made at the
// same time.
type Budget struct{ bytes, entries atomic.Int64 }

// Budget begins with all of the limits.
func (l Limits) Budget() *Budget {
	b := &Budget{}
	b.bytes.Store(l.Bytes)
	b.entries.Store(int64(l.Entries))
	return b
}

// NewLayer is NewImage for one layer that stands alone.
func NewLayer(fd int, budget *Budget) (*Image, error) {
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return nil, err
	}
	m := newImage(fd, budget)
	m.alone = &alone{implicit: map[uint64]string{}, noted: map[string]bool{}, top: st.Ino}
	return m, nil
}

// Layer says what has to be known of the layer, which is complete.
func (m *Image) Layer() Layer {
	l := Layer{Opaque: m.alone.opaque, Bytes: m.bytes, Noted: slices.Sorted(maps.Keys(m.alone.noted))}
	if m.top == nil {
		l.Implicit = append(l.Implicit, "/")
	}
	here := Beneath(m.tree.fd)
	for _, inode := range slices.Sorted(maps.Keys(m.alone.implicit)) {
		path := m.alone.implicit[inode]
		var st unix.Stat_t
		fd, err := here.open(path, openPath|unix.O_DIRECTORY)
		if err != nil {
			continue // it was replaced, or has another name and this one leads through a link
		}
		err = errors.Join(unix.Fstat(fd, &st), unix.Close(fd))
		if err == nil && st.Ino == inode {
			l.Implicit = append(l.Implicit, path)
		}
	}
	slices.Sort(l.Implicit)
	return l
}

// mostPaths is how many bytes of directories' names are known of a layer.
const mostPaths = 16 << 20

// note remembers a directory that has notes of its links.
func (a *alone) note(dir string) bool {
	if a.noted[dir] {
		return true
	}
	if a.sum += len(dir); a.sum > mostPaths {
		return false
	}
	a.noted[dir] = true
	return true
}

// imply notes a directory that was made without an entry, and in the place of
// no other one that the layer removes.
func (m *Image) imply(fd int, path string) error {
	if m.alone == nil {
		return nil
	}
	if m.alone.sum += len(path); m.alone.sum > mostPaths {
		return errors.New("the layer has too many directories without entries for them")
	}
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return err
	}
	m.alone.implicit[st.Ino] = path
	return nil
}

// explicit notes a directory that there is an entry for.
func (m *Image) explicit(inode uint64) {
	if m.alone != nil {
		delete(m.alone.implicit, inode)
	}
}

// hideLower makes a directory show nothing of lower layers.
func (m *Image) hideLower(dir int, name string) error {
	if m.alone == nil {
		return nil
	}
	fd, err := openAt(dir, name, unix.O_RDONLY|unix.O_DIRECTORY)
	if err != nil {
		return err
	}
	return errors.Join(setOpaque(fd), unix.Close(fd))
}

func setOpaque(fd int) error {
	if err := unix.Fsetxattr(fd, overlayOpaque, []byte("y"), 0); err != nil {
		return fmt.Errorf("hide what lower layers have: %w", err)
	}
	return nil
}

// hideAll is hideLower for the directory that is open.
func (m *Image) hideAll() error {
	if m.at.inode == m.alone.top {
		m.alone.opaque = true // the kernel does not ask the root of a layer
	}
	return setOpaque(m.at.fd)
}

// cover hides a name that lower layers may have in the directory that is open.
// What this layer has of that name stays.
func (m *Image) cover(name string) error {
	var st unix.Stat_t
	err := unix.Fstatat(m.at.fd, name, &st, unix.AT_SYMLINK_NOFOLLOW)
	switch {
	case err == nil && st.Mode&unix.S_IFMT == unix.S_IFDIR:
		m.explicit(st.Ino)
		return m.hideLower(m.at.fd, name)
	case !errors.Is(err, unix.ENOENT):
		return err
	}
	if err := unix.Mknodat(m.at.fd, name, unix.S_IFCHR, 0); err != nil {
		return fmt.Errorf("make a whiteout: %w", err)
	}
	if err := unix.Fsetxattr(m.at.fd, overlayOrigin, nil, 0); err != nil {
		return fmt.Errorf("note a whiteout: %w", err)
	}
	return nil
}

// uncover removes a whiteout, in whose place a directory comes. Anything else
// stays, and cannot be one.
func (m *Image) uncover(dir int, name string) (was bool, err error) {
	if m.alone == nil {
		return false, nil
	}
	white, err := m.isWhiteout(dir, name)
	if !white || err != nil {
		return false, err
	}
	return true, unix.Unlinkat(dir, name, 0)
}

// isWhiteout finds none where there is nothing.
func (m *Image) isWhiteout(dir int, name string) (bool, error) {
	if m.alone == nil {
		return false, nil
	}
	var st unix.Stat_t
	err := unix.Fstatat(dir, name, &st, unix.AT_SYMLINK_NOFOLLOW)
	if errors.Is(err, unix.ENOENT) {
		return false, nil
	}
	return err == nil && st.Mode&unix.S_IFMT == unix.S_IFCHR, err // devices are never made
}
