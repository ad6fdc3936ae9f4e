package pack

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sys/unix"

	"bryo/fsroot/tree"
	"bryo/fsroot/unpack"
)

const (
	shared  = 0o755
	regular = 0o644
	// halfName is what a file is called until it is complete, where the file
	// system has none without a name. Who packs holds the directory's lock.
	halfName = ".bryo-pack"
)

// layout is a directory, which may have other images.
type layout struct {
	dir, blobs int
	index      map[string]json.RawMessage
	others     []json.RawMessage // descriptors of images
}

func openLayout(dir int, tag string) (l *layout, err error) {
	l = &layout{dir: dir, blobs: -1, index: map[string]json.RawMessage{}}
	if err := l.readIndex(tag); err != nil {
		return nil, err
	}
	above, err := makeDir(dir, ocispec.ImageBlobsDir)
	if err != nil {
		return nil, err
	}
	defer unix.Close(above)
	l.blobs, err = makeDir(above, digest.SHA256.String())
	return l, err
}

func (l *layout) close() { _ = unix.Close(l.blobs) }

func makeDir(at int, name string) (int, error) {
	if err := unix.Mkdirat(at, name, shared); err != nil && !errors.Is(err, unix.EEXIST) {
		return -1, fmt.Errorf("make %s: %w", name, err)
	}
	fd, err := unix.Openat(at, name, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1, fmt.Errorf("open %s: %w", name, err)
	}
	return fd, nil
}

// readIndex takes over what is known of other images, all of it.
func (l *layout) readIndex(tag string) error {
	var form ocispec.ImageLayout
	err := readJSON(l.dir, ocispec.ImageLayoutFile, &form)
	switch {
	case errors.Is(err, unix.ENOENT): // bryo has seen to it that the directory is empty
		return nil
	case err != nil:
		return err
	case form.Version != ocispec.ImageLayoutVersion:
		return fmt.Errorf("it is a layout of version %q, and bryo knows %s", form.Version, ocispec.ImageLayoutVersion)
	}
	if err := readJSON(l.dir, ocispec.ImageIndexFile, &l.index); err != nil {
		return err
	}
	var list []json.RawMessage
	if text, has := l.index["manifests"]; has {
		if err := json.Unmarshal(text, &list); err != nil {
			return fmt.Errorf("%s: %w", ocispec.ImageIndexFile, err)
		}
	}
	for _, text := range list {
		var d ocispec.Descriptor
		if err := json.Unmarshal(text, &d); err != nil {
			return fmt.Errorf("%s: %w", ocispec.ImageIndexFile, err)
		}
		if d.Annotations[ocispec.AnnotationRefName] != tag {
			l.others = append(l.others, text)
		}
	}
	return nil
}

func readJSON(dir int, name string, to any) error {
	const most = 4 << 20
	fd, err := unix.Openat(dir, name, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return &os.PathError{Op: "open", Path: name, Err: err}
	}
	f := os.NewFile(uintptr(fd), name)
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, most+1))
	if err == nil && len(text) > most {
		err = unix.EFBIG
	}
	if err == nil {
		err = json.Unmarshal(text, to)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	return nil
}

func (l *layout) create() (part, error) {
	f, err := tree.Create(l.blobs, halfName, regular)
	if err != nil {
		return nil, fmt.Errorf("make a blob: %w", err)
	}
	return blobFile{f}, nil
}

type blobFile struct{ *tree.NewFile }

// commit gives a blob its name. One that is there may be anything, and is replaced.
func (b blobFile) commit(d digest.Digest) error {
	return errors.Join(b.Commit(d.Encoded()), b.Close())
}

func (b blobFile) abort() { _ = errors.Join(b.Abort(), b.Close()) }

// finish writes the index, which is what makes the image one of the layout.
func (l *layout) finish(d ocispec.Descriptor, _ *unpack.Saved) error {
	text, err := json.Marshal(d)
	if err != nil {
		return err
	}
	if text, err = json.Marshal(append(l.others, text)); err != nil {
		return err
	}
	l.index["manifests"] = text
	if _, has := l.index["schemaVersion"]; !has {
		l.index["schemaVersion"] = json.RawMessage("2")
	}
	if text, err = json.Marshal(l.index); err != nil {
		return err
	}
	if err := l.write(ocispec.ImageIndexFile, text); err != nil {
		return err
	}
	if text, err = json.Marshal(ocispec.ImageLayout{Version: ocispec.ImageLayoutVersion}); err != nil {
		return err
	}
	return l.write(ocispec.ImageLayoutFile, text)
}

func (l *layout) write(name string, text []byte) error {
	f, err := tree.Create(l.dir, halfName, regular)
	if err == nil {
		_, err = f.Write(text)
		if err == nil {
			err = f.Commit(name)
		}
		err = errors.Join(err, f.Close())
	}
	if err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	return nil
}

// additions is a directory for one who has the layers below.
type additions struct{ *layout }

func (a additions) finish(_ ocispec.Descriptor, s *unpack.Saved) error {
	text, err := json.Marshal([]*unpack.Saved{s})
	if err != nil {
		return err
	}
	return a.write(unpack.DockerManifest, text)
}

// index is that of one image alone.
func index(d ocispec.Descriptor) ocispec.Index {
	return ocispec.Index{Versioned: specs.Versioned{SchemaVersion: 2}, Manifests: []ocispec.Descriptor{d}} //nolint:mnd // image-spec, image-index.md
}
