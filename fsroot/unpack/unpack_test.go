package unpack

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/klauspost/compress/gzip"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sys/unix"

	"bryo/fsroot/image"
	"bryo/fsroot/tree"
)

// files is an archive, or a directory: names and what is in them. The content
// of a link begins with "-> ".
type files map[string]string

func (f files) tar(t testing.TB) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, name := range slices.Sorted(maps.Keys(f)) {
		h := &tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: 0o644, Size: int64(len(f[name]))}
		target, link := strings.CutPrefix(f[name], "-> ")
		if link {
			h.Typeflag, h.Linkname, h.Size = tar.TypeSymlink, target, 0
		}
		err := w.WriteHeader(h)
		if !link {
			_, writeErr := io.WriteString(w, f[name])
			err = errors.Join(err, writeErr)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func (f files) write(t testing.TB, dir string) {
	t.Helper()
	for name, text := range f {
		at := filepath.Join(dir, name)
		err := os.MkdirAll(filepath.Dir(at), 0o755)
		if target, link := strings.CutPrefix(text, "-> "); link {
			err = errors.Join(err, os.Symlink(target, at))
		} else {
			err = errors.Join(err, os.WriteFile(at, []byte(text), 0o600))
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

// put adds a blob.
func (f files) put(text string) ocispec.Descriptor {
	d := digest.FromString(text)
	f[blobPath(d)] = text
	return ocispec.Descriptor{Digest: d, Size: int64(len(text))}
}

func (f files) putJSON(t testing.TB, mediaType string, v any) ocispec.Descriptor {
	t.Helper()
	d := f.put(encoded(t, v))
	d.MediaType = mediaType
	return d
}

func blobPath(d digest.Digest) string { return "blobs/" + d.Algorithm().String() + "/" + d.Encoded() }

func encoded(t testing.TB, v any) string {
	t.Helper()
	text, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// image makes the manifest of an image in a layout; change is what is wrong
// with it.
func (f files) image(t testing.TB, change func(*ocispec.Manifest, *ocispec.Image), layers ...string) ocispec.Descriptor {
	t.Helper()
	var m ocispec.Manifest
	var config ocispec.Image
	config.OS, config.Architecture, config.RootFS.Type = "linux", runtime.GOARCH, "layers"
	for _, l := range layers {
		config.RootFS.DiffIDs = append(config.RootFS.DiffIDs, digest.FromString(l))
		m.Layers = append(m.Layers, f.put(gzipped(t, l)))
	}
	if change != nil {
		change(&m, &config)
	}
	if m.Config.Digest == "" {
		m.Config = f.putJSON(t, ocispec.MediaTypeImageConfig, config)
	}
	return f.putJSON(t, ocispec.MediaTypeImageManifest, m)
}

func (f files) index(t testing.TB, manifests ...ocispec.Descriptor) {
	t.Helper()
	f["oci-layout"] = `{"imageLayoutVersion":"1.0.0"}`
	f["index.json"] = encoded(t, ocispec.Index{Manifests: manifests})
}

func gzipped(t testing.TB, text string) string {
	t.Helper()
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	_, err := io.WriteString(w, text)
	if err = errors.Join(err, w.Close()); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func limits() tree.Limits { return tree.Limits{Bytes: 1 << 30, Entries: 1000} }

// unpacked unpacks a file, or a directory, and returns what came of it.
func unpacked(t testing.TB, image, reference string) (string, error) {
	t.Helper()
	f, err := os.Open(image)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	return unpackFile(t, f, reference, limits())
}

func unpackFile(t testing.TB, f *os.File, reference string, most tree.Limits) (string, error) {
	t.Helper()
	dir := t.TempDir()
	root, err := os.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	_, err = Unpack(Request{Image: f, Reference: reference, Root: int(root.Fd()), Limits: most})
	var names []string
	_ = filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
		name, _ := filepath.Rel(dir, path)
		names = append(names, name)
		return err
	})
	return strings.Join(names[1:], " "), err
}

func two(t testing.TB) (lower, upper string) {
	t.Helper()
	return string(files{"etc/a": "a", "etc/b": "b"}.tar(t)), string(files{"etc/.wh.a": "", "etc/c": "c"}.tar(t))
}

const wanted = "etc etc/b etc/c"

// ofTwo is a layout with one image, of the two layers.
func ofTwo(t *testing.T) files {
	t.Helper()
	lower, upper := two(t)
	image := files{}
	image.index(t, image.image(t, nil, lower, upper))
	return image
}

// An image is the same in a directory, in an archive, in a compressed one and
// in a stream.
func TestLayoutEverywhere(t *testing.T) {
	image := ofTwo(t)
	dir := t.TempDir()
	image.write(t, dir+"/layout")
	text := string(image.tar(t))
	files{"plain.tar": text, "packed": gzipped(t, text)}.write(t, dir)
	for _, name := range []string{"layout", "plain.tar", "packed"} {
		if got, err := unpacked(t, dir+"/"+name, ""); err != nil || got != wanted {
			t.Errorf("%s: %s, %v", name, got, err)
		}
	}
	for _, name := range []string{"plain.tar", "packed"} {
		if got, err := streamed(t, dir+"/"+name); err != nil || got != wanted {
			t.Errorf("a stream of %s: %s, %v", name, got, err)
		}
	}
}

// collecting is a taker in whose time all is collected that nobody holds.
type collecting struct{ Taker }

func (c collecting) TakeImage(image *Image) error {
	for range 3 {
		runtime.GC()
		time.Sleep(time.Millisecond) // for what is done with it
	}
	return c.Taker.TakeImage(image)
}

// A layout is open as long as it is read, also if nobody else holds it.
func TestLayoutStaysOpen(t *testing.T) {
	image := ofTwo(t)
	dir := t.TempDir()
	image.write(t, dir+"/layout")
	if err := os.Mkdir(dir+"/root", 0o755); err != nil {
		t.Fatal(err)
	}
	to, err := os.Open(dir + "/root")
	if err != nil {
		t.Fatal(err)
	}
	defer to.Close()
	fd, err := unix.Open(dir+"/layout", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	from := Source{Image: os.NewFile(uintptr(fd), "layout"), Scratch: int(to.Fd())}
	if err := Read(from, collecting{&root{tree.NewImage(int(to.Fd()), limits())}}); err != nil {
		t.Error(err)
	}
}

func streamed(t *testing.T, path string) (string, error) {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	read, write, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer read.Close()
	go func() {
		_, _ = write.Write(data)
		_ = write.Close()
	}()
	return unpackFile(t, read, "", limits())
}

func TestDockerArchive(t *testing.T) {
	lower, upper := two(t)
	config := encoded(t, ocispec.Image{RootFS: ocispec.RootFS{DiffIDs: []digest.Digest{digest.FromString(lower), digest.FromString(upper)}}})
	one, other := strings.Repeat("1", 64), strings.Repeat("2", 64)
	saves := func(layers ...string) string { return encoded(t, []Saved{{Config: one + ".json", Layers: layers}}) }
	whole := func(change func(files)) files {
		f := files{
			one + ".json": config, one + ".tar": lower, other + "/layer.tar": "-> ../" + one + "x.tar", one + "x.tar": upper,
			"manifest.json": encoded(t, []Saved{{Config: one + ".json", RepoTags: []string{"localhost/web:1"}, Layers: []string{one + ".tar", other + "/layer.tar"}}}),
		}
		change(f)
		return f
	}
	for _, row := range []struct {
		name, reference string
		change          func(files)
		want            string // of the error; "" for none
	}{
		{"whole", "", func(files) {}, ""},
		{"by its name", "localhost/web:1", func(files) {}, ""},
		{"by a short name", "web:1", func(files) {}, ""},
		{"by another name", "db", func(files) {}, "localhost/web:1"},
		{"another layer", "", func(f files) { f[one+"x.tar"] = lower }, "not what its digest says"},
		{"a link in a circle", "", func(f files) { f[one+"x.tar"] = "-> " + other + "/layer.tar" }, "no such file"},
		{"a link out", "", func(f files) { f[other+"/layer.tar"] = "-> /etc/passwd" }, "no such file"},
		{"no configuration", "", func(f files) { delete(f, one+".json") }, "no such file"},
		{"more layers than digests", "", func(f files) {
			f["manifest.json"] = encoded(t, []Saved{{Config: one + ".json", Layers: []string{one + ".tar", one + ".tar", one + ".tar"}}})
		}, "3 layers"},
		{"a layer outside", "", func(f files) { f["manifest.json"] = saves("../../etc/passwd", one+".tar") }, "no such file"},
		{"a layer by an absolute path", "", func(f files) { f["manifest.json"] = saves("/etc/passwd", "/"+one+".tar") }, "no such file"},
		{"no layer's name", "", func(f files) { f["manifest.json"] = saves("", one+".tar") }, "no such file"},
		{"a layer that is the manifest", "", func(f files) { f["manifest.json"] = saves("manifest.json", one+".tar") }, "layer 1"},
		{"links behind links", "", func(f files) { f["a"], f["b"] = "-> b", "-> "+one+".tar"; f["manifest.json"] = saves("a", one+"x.tar") }, "no such file"},
		{"the same layer without end", "", func(f files) {
			ids := slices.Repeat([]digest.Digest{digest.FromString(lower)}, image.MostLayers+1)
			f[one+".json"] = encoded(t, ocispec.Image{RootFS: ocispec.RootFS{DiffIDs: ids}})
			f["manifest.json"] = saves(slices.Repeat([]string{one + ".tar"}, len(ids))...)
		}, "there may be 500"},
		{"a layer that is compressed twice", "", func(f files) {
			twice := gzipped(t, gzipped(t, lower))
			f[one+".json"] = encoded(t, ocispec.Image{RootFS: ocispec.RootFS{DiffIDs: []digest.Digest{digest.FromString(gzipped(t, lower))}}})
			f[one+".tar"], f["manifest.json"] = twice, saves(one+".tar")
		}, "layer 1"},
		{"a large manifest", "", func(f files) { f["manifest.json"] += strings.Repeat(" ", 5<<20) }, "more than"},
		{"a large configuration", "", func(f files) { f[one+".json"] += strings.Repeat(" ", 5<<20) }, "more than"},
		{"a configuration that is a link out", "", func(f files) { f[one+".json"] = "-> /etc/passwd" }, "no such file"},
		{"none", "", func(f files) { f["manifest.json"] = "[]" }, "no image"},
		{"no list", "", func(f files) { f["manifest.json"] = "7" }, "manifest.json"},
	} {
		path := t.TempDir() + "/saved.tar"
		if err := os.WriteFile(path, whole(row.change).tar(t), 0o600); err != nil {
			t.Fatal(err)
		}
		got, err := unpacked(t, path, row.reference)
		if row.want == "" && (err != nil || got != wanted) || row.want != "" && (err == nil || !strings.Contains(err.Error(), row.want)) {
			t.Errorf("%s: %s, %v", row.name, got, err)
		}
	}
}

// What a layout says of itself is not believed.
func TestHostileLayouts(t *testing.T) {
	lower, upper := two(t)
	other := digest.FromString("other")
	type manifest = ocispec.Manifest
	type config = ocispec.Image
	changed := func(change func(*manifest, *config)) func(files) []ocispec.Descriptor {
		return func(f files) []ocispec.Descriptor { return []ocispec.Descriptor{f.image(t, change, lower, upper)} }
	}
	for _, row := range []struct {
		name string
		make func(files) []ocispec.Descriptor
		want string
	}{
		{"a layer's size", changed(func(m *manifest, _ *config) { m.Layers[1].Size++ }), "should have"},
		{"a negative size", changed(func(m *manifest, _ *config) { m.Layers[1].Size = -1 }), "size -1"},
		{"the digest of what is in a layer", changed(func(_ *manifest, c *config) { c.RootFS.DiffIDs[1] = other }), "not what its digest says"},
		{"no digest", changed(func(_ *manifest, c *config) { c.RootFS.DiffIDs[1] = "" }), "digest"},
		{"fewer digests", changed(func(_ *manifest, c *config) { c.RootFS.DiffIDs = nil }), "2 layers"},
		{"a missing layer", changed(func(m *manifest, _ *config) { m.Layers[0].Digest = other }), "no such file"},
		{"a digest that is a path", changed(func(m *manifest, _ *config) { m.Layers[0].Digest = "sha256:../../../etc/passwd" }), "digest"},
		{"an algorithm that is a path", changed(func(m *manifest, _ *config) { m.Layers[0].Digest = "../..:" + digest.Digest(other.Encoded()) }), "digest"},
		{"an unknown algorithm", changed(func(m *manifest, _ *config) { m.Layers[0].Digest = "md5:" + digest.Digest(strings.Repeat("0", 32)) }), "digest"},
		{"the configuration's size", changed(func(m *manifest, _ *config) { m.Config = ocispec.Descriptor{Digest: m.Layers[0].Digest, Size: 1} }), "should have"},
		{"another layer's content", func(f files) []ocispec.Descriptor {
			d := f.image(t, nil, lower)
			same := gzipped(t, lower)
			f[blobPath(digest.FromString(same))] = strings.Repeat("\x00", len(same))
			return []ocispec.Descriptor{d}
		}, "layer 1"},
		{"another content of the same kind", func(f files) []ocispec.Descriptor {
			return []ocispec.Descriptor{f.image(t, func(m *manifest, _ *config) { m.Layers[0] = f.put(gzipped(t, upper)) }, lower)}
		}, "not what its digest says"},
		{"data behind a layer", func(f files) []ocispec.Descriptor {
			return []ocispec.Descriptor{f.image(t, func(m *manifest, _ *config) { m.Layers[0] = f.put(gzipped(t, lower) + "behind") }, lower)}
		}, "layer 1"},
		{"a manifest that is another one's", func(f files) []ocispec.Descriptor {
			d := f.image(t, nil, lower)
			f[blobPath(d.Digest)] = strings.Replace(f[blobPath(d.Digest)], "sha256", "sha512", 1)
			return []ocispec.Descriptor{d}
		}, "not what its digest says"},
		{"no manifests", func(files) []ocispec.Descriptor { return nil }, "nothing for linux"},
		{"an artifact", func(f files) []ocispec.Descriptor {
			return []ocispec.Descriptor{f.putJSON(t, ocispec.MediaTypeImageManifest, map[string]any{"layers": []any{}})}
		}, "no configuration"},
		{"indexes without end", func(f files) []ocispec.Descriptor {
			d := f.image(t, nil, lower)
			for range 10 {
				d = f.putJSON(t, ocispec.MediaTypeImageIndex, ocispec.Index{Manifests: []ocispec.Descriptor{d}})
			}
			return []ocispec.Descriptor{d}
		}, "no end"},
		{"a large manifest", func(f files) []ocispec.Descriptor { return []ocispec.Descriptor{f.put(strings.Repeat(" ", 5<<20))} }, "more than"},
		{"another machine's", func(f files) []ocispec.Descriptor {
			d := f.image(t, nil, lower)
			d.Platform = &ocispec.Platform{OS: "linux", Architecture: "pdp11"}
			return []ocispec.Descriptor{d, d}
		}, "linux/pdp11"},
	} {
		t.Run(row.name, func(t *testing.T) {
			f := files{}
			f.index(t, row.make(f)...)
			dir := t.TempDir()
			f.write(t, dir+"/layout")
			files{"image.tar": string(f.tar(t))}.write(t, dir)
			for _, name := range []string{"layout", "image.tar"} {
				if got, err := unpacked(t, dir+"/"+name, ""); err == nil || !strings.Contains(err.Error(), row.want) {
					t.Errorf("%s: %s, %v; want %s", name, got, err, row.want)
				}
			}
		})
	}
}

// A layout's own links are not followed.
func TestLinksInLayout(t *testing.T) {
	lower, upper := two(t)
	f := files{}
	f.index(t, f.image(t, nil, lower, upper))
	dir := t.TempDir()
	f.write(t, dir+"/outside")
	for _, name := range []string{"index.json", "blobs"} {
		layout := filepath.Join(dir, "by-"+name)
		f.write(t, layout)
		if err := errors.Join(os.RemoveAll(layout+"/"+name), os.Symlink("../outside/"+name, layout+"/"+name)); err != nil {
			t.Fatal(err)
		}
		if got, err := unpacked(t, layout, ""); err == nil {
			t.Errorf("%s was read outside: %s", name, got)
		}
	}
}

func TestChoice(t *testing.T) {
	lower, upper := two(t)
	f := files{}
	named := func(name string, layers ...string) ocispec.Descriptor {
		d := f.image(t, nil, layers...)
		d.Annotations = map[string]string{ocispec.AnnotationRefName: name}
		return d
	}
	forAll := func(name, layer string) ocispec.Descriptor {
		foreign, newer, native := f.image(t, nil, upper), f.image(t, nil, upper), f.image(t, nil, layer)
		newer.Platform = &ocispec.Platform{OS: "linux", Architecture: runtime.GOARCH, Variant: "v9"}
		foreign.Platform = &ocispec.Platform{OS: "linux", Architecture: "pdp11"}
		native.Platform = &ocispec.Platform{OS: "linux", Architecture: runtime.GOARCH}
		d := f.putJSON(t, ocispec.MediaTypeImageIndex, ocispec.Index{Manifests: []ocispec.Descriptor{{Platform: &ocispec.Platform{OS: "unknown", Architecture: "unknown"}}, foreign, newer, native}})
		d.Annotations = map[string]string{ocispec.AnnotationRefName: name}
		return d
	}
	f.index(t, named("one", lower), named("two", lower, upper), forAll("all", lower))
	dir := t.TempDir()
	f.write(t, dir)
	for reference, want := range map[string]string{"one": "etc etc/a etc/b", "two": wanted, "all": "etc etc/a etc/b"} {
		if got, err := unpacked(t, dir, reference); err != nil || got != want {
			t.Errorf("%s: %s, %v", reference, got, err)
		}
	}
	for _, reference := range []string{"", "three"} {
		if _, err := unpacked(t, dir, reference); err == nil || !strings.Contains(err.Error(), "one, two, all") {
			t.Errorf("%q: %v", reference, err)
		}
	}
}

// bomb is a tar of more than is fine, compressed piece by piece: decompressors
// take one stream behind another for one.
func bomb(t *testing.T, program string) []byte {
	t.Helper()
	const piece, pieces = 64 << 20, (fineSize + fineSize/4) / (64 << 20)
	packed := func(r io.Reader) []byte {
		cmd := exec.CommandContext(t.Context(), program, "-c", "-9")
		cmd.Stdin = r
		out, err := cmd.Output()
		if err != nil {
			t.Skipf("%s makes no archives: %v", program, err)
		}
		return out
	}
	var header bytes.Buffer
	if err := tar.NewWriter(&header).WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: "f", Mode: 0o600, Size: piece * pieces}); err != nil {
		t.Fatal(err)
	}
	return append(packed(&header), bytes.Repeat(packed(io.LimitReader(endless{}, piece)), pieces)...)
}

type endless struct{}

func (endless) Read(p []byte) (int, error) { clear(p); return len(p), nil }

func TestBombs(t *testing.T) {
	large := tree.Limits{Bytes: 1 << 40, Entries: 1000}
	for _, program := range []string{"gzip", "zstd", "xz", "bzip2"} {
		t.Run(program, func(t *testing.T) {
			t.Parallel()
			text := bomb(t, program)
			for limit, want := range map[tree.Limits]string{large: errBomb.Error(), limits(): "larger than is allowed"} {
				if _, err := unpackText(t, text, limit); err == nil || !strings.Contains(err.Error(), want) {
					t.Errorf("%v, want %s", err, want)
				}
			}
		})
	}
}

func unpackText(t testing.TB, text []byte, most tree.Limits) (string, error) {
	t.Helper()
	path := t.TempDir() + "/image"
	if err := os.WriteFile(path, text, 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	return unpackFile(t, f, "", most)
}

// A window as large as memory is not made, and what to do is told.
func TestLargeWindow(t *testing.T) {
	const size = 70 << 20 // its archive has 73401856 bytes
	for _, row := range []struct {
		name, script string
		want         string // of the error; "" for none
	}{
		{"the largest of zstd", "zstd -q -1 --long=25", ""},
		{"a larger one of zstd", "zstd -q -1 --long=26", "zstd -d"},
		{"as large as what is in it", "zstd -q -1 --long=27 --stream-size=73401856", "zstd -d"},
		{"the largest of xz", "xz -0 --lzma2=preset=0,dict=64MiB", ""},
		{"a larger one of xz", "xz -0 --lzma2=preset=0,dict=65MiB", "xz -d"},
	} {
		cmd := exec.CommandContext(t.Context(), "sh", "-c", row.script)
		read, write := io.Pipe()
		cmd.Stdin = read
		go func() { _ = write.CloseWithError(zeros(write, size)) }()
		text, err := cmd.Output()
		if err != nil {
			t.Skipf("%s: %v", row.script, err)
		}
		_, err = unpackText(t, text, limits())
		if row.want == "" && err != nil || row.want != "" && (err == nil || !strings.Contains(err.Error(), "\nfix: decompress it first: "+row.want)) {
			t.Errorf("%s: %v", row.name, err)
		}
	}
}

// zeros is a tar of one large file.
func zeros(w io.Writer, size int64) error {
	out := tar.NewWriter(w)
	err := out.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: "f", Mode: 0o600, Size: size})
	_, copyErr := io.CopyN(out, endless{}, size)
	return errors.Join(err, copyErr, out.Close())
}

// An archive of an image has as many files as an image may have, and as many bytes.
func TestLargeImageArchive(t *testing.T) {
	many := files{}
	for i := range mostParts + 1 {
		many[fmt.Sprintf("blobs/%d", i)] = ""
	}
	large := files{"blobs/f": strings.Repeat("\x00", 2<<20)}
	most := tree.Limits{Bytes: 1 << 20, Entries: 100}
	for want, text := range map[string]string{"more than 10000 files": string(many.tar(t)), "larger than is allowed": gzipped(t, string(large.tar(t)))} {
		if _, err := unpackText(t, []byte(text), most); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %s", err, want)
		}
	}
}

// A name that an archive of an image has twice is what it is in the end, and that
// has to be what its digest says.
func TestPartsTwice(t *testing.T) {
	image := ofTwo(t)
	other := files{}
	for name, text := range image {
		if strings.HasPrefix(name, "blobs/") {
			other[name] = strings.Repeat("x", len(text))
		}
	}
	const end = 1024
	first, second := image.tar(t), other.tar(t)
	if got, err := unpackText(t, append(first[:len(first)-end:len(first)-end], second...), limits()); err == nil {
		t.Errorf("the later ones are not what counts: %s", got)
	}
	if got, err := unpackText(t, append(second[:len(second)-end:len(second)-end], first...), limits()); err != nil || got != wanted {
		t.Errorf("%s, %v", got, err)
	}
}

func TestNoImage(t *testing.T) {
	whole := files{"a": "a"}.tar(t)
	for name, text := range map[string]string{
		"nothing": "", "text": "hello\n", "a long text": strings.Repeat("hello\n", 1000), "half of gzip": gzipped(t, string(whole))[:30],
		"gzip of text": gzipped(t, "hello"), "bzip2": "BZh9 not really", "xz": "\xfd7zXZ\x00 not really", "zstd": "\x28\xb5\x2f\xfd not really",
		"damaged": string(whole[:200]) + "x" + string(whole[201:]), "half of a header": string(whole[:300]),
	} {
		path := t.TempDir() + "/image"
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if got, err := unpacked(t, path, ""); err == nil {
			t.Errorf("%s was taken for an image: %s", name, got)
		}
	}
	if _, err := unpacked(t, t.TempDir(), ""); err == nil {
		t.Error("an empty directory was taken for a layout")
	}
}

// An error does not wait for who writes the archive, and goes on for ever.
func TestStreamStops(t *testing.T) {
	read, write, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer write.Close()
	defer read.Close()
	text := files{"f": "", "f/x": "", "g": strings.Repeat(" ", 1<<20)}.tar(t)
	go func() { _, _ = write.Write(text) }()
	if _, err := unpackFile(t, read, "", limits()); err == nil {
		t.Error("a file below a file was made")
	}
}

func FuzzImage(f *testing.F) {
	lower, upper := two(f)
	image := files{}
	image.index(f, image.image(f, nil, lower, upper))
	f.Add(image.tar(f))
	f.Add([]byte(lower))
	f.Add([]byte(gzipped(f, lower)))
	for _, program := range []string{"bzip2", "xz", "zstd"} {
		cmd := exec.Command(program, "-c")
		cmd.Stdin = strings.NewReader(lower)
		if text, err := cmd.Output(); err == nil {
			f.Add(text)
		}
	}
	few := tree.Limits{Bytes: 1 << 20, Entries: 100}
	f.Fuzz(func(t *testing.T, data []byte) {
		_, _ = unpackText(t, data, few)
	})
}

func FuzzManifest(f *testing.F) {
	f.Add(`{"config":{"digest":"sha256:x","size":1},"layers":[{"size":-1}]}`, `{"rootfs":{"diff_ids":["sha256:x"]}}`)
	f.Fuzz(func(t *testing.T, manifest, config string) {
		b := files{"index.json": manifest, "manifest.json": config}
		file := bytes.NewReader(b.tar(t))
		parts, err := openArchive(io.NewSectionReader(file, 0, file.Size()))
		if err != nil {
			t.Fatal(err)
		}
		_, _ = fromLayout(parts, "")
		_, _ = fromSaved(parts, "")
		_, _ = fromManifest(parts, []byte(manifest), nil)
		if ids, err := diffIDs([]byte(config), 1); err == nil && (len(ids) != 1 || ids[0].Validate() != nil) {
			t.Errorf("%v", ids)
		}
	})
}
