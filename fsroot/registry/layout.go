package registry

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sys/unix"
)

// layout is an image layout that is written to, by several at once:
//
//	oci-layout            flock(2), exclusive, by who changes the index
//	index.json
//	blobs/sha256/HEX      complete, and what its name says
//	.new-...              and in blobs/sha256: what is about to be renamed
//	blobs/sha256/.HEX     what there is of one; flock(2), exclusive, by who downloads it
type layout struct{ root *os.Root }

const (
	blobsDir = ocispec.ImageBlobsDir + "/sha256"

	besidePrefix = ".new-"

	filesMode, dirsMode = 0o644, 0o755
)

// makeLayout makes what is missing of a layout in a directory. One that has
// something else in it is left alone.
func makeLayout(root *os.Root) (*layout, error) {
	l := &layout{root}
	_, err := root.Stat(ocispec.ImageLayoutFile)
	if errors.Is(err, fs.ErrNotExist) {
		if err := l.vacant(); err != nil {
			return nil, err
		}
		err = l.write(ocispec.ImageLayoutFile, []byte(`{"imageLayoutVersion":"`+ocispec.ImageLayoutVersion+`"}`))
	}
	for _, dir := range []string{ocispec.ImageBlobsDir, blobsDir} {
		if err == nil {
			if err = root.Mkdir(dir, dirsMode); errors.Is(err, fs.ErrExist) {
				err = nil
			}
		}
	}
	if err != nil {
		return nil, fmt.Errorf("make the image layout: %w", err)
	}
	return l, nil
}

// vacant refuses a directory with anything in it but what an earlier download
// may have left.
func (l *layout) vacant() error {
	dir, err := l.root.Open(".")
	if err != nil {
		return err
	}
	defer dir.Close()
	names, err := dir.Readdirnames(-1)
	for _, name := range names {
		if name != ocispec.ImageBlobsDir && !strings.HasPrefix(name, besidePrefix) {
			return fmt.Errorf("the directory has %q in it, and is no image layout\nfix: name a new directory", name)
		}
	}
	return err
}

// write replaces a file at once.
func (l *layout) write(name string, data []byte) error {
	beside := path.Join(path.Dir(name), besidePrefix+rand.Text())
	f, err := l.root.OpenFile(beside, os.O_WRONLY|os.O_CREATE|os.O_EXCL, filesMode)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err = errors.Join(err, f.Sync(), f.Close()); err == nil {
		err = l.root.Rename(beside, name)
	}
	if err != nil {
		return errors.Join(err, l.root.Remove(beside))
	}
	return nil
}

func blobName(d digest.Digest) string { return blobsDir + "/" + d.Encoded() }

// has says whether a blob is there. What has its name was looked at before.
func (l *layout) has(d ocispec.Descriptor) bool {
	info, err := l.root.Lstat(blobName(d.Digest))
	return err == nil && info.Mode().IsRegular() && info.Size() == d.Size
}

func (l *layout) put(d *document) error {
	if l.has(d.desc) {
		return nil
	}
	return l.write(blobName(d.desc.Digest), d.body)
}

func (l *layout) read(name string) ([]byte, error) {
	f, err := l.root.OpenFile(name, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, mostManifest))
}

// add puts an image into the index, in place of what had its name.
func (l *layout) add(ctx context.Context, d ocispec.Descriptor, name string) error {
	lock, err := l.root.Open(ocispec.ImageLayoutFile)
	if err != nil {
		return err
	}
	defer lock.Close()
	if err := flock(ctx, lock); err != nil {
		return err
	}
	index := ocispec.Index{MediaType: ocispec.MediaTypeImageIndex}
	index.SchemaVersion = 2
	text, err := l.read(ocispec.ImageIndexFile)
	if err == nil {
		err = json.Unmarshal(text, &index)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%s: %w", ocispec.ImageIndexFile, err)
	}
	entry := ocispec.Descriptor{MediaType: d.MediaType, Digest: d.Digest, Size: d.Size}
	if name != "" {
		entry.Annotations = map[string]string{ocispec.AnnotationRefName: name}
	}
	index.Manifests = slices.DeleteFunc(index.Manifests, func(other ocispec.Descriptor) bool {
		called := other.Annotations[ocispec.AnnotationRefName]
		return called == name && (name != "" || other.Digest == d.Digest)
	})
	index.Manifests = append(index.Manifests, entry)
	var out bytes.Buffer
	if err := json.NewEncoder(&out).Encode(index); err != nil {
		return err
	}
	return l.write(ocispec.ImageIndexFile, out.Bytes())
}

// flock waits for an exclusive lock.
func flock(ctx context.Context, f *os.File) error {
	const pause = 100 * time.Millisecond
	for {
		err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if !errors.Is(err, unix.EWOULDBLOCK) {
			return os.NewSyscallError("flock", err)
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(pause):
		}
	}
}
