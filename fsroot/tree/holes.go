package tree

import (
	"archive/tar"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// A file may be larger than any disk, and nearly all of it holes. archive/tar
// reads sparse files, as zeros, and writes none, so that this package has a way of
// its own where it is at both ends. The size of such a file is in a record of its
// header; its content is
//
//	count  { offset  length } * count  the data of all pieces
//
// in numbers of 8 bytes, big endian. Any other stream has zeros for holes.
const sizeRecord = "BRYO.size"

const (
	leastHole  = 64 << 10 // a shorter one is data
	mostPieces = 1 << 20
	// mostZeros is how much of a stream may be zeros that nobody has stored.
	mostZeros = 64 << 30
)

// piece is a part of a file that is no hole.
type piece struct{ offset, length int64 }

// pieces finds the data in the first size bytes of a file: lseek(2). Who writes to
// it meanwhile may make it wrong.
func pieces(fd int, size int64) (list []piece, err error) {
	for end := int64(0); end < size; {
		from, err := unix.Seek(fd, end, unix.SEEK_DATA)
		if errors.Is(err, unix.ENXIO) || err == nil && from >= size {
			return list, nil
		}
		if err == nil {
			end, err = unix.Seek(fd, from, unix.SEEK_HOLE)
		}
		switch {
		case errors.Is(err, unix.ENXIO): // it is shorter now
			return list, nil
		case errors.Is(err, unix.EINVAL): // the file system does not tell
			return []piece{{0, size}}, nil
		case err != nil:
			return nil, err
		}
		end = min(end, size)
		if last := len(list) - 1; last >= 0 && from-list[last].offset-list[last].length < leastHole {
			list[last].length = end - list[last].offset
			continue
		}
		if len(list) == mostPieces {
			return nil, fmt.Errorf("more than %d holes", mostPieces)
		}
		list = append(list, piece{from, end - from})
	}
	return list, nil
}

func stored(list []piece) (sum int64) {
	for _, p := range list {
		sum += p.length
	}
	return sum
}

// writeFile writes the header and content of a file.
func (p *packer) writeFile(in *os.File, h *tar.Header) error {
	list, err := pieces(int(in.Fd()), h.Size)
	if err != nil {
		return err
	}
	size, holes := h.Size, h.Size-stored(list)
	if p.Holes && holes >= leastHole {
		return p.writePieces(in, h, list)
	}
	if p.zeros += holes; p.zeros > mostZeros {
		fix := "copy them to a directory, or without it"
		if p.Layer != nil {
			fix = "remove it, or make it smaller"
		}
		return fmt.Errorf("the files' holes are more than %d bytes, which a stream has as zeros\nfix: %s", int64(mostZeros), fix)
	}
	if err := p.out.WriteHeader(h); err != nil {
		return err
	}
	at := int64(0)
	for _, piece := range append(list, piece{size, 0}) {
		if _, err := io.CopyN(p.out, zeros{}, piece.offset-at); err != nil {
			return err
		}
		if err := p.writePiece(in, piece); err != nil {
			return err
		}
		at = piece.offset + piece.length
	}
	return nil
}

func (p *packer) writePieces(in *os.File, h *tar.Header, list []piece) error {
	table := binary.BigEndian.AppendUint64(nil, uint64(len(list)))
	for _, piece := range list {
		table = binary.BigEndian.AppendUint64(table, uint64(piece.offset))
		table = binary.BigEndian.AppendUint64(table, uint64(piece.length))
	}
	h.PAXRecords = map[string]string{sizeRecord: strconv.FormatInt(h.Size, 10)}
	h.Size = int64(len(table)) + stored(list)
	if err := p.out.WriteHeader(h); err != nil {
		return err
	}
	if _, err := p.out.Write(table); err != nil {
		return err
	}
	for _, piece := range list {
		if err := p.writePiece(in, piece); err != nil {
			return err
		}
	}
	return nil
}

func (p *packer) writePiece(in *os.File, from piece) error {
	n, err := io.Copy(p.out, io.NewSectionReader(in, from.offset, from.length))
	if err == nil && n < from.length {
		err = errors.New("it became shorter while it was read")
	}
	return err
}

// zeros is as many as are asked for.
type zeros struct{}

func (zeros) Read(b []byte) (int, error) {
	clear(b)
	return len(b), nil
}

// sparse says that a file of the stream has holes that archive/tar makes up.
func sparse(h *tar.Header) bool {
	for key := range h.PAXRecords {
		if strings.HasPrefix(key, "GNU.sparse.") {
			return true
		}
	}
	return h.Typeflag == tar.TypeGNUSparse
}

// content writes what the stream has for a file.
func (u *unpacker) content(out *os.File, in io.Reader, h *tar.Header) error {
	text, told := h.PAXRecords[sizeRecord]
	if told && u.Holes {
		const bits = 63 // of an offset; a sign is none of its digits
		size, err := strconv.ParseUint(text, 10, bits)
		if err != nil {
			return err
		}
		return u.readPieces(out, in, int64(size))
	}
	if sparse(h) {
		if u.zeros += min(h.Size, mostZeros+1); u.zeros > mostZeros {
			return fmt.Errorf("the archive has sparse files of more than %d bytes\nfix: unpack it with tar, and copy the directory", int64(mostZeros))
		}
	}
	size, err := u.write(out, in, 0)
	if err != nil {
		return err
	}
	return out.Truncate(size)
}

var errPieces = errors.New("the pieces of a file make no sense")

func (u *unpacker) readPieces(out *os.File, in io.Reader, size int64) error {
	list, err := readTable(in, size)
	if err != nil {
		return err
	}
	for _, piece := range list {
		end, err := u.write(out, io.LimitReader(in, piece.length), piece.offset)
		if err != nil {
			return err
		}
		if end != piece.offset+piece.length {
			return errPieces
		}
	}
	return out.Truncate(size)
}

// readTable takes pieces that lie behind each other in a file of that size.
func readTable(in io.Reader, size int64) (list []piece, err error) {
	number := func() int64 {
		var b [8]byte
		if err == nil {
			_, err = io.ReadFull(in, b[:])
		}
		return int64(binary.BigEndian.Uint64(b[:]))
	}
	count := number()
	if err != nil || count < 0 || count > mostPieces {
		return nil, errors.Join(errPieces, err)
	}
	for end := int64(0); count > 0; count-- {
		p := piece{number(), number()}
		if err != nil || p.offset < end || p.length < 0 || p.length > size-p.offset {
			return nil, errors.Join(errPieces, err)
		}
		list, end = append(list, p), p.offset+p.length
	}
	return list, nil
}
