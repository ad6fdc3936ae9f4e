package owner

import (
	"encoding/binary"
	"errors"
	"io"
	"io/fs"
	"os"
	"slices"

	"golang.org/x/sys/unix"
)

// linksAttribute is the directory's, of entries in little-endian order:
//
//	inode 8 | birth 8 | uid 4 | gid 4
const (
	linksAttribute = "user.bryo.owners"
	entrySize      = 24
	mostEntries    = 2048
)

// Inode is a file of a file system that is not there again: numbers are given
// anew, but not with the same time of birth, where the file system knows it.
type Inode struct{ Number, Birth uint64 }

// InodeOf asks for the inode of an open file.
func InodeOf(fd int) (Inode, error) {
	var st unix.Statx_t
	if err := unix.Statx(fd, "", unix.AT_EMPTY_PATH, unix.STATX_INO|unix.STATX_BTIME, &st); err != nil {
		return Inode{}, err
	}
	return inode(&st), nil
}

// InodeAt asks for the inode that a name of an open directory has.
func InodeAt(dir int, name string) (Inode, error) {
	var st unix.Statx_t
	if err := unix.Statx(dir, name, unix.AT_SYMLINK_NOFOLLOW, unix.STATX_INO|unix.STATX_BTIME, &st); err != nil {
		return Inode{}, err
	}
	return inode(&st), nil
}

func inode(st *unix.Statx_t) Inode {
	const nano = 1000000000
	return Inode{st.Ino, uint64(st.Btime.Sec)*nano + uint64(st.Btime.Nsec)}
}

// ReadLink reads the note of a link, a pipe or a socket that is in this directory.
func (f File) ReadLink(id Inode) (Note, bool) {
	for entry := range slices.Chunk(f.entries(), entrySize) {
		if of, n := decode(entry); of == id {
			return n, true
		}
	}
	return Note{}, false
}

func (f File) entries() []byte {
	value := make([]byte, mostEntries*entrySize)
	n, err := f.get(linksAttribute, value)
	if err != nil {
		return nil
	}
	return value[:n/entrySize*entrySize]
}

func decode(entry []byte) (Inode, Note) {
	le := binary.LittleEndian
	return Inode{le.Uint64(entry), le.Uint64(entry[8:])}, Note{UID: le.Uint32(entry[16:]), GID: le.Uint32(entry[20:])}
}

func encode(list []byte, id Inode, n Note) []byte {
	le := binary.LittleEndian
	list = le.AppendUint64(le.AppendUint64(list, id.Number), id.Birth)
	return le.AppendUint32(le.AppendUint32(list, n.UID), n.GID)
}

// WriteLink notes it, or takes the note away if it is that of none. Where there is
// no room left, the notes of files that are no longer in the directory go.
func (f File) WriteLink(id Inode, n Note) error {
	old := f.entries()
	err := f.write(old, id, n, func(Inode) bool { return true })
	if !errors.Is(err, unix.ENOSPC) && !errors.Is(err, unix.E2BIG) && !errors.Is(err, unix.ERANGE) {
		return err
	}
	there, err := f.links(old)
	if err != nil {
		return err
	}
	return f.write(old, id, n, func(other Inode) bool { return there[other] })
}

func (f File) write(old []byte, id Inode, n Note, keep func(Inode) bool) error {
	list := make([]byte, 0, len(old)+entrySize)
	for entry := range slices.Chunk(old, entrySize) {
		if of, _ := decode(entry); of != id && keep(of) {
			list = append(list, entry...)
		}
	}
	if n.UID != 0 || n.GID != 0 {
		list = encode(list, id, n)
	}
	switch {
	case len(list) > mostEntries*entrySize:
		return unix.ENOSPC
	case len(list) > 0:
		return f.set(linksAttribute, list)
	case len(old) > 0:
		return f.remove(linksAttribute)
	}
	return nil
}

// links are those of old entries that a directory still has. However many others
// it has, they are not kept in mind.
func (f File) links(old []byte) (map[Inode]bool, error) {
	at, path := f.fd, "."
	if f.path != "" {
		at, path = unix.AT_FDCWD, f.path
	}
	fd, err := unix.Openat(at, path, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	dir := os.NewFile(uintptr(fd), path)
	defer dir.Close()
	there := map[Inode]bool{}
	for entry := range slices.Chunk(old, entrySize) {
		id, _ := decode(entry)
		there[id] = false
	}
	for {
		const some = 256
		list, err := dir.ReadDir(some)
		for _, entry := range list {
			if entry.Type()&(fs.ModeSymlink|fs.ModeNamedPipe|fs.ModeSocket) == 0 {
				continue
			}
			id, err := InodeAt(fd, entry.Name())
			if _, noted := there[id]; err == nil && noted {
				there[id] = true
			}
		}
		if errors.Is(err, io.EOF) {
			return there, nil
		}
		if err != nil {
			return nil, err
		}
	}
}
