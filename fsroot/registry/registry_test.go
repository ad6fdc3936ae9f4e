package registry

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"bryo/fsroot/fetch"
	"bryo/fsroot/image"
)

// served is a registry with one image, team/web:1, which a row of a test makes
// hostile.
type served struct {
	*httptest.Server

	manifest     ocispec.Manifest
	kind         string // of the manifest
	body         []byte // of the manifest, if it is not what manifest says
	blobs        map[string][]byte
	layer        []byte
	layerDigest  string
	before       func(w http.ResponseWriter, r *http.Request) bool // true: it has answered
	mutex        sync.Mutex
	asked        []string
	sent         int64 // bytes of the layer
	authorized   []string
	knowsNoRange bool
}

func newServed(t *testing.T, secure bool) *served {
	t.Helper()
	s := &served{blobs: map[string][]byte{}, kind: ocispec.MediaTypeImageManifest}
	s.layer = bytes.Repeat([]byte("moss grows slowly\n"), 20000)
	config := []byte(`{"os":"linux","architecture":"` + this(t).Architecture + `","rootfs":{"type":"layers","diff_ids":[]}}`)
	s.manifest.SchemaVersion = 2
	s.manifest.MediaType = s.kind
	s.manifest.Config = s.add(ocispec.MediaTypeImageConfig, config)
	layer := s.add(ocispec.MediaTypeImageLayerGzip, s.layer)
	s.layerDigest = layer.Digest.String()
	s.manifest.Layers = []ocispec.Descriptor{layer, s.add(ocispec.MediaTypeImageLayerZstd, []byte("a small layer"))}
	s.Server = httptest.NewUnstartedServer(s)
	s.Config.ErrorLog = nil
	if secure {
		s.EnableHTTP2 = true
		s.StartTLS()
	} else {
		s.Start()
	}
	t.Cleanup(func() { s.CloseClientConnections(); s.Close() })
	return s
}

func this(t *testing.T) image.Platform {
	t.Helper()
	p, err := image.ParsePlatform("")
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func (s *served) add(kind string, data []byte) ocispec.Descriptor {
	d := ocispec.Descriptor{MediaType: kind, Digest: digest.FromBytes(data), Size: int64(len(data))}
	s.blobs[d.Digest.String()] = data
	return d
}

func (s *served) host() string { return s.Listener.Addr().String() }

func (s *served) text() []byte {
	if s.body != nil {
		return s.body
	}
	text, _ := json.Marshal(s.manifest)
	return text
}

func (s *served) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mutex.Lock()
	s.asked = append(s.asked, r.URL.Path)
	s.authorized = append(s.authorized, r.Header.Get("Authorization"))
	s.mutex.Unlock()
	if s.before == nil || !s.before(w, r) {
		s.answer(w, r)
	}
}

func (s *served) answer(w http.ResponseWriter, r *http.Request) {
	name, found := strings.CutPrefix(r.URL.Path, "/v2/team/web/")
	switch what, which, _ := strings.Cut(name, "/"); {
	case r.URL.Path == "/v2/":
	case found && what == "manifests" && (which == "1" || which == digest.FromBytes(s.text()).String()):
		w.Header().Set("Content-Type", s.kind)
		_, _ = w.Write(s.text())
	case found && s.blobs[which] != nil:
		data := bytes.NewReader(s.blobs[which])
		if which == s.layerDigest {
			w = &counted{w, s}
		}
		if s.knowsNoRange {
			r.Header.Del("Range")
		}
		http.ServeContent(w, r, "", time.Time{}, data)
	default:
		http.NotFound(w, r)
	}
}

type counted struct {
	http.ResponseWriter

	s *served
}

func (c *counted) Write(p []byte) (int, error) {
	n, err := c.ResponseWriter.Write(p)
	c.s.mutex.Lock()
	c.s.sent += int64(n)
	c.s.mutex.Unlock()
	return n, err
}

// client is a user with a home, and a layout.
type client struct {
	*testing.T

	home    string
	env     map[string]string
	request fetch.Request
	stall   time.Duration
	mutex   sync.Mutex
	events  []fetch.Event
	seen    func(fetch.Event)
}

func newClient(t *testing.T, reference string) *client {
	t.Helper()
	home := t.TempDir()
	if err := os.Mkdir(home+"/layout", 0o755); err != nil {
		t.Fatal(err)
	}
	return &client{
		T: t, home: home, env: map[string]string{"HOME": home, "XDG_RUNTIME_DIR": home + "/run"},
		request: fetch.Request{Reference: reference, Name: "web", MostBytes: 1 << 30}, stall: 10 * time.Second,
	}
}

func (c *client) user() user {
	return user{func(name string) string { return c.env[name] }, c.home + "/etc"}
}

// write makes a file of the user's or of the machine's.
func (c *client) write(name, text string) {
	c.Helper()
	path := filepath.Join(c.home, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		c.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o755); err != nil {
		c.Fatal(err)
	}
}

func (c *client) pull(ctx context.Context) error {
	c.Helper()
	const patience = time.Minute
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	s, err := open(ctx, &c.request, c.user())
	if err != nil {
		return err
	}
	for _, e := range s.endpoints {
		e.pace = pace{c.stall, time.Millisecond}
	}
	root, err := os.OpenRoot(c.home + "/layout")
	if err != nil {
		c.Fatal(err)
	}
	defer root.Close()
	err = s.Pull(ctx, root, func(e fetch.Event) {
		c.mutex.Lock()
		c.events = append(c.events, e)
		c.mutex.Unlock()
		if c.seen != nil {
			c.seen(e)
		}
	})
	c.honest(err)
	return err
}

// honest holds of every layout: what has the name of a digest has that digest;
// an image that failed is in no index; and what is in the index is complete.
func (c *client) honest(failed error) {
	c.Helper()
	dir := c.home + "/layout/blobs/sha256"
	names, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		c.Fatal(err)
	}
	for _, name := range names {
		data, err := os.ReadFile(filepath.Join(dir, name.Name()))
		if err != nil {
			c.Fatal(err)
		}
		if name.Name()[0] != '.' && digest.FromBytes(data).Encoded() != name.Name() {
			c.Errorf("%s is not what its name says", name.Name())
		}
		if failed == nil && name.Name()[0] == '.' {
			c.Errorf("%s is left", name.Name())
		}
	}
	if _, err := os.Stat(c.home + "/layout/index.json"); failed != nil && err == nil {
		c.Error("an image that failed is in the index")
	}
}

func (c *client) warnings() string {
	var all []string
	for _, e := range c.events {
		all = append(all, e.Warning)
	}
	return strings.Join(all, "\n")
}

func TestPull(t *testing.T) {
	for name, kind := range map[string]string{"OCI": ocispec.MediaTypeImageManifest, "docker": dockerManifest} {
		t.Run(name, func(t *testing.T) {
			s := newServed(t, false)
			s.kind, s.manifest.MediaType = kind, kind
			if kind == dockerManifest {
				s.manifest.Config.MediaType = dockerConfig
				s.manifest.Layers[0].MediaType = dockerLayer + ".gzip"
			}
			c := newClient(t, s.host()+"/team/web:1")
			if err := c.pull(t.Context()); err != nil {
				t.Fatal(err)
			}
			index, err := os.ReadFile(c.home + "/layout/index.json")
			if err != nil || !bytes.Contains(index, []byte(digest.FromBytes(s.text()))) || !bytes.Contains(index, []byte(`"web"`)) {
				t.Errorf("%s, %v", index, err)
			}
			layer, err := os.ReadFile(c.home + "/layout/" + blobName(digest.Digest(s.layerDigest)))
			if err != nil || !bytes.Equal(layer, s.layer) {
				t.Errorf("the layer has %d bytes, %v", len(layer), err)
			}

			// A second time, nothing is asked for but the manifest.
			s.asked = nil
			if err := c.pull(t.Context()); err != nil || len(s.asked) != 1 {
				t.Errorf("%v, and asked for %q", err, s.asked)
			}
			c.request.Reference = s.host() + "/team/web@" + digest.FromBytes(s.text()).String()
			if err := c.pull(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
}

// What is on the shelf already is not asked for.
func TestPullHave(t *testing.T) {
	s := newServed(t, false)
	c := newClient(t, s.host()+"/team/web:1")
	c.request.Have = []string{s.layerDigest}
	if err := c.pull(t.Context()); err != nil || s.sent > 0 {
		t.Errorf("%v, and %d bytes of a layer that is there", err, s.sent)
	}
	for _, e := range c.events {
		if e.Image != nil && (e.Image.Skipped != 1 || len(e.Image.Missing) != 1) {
			t.Errorf("%+v", e.Image)
		}
	}
}

// An interrupted download goes on where it was, and no byte comes twice.
func TestPullResumes(t *testing.T) {
	s := newServed(t, false)
	c := newClient(t, s.host()+"/team/web:1")
	half := len(s.layer) / 2
	var once sync.Once
	ctx, cancel := context.WithCancel(t.Context())
	s.before = func(w http.ResponseWriter, r *http.Request) bool {
		answered := false
		if strings.HasSuffix(r.URL.Path, s.layerDigest) {
			once.Do(func() {
				answered = true
				w.Header().Set("Content-Length", strconv.Itoa(len(s.layer)))
				_, _ = w.Write(s.layer[:half])
				_ = http.NewResponseController(w).Flush()
				for range 200 { // until it is on the disk
					if info, err := os.Stat(c.home + "/layout/blobs/sha256/." + strings.TrimPrefix(s.layerDigest, "sha256:")); err == nil && info.Size() == int64(half) {
						break
					}
					time.Sleep(10 * time.Millisecond)
				}
				cancel()
				<-r.Context().Done()
			})
		}
		return answered
	}
	if err := c.pull(ctx); err == nil {
		t.Fatal("it was interrupted, and is done")
	}
	if err := c.pull(t.Context()); err != nil || s.sent != int64(len(s.layer)-half) {
		t.Errorf("%v, and %d bytes of %d", err, s.sent, len(s.layer)-half)
	}
}

// What an earlier time has left may be wrong, or too much.
func TestPullResumesGarbage(t *testing.T) {
	for name, left := range map[string]func(layer []byte) []byte{
		"other bytes":      func(layer []byte) []byte { return make([]byte, len(layer)/2) },
		"as many, wrong":   func(layer []byte) []byte { return make([]byte, len(layer)) },
		"too many":         func(layer []byte) []byte { return append(bytes.Clone(layer), 'x') },
		"all, and correct": func(layer []byte) []byte { return layer },
	} {
		t.Run(name, func(t *testing.T) {
			s := newServed(t, false)
			c := newClient(t, s.host()+"/team/web:1")
			c.write("layout/oci-layout", "{}")
			c.write("layout/blobs/sha256/."+strings.TrimPrefix(s.layerDigest, "sha256:"), string(left(s.layer)))
			if err := c.pull(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
}

// Two at once into one layout do not disturb each other.
func TestPullTwice(t *testing.T) {
	s := newServed(t, false)
	c := newClient(t, s.host()+"/team/web:1")
	other := &client{T: t, home: c.home, env: c.env, request: c.request, stall: c.stall}
	other.request.Name = "other"
	var group sync.WaitGroup
	for _, one := range []*client{c, other} {
		group.Go(func() {
			source, err := open(t.Context(), &one.request, one.user())
			if err != nil {
				t.Error(err)
				return
			}
			root, err := os.OpenRoot(one.home + "/layout")
			if err != nil {
				t.Error(err)
				return
			}
			defer root.Close()
			if err := source.Pull(t.Context(), root, func(fetch.Event) {}); err != nil {
				t.Error(err)
			}
		})
	}
	group.Wait()
	c.honest(nil)
	index, err := os.ReadFile(c.home + "/layout/index.json")
	if err != nil || strings.Count(string(index), "ref.name") != 2 || s.sent != int64(len(s.layer)) {
		t.Errorf("%s, %v, and %d bytes of %d", index, err, s.sent, len(s.layer))
	}
}

func TestPullLeavesOthersAlone(t *testing.T) {
	s := newServed(t, false)
	c := newClient(t, s.host()+"/team/web:1")
	c.write("layout/letter", "dear moss")
	if err := c.pull(t.Context()); err == nil || !strings.Contains(err.Error(), `"letter"`) {
		t.Error(err)
	}
}
