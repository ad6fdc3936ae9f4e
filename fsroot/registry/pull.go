package registry

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"bryo/fsroot/fetch"
	"bryo/fsroot/image"
)

// downloads is how many blobs come at a time.
const downloads = 3

// Source is where an image is asked for.
type Source struct {
	request   fetch.Request
	reference image.Reference
	platform  image.Platform
	endpoints []*endpoint
	warnings  []string
}

// Open reads the user's settings, credentials and certificates. A credential
// helper of the user's is run if there is one; nothing else is asked.
func Open(ctx context.Context, request *fetch.Request) (*Source, error) {
	return open(ctx, request, user{os.Getenv, "/etc"})
}

func open(ctx context.Context, request *fetch.Request, u user) (*Source, error) {
	s := &Source{request: *request}
	var err error
	if s.reference, err = image.Parse(request.Reference); err != nil {
		return nil, err
	}
	if s.platform, err = image.ParsePlatform(request.Platform); err != nil {
		return nil, err
	}
	if request.Unverified && !isLoopback(s.reference.Registry) {
		return nil, fmt.Errorf("--tls-verify=false is for registries on this machine: %s could be anybody\nfix: put the certificate of its authority in ~/.config/containers/certs.d/%s/ca.crt", s.reference.Registry, s.reference.Registry)
	}
	settings, err := readSettings(u)
	if err != nil {
		return nil, err
	}
	places, err := settings.places(s.reference)
	if err != nil {
		return nil, err
	}
	for _, p := range places {
		if err := s.add(ctx, p, u); err != nil {
			return nil, err
		}
	}
	return s, nil
}

// add reads what is needed to ask at one place.
func (s *Source) add(ctx context.Context, p place, u user) error {
	if p.insecure && !isLoopback(p.host) {
		s.warnings = append(s.warnings, "registries.conf has "+p.host+" as insecure, which is for registries on this machine: its certificate is looked at")
	}
	credential, err := u.credential(ctx, p)
	if err != nil {
		return err
	}
	trust, err := u.trust(p.host)
	if err != nil {
		return err
	}
	s.endpoints = append(s.endpoints, newEndpoint(p, trust, credential, s.request.Unverified || p.insecure, u))
	return nil
}

// Pull downloads the image into a layout, and tells what it does.
func (s *Source) Pull(ctx context.Context, root *os.Root, tell func(fetch.Event)) error {
	for _, w := range s.warnings {
		tell(fetch.Event{Warning: w})
	}
	var last error
	for i, e := range s.endpoints {
		err := s.from(ctx, e, root, tell)
		if err == nil || ctx.Err() != nil || isLocal(err) {
			return err
		}
		last = err
		if i < len(s.endpoints)-1 {
			tell(fetch.Event{Warning: fmt.Sprintf("mirror %s: %s", e, firstLine(err))})
		}
	}
	return last
}

// from downloads an image from one of the places where it may be.
func (s *Source) from(ctx context.Context, e *endpoint, root *os.Root, tell func(fetch.Event)) error {
	if err := e.settle(ctx); err != nil {
		return err
	}
	manifest, index, err := s.find(ctx, e)
	if err != nil {
		return e.describe(err, s.reference)
	}
	config, layers, err := manifest.parts(s.request.MostBytes)
	if err != nil {
		return fmt.Errorf("%s: %w", s.reference, err)
	}
	to, err := makeLayout(root)
	if err != nil {
		return err
	}
	news := &fetch.Image{Manifest: manifest.desc.Digest.String()}
	if index != nil {
		news.Index = index.desc.Digest.String()
	}
	missing := slices.DeleteFunc(slices.Clone(layers), func(l ocispec.Descriptor) bool {
		return slices.Contains(s.request.Have, l.Digest.String()) || to.has(l)
	})
	news.Skipped = len(layers) - len(missing)
	for _, l := range missing {
		news.Missing = append(news.Missing, fetch.Blob{Digest: l.Digest.String(), Size: l.Size})
	}
	if err := s.config(ctx, e, to, config, tell); err != nil {
		return err
	}
	tell(fetch.Event{Image: news})
	if err := e.downloadAll(ctx, to, missing, tell); err != nil {
		return err
	}
	if err := to.put(manifest); err != nil {
		return err
	}
	return to.add(ctx, manifest.desc, s.request.Name)
}

// find asks for the manifest, through indexes if need be.
func (s *Source) find(ctx context.Context, e *endpoint) (manifest, index *document, err error) {
	reference := s.reference.Tag
	if s.reference.Digest != "" {
		reference = s.reference.Digest
	}
	const nested = 3
	for range nested {
		if manifest, err = e.manifest(ctx, reference); err != nil {
			return nil, nil, err
		}
		if !manifest.isIndex() {
			return manifest, index, nil
		}
		if index == nil {
			index = manifest
		}
		chosen, err := choose(manifest.Manifests, s.platform)
		if err != nil {
			return nil, nil, err
		}
		reference = chosen.Digest.String()
	}
	return nil, nil, refuse("the image's indexes have no end")
}

// config brings the configuration, and compares what it says that the image is
// for with what was asked for.
func (s *Source) config(ctx context.Context, e *endpoint, to *layout, config ocispec.Descriptor, tell func(fetch.Event)) error {
	if err := e.download(ctx, to, config, func(int64) {}); err != nil {
		return fmt.Errorf("the image's configuration: %w", err)
	}
	text, err := to.read(blobName(config.Digest))
	if err != nil {
		return err
	}
	has, err := machine(text)
	if err != nil || s.platform.Suits(has) > 0 {
		return err
	}
	if s.request.Platform != "" {
		return fmt.Errorf("%s is for %s only", s.reference, has)
	}
	tell(fetch.Event{Warning: fmt.Sprintf("%s is for %s, and this machine is %s", s.reference, has, s.platform)})
	return nil
}

// downloadAll brings blobs, some at a time. The first that fails ends all, and
// what there is of them stays.
func (e *endpoint) downloadAll(ctx context.Context, to *layout, blobs []ocispec.Descriptor, tell func(fetch.Event)) error {
	var lock sync.Mutex
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(downloads)
	for _, b := range blobs {
		group.Go(func() error {
			const often = 100 * time.Millisecond
			var told time.Time
			return e.download(ctx, to, b, func(done int64) {
				if now := time.Now(); done == b.Size || now.Sub(told) > often {
					told = now
					lock.Lock()
					defer lock.Unlock()
					tell(fetch.Event{Progress: &fetch.Progress{Digest: b.Digest.String(), Done: done}})
				}
			})
		})
	}
	return group.Wait()
}

// isLocal says whether this machine is why something failed.
func isLocal(err error) bool {
	_, is := errors.AsType[*fs.PathError](err)
	return is || errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT)
}

func firstLine(err error) string {
	line, _, _ := strings.Cut(err.Error(), "\n")
	return line
}

// describe says what it means that a registry does not have an image.
func (e *endpoint) describe(err error, ref image.Reference) error {
	status, is := errors.AsType[*statusError](err)
	if !is {
		return err
	}
	switch status.code {
	case http.StatusNotFound:
		return fmt.Errorf("there is no image %s at %s\nfix: look at the name and the tag", ref, e.host)
	case http.StatusUnauthorized, http.StatusForbidden:
		return fmt.Errorf("there is no image %s at %s, or it is not for you\nfix: podman login %s, or docker login %s", ref, e.host, e.host, e.host)
	}
	return fmt.Errorf("%s: %w", e.host, err)
}
