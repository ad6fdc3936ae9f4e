// Package owner notes who owns a file where the map of ids has no such owner,
// and which device a file stands for. A note is an extended attribute of the
// file, user.rootlesscontainers, as umoci, PRoot and udocker have it. Links,
// pipes and sockets carry no attributes: for these the directory that they are in
// has them all, by inode, in user.bryo.owners. Whoever writes to the tree writes
// notes: they are as good as the tree is.
package owner

import (
	"encoding/binary"

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

// Read reads the note of a regular file or a directory, by a path that leads to
// it and no further, as /proc/self/fd/3.
func Read(path string) (Note, bool) {
	var value [Largest]byte
	n, err := unix.Getxattr(path, Attribute, value[:])
	if err != nil {
		return Note{}, false
	}
	return Parse(value[:n])
}

// Write notes it, or takes the note away if it is that of none.
func Write(path string, n Note) error {
	if n != (Note{}) {
		return unix.Setxattr(path, Attribute, n.Encode(), 0)
	}
	err := unix.Removexattr(path, Attribute)
	if err == unix.ENODATA {
		return nil
	}
	return err
}
