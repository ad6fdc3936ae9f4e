package registry

import (
	"bytes"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// hostile is what a registry does, and what is said of it; "" if it is borne.
type hostile struct {
	name string
	do   func(s *served)
	want string
}

// onLayer answers for the large layer, n times; 0 is always.
func onLayer(s *served, n int, answer func(w http.ResponseWriter, r *http.Request)) {
	left := n
	s.before = func(w http.ResponseWriter, r *http.Request) bool {
		if !strings.HasSuffix(r.URL.Path, s.layerDigest) {
			return false
		}
		s.mutex.Lock()
		mine := n == 0 || left > 0
		left--
		s.mutex.Unlock()
		if mine {
			answer(w, r)
		}
		return mine
	}
}

func onManifest(s *served, answer func(w http.ResponseWriter)) {
	s.before = func(w http.ResponseWriter, r *http.Request) bool {
		mine := strings.Contains(r.URL.Path, "/manifests/")
		if mine {
			answer(w)
		}
		return mine
	}
}

func half(s *served) func(w http.ResponseWriter, _ *http.Request) {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", strconv.Itoa(len(s.layer)))
		_, _ = w.Write(s.layer[:len(s.layer)/2])
		panic(http.ErrAbortHandler) // which ends the connection
	}
}

func endless(w http.ResponseWriter) {
	_ = http.NewResponseController(w).Flush() // no length is told
	for chunk := make([]byte, 64<<10); ; {
		if _, err := w.Write(chunk); err != nil {
			return
		}
	}
}

func hostileBlobs() []hostile {
	return []hostile{
		{"breaks off once", func(s *served) { onLayer(s, 1, half(s)) }, ""},
		{"breaks off, and knows no ranges", func(s *served) { s.knowsNoRange = true; onLayer(s, 1, half(s)) }, ""},
		{"breaks off always", func(s *served) { onLayer(s, 0, half(s)) }, "broke off"},
		{"is busy", func(s *served) {
			onLayer(s, 2, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusServiceUnavailable) })
		}, ""},
		{"is always busy", func(s *served) {
			onLayer(s, 0, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusServiceUnavailable) })
		}, "answers 503: Service Unavailable (tried 5 times)"},
		{"has it not", func(s *served) { onLayer(s, 0, http.NotFound) }, "answers 404"},
		{"knows no range behind the end", func(s *served) {
			onLayer(s, 2, func(w http.ResponseWriter, r *http.Request) {
				if r.Header.Get("Range") != "" {
					w.WriteHeader(http.StatusRequestedRangeNotSatisfiable)
					return
				}
				half(s)(w, r)
			})
		}, ""},
		{"lies about a digest", func(s *served) {
			onLayer(s, 0, func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(make([]byte, len(s.layer))) })
		}, "something else than " + "sha256:"},
		{"sends too little", func(s *served) {
			onLayer(s, 0, func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("moss")) })
		}, "has 4 bytes"},
		{"tells that it sends more", func(s *served) {
			onLayer(s, 0, func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Content-Length", strconv.Itoa(1<<40))
				_, _ = w.Write(s.layer)
			})
		}, "has 1099511627776 bytes"},
		{"sends without end", func(s *served) {
			onLayer(s, 0, func(w http.ResponseWriter, _ *http.Request) { endless(w) })
		}, "more than the 360000 bytes"},
		{"stalls", func(s *served) {
			onLayer(s, 0, func(w http.ResponseWriter, r *http.Request) {
				_ = http.NewResponseController(w).Flush()
				<-r.Context().Done()
			})
		}, "sends nothing more"},
		{"does not answer", func(s *served) {
			onLayer(s, 0, func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
		}, "sends nothing more"},
		{"drips", func(s *served) {
			onLayer(s, 0, func(w http.ResponseWriter, r *http.Request) {
				for r.Context().Err() == nil {
					_, _ = w.Write([]byte("m"))
					_ = http.NewResponseController(w).Flush()
					time.Sleep(10 * time.Millisecond)
				}
			})
		}, "sends nothing more"},
		{"sends another range", func(s *served) {
			onLayer(s, 0, func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Content-Range", "bytes 7-99/100")
				w.WriteHeader(http.StatusPartialContent)
			})
		}, "was not asked for"},
		{"redirects in a circle", func(s *served) {
			onLayer(s, 0, func(w http.ResponseWriter, r *http.Request) {
				http.Redirect(w, r, r.URL.Path, http.StatusTemporaryRedirect)
			})
		}, "redirects without end"},
		{"redirects to plain http", func(s *served) {
			onLayer(s, 0, func(w http.ResponseWriter, r *http.Request) {
				http.Redirect(w, r, "http://registry.invalid/blob?secret=1", http.StatusTemporaryRedirect)
			})
		}, "leads to http://registry.invalid, which is not https"},
		{"redirects to a file", func(s *served) {
			onLayer(s, 0, func(w http.ResponseWriter, r *http.Request) {
				http.Redirect(w, r, "file:///etc/passwd", http.StatusTemporaryRedirect)
			})
		}, "which is not https"},
		{"redirects to the cloud's metadata", func(s *served) {
			onLayer(s, 0, func(w http.ResponseWriter, r *http.Request) {
				http.Redirect(w, r, "https://169.254.169.254/latest", http.StatusTemporaryRedirect)
			})
		}, "leads to 169.254.169.254"},
		{"has endless headers", func(s *served) {
			onLayer(s, 0, func(w http.ResponseWriter, _ *http.Request) {
				for i := range 3000 {
					w.Header().Set(fmt.Sprintf("X-%d", i), strings.Repeat("m", 100))
				}
			})
		}, "127.0.0.1:"},
		{"has a configuration that is none", func(s *served) {
			s.manifest.Config = s.add(ocispec.MediaTypeImageConfig, []byte("moss"))
		}, "configuration is none"},
	}
}

func hostileManifests() []hostile {
	withLayer := func(change func(d *ocispec.Descriptor)) func(s *served) {
		return func(s *served) { change(&s.manifest.Layers[0]) }
	}
	return []hostile{
		{"is huge", func(s *served) {
			onManifest(s, func(w http.ResponseWriter) { w.Header().Set("Content-Length", strconv.Itoa(1<<40)) })
		}, "has 1099511627776 bytes"},
		{"has no end", func(s *served) { onManifest(s, endless) }, "more than 4194304 bytes"},
		{"is a page", func(s *served) { s.kind = "text/html" }, `sends "text/html"`},
		{"is no JSON", func(s *served) { s.body = []byte("{") }, "manifest is none"},
		{"is of many levels", func(s *served) { s.body = bytes.Repeat([]byte(`{"layers":[`), 300000) }, "manifest is none"},
		{"is of many objects", func(s *served) {
			s.body = []byte(`{"schemaVersion":2,"layers":[{}` + strings.Repeat(",{}", 20000) + `]}`)
		}, "it has 20002 objects"},
		{"is of 2015", func(s *served) { s.kind = "application/vnd.docker.distribution.manifest.v1+prettyjws" }, "schema 1"},
		{"is of two kinds", func(s *served) {
			s.body = append(bytes.TrimSuffix(s.text(), []byte("}")), []byte(`,"manifests":[]}`)...)
		}, "not of the kind"},
		{"is told to be another kind", func(s *served) { s.kind = ocispec.MediaTypeImageIndex }, "not of the kind"},
		{"is without a version", func(s *served) { s.manifest.SchemaVersion = 1 }, "not of the kind"},
		{"is not what a header says", func(s *served) {
			s.before = func(w http.ResponseWriter, _ *http.Request) bool {
				w.Header().Set("Docker-Content-Digest", "sha256:"+strings.Repeat("0", 64))
				return false
			}
		}, "not what its digest says"},
		{"is plain data that says what it is", func(s *served) { s.kind = "application/octet-stream" }, ""},
		{"has a path for a digest", withLayer(func(d *ocispec.Descriptor) { d.Digest = "sha256:../../../../../etc/passwd" }), "no digest"},
		{"has a digest of upper case", withLayer(func(d *ocispec.Descriptor) { d.Digest = digest.Digest("sha256:" + strings.Repeat("A", 64)) }), "no digest"},
		{"has a digest of another algorithm", withLayer(func(d *ocispec.Descriptor) { d.Digest = digest.Digest("md5:" + strings.Repeat("a", 32)) }), "no digest"},
		{"has a size below 0", withLayer(func(d *ocispec.Descriptor) { d.Size = -1 }), "has -1 bytes"},
		{"has a huge layer", withLayer(func(d *ocispec.Descriptor) { d.Size = 1 << 62 }), "more bytes than are allowed\nfix: --max-size"},
		{"has a wrong size", withLayer(func(d *ocispec.Descriptor) { d.Size-- }), "and said 359999"},
		{"has a huge configuration", func(s *served) { s.manifest.Config.Size = 1 << 40 }, "has 1099511627776 bytes"},
		{"has layers that are too large together", func(s *served) {
			s.manifest.Layers[0].Size, s.manifest.Layers[1].Size = 1<<29, 1<<29+1
		}, "more bytes than are allowed"},
		{"has a layer of two sizes", func(s *served) {
			twin := s.manifest.Layers[0]
			twin.Size++
			s.manifest.Layers = append(s.manifest.Layers, twin)
		}, "two sizes"},
		{"has a layer twice", func(s *served) { s.manifest.Layers = append(s.manifest.Layers, s.manifest.Layers[0]) }, ""},
		{"has many layers", func(s *served) { s.manifest.Layers = make([]ocispec.Descriptor, 501) }, "501 layers"},
		{"has a foreign layer", withLayer(func(d *ocispec.Descriptor) {
			d.MediaType = "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip"
		}), "not in the registry"},
		{"has a layer not for distribution", withLayer(func(d *ocispec.Descriptor) {
			d.MediaType = "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip"
		}), "not in the registry"},
		{"has a layer of another kind", withLayer(func(d *ocispec.Descriptor) { d.MediaType = "text/plain" }), "nobody knows"},
		{"is a chart", func(s *served) { s.manifest.Config.MediaType = "application/vnd.cncf.helm.config.v1+json" }, "something else than an image"},
		{"has no configuration", func(s *served) { s.body = []byte(`{"schemaVersion":2}`) }, "something else than an image"},
		{"is itself", func(s *served) {
			s.kind = ocispec.MediaTypeImageIndex
			s.body = []byte(`{"schemaVersion":2,"manifests":[{"platform":{"os":"linux","architecture":"amd64"},"digest":"sha256:` +
				strings.Repeat("1", 64) + `"},{"platform":{"os":"linux","architecture":"arm64"},"digest":"sha256:` + strings.Repeat("1", 64) + `"}]}`)
			onManifest(s, func(w http.ResponseWriter) {
				w.Header().Set("Content-Type", s.kind)
				_, _ = w.Write(s.body)
			})
		}, "sends a manifest that is not sha256:11"},
		{"is denied", func(s *served) {
			onManifest(s, func(w http.ResponseWriter) {
				w.WriteHeader(http.StatusForbidden)
				_, _ = w.Write([]byte(`{"errors":[{"code":"DENIED","message":"\u001b[31mred"}]}`))
			})
		}, "not for you\nfix: podman login"},
		{"is not there", func(s *served) { onManifest(s, func(w http.ResponseWriter) { w.WriteHeader(http.StatusNotFound) }) }, "there is no image"},
	}
}

// Whatever a registry does, it comes to an end soon, with a reason, and nothing
// that is not what its name says is on the disk.
func TestHostile(t *testing.T) {
	type table struct {
		name   string
		rows   []hostile
		secure bool // and so HTTP/2
	}
	for _, table := range []table{{"registry", hostileBlobs(), false}, {"registry of https", hostileBlobs(), true}, {"manifest", hostileManifests(), false}} {
		for _, row := range table.rows {
			t.Run(table.name+" "+row.name, func(t *testing.T) {
				t.Parallel()
				s := newServed(t, table.secure)
				row.do(s)
				c := newClient(t, s.host()+"/team/web:1")
				c.request.Unverified = true
				if strings.Contains(row.want, "nothing more") {
					c.stall = 500 * time.Millisecond
				}
				err := c.pull(t.Context())
				if row.want == "" && err != nil || row.want != "" && (err == nil || !strings.Contains(err.Error(), row.want)) {
					t.Errorf("%v, want %q", err, row.want)
				}
				const most = 3
				if err != nil && strings.Count(err.Error(), "\n") >= most {
					t.Errorf("%d lines: %v", strings.Count(err.Error(), "\n"), err)
				}
			})
		}
	}
}
