package unpack

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sys/unix"

	"bryo/fsroot/tree"
	"bryo/idmap"
)

// Request is an image, and where it goes.
type Request struct {
	Image     *os.File // an archive, which need not be seekable, or the directory of a layout
	Reference string   // which image of several; "" if there is one
	Root      int      // an empty directory
	Limits    tree.Limits
	IDMap     string // noted with the root
}

// Unpack makes a root file system of an image.
func Unpack(r Request) (*tree.Report, error) {
	info, err := r.Image.Stat()
	if err != nil {
		return nil, err
	}
	u := &unpacker{Request: r, to: tree.NewImage(r.Root, r.Limits)}
	if maps, err := idmap.ParseMaps(r.IDMap); err == nil && maps.RootAlone() {
		u.to.Squash, u.to.Report.Squash = true, true
	}
	if info.IsDir() {
		err = u.image(directory{tree.Beneath(int(r.Image.Fd()))})
	} else {
		err = u.archive(info)
	}
	if err == nil {
		err = u.to.Finish(r.IDMap)
	}
	return &u.to.Report, err
}

type unpacker struct {
	Request

	to *tree.Image
}

// archive is for one of an image as for one of a root file system, which its
// first name tells.
func (u *unpacker) archive(info os.FileInfo) (err error) {
	seekable := info.Mode().IsRegular()
	from := io.Reader(u.Image)
	if seekable {
		from = io.NewSectionReader(u.Image, 0, info.Size())
	}
	in, end, err := decompress(from)
	if err != nil {
		return err
	}
	stream := readAhead(in)
	defer func() {
		if seekable || err == nil { // else who writes might never go on
			stream.Close()
			end()
		}
	}()
	name, begin, err := firstName(stream)
	if err != nil {
		return err
	}
	whole := io.MultiReader(bytes.NewReader(begin), stream)
	if !imagePart(name) {
		return u.files(whole)
	}
	if _, compressed := in.(*grown); seekable && !compressed {
		return u.imageArchive(io.NewSectionReader(u.Image, 0, info.Size()))
	}
	spooled, size, err := u.spool(whole)
	if err != nil {
		return err
	}
	defer spooled.Close()
	return u.imageArchive(io.NewSectionReader(spooled, 0, size))
}

// imageArchive is for what begins as the archive of an image.
func (u *unpacker) imageArchive(file *io.SectionReader) error {
	parts, err := openArchive(file)
	if err != nil {
		return err
	}
	if parts.has(dockerManifest) || parts.has(ocispec.ImageIndexFile) {
		return u.image(parts)
	}
	if _, err := file.Seek(0, io.SeekStart); err != nil {
		return err
	}
	return u.files(file)
}

// files unpacks an archive of a root file system.
func (u *unpacker) files(r io.Reader) error {
	if u.Reference != "" {
		return fmt.Errorf("there is no image %q: it is an archive of files", u.Reference)
	}
	if err := u.to.Unpack(r); err != nil {
		return err
	}
	_, err := io.Copy(io.Discard, r) // what writes it shall not fail
	return err
}

// firstName finds the first name of an archive that is not the root's, and
// returns all that was read.
func firstName(r io.Reader) (name string, begin []byte, err error) {
	const most = 1 << 20 // as much as long names can take
	var read bytes.Buffer
	in := tar.NewReader(io.TeeReader(io.LimitReader(r, most), &read))
	h, err := in.Next()
	for err == nil && path.Clean("/"+h.Name) == "/" {
		h, err = in.Next()
	}
	switch {
	case err == nil:
		name = h.Name
	case read.Len() == 0 && errors.Is(err, io.EOF):
		return "", nil, errors.New("the archive is empty")
	case errors.Is(err, tar.ErrHeader), errors.Is(err, io.ErrUnexpectedEOF):
		return "", nil, errors.New("it is neither an image nor an archive of tar(1), plain or compressed by gzip, zstd, xz or bzip2")
	case !errors.Is(err, io.EOF):
		return "", nil, fmt.Errorf("read the archive: %w", err)
	}
	return name, read.Bytes(), nil
}

// spool writes a stream to a file without a name, which is gone with this process.
func (u *unpacker) spool(r io.Reader) (*os.File, int64, error) {
	const private = 0o600
	fd, err := unix.Openat(u.Root, ".", unix.O_TMPFILE|unix.O_RDWR|unix.O_CLOEXEC, private)
	if err != nil {
		return nil, 0, fmt.Errorf("make a file for the archive: %w", err)
	}
	f := os.NewFile(uintptr(fd), "archive")
	n, err := io.Copy(f, io.LimitReader(r, u.Limits.Bytes))
	if err == nil && n == u.Limits.Bytes {
		err = errors.New("the archive is larger than is allowed")
	}
	if err != nil {
		return nil, 0, errors.Join(err, f.Close())
	}
	return f, n, nil
}

// image unpacks the layers of an image.
func (u *unpacker) image(b blobs) error {
	find := fromLayout
	if !b.has(ocispec.ImageIndexFile) {
		find = fromSaved
	}
	layers, err := find(b, u.Reference)
	if err != nil {
		return err
	}
	for i := range layers {
		if err := u.layer(b, &layers[i]); err != nil {
			return fmt.Errorf("layer %d: %w", i+1, err)
		}
	}
	return nil
}

// layer unpacks a layer. What is in it is on the disk before it is known to be
// what was meant; if it is not, the caller removes all.
func (u *unpacker) layer(b blobs, l *layer) error {
	in, err := b.open(l.name)
	if err != nil {
		return err
	}
	defer in.close()
	if l.size >= 0 && in.size != l.size {
		return fmt.Errorf("%s has %d bytes, and should have %d", l.name, in.size, l.size)
	}
	return u.checked(in, l)
}

func (u *unpacker) checked(in io.Reader, l *layer) error {
	content, compressed := l.diffID.Verifier(), in
	sum := content
	if l.digest != "" && l.digest != l.diffID {
		sum = l.digest.Verifier()
		compressed = io.TeeReader(in, sum)
	}
	decompressed, end, err := decompress(compressed)
	if err != nil {
		return err
	}
	defer end()
	stream := readAhead(io.TeeReader(decompressed, content))
	defer stream.Close()
	if err := u.to.Apply(stream); err != nil {
		return err
	}
	for _, rest := range []io.Reader{stream, compressed} {
		if _, err := io.Copy(io.Discard, rest); err != nil {
			return err
		}
	}
	if !sum.Verified() || !content.Verified() {
		return fmt.Errorf("%s is not what its digest says", l.name)
	}
	return nil
}
