package owner

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"io/fs"
	"os"
	"slices"

	"golang.org/x/sys/unix"
)

// linksAttribute is the directory's, of entries in little-endian order:
//
//	inode 8 | birth 8 | likeness 8 | uid 4 | gid 4
const (
	linksAttribute = "user.bryo.owners"
	entrySize      = 32
	mostEntries    = 2048
)

// Inode is a file of a file system that is not there again: numbers are given
// anew, but not with the same time of birth, where the file system knows it.
type Inode struct{ Number, Birth uint64 }

// Link is a link, a pipe or a socket in a directory. An overlay file system that
// writes to one of a lower layer makes another inode of it, with the same likeness:
// a hash of its name and of when it was written.
type Link struct {
	Inode

	Likeness uint64
}

// LinkAt asks for what a name of an open directory has.
func LinkAt(dir int, name string) (Link, error) {
	const nano, asked = 1000000000, unix.STATX_INO | unix.STATX_BTIME | unix.STATX_MTIME
	var st unix.Statx_t
	if err := unix.Statx(dir, name, unix.AT_SYMLINK_NOFOLLOW, asked, &st); err != nil {
		return Link{}, err
	}
	of := fnv.New64a()
	_, _ = fmt.Fprintf(of, "%d.%d %s", st.Mtime.Sec, st.Mtime.Nsec, name)
	return Link{Inode{st.Ino, uint64(st.Btime.Sec)*nano + uint64(st.Btime.Nsec)}, of.Sum64()}, nil
}

// ReadLink reads the note of a link, a pipe or a socket that is in this directory.
func (f File) ReadLink(l Link) (Note, bool) {
	_, n, noted := f.find(f.entries(), l)
	return n, noted
}

// find returns which entry is a link's.
func (f File) find(list []byte, l Link) (of Inode, n Note, noted bool) {
	for entry := range slices.Chunk(list, entrySize) {
		switch other, note := decode(entry); {
		case other.Inode == l.Inode:
			return other.Inode, note, true
		case f.copies && other.Likeness == l.Likeness:
			of, n, noted = other.Inode, note, true
		}
	}
	return of, n, noted
}

func (f File) entries() []byte {
	size, err := f.get(linksAttribute, nil) // most have none
	if err != nil {
		return nil
	}
	value := make([]byte, size)
	n, err := f.get(linksAttribute, value)
	if err != nil {
		return nil
	}
	return value[:n/entrySize*entrySize]
}

func decode(entry []byte) (Link, Note) {
	le := binary.LittleEndian
	return Link{Inode{le.Uint64(entry), le.Uint64(entry[8:])}, le.Uint64(entry[16:])}, Note{UID: le.Uint32(entry[24:]), GID: le.Uint32(entry[28:])}
}

func encode(list []byte, l Link, n Note) []byte {
	le := binary.LittleEndian
	list = le.AppendUint64(le.AppendUint64(le.AppendUint64(list, l.Number), l.Birth), l.Likeness)
	return le.AppendUint32(le.AppendUint32(list, n.UID), n.GID)
}

// HasLinks says whether anything is noted of links.
func (f File) HasLinks() bool {
	size, err := f.get(linksAttribute, nil)
	return err == nil && size > 0
}

// AddLinks notes what another directory, which an overlay file system shows in this
// one's place, has noted of its links.
func (f File) AddLinks(from File) error {
	list := f.entries()
	for entry := range slices.Chunk(from.entries(), entrySize) {
		l, _ := decode(entry)
		if _, _, noted := (File{}).find(list, l); !noted {
			list = append(list, entry...)
		}
	}
	if len(list) > mostEntries*entrySize {
		return unix.ENOSPC
	}
	return f.set(linksAttribute, list)
}

// WriteLink notes it, or takes the note away if it is that of none. Where there is
// no room left, the notes of files that are no longer in the directory go.
func (f File) WriteLink(l Link, n Note) error {
	old := f.entries()
	err := f.write(old, l, n, func(Inode) bool { return true })
	if !errors.Is(err, unix.ENOSPC) && !errors.Is(err, unix.E2BIG) && !errors.Is(err, unix.ERANGE) {
		return err
	}
	there, err := f.links(old)
	if err != nil {
		return err
	}
	return f.write(old, l, n, func(other Inode) bool { return there[other] })
}

func (f File) write(old []byte, l Link, n Note, keep func(Inode) bool) error {
	replaced, _, noted := f.find(old, l)
	list := make([]byte, 0, len(old)+entrySize)
	for entry := range slices.Chunk(old, entrySize) {
		of, _ := decode(entry)
		if again := noted && of.Inode == replaced; !again && keep(of.Inode) {
			list = append(list, entry...)
		}
	}
	if n.UID != 0 || n.GID != 0 {
		list = encode(list, l, n)
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
		of, _ := decode(entry)
		there[of.Inode] = false
	}
	for {
		const some = 256
		list, err := dir.ReadDir(some)
		for _, entry := range list {
			if entry.Type()&(fs.ModeSymlink|fs.ModeNamedPipe|fs.ModeSocket) == 0 {
				continue
			}
			l, err := LinkAt(fd, entry.Name())
			if _, noted := there[l.Inode]; err == nil && noted {
				there[l.Inode] = true
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
