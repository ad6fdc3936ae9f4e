package unpack

import (
	"bytes"
	_ "crypto/sha256" // digests of images
	_ "crypto/sha512"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"bryo/fsroot/image"
)

// Image is an image that was found, and whose layers nobody has read yet.
type Image struct {
	// Manifest and Config are as they came; an archive of docker save has no
	// manifest.
	Manifest, Config []byte
	Names            []string // that it has where it comes from
	Layers           []Layer  // the lowest first

	from blobs
}

// Layer is an archive of files, compressed or not.
type Layer struct {
	Digest digest.Digest // as it is, "" if nobody says
	DiffID digest.Digest // of what is in it, decompressed

	name string // among the blobs
	size int64  // -1 for unknown
}

// fromLayout finds an image in a layout. The reference is the
// name that it has there, or "".
func fromLayout(b blobs, reference string) (*Image, error) {
	data, err := readAll(b, ocispec.ImageIndexFile)
	if err != nil {
		return nil, err
	}
	var index ocispec.Index
	if err := json.Unmarshal(data, &index); err != nil {
		return nil, fmt.Errorf("%s: %w", ocispec.ImageIndexFile, err)
	}
	chosen, err := named(index.Manifests, reference)
	if err != nil {
		return nil, err
	}
	var names []string
	if name := chosen.Annotations[ocispec.AnnotationRefName]; name != "" {
		names = []string{name}
	}
	const nested = 4
	for range nested {
		data, err := verified(b, chosen)
		if err != nil {
			return nil, err
		}
		if !isIndex(chosen.MediaType) {
			return fromManifest(b, data, names)
		}
		var index ocispec.Index
		if err := json.Unmarshal(data, &index); err != nil {
			return nil, fmt.Errorf("index %s: %w", chosen.Digest, err)
		}
		if chosen, err = forMachine(index.Manifests); err != nil {
			return nil, err
		}
	}
	return nil, errors.New("the image's indexes have no end")
}

func isIndex(mediaType string) bool {
	return mediaType == ocispec.MediaTypeImageIndex || mediaType == "application/vnd.docker.distribution.manifest.list.v2+json"
}

// named chooses an image of a layout by its name.
func named(list []ocispec.Descriptor, reference string) (ocispec.Descriptor, error) {
	var names []string
	for _, d := range list {
		name := d.Annotations[ocispec.AnnotationRefName]
		if reference != "" && name == reference {
			return d, nil
		}
		if name != "" {
			names = append(names, name)
		}
	}
	switch {
	case reference != "":
		return ocispec.Descriptor{}, errNoImage(reference, names)
	case len(list) == 1:
		return list[0], nil
	case len(names) == 0:
		return forMachine(list)
	}
	return ocispec.Descriptor{}, errSeveral(len(list), names)
}

func errNoImage(reference string, names []string) error {
	return fmt.Errorf("there is no image %q\nfix: it has %s", reference, listed(names))
}

func errSeveral(images int, names []string) error {
	return fmt.Errorf("there are %d images\nfix: name one behind a colon: %s", images, listed(names))
}

func listed(names []string) string {
	const most = 20
	if len(names) == 0 {
		return "none with a name"
	}
	return strings.Join(names[:min(len(names), most)], ", ")
}

// forMachine chooses an image that runs here.
func forMachine(list []ocispec.Descriptor) (best ocispec.Descriptor, err error) {
	here, err := image.ParsePlatform("")
	if err != nil {
		return best, err
	}
	var others []string
	rank := 0
	for _, d := range list {
		if d.Platform == nil && len(list) == 1 {
			return d, nil
		}
		if d.Platform == nil || d.Platform.OS == "unknown" {
			continue
		}
		has := image.Platform{OS: d.Platform.OS, Architecture: d.Platform.Architecture, Variant: d.Platform.Variant}
		if n := here.Suits(has); n > rank {
			best, rank = d, n
		}
		others = append(others, has.String())
	}
	if rank == 0 {
		err = fmt.Errorf("the image has nothing for %s; it has %s", here, listed(others))
	}
	return best, err
}

func blobName(d digest.Digest) (string, error) {
	if err := d.Validate(); err != nil {
		return "", fmt.Errorf("digest %q: %w", string(d), err)
	}
	return ocispec.ImageBlobsDir + "/" + d.Algorithm().String() + "/" + d.Encoded(), nil
}

// verified reads a small blob, whose size and digest are those that were told.
func verified(b blobs, d ocispec.Descriptor) ([]byte, error) {
	name, err := blobName(d.Digest)
	if err != nil {
		return nil, err
	}
	data, err := readAll(b, name)
	if err != nil {
		return nil, err
	}
	if int64(len(data)) != d.Size {
		return nil, fmt.Errorf("%s has %d bytes, and should have %d", name, len(data), d.Size)
	}
	verifier := d.Digest.Verifier()
	if _, err := io.Copy(verifier, bytes.NewReader(data)); err != nil || !verifier.Verified() {
		return nil, fmt.Errorf("%s is not what its digest says", name)
	}
	return data, nil
}

func fromManifest(b blobs, data []byte, names []string) (*Image, error) {
	var manifest ocispec.Manifest
	if err := json.Unmarshal(data, &manifest); err != nil {
		return nil, fmt.Errorf("the image's manifest: %w", err)
	}
	if manifest.Config.Digest == "" {
		return nil, errors.New("the image's manifest has no configuration: it is not one that bryo knows")
	}
	config, err := verified(b, manifest.Config)
	if err != nil {
		return nil, fmt.Errorf("the image's configuration: %w", err)
	}
	ids, err := diffIDs(config, len(manifest.Layers))
	if err != nil {
		return nil, err
	}
	image := &Image{Manifest: data, Config: config, Names: names, Layers: make([]Layer, len(ids)), from: b}
	for i, d := range manifest.Layers {
		name, err := blobName(d.Digest)
		if err != nil {
			return nil, err
		}
		if d.Size < 0 {
			return nil, fmt.Errorf("%s has the size %d", name, d.Size)
		}
		image.Layers[i] = Layer{d.Digest, ids[i], name, d.Size}
	}
	return image, nil
}

// diffIDs are the digests of the layers' contents, as a configuration has them.
func diffIDs(config []byte, layers int) ([]digest.Digest, error) {
	var of ocispec.Image
	if err := json.Unmarshal(config, &of); err != nil {
		return nil, fmt.Errorf("the image's configuration: %w", err)
	}
	ids := of.RootFS.DiffIDs
	if len(ids) != layers || layers > image.MostLayers {
		return nil, fmt.Errorf("the image has %d layers, and its configuration %d; there may be %d", layers, len(ids), image.MostLayers)
	}
	for _, id := range ids {
		if err := id.Validate(); err != nil {
			return nil, fmt.Errorf("digest %q: %w", string(id), err)
		}
	}
	return ids, nil
}
