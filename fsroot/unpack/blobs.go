package unpack

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"strings"

	"golang.org/x/sys/unix"

	"bryo/fsroot/tree"
)

// blobs is where the parts of an image lie: a directory, or an archive.
type blobs interface {
	has(name string) bool
	open(name string) (blob, error)
}

// blob is one part.
type blob struct {
	io.Reader

	size  int64
	close func()
}

// directory is an image layout on a disk.
type directory struct{ tree.Tree }

func (d directory) open(name string) (blob, error) {
	f, err := d.OpenFile(name)
	if err != nil {
		return blob{}, err
	}
	info, err := f.Stat()
	if err != nil {
		return blob{}, errors.Join(err, f.Close())
	}
	return blob{f, info.Size(), func() { _ = f.Close() }}, nil
}

func (d directory) has(name string) bool {
	f, err := d.OpenFile(name)
	return err == nil && f.Close() == nil
}

// archive is a tar of an image, on a disk: names and where their data is.
type archive struct {
	file  io.ReaderAt
	parts map[string]part
}

type part struct {
	at, size int64
	link     string
}

// mostParts is how many files an archive of an image may have, which are a few
// for each layer.
const mostParts = 10000

func openArchive(f *io.SectionReader) (*archive, error) {
	a := &archive{file: f, parts: map[string]part{}}
	in := tar.NewReader(f)
	for range mostParts {
		h, err := in.Next()
		if errors.Is(err, io.EOF) {
			return a, nil
		}
		if err != nil {
			return nil, fmt.Errorf("read the archive: %w", err)
		}
		at, err := f.Seek(0, io.SeekCurrent)
		if err != nil {
			return nil, err
		}
		name := path.Clean("/" + h.Name)
		switch h.Typeflag {
		case tar.TypeReg:
			a.parts[name] = part{at: at, size: h.Size}
		case tar.TypeSymlink: // as older docker has them to layers
			a.parts[name] = part{link: path.Join(path.Dir(name), h.Linkname)} //nolint:gosec // it is a name in the archive
		case tar.TypeLink:
			a.parts[name] = part{link: path.Clean("/" + h.Linkname)}
		}
	}
	return nil, fmt.Errorf("the archive of an image has more than %d files", mostParts)
}

func (a *archive) find(name string) (part, bool) {
	p, found := a.parts[path.Clean("/"+name)]
	if found && p.link != "" {
		p, found = a.parts[p.link]
	}
	return p, found && p.link == ""
}

func (a *archive) has(name string) bool {
	_, found := a.find(name)
	return found
}

func (a *archive) open(name string) (blob, error) {
	p, found := a.find(name)
	if !found {
		return blob{}, &os.PathError{Op: "open", Path: name, Err: unix.ENOENT}
	}
	return blob{io.NewSectionReader(a.file, p.at, p.size), p.size, func() {}}, nil
}

// imagePart says whether an archive that begins with a name may be one of an
// image, and not one of a root file system.
func imagePart(name string) bool {
	first, _, _ := strings.Cut(strings.TrimPrefix(path.Clean("/"+name), "/"), "/")
	switch first {
	case "blobs", "oci-layout", "index.json", "manifest.json", "repositories":
		return true
	}
	stem := strings.TrimSuffix(strings.TrimSuffix(first, ".tar"), ".json")
	const digits = 64 // of a sha256
	return len(stem) == digits && strings.Trim(stem, "0123456789abcdef") == ""
}

// readAll reads a small part.
func readAll(b blobs, name string) ([]byte, error) {
	const most = 4 << 20
	in, err := b.open(name)
	if err != nil {
		return nil, err
	}
	defer in.close()
	if in.size > most {
		return nil, fmt.Errorf("%s has %d bytes, more than %d", name, in.size, most)
	}
	return io.ReadAll(io.LimitReader(in, most))
}
