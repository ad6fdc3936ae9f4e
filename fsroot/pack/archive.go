package pack

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"strings"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"bryo/fsroot/unpack"
)

// archive is a layout in a file, and what docker save writes at the same time:
// manifest.json of that names the same blobs. A blob's header is written when its
// name and size are known, into the block that was left free for it.
type archive struct {
	file    *os.File
	at      int64 // where the next header goes
	written map[digest.Digest]bool
}

const block = 512 // tar(5)

func openArchive(file *os.File) (*archive, error) {
	a := &archive{file: file, written: map[digest.Digest]bool{}}
	for _, name := range []string{ocispec.ImageBlobsDir + "/", ocispec.ImageBlobsDir + "/" + digest.SHA256.String() + "/"} {
		if err := a.header(&tar.Header{Typeflag: tar.TypeDir, Name: name, Mode: shared}); err != nil {
			return nil, err
		}
		a.at += block
	}
	return a, nil
}

// header writes a header of one block, however large the file is: that of GNU tar.
func (a *archive) header(h *tar.Header) error {
	var b bytes.Buffer
	h.Format, h.ModTime = tar.FormatGNU, epoch()
	if err := tar.NewWriter(&b).WriteHeader(h); err != nil {
		return err
	}
	if b.Len() != block {
		return fmt.Errorf("the header of %s has %d bytes", h.Name, b.Len())
	}
	_, err := a.file.WriteAt(b.Bytes(), a.at)
	return err
}

func (a *archive) create() (part, error) { return &blobPart{in: a}, nil }

type blobPart struct {
	in *archive
	n  int64
}

func (b *blobPart) Write(data []byte) (int, error) {
	n, err := b.in.file.WriteAt(data, b.in.at+block+b.n)
	b.n += int64(n)
	return n, err
}

// commit leaves a blob out that the archive has already.
func (b *blobPart) commit(d digest.Digest) error {
	if b.in.written[d] {
		return nil
	}
	b.in.written[d] = true
	return b.in.end(blobPath(d), b.n)
}

func (*blobPart) abort() {}

// end closes a file of the archive, whose content is written.
func (a *archive) end(name string, size int64) error {
	if err := a.header(&tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: regular, Size: size}); err != nil {
		return err
	}
	a.at += block + (size+block-1)/block*block
	return nil
}

// finish writes what says which blobs are the image, and the end of the archive.
func (a *archive) finish(d ocispec.Descriptor, s *unpack.Saved) error {
	files := []struct {
		name    string
		content any
	}{
		{ocispec.ImageLayoutFile, ocispec.ImageLayout{Version: ocispec.ImageLayoutVersion}},
		{ocispec.ImageIndexFile, index(d)},
		{unpack.DockerManifest, []*unpack.Saved{s}},
	}
	for _, f := range files {
		text, err := json.Marshal(f.content)
		if err != nil {
			return err
		}
		if _, err := a.file.WriteAt(text, a.at+block); err != nil {
			return err
		}
		if err := a.end(f.name, int64(len(text))); err != nil {
			return err
		}
	}
	// What a blob that is there already left behind is cut off; then come two
	// blocks of nothing.
	if err := a.file.Truncate(a.at); err != nil {
		return err
	}
	return a.file.Truncate(a.at + 2*block)
}

func blobPath(d digest.Digest) string {
	return ocispec.ImageBlobsDir + "/" + d.Algorithm().String() + "/" + d.Encoded()
}

// repoTag is an image's name as docker load takes it, which wants one with a tag.
func repoTag(tag string) string {
	if i := strings.LastIndexByte(tag, ':'); i > strings.LastIndexByte(tag, '/') {
		return tag
	}
	return tag + ":latest"
}
