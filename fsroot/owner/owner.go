// Package owner notes who owns a file where the map of ids has no such owner,
// and which device a file stands for. A note is an extended attribute of the
// file, user.rootlesscontainers, as umoci, PRoot and udocker have it. Links,
// pipes and sockets carry no attributes: for these the directory that they are in
// has them all, by inode, in user.bryo.owners. Whoever writes to the tree writes
// notes: they are as good as the tree is.
package owner

import (
	"encoding/binary"
	"errors"

	"golang.org/x/sys/unix"
)

// Attribute is the file's own.
const Attribute = "user.rootlesscontainers"

// Note is what is noted of a file. The zero value is that of none: root's.
type Note struct {
	UID, GID uint32

	// Kind is S_IFCHR or S_IFBLK of an empty file that stands for the device of
	// this number, and 0 of all others.
	Kind   uint32
	Device uint64
}

// The fields of the message, each a number: rootlesscontainers.Resource has the
// first two, and the others are left alone by those that do not know them.
const (
	fieldUID    = 1
	fieldGID    = 2
	fieldKind   = 14
	fieldDevice = 15
	fieldShift  = 3 // of the tag, above the kind of the value, which is 0
)

// Largest is the size that a note has at most.
const Largest = 4 * (1 + binary.MaxVarintLen64)

// Encode is the note in protobuf's encoding.
func (n Note) Encode() []byte {
	b := make([]byte, 0, Largest)
	for _, f := range []struct{ number, value uint64 }{
		{fieldUID, uint64(n.UID)}, {fieldGID, uint64(n.GID)}, {fieldKind, uint64(n.Kind)}, {fieldDevice, n.Device},
	} {
		if f.value != 0 {
			b = binary.AppendUvarint(append(b, byte(f.number<<fieldShift)), f.value)
		}
	}
	return b
}

// Parse reads a note, which anybody may have written. What is none is not ok.
func Parse(unsafe []byte) (n Note, ok bool) {
	for rest := unsafe; len(rest) > 0; {
		value, size := binary.Uvarint(rest[1:])
		if size <= 0 {
			return Note{}, false
		}
		small := value <= maxID
		switch rest[0] {
		case fieldUID << fieldShift:
			n.UID, ok = uint32(value), small
		case fieldGID << fieldShift:
			n.GID, ok = uint32(value), small
		case fieldKind << fieldShift:
			n.Kind, ok = uint32(value), value == unix.S_IFCHR || value == unix.S_IFBLK
		case fieldDevice << fieldShift:
			n.Device, ok = value, true
		default:
			ok = false
		}
		if !ok {
			return Note{}, false
		}
		rest = rest[1+size:]
	}
	return n, ok
}

// maxID is the largest id that there is: the one above means none.
const maxID = 1<<32 - 2

// File is one that carries attributes.
type File struct {
	fd     int
	path   string // "" for fd itself
	copies bool
}

// Opened is a file that is open for reading or writing.
func Opened(fd int) File { return File{fd: fd} }

// At is the file that a path leads to, as /proc/self/fd/3 does to one of which a
// descriptor without access is there.
func At(path string) File { return File{path: path} }

// Copying is a directory whose links may be copies of those that it has notes of:
// one of an overlay file system, or one of its upper layer.
func (f File) Copying() File {
	f.copies = true
	return f
}

func (f File) get(name string, value []byte) (int, error) {
	if f.path == "" {
		return unix.Fgetxattr(f.fd, name, value)
	}
	return unix.Getxattr(f.path, name, value)
}

func (f File) set(name string, value []byte) error {
	if f.path == "" {
		return unix.Fsetxattr(f.fd, name, value, 0)
	}
	return unix.Setxattr(f.path, name, value, 0)
}

func (f File) remove(name string) error {
	if f.path == "" {
		return unix.Fremovexattr(f.fd, name)
	}
	return unix.Removexattr(f.path, name)
}

// Read reads the note of a regular file or a directory.
func (f File) Read() (Note, bool) {
	var value [Largest]byte
	n, err := f.get(Attribute, value[:])
	if err != nil {
		return Note{}, false
	}
	return Parse(value[:n])
}

// Write notes it, or takes the note away if it is that of none.
func (f File) Write(n Note) error {
	if n != (Note{}) {
		return f.set(Attribute, n.Encode())
	}
	err := f.remove(Attribute)
	if errors.Is(err, unix.ENODATA) {
		return nil
	}
	return err
}

// Attr is an extended attribute.
type Attr struct {
	Name  string
	Value []byte
}

// Notes are the attributes of a directory with what is noted of it and its links, as
// far as they are of usual size.
func (f File) Notes() (notes []Attr) {
	const usual = 4 << 10
	for _, name := range []string{Attribute, linksAttribute} {
		value := make([]byte, usual)
		if n, err := f.get(name, value); err == nil && n > 0 {
			notes = append(notes, Attr{name, value[:n]})
		}
	}
	return notes
}
