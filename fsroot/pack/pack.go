package pack

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"bryo/fsroot/order"
	"bryo/fsroot/tree"
	"bryo/fsroot/unpack"
	"bryo/idmap"
)

// Request is an image, and what it is made of.
type Request struct {
	order.Pack

	Out    *os.File // an empty file for an archive; or a directory that is empty, or a layout
	Base   []byte   // the configuration of the image that the layers but the last are of; nil for none
	Layers []int    // directories, the lowest first
}

// sink is where the parts of an image go.
type sink interface {
	create() (part, error)
	finish(manifest ocispec.Descriptor, s *unpack.Saved) error
}

// part is a blob that is being written. It is there when it has its name.
type part interface {
	io.Writer
	commit(d digest.Digest) error
	abort()
}

type packer struct {
	Request

	to     sink
	how    compression
	ids    idmap.Maps
	report tree.Report
	newest time.Time
}

// epoch is the time of what has none of its own.
func epoch() time.Time { return time.Unix(0, 0) }

// Pack makes an image.
func Pack(r Request) (*tree.Report, error) {
	if len(r.Layers) == 0 || len(r.Layers) != len(r.Upper) {
		return nil, errors.New("there is nothing to make an image of")
	}
	p := &packer{Request: r, newest: epoch()}
	var err error
	if p.how, err = compressionOf(r.Compression); err != nil {
		return nil, err
	}
	if p.ids, err = idmap.ParseMaps(r.IDMap); err != nil {
		return nil, err
	}
	if r.Archive {
		p.to, err = openArchive(r.Out)
	} else {
		var l *layout
		if l, err = openLayout(int(r.Out.Fd()), r.Tag); err == nil {
			defer l.close()
		}
		p.to = l
		if len(r.Kept) > 0 {
			p.to = additions{l}
		}
	}
	if err != nil {
		return nil, err
	}
	return &p.report, p.image()
}

func (p *packer) image() error {
	manifest := ocispec.Manifest{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageManifest} //nolint:mnd // image-spec, manifest.md
	var diffIDs []digest.Digest
	for _, kept := range p.Kept {
		manifest.Layers, diffIDs = append(manifest.Layers, ocispec.Descriptor{Digest: digest.Digest(kept)}), append(diffIDs, digest.Digest(kept))
	}
	for i, fd := range p.Layers {
		d, diffID, err := p.layer(fd, p.Upper[i])
		if err != nil {
			return err
		}
		manifest.Layers, diffIDs = append(manifest.Layers, d), append(diffIDs, diffID)
	}
	return p.describe(&manifest, diffIDs)
}

// describe writes what says which layers are the image.
func (p *packer) describe(manifest *ocispec.Manifest, diffIDs []digest.Digest) error {
	config, err := configuration(p.Base, &p.Pack, diffIDs, p.newest)
	if err != nil {
		return err
	}
	if manifest.Config, err = p.write(ocispec.MediaTypeImageConfig, config); err != nil {
		return err
	}
	if len(p.Kept) > 0 { // nobody could know the sizes that a manifest has
		return p.to.finish(ocispec.Descriptor{}, p.saved(manifest))
	}
	text, err := json.Marshal(manifest)
	if err != nil {
		return err
	}
	d, err := p.write(ocispec.MediaTypeImageManifest, text)
	if err != nil {
		return err
	}
	if p.Tag != "" {
		d.Annotations = map[string]string{ocispec.AnnotationRefName: p.Tag}
	}
	return p.to.finish(d, p.saved(manifest))
}

func (p *packer) saved(m *ocispec.Manifest) *unpack.Saved {
	s := &unpack.Saved{Config: blobPath(m.Config.Digest)}
	for _, l := range m.Layers {
		s.Layers = append(s.Layers, blobPath(l.Digest))
	}
	if p.Tag != "" {
		s.RepoTags = []string{repoTag(p.Tag)}
	}
	return s
}

// write makes a small blob.
func (p *packer) write(mediaType string, text []byte) (ocispec.Descriptor, error) {
	return p.blob(mediaType, func(w *counted) error {
		_, err := io.Copy(w, bytes.NewReader(text))
		return err
	})
}

// blob makes a blob of what is written.
func (p *packer) blob(mediaType string, write func(w *counted) error) (d ocispec.Descriptor, err error) {
	to, err := p.to.create()
	if err != nil {
		return d, err
	}
	sum := digest.SHA256.Digester()
	size := &counted{to: io.MultiWriter(to, sum.Hash())}
	if err := write(size); err != nil {
		to.abort()
		return d, err
	}
	d = ocispec.Descriptor{MediaType: mediaType, Digest: sum.Digest(), Size: size.n}
	return d, to.commit(d.Digest)
}

// layer makes a blob of a directory. The second result is the digest of what is
// in it.
func (p *packer) layer(dir int, upper bool) (ocispec.Descriptor, digest.Digest, error) {
	content := digest.SHA256.Digester()
	size := &counted{to: content.Hash()}
	d, err := p.blob(p.how.mediaType, func(w *counted) error {
		z, err := p.how.open(w)
		if err != nil {
			return err
		}
		const chunk = 256 << 10
		out := bufio.NewWriterSize(io.MultiWriter(size, z), chunk)
		err = p.stream(out, dir, upper)
		if err == nil {
			err = out.Flush()
		}
		if ended := z.Close(); err == nil { // else it fails for the same reason
			err = ended
		}
		if err == nil && unpack.Bomb(size.n, w.n) {
			err = fmt.Errorf("a layer of %d bytes becomes %d, which who unpacks it would take for a bomb\nfix: --compression none, or remove what is nothing but zeros", size.n, w.n)
		}
		return err
	})
	return d, content.Digest(), err
}

func (p *packer) stream(w io.Writer, dir int, upper bool) error {
	l := &tree.Layering{Upper: upper, Report: &p.report}
	if p.Before != nil {
		l.Before = *p.Before
	}
	err := tree.Beneath(dir).Pack(w, "/", ".", tree.Packing{Skipped: p.report.Leave, Layer: l, Noted: &p.ids})
	if l.Newest.After(p.newest) {
		p.newest = l.Newest
	}
	return err
}
