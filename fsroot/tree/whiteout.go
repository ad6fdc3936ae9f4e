package tree

import (
	"encoding/binary"
	"errors"
	"hash/maphash"
	"io"
	"os"
	"path"
	"strings"

	"golang.org/x/sys/unix"
)

// Names in a layer that mean what is to be removed: image-spec, layer.md.
const (
	whiteout = ".wh."
	opaque   = ".wh..opq" // behind the prefix: all that lower layers have in the directory
	reserved = ".wh."     // behind the prefix: aufs's own, which mean nothing
)

var errWhiteout = errors.New("a whiteout of no name")

// whiteOut removes what lower layers have in the directory that is open.
func (m *Image) whiteOut(unsafeName string) error {
	switch {
	case m.upper == nil && m.alone == nil:
		return nil // the lowest layer has none below
	case unsafeName == opaque && m.alone != nil:
		return m.hideAll()
	case unsafeName == opaque:
		return m.clearLower(m.at.fd, m.at.inode, 0)
	case strings.HasPrefix(unsafeName, reserved):
		return nil
	case unsafeName == "" || unsafeName == "." || unsafeName == "..":
		return errWhiteout
	case m.alone != nil:
		return m.cover(unsafeName)
	}
	return m.removeLower(m.at.fd, m.at.inode, unsafeName, 0)
}

// removeLower removes a name that is a lower layer's; of a directory that this
// layer has, too, it removes what is not.
func (m *Image) removeLower(dir int, inode uint64, name string, depth int) error {
	if _, mine := m.upper[m.hash(inode, name)]; !mine {
		if err := m.remove(dir, name); !errors.Is(err, unix.ENOENT) {
			return err
		}
		return nil
	}
	fd, err := openAt(dir, name, unix.O_RDONLY|unix.O_DIRECTORY)
	if errors.Is(err, unix.ENOTDIR) || errors.Is(err, unix.ELOOP) {
		return nil
	}
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return err
	}
	return m.clearLower(fd, st.Ino, depth+1)
}

// clearLower removes what lower layers have in a directory.
func (m *Image) clearLower(dir int, inode uint64, depth int) error {
	if depth > deepest {
		return unix.ENAMETOOLONG
	}
	fd, err := openAt(dir, ".", unix.O_RDONLY|unix.O_DIRECTORY)
	if err != nil {
		return err
	}
	in := os.NewFile(uintptr(fd), ".")
	defer in.Close()
	for {
		const some = 256
		names, err := in.Readdirnames(some)
		for _, name := range names {
			if err := m.removeLower(dir, inode, name, depth); err != nil {
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

// mark notes that a name of the directory that is open is this layer's.
func (m *Image) mark(name string) {
	if m.upper != nil {
		m.upper[m.hash(m.at.inode, name)] = struct{}{}
	}
}

// markAbove notes that the directories of a path are this layer's, too, whether it
// has entries for them or not.
func (m *Image) markAbove(dir string) error {
	const noInode = 0
	for ; m.upper != nil && dir != "/"; dir = path.Dir(dir) {
		done := m.hash(noInode, dir)
		if _, is := m.upper[done]; is {
			return nil
		}
		m.upper[done] = struct{}{}
		fd, name, err := m.tree.parent(dir)
		if err != nil {
			return err
		}
		var above, st unix.Stat_t
		err = errors.Join(unix.Fstat(fd, &above), unix.Fstatat(fd, name, &st, unix.AT_SYMLINK_NOFOLLOW), unix.Close(fd))
		if err != nil {
			return err
		}
		if st.Mode&unix.S_IFMT == unix.S_IFDIR {
			m.upper[m.hash(above.Ino, name)] = struct{}{}
		}
	}
	return nil
}

// hash is of a name and its directory, with a seed that no layer can know.
func (m *Image) hash(inode uint64, name string) uint64 {
	var h maphash.Hash
	h.SetSeed(m.seed)
	_ = binary.Write(&h, binary.NativeEndian, inode)
	_, _ = h.WriteString(name)
	return h.Sum64()
}
