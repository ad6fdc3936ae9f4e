package unpack

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"runtime"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sys/unix"

	"bryo/fsroot/tree"
)

// Source is what somebody names for an image.
type Source struct {
	Image     *os.File // an archive, which need not be seekable, or the directory of a layout
	Reference string   // which image of several; "" if there is one
	Scratch   int      // a directory for files without names
	MostBytes int64    // how large such a file may become
}

// Taker does something with what a source turns out to be.
type Taker interface {
	TakeFiles(r io.Reader) error // an archive of files, to be read to its end
	TakeImage(image *Image) error
}

// Read finds out what a source is.
func Read(from Source, to Taker) error {
	defer runtime.KeepAlive(from.Image) // of a layout only its descriptor is used below
	info, err := from.Image.Stat()
	if err != nil {
		return err
	}
	s := &source{from, to}
	if info.IsDir() {
		return s.image(directory{tree.Beneath(int(from.Image.Fd()))})
	}
	return s.archive(info)
}

type source struct {
	Source

	to Taker
}

// Request is an image, and where it goes.
type Request struct {
	Image     *os.File // as of a Source
	Reference string
	Root      int // an empty directory
	Limits    tree.Limits
	IDMap     string // noted with the root
}

// Unpack makes a root file system of an image.
func Unpack(r Request) (*tree.Report, error) {
	to := &root{tree.NewImage(r.Root, r.Limits).Under(r.IDMap)}
	err := Read(Source{r.Image, r.Reference, r.Root, r.Limits.Bytes}, to)
	if err == nil {
		err = to.Finish()
	}
	return &to.Report, err
}

// root takes all layers above each other.
type root struct{ *tree.Image }

// TakeFiles unpacks an archive of files: all names mean themselves.
func (to *root) TakeFiles(r io.Reader) error { return to.Unpack(r) }

// TakeImage unpacks the layers of an image.
func (to *root) TakeImage(image *Image) error {
	for i := range image.Layers {
		if err := image.Apply(i, to.Apply); err != nil {
			return err
		}
	}
	return nil
}

// archive is for one of an image as for one of a root file system, which its
// first name tells.
func (s *source) archive(info os.FileInfo) (err error) {
	seekable := info.Mode().IsRegular()
	from := io.Reader(s.Image)
	if seekable {
		from = io.NewSectionReader(s.Image, 0, info.Size())
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
		return s.files(whole)
	}
	if _, compressed := in.(*grown); seekable && !compressed {
		return s.imageArchive(io.NewSectionReader(s.Image, 0, info.Size()))
	}
	spooled, size, err := s.spool(whole)
	if err != nil {
		return err
	}
	defer spooled.Close()
	return s.imageArchive(io.NewSectionReader(spooled, 0, size))
}

// imageArchive is for what begins as the archive of an image.
func (s *source) imageArchive(file *io.SectionReader) error {
	parts, err := openArchive(file)
	if err != nil {
		return err
	}
	if parts.has(DockerManifest) || parts.has(ocispec.ImageIndexFile) {
		return s.image(parts)
	}
	if _, err := file.Seek(0, io.SeekStart); err != nil {
		return err
	}
	return s.files(file)
}

// files is for an archive of a root file system.
func (s *source) files(r io.Reader) error {
	if s.Reference != "" {
		return fmt.Errorf("there is no image %q: it is an archive of files", s.Reference)
	}
	if err := s.to.TakeFiles(r); err != nil {
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
func (s *source) spool(r io.Reader) (*os.File, int64, error) {
	const private = 0o600
	fd, err := unix.Openat(s.Scratch, ".", unix.O_TMPFILE|unix.O_RDWR|unix.O_CLOEXEC, private)
	if err != nil {
		return nil, 0, fmt.Errorf("make a file for the archive: %w", err)
	}
	f := os.NewFile(uintptr(fd), "archive")
	n, err := io.Copy(f, io.LimitReader(r, s.MostBytes))
	if err == nil && n == s.MostBytes {
		err = errors.New("the archive is larger than is allowed")
	}
	if err != nil {
		return nil, 0, errors.Join(err, f.Close())
	}
	return f, n, nil
}

// image is for the parts of an image.
func (s *source) image(b blobs) error {
	find := fromLayout
	switch {
	case b.has(ocispec.ImageIndexFile):
	case b.has(DockerManifest):
		find = fromSaved
	default:
		return errors.New("the directory is no image layout: it has no " + ocispec.ImageIndexFile + "\nfix: name an archive, or a directory that bryo pack, skopeo or podman save made")
	}
	image, err := find(b, s.Reference)
	if err != nil {
		return err
	}
	return s.to.TakeImage(image)
}

// Apply reads a layer, as it is decompressed, and hands it on. What comes of that
// is there before the layer is known to be what was meant; if it is not, the
// caller removes it. Several layers may be read at the same time.
func (i *Image) Apply(layer int, apply func(io.Reader) error) error {
	l := &i.Layers[layer]
	in, err := i.from.open(l.name)
	if err != nil {
		return fmt.Errorf("layer %d: %w", layer+1, err)
	}
	defer in.close()
	if l.size >= 0 && in.size != l.size {
		return fmt.Errorf("layer %d: %s has %d bytes, and should have %d", layer+1, l.name, in.size, l.size)
	}
	if err := l.checked(in, apply); err != nil {
		return fmt.Errorf("layer %d: %w", layer+1, err)
	}
	return nil
}

func (l *Layer) checked(in io.Reader, apply func(io.Reader) error) error {
	content, compressed := l.DiffID.Verifier(), in
	sum := content
	if l.Digest != "" && l.Digest != l.DiffID {
		sum = l.Digest.Verifier()
		compressed = io.TeeReader(in, sum)
	}
	decompressed, end, err := decompress(compressed)
	if err != nil {
		return err
	}
	defer end()
	ahead := readAhead(decompressed)
	defer ahead.Close()
	stream := io.TeeReader(ahead, content) // here: to decompress takes longer than to write
	if err := apply(stream); err != nil {
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
