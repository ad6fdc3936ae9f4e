package shelf

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/klauspost/compress/gzip"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sys/unix"

	"bryo/fsroot/image"
	"bryo/fsroot/tree"
)

func must(t testing.TB, errs ...error) {
	t.Helper()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
}

// layer is an archive of files with these names, or of directories, which end
// with a slash; what is behind a = is in the file.
func layer(t testing.TB, names ...string) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, text := range names {
		name, content, _ := strings.Cut(text, "=")
		h := &tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: 0o644, Size: int64(len(content))}
		if strings.HasSuffix(name, "/") {
			h.Typeflag, h.Mode = tar.TypeDir, 0o711
		}
		must(t, w.WriteHeader(h))
		_, err := w.Write([]byte(content))
		must(t, err)
	}
	must(t, w.Close())
	return b.Bytes()
}

// layout is an image layout in a directory.
type layout struct {
	testing.TB

	dir   string
	index ocispec.Index
}

func newLayout(t testing.TB) *layout {
	t.Helper()
	dir := t.TempDir()
	must(t, os.MkdirAll(dir+"/blobs/sha256", 0o755))
	return &layout{TB: t, dir: dir}
}

func (l *layout) put(data []byte) ocispec.Descriptor {
	d := digest.FromBytes(data)
	must(l, os.WriteFile(l.blob(d), data, 0o600))
	return ocispec.Descriptor{Digest: d, Size: int64(len(data))}
}

func (l *layout) blob(d digest.Digest) string { return l.dir + "/blobs/sha256/" + d.Encoded() }

func (l *layout) json(v any) []byte {
	data, err := json.Marshal(v)
	must(l, err)
	return data
}

// image adds an image of layers, and returns the digests that these have there.
func (l *layout) image(name string, config ocispec.ImageConfig, layers ...[]byte) (digests []digest.Digest) {
	l.Helper()
	c := ocispec.Image{Config: config}
	c.OS, c.Architecture = "linux", "amd64"
	m := ocispec.Manifest{}
	for _, data := range layers {
		var b bytes.Buffer
		z := gzip.NewWriter(&b)
		_, err := z.Write(data)
		must(l, err, z.Close())
		c.RootFS.DiffIDs = append(c.RootFS.DiffIDs, digest.FromBytes(data))
		m.Layers = append(m.Layers, l.put(b.Bytes()))
		digests = append(digests, m.Layers[len(m.Layers)-1].Digest)
	}
	m.Config = l.put(l.json(c))
	d := l.put(l.json(m))
	d.MediaType, d.Annotations = ocispec.MediaTypeImageManifest, map[string]string{ocispec.AnnotationRefName: name}
	l.index.Manifests = append(l.index.Manifests, d)
	must(l, os.WriteFile(l.dir+"/index.json", l.json(l.index), 0o600))
	return digests
}

func newShelf(t testing.TB) *image.Shelf {
	t.Helper()
	dir := t.TempDir() + "/shelf"
	must(t, os.Mkdir(dir, 0o700))
	s, err := image.OpenPath(dir)
	must(t, err)
	t.Cleanup(func() { _ = s.Close() })
	return s
}

const (
	someMap = "0:1000:1\n"
	boot    = "this-boot"
)

func request(s *image.Shelf, from *os.File, reference string) Request {
	return Request{
		Shelf: s, Image: from, Reference: reference, IDMap: someMap, Boot: boot, Stem: "stem",
		Limits: tree.Limits{Bytes: 1 << 30, Entries: 10000},
	}
}

func tryAdd(s *image.Shelf, path, reference string, change func(*Request)) (*Outcome, error) {
	from, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer from.Close()
	r := request(s, from, reference)
	if change != nil {
		change(&r)
	}
	return Import(r)
}

func add(t testing.TB, s *image.Shelf, path, reference string) *image.Image {
	t.Helper()
	out, err := tryAdd(s, path, reference, nil)
	must(t, err)
	i, err := s.Lookup(out.ID)
	must(t, err)
	return i
}

// contents are the names of all files that an image's layers have, the lowest first.
func contents(t testing.TB, s *image.Shelf, i *image.Image) string {
	t.Helper()
	dir, err := s.OpenLayers(i, someMap)
	must(t, err)
	defer dir.Close()
	var all []string
	for _, name := range i.Layers {
		var names []string
		top := filepath.Join(s.Path(), image.LayersDir(someMap), name)
		must(t, filepath.WalkDir(top, func(at string, d fs.DirEntry, err error) error {
			if at != top {
				name := strings.TrimPrefix(at, top+"/")
				if d.Type()&fs.ModeCharDevice != 0 {
					name = "-" + name
				}
				names = append(names, name)
			}
			return err
		}))
		all = append(all, strings.Join(names, " "))
	}
	return strings.Join(all, " | ")
}

func TestStack(t *testing.T) {
	base := []string{"etc/", "etc/a=1", "b=2"}
	for _, row := range []struct {
		name   string
		layers [][]string
		want   string
	}{
		{"layers", [][]string{base, {"c=3"}}, "b etc etc/a | c"},
		{"a whiteout", [][]string{base, {"etc/", "etc/.wh.a"}}, "b etc etc/a | etc -etc/a"},
		{"a directory that is left out", [][]string{base, {"etc/c=3"}}, "b etc etc/a | etc etc/c | etc"},
		{"that no lower layer has", [][]string{base, {"usr/c=3"}}, "b etc etc/a | usr usr/c"},
		{"one that hides all", [][]string{base, {".wh..wh..opq", "c=3"}, {"d=4"}}, "c | d"},
		{"one that is there twice", [][]string{{"x=1"}, {"y=2"}, {"x=1"}}, "y | x"},
		{"nothing at all", nil, ""},
	} {
		t.Run(row.name, func(t *testing.T) {
			s, from := newShelf(t), newLayout(t)
			var layers [][]byte
			for _, names := range row.layers {
				layers = append(layers, layer(t, names...))
			}
			from.image("web", ocispec.ImageConfig{}, layers...)
			i := add(t, s, from.dir, "web")
			if got := contents(t, s, i); got != row.want {
				t.Errorf("%s, want %s", got, row.want)
			}
		})
	}
}

func TestRecord(t *testing.T) {
	s, from := newShelf(t), newLayout(t)
	config := ocispec.ImageConfig{
		User: "web", Env: []string{"A=b"}, Entrypoint: []string{"/e"}, Cmd: []string{"c"}, WorkingDir: "/w", StopSignal: "SIGINT",
		Labels: map[string]string{"l": "v"}, Volumes: map[string]struct{}{"/v": {}}, ExposedPorts: map[string]struct{}{"80/tcp": {}},
	}
	from.image("1.2", config, layer(t, "a=12345"))
	i := add(t, s, from.dir, "")
	want := image.Config{
		User: "web", Env: []string{"A=b"}, Entrypoint: []string{"/e"}, Cmd: []string{"c"}, WorkingDir: "/w", StopSignal: "SIGINT",
		Labels: map[string]string{"l": "v"}, Volumes: map[string]struct{}{"/v": {}}, ExposedPorts: map[string]struct{}{"80/tcp": {}},
	}
	if !reflect.DeepEqual(i.Config, want) {
		t.Errorf("%+v", i.Config)
	}
	if i.Platform != (image.Platform{OS: "linux", Architecture: "amd64"}) || i.Size != 5 || !slices.Equal(i.Names, []string{"localhost/stem:1.2"}) {
		t.Errorf("%+v", i)
	}
	for _, sum := range []string{i.ID, strings.TrimPrefix(i.Digest, "sha256:")} {
		f, err := s.OpenBlob(sum)
		if err != nil {
			t.Fatal(err)
		}
		if text, err := io.ReadAll(f); err != nil || digest.FromBytes(text).Encoded() != sum {
			t.Errorf("%s: %s, %v", sum, text, err)
		}
		must(t, f.Close(), s.WriteFile(image.BlobsDir+"/"+sum, []byte("{}")))
		if _, err := s.OpenBlob(sum); err == nil || !strings.Contains(err.Error(), "damaged") {
			t.Errorf("another content: %v", err)
		}
	}
}

func TestLookup(t *testing.T) {
	s, from := newShelf(t), newLayout(t)
	from.image("1.2", ocispec.ImageConfig{}, layer(t, "a=12345"))
	i := add(t, s, from.dir, "")
	for _, text := range []string{"stem:1.2", "localhost/stem:1.2", i.ID, "sha256:" + i.ID, i.ID[:8], "stem@" + i.Digest} {
		if found, err := s.Lookup(text); err != nil || found.ID != i.ID {
			t.Errorf("%s: %v", text, err)
		}
	}
	for _, text := range []string{"stem", "", "sha256:", "web", i.ID + "0", "other@" + i.Digest} {
		if found, err := s.Lookup(text); !errors.Is(err, image.ErrNotFound) {
			t.Errorf("%s: %v, %v", text, found, err)
		}
	}
}

// A layer that is there is not read again, whatever image it comes with.
func TestLayersAreReadOnce(t *testing.T) {
	s, from := newShelf(t), newLayout(t)
	base := layer(t, "etc/", "etc/a=1")
	digests := from.image("one", ocispec.ImageConfig{}, base, layer(t, "b=2"))
	from.image("two", ocispec.ImageConfig{}, base, layer(t, "c=3"))
	one := add(t, s, from.dir, "one")
	for _, d := range digests {
		if !s.HasLayer(d.String(), someMap) || s.HasLayer(d.String(), "another") {
			t.Errorf("%s is there: %v", d, s.HasLayer(d.String(), someMap))
		}
		must(t, os.Remove(from.blob(d)))
	}
	if again := add(t, s, from.dir, "one"); again.ID != one.ID {
		t.Errorf("%s is now %s", one.ID, again.ID)
	}
	if got := contents(t, s, add(t, s, from.dir, "two")); got != "etc etc/a | c" {
		t.Error(got)
	}
	other := func(r *Request) { r.IDMap = "another" }
	if _, err := tryAdd(s, from.dir, "one", other); !errors.Is(err, unix.ENOENT) {
		t.Errorf("under another map it has to be read: %v", err)
	}
	if _, err := s.OpenLayers(one, "another"); !errors.Is(err, image.ErrOtherMap) {
		t.Errorf("%v", err)
	}
	if s.HasLayer("../../names.json", someMap) || s.HasLayer("", someMap) {
		t.Error("what is no digest is there")
	}
}

// An image that is not what it says leaves nothing but layers that are complete.
func TestRefused(t *testing.T) {
	for name, harm := range map[string]func(t *testing.T, l *layout, d []digest.Digest){
		"a blob that is another one": func(t *testing.T, l *layout, d []digest.Digest) {
			data, err := os.ReadFile(l.blob(d[1]))
			must(t, err)
			data[len(data)-1] ^= 1
			must(t, os.WriteFile(l.blob(d[1]), data, 0o600))
		},
		"a blob that is longer": func(t *testing.T, l *layout, d []digest.Digest) {
			data, err := os.ReadFile(l.blob(d[1]))
			must(t, err, os.WriteFile(l.blob(d[1]), append(data, 0), 0o600))
		},
		"a blob that is missing": func(t *testing.T, l *layout, d []digest.Digest) { must(t, os.Remove(l.blob(d[1]))) },
		"a blob that is a link": func(t *testing.T, l *layout, d []digest.Digest) {
			must(t, os.Rename(l.blob(d[1]), l.dir+"/moved"), os.Symlink(l.dir+"/moved", l.blob(d[1])))
		},
	} {
		t.Run(name, func(t *testing.T) {
			s, from := newShelf(t), newLayout(t)
			d := from.image("web", ocispec.ImageConfig{}, layer(t, "a=1"), layer(t, "b=2"))
			harm(t, from, d)
			if out, err := tryAdd(s, from.dir, "web", nil); err == nil || out.ID != "" {
				t.Errorf("%v, %v", out, err)
			}
			if s.HasLayer(d[1].String(), someMap) {
				t.Error("the layer is there")
			}
			names, err := s.Names(image.LayersDir(someMap))
			must(t, err)
			if half := slices.DeleteFunc(names, func(n string) bool { return !strings.Contains(n, "half") }); len(half) > 0 {
				t.Errorf("left: %v", half)
			}
			_, err = Prune(s, false)
			must(t, err)
			if left := leftovers(t, s); len(left) > 0 {
				t.Errorf("left: %v", left)
			}
		})
	}
}

// leftovers are the files of a shelf that has no image.
func leftovers(t testing.TB, s *image.Shelf) (left []string) {
	t.Helper()
	must(t, filepath.WalkDir(s.Path(), func(at string, _ fs.DirEntry, err error) error {
		name := strings.TrimPrefix(at, s.Path()+"/")
		if !slices.Contains([]string{"lock", "names.json", "names.lock", "images", "layers", "digests", "holds", "blobs", "blobs/sha256", "trash", s.Path()}, name) {
			left = append(left, name)
		}
		return err
	}))
	return left
}

func TestLimitsOfAllLayers(t *testing.T) {
	s, from := newShelf(t), newLayout(t)
	from.image("web", ocispec.ImageConfig{}, layer(t, "a=12345"), layer(t, "b=12345"))
	for change, want := range map[*tree.Limits]string{
		{Bytes: 9, Entries: 10}: "larger than is allowed", {Bytes: 100, Entries: 1}: "more files than are allowed", {Bytes: 10, Entries: 2}: "",
	} {
		_, err := tryAdd(s, from.dir, "web", func(r *Request) { r.Limits = *change })
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%+v: %v", *change, err)
		}
		_, err = Prune(s, true)
		must(t, err)
	}
}

func TestNames(t *testing.T) {
	s, from := newShelf(t), newLayout(t)
	from.image("docker.io/library/debian:12", ocispec.ImageConfig{}, layer(t, "a=1"))
	from.image("evil", ocispec.ImageConfig{}, layer(t, "b=2"))
	good := add(t, s, from.dir, "docker.io/library/debian:12")
	evil := newLayout(t)
	evil.image("docker.io/library/debian:12", ocispec.ImageConfig{}, layer(t, "b=2"))
	out, err := tryAdd(s, evil.dir, "", nil)
	if err != nil || !slices.Equal(out.Others, []string{"docker.io/library/debian:12"}) {
		t.Errorf("%+v, %v", out, err)
	}
	if found, err := s.Lookup("debian:12"); err != nil || found.ID != good.ID {
		t.Errorf("the name was taken away: %v", err)
	}
	if _, err := tryAdd(s, evil.dir, "", func(r *Request) { r.Name = "docker.io/library/debian:12" }); err != nil {
		t.Error(err)
	}
	if found, err := s.Lookup("debian:12"); err != nil || found.ID == good.ID {
		t.Errorf("the user's word does not count: %v", err)
	}
	must(t, os.WriteFile(from.dir+"/files.tar", layer(t, "x=1"), 0o600))
	if i := add(t, s, from.dir+"/files.tar", ""); !slices.Equal(i.Names, []string{"localhost/stem:latest"}) {
		t.Errorf("%v", i.Names)
	}
	if out, err := tryAdd(s, from.dir+"/files.tar", "", func(r *Request) { r.Stem = "No Name" }); err != nil || out.ID == "" {
		t.Errorf("%v", err)
	}
}

// What an image says of itself takes no name from another one, nor stands before it.
func TestNamesThatAreSaid(t *testing.T) {
	s, from := newShelf(t), newLayout(t)
	from.image("docker.io/library/debian:12", ocispec.ImageConfig{}, layer(t, "a=1"))
	good := add(t, s, from.dir, "")
	const web = "localhost/web:latest"
	must(t, s.Tag(good, parsed(t, web)))
	for _, said := range []string{web, "localhost/debian:12", "localhost/" + good.ID, "localhost/own:1"} {
		liar := newLayout(t)
		liar.image(said, ocispec.ImageConfig{Labels: map[string]string{"said": said}}, layer(t, "b=2"))
		_, err := tryAdd(s, liar.dir, "", nil)
		must(t, err)
	}
	for _, name := range []string{"web", "debian:12", good.ID, "sha256:" + good.ID} {
		if found, err := s.Lookup(name); err != nil || found.ID != good.ID {
			t.Errorf("an image has taken %s by its own word: %v", name, err)
		}
	}
	if _, err := s.Lookup("own:1"); err != nil {
		t.Error(err)
	}
}

func TestRemove(t *testing.T) {
	s, one, two := twoImages(t)
	must(t, s.Tag(one, parsed(t, "localhost/more")))
	if _, err := Remove(s, one.ID, false); err == nil {
		t.Error("an image of two names went by its id")
	}
	if gone, err := Remove(s, "more", false); err != nil || len(gone.IDs) > 0 || !slices.Equal(gone.Names, []string{"localhost/more:latest"}) {
		t.Errorf("%+v, %v", gone, err)
	}
	adding, err := s.Adding()
	must(t, err)
	gone, err := Remove(s, "stem:one", false)
	if err == nil {
		err = gone.Sweep(s)
	}
	must(t, err)
	if !gone.Busy || !slices.Equal(gone.IDs, []string{one.ID}) {
		t.Errorf("%+v", gone)
	}
	if _, err := s.Hold(one); !errors.Is(err, image.ErrNotFound) {
		t.Errorf("an image that is gone is held: %v", err)
	}
	must(t, adding.Close())
	if gone, err := Prune(s, false); err != nil || gone.Bytes != 1 {
		t.Errorf("%+v, %v", gone, err)
	}
	if got := contents(t, s, two); got != "etc etc/a | c" {
		t.Errorf("what is left: %s", got)
	}
}

// twoImages are a shelf's that share a layer.
func twoImages(t *testing.T) (s *image.Shelf, one, two *image.Image) {
	t.Helper()
	s, from := newShelf(t), newLayout(t)
	base := layer(t, "etc/", "etc/a=1")
	from.image("one", ocispec.ImageConfig{}, base, layer(t, "b=2"))
	from.image("two", ocispec.ImageConfig{}, base, layer(t, "c=3"))
	return s, add(t, s, from.dir, "one"), add(t, s, from.dir, "two")
}

// What a container is of stays as long as that runs, or is there.
func TestUsed(t *testing.T) {
	s, one, two := twoImages(t)
	held, err := s.Hold(one)
	must(t, err)
	if _, err := Remove(s, "stem:one", false); !errors.Is(err, errUsed) {
		t.Errorf("an image that is held went: %v", err)
	}
	must(t, held.Close())
	state := t.TempDir()
	must(t, s.Keep(one, "box", state+"/box"), os.Mkdir(state+"/box", 0o755))
	if _, err := Remove(s, "stem:one", false); !errors.Is(err, errUsed) || !strings.Contains(err.Error(), "box") {
		t.Errorf("an image of a container went: %v", err)
	}
	gone, err := Prune(s, true)
	if err != nil || !slices.Equal(gone.IDs, []string{two.ID}) {
		t.Errorf("%+v, %v", gone, err)
	}
	if got := contents(t, s, one); got != "etc etc/a | b" {
		t.Errorf("what is left: %s", got)
	}
	must(t, os.Remove(state+"/box"))
	gone, err = Prune(s, false)
	if err != nil || len(gone.IDs) > 0 {
		t.Errorf("an image with a name went: %+v, %v", gone, err)
	}
	_, err = Prune(s, true)
	must(t, err)
	if left := leftovers(t, s); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
}

func parsed(t testing.TB, text string) image.Reference {
	t.Helper()
	r, err := image.Parse(text)
	must(t, err)
	return r
}

// A record that nobody can read keeps all layers, until it is removed.
func TestDamaged(t *testing.T) {
	s, from := newShelf(t), newLayout(t)
	from.image("one", ocispec.ImageConfig{}, layer(t, "a=1"))
	from.image("two", ocispec.ImageConfig{}, layer(t, "b=2"))
	one, two := add(t, s, from.dir, "one"), add(t, s, from.dir, "two")
	must(t, os.WriteFile(filepath.Join(s.Path(), image.RecordName(one.ID)), []byte("{"), 0o600))
	if _, err := Prune(s, true); err == nil || !strings.Contains(err.Error(), "bryo rmi "+one.ID) {
		t.Errorf("%v", err)
	}
	gone, err := Remove(s, one.ID, false)
	if err == nil {
		err = gone.Sweep(s)
	}
	if err != nil || !slices.Equal(gone.Names, []string{"localhost/stem:one"}) {
		t.Errorf("%+v, %v", gone, err)
	}
	if _, err := s.Lookup(two.ID); !errors.Is(err, image.ErrNotFound) {
		t.Errorf("prune --all left %v", err)
	}
}

// A shelf that others could have put there is none.
func TestOthersShelf(t *testing.T) {
	dir := t.TempDir()
	must(t, os.Mkdir(dir+"/open", 0o700), os.Chmod(dir+"/open", 0o777), os.Mkdir(dir+"/real", 0o755), os.Symlink("real", dir+"/link"))
	for _, name := range []string{"open", "link", "none"} {
		if s, err := image.OpenPath(dir + "/" + name); err == nil {
			t.Errorf("%s is taken for a shelf: %v", name, s.Path())
		}
	}
	s, err := image.OpenPath(dir + "/real")
	must(t, err, s.Close())
	if info, err := os.Stat(dir + "/real"); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("others can enter: %v, %v", info.Mode(), err)
	}
}
