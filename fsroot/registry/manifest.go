package registry

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"bryo/fsroot/image"
)

// What Docker called what the OCI has taken over.
const (
	dockerManifest = "application/vnd.docker.distribution.manifest.v2+json"
	dockerList     = "application/vnd.docker.distribution.manifest.list.v2+json"
	dockerConfig   = "application/vnd.docker.container.image.v1+json"
	dockerLayer    = "application/vnd.docker.image.rootfs.diff.tar"
)

const mostManifest = 4 << 20 // bytes of a manifest or configuration

// document is a manifest or an index, as it came, and what is in it.
type document struct {
	content

	desc ocispec.Descriptor // what it is by what came, not by what it says
	body []byte
}

// content has the fields of both kinds.
type content struct {
	SchemaVersion int                  `json:"schemaVersion"`
	MediaType     string               `json:"mediaType"`
	Manifests     []ocispec.Descriptor `json:"manifests"`
	Config        *ocispec.Descriptor  `json:"config"`
	Layers        []ocispec.Descriptor `json:"layers"`
}

func (d *document) isIndex() bool {
	return d.desc.MediaType == ocispec.MediaTypeImageIndex || d.desc.MediaType == dockerList
}

// manifest asks for a manifest or an index by a tag or a digest.
func (e *endpoint) manifest(ctx context.Context, reference string) (d *document, err error) {
	header := http.Header{"Accept": {ocispec.MediaTypeImageIndex, ocispec.MediaTypeImageManifest, dockerManifest, dockerList}}
	err = e.again(ctx, func() (int64, error) {
		a, err := e.get(ctx, "/manifests/"+reference, header)
		if err != nil {
			return 0, err
		}
		defer a.close()
		if a.ContentLength > mostManifest {
			return 0, refuse("the registry's manifest has %d bytes; %d are allowed", a.ContentLength, mostManifest)
		}
		body, err := io.ReadAll(io.LimitReader(a, mostManifest+1))
		if err != nil {
			return 0, err
		}
		d, err = newDocument(body, reference, a.Header)
		return 0, err
	})
	return d, err
}

// newDocument checks what came against what was asked for, and what its kind is
// told to be against what is in it: another tool must not see another image.
func newDocument(body []byte, reference string, header http.Header) (*document, error) {
	if len(body) > mostManifest {
		return nil, refuse("the registry's manifest has more than %d bytes", mostManifest)
	}
	d := &document{body: body}
	d.desc.Digest, d.desc.Size = digest.FromBytes(body), int64(len(body))
	if strings.Contains(reference, ":") && reference != d.desc.Digest.String() {
		return nil, refuse("the registry sends a manifest that is not %s", reference)
	}
	if told := header.Get("Docker-Content-Digest"); strings.HasPrefix(told, "sha256:") && told != d.desc.Digest.String() {
		return nil, refuse("the registry's manifest is not what its digest says: it has %s", d.desc.Digest)
	}
	if err := decode(body, &d.content); err != nil {
		return nil, refuse("the registry's manifest is none: %v", err)
	}
	kind, _, err := mime.ParseMediaType(header.Get("Content-Type"))
	if err != nil || kind == "application/json" || kind == "application/octet-stream" || kind == "text/plain" {
		kind = d.MediaType // some registries are servers of files
	}
	d.desc.MediaType = kind
	return d, d.checkKind()
}

// decode reads JSON of which each object may become a hundred times as large in
// memory.
func decode(text []byte, into any) error {
	const most = 10000
	if n := bytes.Count(text, []byte("{")); n > most {
		return fmt.Errorf("it has %d objects; %d are allowed", n, most)
	}
	return json.Unmarshal(text, into)
}

func (d *document) checkKind() error {
	kind := d.desc.MediaType
	switch kind {
	case ocispec.MediaTypeImageIndex, dockerList, ocispec.MediaTypeImageManifest, dockerManifest:
	case "application/vnd.docker.distribution.manifest.v1+json", "application/vnd.docker.distribution.manifest.v1+prettyjws":
		return errors.New("the image is in a format of before 2016, schema 1, which nobody should trust\nfix: push it again with a newer tool")
	default:
		return refuse("the registry sends %.80q, which is no image", kind)
	}
	const version = 2
	mixed := d.isIndex() && (d.Config != nil || d.Layers != nil) || !d.isIndex() && d.Manifests != nil
	if d.MediaType != "" && d.MediaType != kind || mixed || d.SchemaVersion != version {
		return refuse("the registry's manifest is not of the kind that it says it is, %s", kind)
	}
	return nil
}

// choose returns the manifest of an index that suits a platform best; of equals,
// the first.
func choose(list []ocispec.Descriptor, want image.Platform) (ocispec.Descriptor, error) {
	var best ocispec.Descriptor
	var others []string
	rank := 0
	for _, d := range list {
		if d.Platform == nil || d.Platform.OS == "unknown" { // as attestations are
			continue
		}
		has := image.Platform{OS: d.Platform.OS, Architecture: d.Platform.Architecture, Variant: d.Platform.Variant}
		if n := want.Suits(has); n > rank {
			best, rank = d, n
		}
		if text := has.String(); !slices.Contains(others, text) {
			others = append(others, text)
		}
	}
	if rank > 0 {
		return best, checkDescriptor(best, mostManifest)
	}
	const most = 20
	if len(others) == 0 {
		return best, fmt.Errorf("the image has nothing for %s, and names no platform", want)
	}
	return best, fmt.Errorf("the image has nothing for %s\nfix: --platform, one of %s", want, strings.Join(others[:min(len(others), most)], " "))
}

// checkDescriptor refuses what cannot be the digest or size of anything.
func checkDescriptor(d ocispec.Descriptor, most int64) error {
	if err := d.Digest.Validate(); err != nil || d.Digest.Algorithm() != digest.SHA256 {
		return refuse("%.80q is no digest of sha256", string(d.Digest))
	}
	if d.Size < 0 || d.Size > most {
		return refuse("%s has %d bytes, by what the registry says; %d are allowed", d.Digest, d.Size, most)
	}
	return nil
}

// parts returns the blobs of an image, each once: its configuration, and its layers.
func (d *document) parts(most int64) (config ocispec.Descriptor, layers []ocispec.Descriptor, err error) {
	if d.Config == nil || d.Config.MediaType != ocispec.MediaTypeImageConfig && d.Config.MediaType != dockerConfig {
		return config, nil, errors.New("it is something else than an image of files, as a chart or a signature")
	}
	config = *d.Config
	if err := checkDescriptor(config, mostManifest); err != nil {
		return config, nil, err
	}
	if len(d.Layers) > image.MostLayers {
		return config, nil, refuse("the image has %d layers; %d are allowed", len(d.Layers), image.MostLayers)
	}
	sizes := map[digest.Digest]int64{config.Digest: config.Size}
	left := most
	for _, l := range d.Layers {
		if err := checkLayer(l, left); err != nil {
			return config, nil, err
		}
		size, seen := sizes[l.Digest]
		if seen && size != l.Size {
			return config, nil, refuse("%s has two sizes", l.Digest)
		}
		if !seen {
			layers = append(layers, l)
			sizes[l.Digest] = l.Size
			left -= l.Size
		}
	}
	return config, layers, nil
}

func checkLayer(l ocispec.Descriptor, most int64) error {
	if l.Size > most {
		return errors.New("the image's layers have more bytes than are allowed\nfix: --max-size, if you trust the image")
	}
	if err := checkDescriptor(l, most); err != nil {
		return err
	}
	switch strings.TrimSuffix(strings.TrimSuffix(strings.TrimSuffix(l.MediaType, "+gzip"), "+zstd"), ".gzip") {
	case ocispec.MediaTypeImageLayer, dockerLayer, dockerLayer + ".zstd":
		return nil
	}
	if strings.Contains(l.MediaType, "foreign") || strings.Contains(l.MediaType, "nondistributable") {
		return errors.New("the image has a layer that is not in the registry, as images of Windows have")
	}
	return refuse("the image has a layer of a kind that nobody knows, %.80q", l.MediaType)
}

// machine is what an image's configuration says that it is for.
func machine(config []byte) (image.Platform, error) {
	var c ocispec.Image
	if err := decode(config, &c); err != nil {
		return image.Platform{}, refuse("the image's configuration is none: %v", err)
	}
	return image.Platform{OS: c.OS, Architecture: c.Architecture, Variant: c.Variant}, nil
}
