package registry

import (
	"net/http"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"bryo/fsroot/image"
)

// Of whatever manifest, what is going to be downloaded is blobs with proper
// names, each once, and no more bytes than are allowed.
func FuzzManifest(f *testing.F) {
	sum := "sha256:" + strings.Repeat("a", 64)
	f.Add([]byte(`{"schemaVersion":2,"config":{"mediaType":"`+ocispec.MediaTypeImageConfig+`","digest":"`+sum+`","size":3},"layers":[{"mediaType":"`+
		ocispec.MediaTypeImageLayerZstd+`","digest":"sha256:`+strings.Repeat("b", 64)+`","size":9}]}`), ocispec.MediaTypeImageManifest)
	f.Add([]byte(`{"schemaVersion":2,"manifests":[{"digest":"`+sum+`","size":3,"platform":{"os":"linux","architecture":"amd64"}}]}`), dockerList)
	f.Add([]byte(`{"schemaVersion":2,"mediaType":"`+dockerManifest+`"}`), "application/json")
	f.Fuzz(func(t *testing.T, body []byte, kind string) {
		const most = 1 << 20
		d, err := newDocument(body, "latest", http.Header{"Content-Type": {kind}})
		if err != nil {
			return
		}
		if chosen, err := choose(d.Manifests, image.Platform{OS: "linux", Architecture: "amd64"}); err == nil && (chosen.Size < 0 || chosen.Size > mostManifest) {
			t.Errorf("%+v is chosen", chosen)
		}
		config, layers, err := d.parts(most)
		if err != nil {
			return
		}
		if all := proper(t, config, layers); all > most || len(layers) > image.MostLayers || d.isIndex() {
			t.Errorf("%d bytes in %d layers are downloaded", all, len(layers))
		}
	})
}

// proper looks at the names of blobs, and adds up their sizes.
func proper(t *testing.T, config ocispec.Descriptor, layers []ocispec.Descriptor) (all int64) {
	t.Helper()
	seen := map[digest.Digest]bool{config.Digest: true}
	for _, l := range layers {
		all += l.Size
		name := strings.TrimPrefix(string(l.Digest), "sha256:")
		if seen[l.Digest] || l.Size < 0 || len(name) != 64 || strings.Trim(name, "0123456789abcdef") != "" {
			t.Errorf("%+v is downloaded", l)
		}
		seen[l.Digest] = true
	}
	return all
}

// Of whatever settings, an image is asked for at places that are names of images
// themselves.
func FuzzSettings(f *testing.F) {
	f.Add("[[registry]]\nprefix=\"*.moss.example\"\nlocation=\"a.example/b\"\n[[registry.mirror]]\nlocation=\"c.example:5\"", "x.moss.example/web")
	f.Add("[[registry]]\nlocation=\"docker.io\"\nblocked=true", "debian")
	f.Fuzz(func(t *testing.T, conf, name string) {
		s := &settings{}
		ref, err := image.Parse(name)
		if err != nil || s.add(conf) != nil {
			return
		}
		places, err := s.places(ref)
		if err != nil {
			return
		}
		for _, p := range places {
			again, err := image.Parse(p.host + "/" + p.repository)
			if err != nil || again.Registry != p.host || again.Repository != p.repository {
				t.Errorf("%q leads to %q at %q: %v", name, p.repository, p.host, err)
			}
		}
		if len(places) == 0 {
			t.Error("it leads nowhere")
		}
	})
}
