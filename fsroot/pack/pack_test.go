package pack

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sys/unix"

	"bryo/fsroot/order"
	"bryo/fsroot/tree"
	"bryo/fsroot/unpack"
)

// maker packs a directory again and again.
type maker struct {
	*testing.T

	from string
}

func newMaker(t *testing.T) *maker {
	t.Helper()
	m := &maker{t, t.TempDir()}
	text := bytes.Repeat([]byte("the same again, and then something else\n"), 100000)
	m.must(os.MkdirAll(m.from+"/d", 0o755), os.WriteFile(m.from+"/d/f", text, 0o640), os.Symlink("d/f", m.from+"/l"))
	return m
}

func (m *maker) must(errs ...error) {
	m.Helper()
	if err := errors.Join(errs...); err != nil {
		m.Fatal(err)
	}
}

func (m *maker) open(path string, flags int) *os.File {
	m.Helper()
	f, err := os.OpenFile(path, flags, 0o600)
	m.must(err)
	m.Cleanup(func() { _ = f.Close() })
	return f
}

func (m *maker) request(out *os.File, change func(r *Request)) Request {
	m.Helper()
	before := time.Unix(1000000000, 0)
	r := Request{Out: out, Layers: []int{int(m.open(m.from, os.O_RDONLY).Fd())}, Pack: order.Pack{
		Tag: "web", Compression: "gzip", IDMap: "0:0:1 0:0:1", Upper: []bool{false}, Before: &before, OS: "linux", Architecture: "amd64",
	}}
	if change != nil {
		change(&r)
	}
	return r
}

func (m *maker) pack(out *os.File, change func(r *Request)) {
	m.Helper()
	_, err := Pack(m.request(out, change))
	m.must(err)
}

// back unpacks an image, and returns what its file holds.
func (m *maker) back(image *os.File, reference string) string {
	m.Helper()
	root := m.TempDir()
	_, err := unpack.Unpack(unpack.Request{Image: image, Reference: reference, Root: int(m.open(root, os.O_RDONLY).Fd()), Limits: tree.Limits{Bytes: 1 << 30, Entries: 100}, IDMap: "0:0:1 0:0:1"})
	m.must(err)
	text, err := os.ReadFile(root + "/l")
	m.must(err)
	return string(text)
}

// sums has every file of a layout, with the digest of what it holds.
func (m *maker) sums(dir string) string {
	m.Helper()
	var list []string
	m.must(filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		text, err := os.ReadFile(path)
		if sum := digest.FromBytes(text); filepath.Base(filepath.Dir(path)) == "sha256" && d.Name() != sum.Encoded() {
			m.Errorf("%s has another digest", path)
		}
		list = append(list, strings.TrimPrefix(path, dir)+" "+digest.FromBytes(text).String())
		return err
	}))
	return strings.Join(list, "\n")
}

// However it is compressed and wherever it goes, an image is what was packed; and
// it is the same one on one processor.
func TestPack(t *testing.T) {
	m := newMaker(t)
	want, err := os.ReadFile(m.from + "/d/f")
	m.must(err)
	for _, c := range compressions() {
		var layouts, archives []string
		for _, processors := range []int{4, 1} {
			before := runtime.GOMAXPROCS(processors)
			dir, file := t.TempDir(), m.open(t.TempDir()+"/a", os.O_RDWR|os.O_CREATE)
			m.pack(m.open(dir, os.O_RDONLY), func(r *Request) { r.Compression = c.name })
			m.pack(file, func(r *Request) { r.Compression, r.Archive = c.name, true })
			runtime.GOMAXPROCS(before)
			if m.back(m.open(dir, os.O_RDONLY), "web") != string(want) || m.back(file, "") != string(want) {
				t.Errorf("%s: another file came back", c.name)
			}
			text, err := os.ReadFile(file.Name())
			m.must(err)
			layouts, archives = append(layouts, m.sums(dir)), append(archives, digest.FromBytes(text).String())
		}
		if layouts[0] != layouts[1] || archives[0] != archives[1] {
			t.Errorf("%s: another number of processors makes another image", c.name)
		}
	}
}

// A layout keeps what is in it, also what bryo does not know.
func TestPackKeeps(t *testing.T) {
	m := newMaker(t)
	dir := t.TempDir()
	m.pack(m.open(dir, os.O_RDONLY), nil)
	m.pack(m.open(dir, os.O_RDONLY), func(r *Request) { r.Tag = "other" })
	var index map[string]any
	text, err := os.ReadFile(dir + "/index.json")
	m.must(err, json.Unmarshal(text, &index))
	index["x-new"] = "kept"
	index["manifests"].([]any)[0].(map[string]any)["x-new"] = 1 //nolint:forcetypeassert // it was written above
	text, err = json.Marshal(index)
	m.must(err, os.WriteFile(dir+"/index.json", text, 0o600))
	m.must(os.WriteFile(dir+"/blobs/sha256/"+halfName, []byte("half"), 0o600))
	m.pack(m.open(dir, os.O_RDONLY), func(r *Request) { r.Tag, r.Compression = "other", "none" })
	text, err = os.ReadFile(dir + "/index.json")
	m.must(err)
	if n := strings.Count(string(text), "digest"); n != 2 || strings.Count(string(text), "x-new") != 2 {
		t.Errorf("%d images: %s", n, text)
	}
	for _, tag := range []string{"web", "other"} {
		_ = m.back(m.open(dir, os.O_RDONLY), tag)
	}
	if sums := m.sums(dir); strings.Contains(sums, halfName) {
		t.Errorf("left is %s", sums)
	}
}

// A blob that was damaged is whole again; links in a layout lead nowhere.
func TestPackReplaces(t *testing.T) {
	m := newMaker(t)
	dir, outside := t.TempDir(), t.TempDir()
	m.pack(m.open(dir, os.O_RDONLY), nil)
	want := m.sums(dir)
	blobs, err := filepath.Glob(dir + "/blobs/sha256/*")
	m.must(err)
	for i, blob := range blobs {
		m.must(os.Remove(blob))
		if i == 0 {
			m.must(os.Symlink(outside+"/blob", blob))
		} else {
			m.must(os.WriteFile(blob, []byte("damaged"), 0o600))
		}
	}
	m.pack(m.open(dir, os.O_RDONLY), nil)
	if got := m.sums(dir); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	m.must(os.RemoveAll(dir+"/blobs"), os.Symlink(outside, dir+"/blobs"))
	if _, err := Pack(m.request(m.open(dir, os.O_RDONLY), nil)); err == nil {
		t.Error("a link was followed")
	}
	m.must(os.Remove(dir+"/blobs"), os.Remove(dir+"/index.json"), unix.Mkfifo(dir+"/index.json", 0o600))
	if _, err := Pack(m.request(m.open(dir, os.O_RDONLY), nil)); err == nil {
		t.Error("a pipe was read")
	}
	if names, err := os.ReadDir(outside); err != nil || len(names) > 0 {
		t.Errorf("outside: %v, %v", names, err)
	}
}

// An image of several layers has the last one's changes.
func TestPackLayers(t *testing.T) {
	m := newMaker(t)
	upper, dir := t.TempDir(), t.TempDir()
	m.must(os.WriteFile(upper+"/l", []byte("changed"), 0o600), unix.Mknod(upper+"/d", unix.S_IFCHR, 0))
	m.pack(m.open(dir, os.O_RDONLY), func(r *Request) {
		r.Layers, r.Upper = append(r.Layers, int(m.open(upper, os.O_RDONLY).Fd())), []bool{true, true}
		r.Base = []byte(`{"os":"linux","architecture":"riscv64","x-new":1.50,"config":{"Env":["A=1"],"OnBuild":["x"]},"history":[{"created_by":"below"}],"rootfs":{"diff_ids":["sha256:old"]}}`)
	})
	if got := m.back(m.open(dir, os.O_RDONLY), "web"); got != "changed" {
		t.Errorf("%q", got)
	}
	for _, want := range []string{`"x-new":1.50`, `"riscv64"`, `"OnBuild":["x"]`, `[{"created":"2001-09-09T01:46:40Z","created_by":"bryo pack"},{"created":"2001-09-09T01:46:40Z","created_by":"bryo pack"}]`} {
		files, err := filepath.Glob(dir + "/blobs/sha256/*")
		m.must(err)
		if !slices.ContainsFunc(files, func(path string) bool { text, _ := os.ReadFile(path); return strings.Contains(string(text), want) }) {
			t.Errorf("%s is nowhere", want)
		}
	}
}

// Without the layers below, an image is what somebody needs who has them.
func TestPackAdditions(t *testing.T) {
	m := newMaker(t)
	dir := t.TempDir()
	const below = "sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
	m.pack(m.open(dir, os.O_RDONLY), func(r *Request) {
		r.Tag, r.Kept, r.Upper = "", []string{below}, []bool{true}
		r.Base = []byte(`{"history":[{"created_by":"below"}]}`)
	})
	var list []unpack.Saved
	text, err := os.ReadFile(dir + "/manifest.json")
	m.must(err, json.Unmarshal(text, &list))
	if len(list) != 1 || len(list[0].Layers) != 2 || list[0].Layers[0] != blobPath(below) {
		t.Fatalf("%s", text)
	}
	text, err = os.ReadFile(dir + "/" + list[0].Config)
	m.must(err)
	var config ocispec.Image
	m.must(json.Unmarshal(text, &config))
	if len(config.RootFS.DiffIDs) != 2 || config.RootFS.DiffIDs[0] != below || len(config.History) != 2 || config.History[0].CreatedBy != "below" {
		t.Errorf("%s", text)
	}
	if _, err := os.Lstat(dir + "/index.json"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("there is an index: %v", err)
	}
}

func TestConfiguration(t *testing.T) {
	const base = `{"architecture":"amd64","os":"linux","config":{"User":"a","Cmd":["below"],"Env":["PATH=/bin","A=1"],"Labels":null,"Volumes":{"/v":{}},"ExposedPorts":{"1/tcp":{}}},"container":"x"}`
	for _, row := range []struct {
		name, base string
		change     order.Config
		want       string
	}{
		{"nothing", "", order.Config{}, `{}`},
		{"null", "null", order.Config{User: "x"}, `{"User":"x"}`},
		{"null inside", `{"config":null}`, order.Config{Cmd: []string{}}, `{"Cmd":[]}`},
		{"as it was", base, order.Config{}, `{"Cmd":["below"],"Env":["PATH=/bin","A=1"],"ExposedPorts":{"1/tcp":{}},"Labels":null,"User":"a","Volumes":{"/v":{}}}`},
		{"entrypoint", base, order.Config{Entrypoint: []string{"e"}, User: "b"}, `{"Entrypoint":["e"],"Env":["PATH=/bin","A=1"],"ExposedPorts":{"1/tcp":{}},"Labels":null,"User":"b","Volumes":{"/v":{}}}`},
		{"joined", base, order.Config{
			Env: []string{"A=2=3", "B="}, Labels: map[string]string{"k": "v"}, Ports: []string{"2/udp"}, Volumes: []string{"/w"}, WorkingDir: "/w", StopSignal: "SIGINT",
		}, `{"Cmd":["below"],"Env":["PATH=/bin","A=2=3","B="],"ExposedPorts":{"1/tcp":{},"2/udp":{}},"Labels":{"k":"v"},"StopSignal":"SIGINT","User":"a","Volumes":{"/v":{},"/w":{}},"WorkingDir":"/w"}`},
	} {
		var below []byte
		if row.base != "" {
			below = []byte(row.base)
		}
		text, err := configuration(below, &order.Pack{Config: row.change}, []digest.Digest{"sha256:x"}, epoch())
		var got struct {
			Config    json.RawMessage `json:"config"`
			Container string          `json:"container"`
			RootFS    ocispec.RootFS  `json:"rootfs"`
		}
		if err = errors.Join(err, json.Unmarshal(text, &got)); err != nil {
			t.Errorf("%s: %v", row.name, err)
		}
		if string(got.Config) != row.want || got.Container != "" || len(got.RootFS.DiffIDs) != 1 {
			t.Errorf("%s:\n%s, want\n%s", row.name, got.Config, row.want)
		}
	}
}

// The configuration of an image below is whoever's made it.
func FuzzConfiguration(f *testing.F) {
	f.Add([]byte(`{"config":{"Env":[1,null,"A=1"],"Labels":[]},"history":{}}`))
	f.Add([]byte(`null`))
	f.Fuzz(func(t *testing.T, base []byte) {
		change := order.Config{Env: []string{"A=2"}, Labels: map[string]string{"k": "v"}, Ports: []string{"1/tcp"}, User: "u"}
		text, err := configuration(base, &order.Pack{Config: change, OS: "linux"}, nil, epoch())
		if err != nil {
			return
		}
		var image map[string]any
		if err := json.Unmarshal(text, &image); err != nil || image["config"] == nil {
			t.Errorf("%s: %v", text, err)
		}
	})
}

// What nobody would unpack is not packed.
func TestPackRefuses(t *testing.T) {
	m := newMaker(t)
	m.must(os.WriteFile(m.from+"/vast", nil, 0o600))
	for want, change := range map[string]func(r *Request){
		"for a bomb":   func(r *Request) { r.Compression = "zstd" },
		"compression":  func(r *Request) { r.Compression = "lz4" },
		"nothing":      func(r *Request) { r.Layers, r.Upper = nil, nil },
		"id maps":      func(r *Request) { r.IDMap = "x" },
		"than 6871947": func(*Request) { m.must(os.Truncate(m.from+"/vast", 100<<30)) },
	} {
		dir := t.TempDir()
		if want == "for a bomb" {
			m.must(os.Truncate(m.from+"/vast", 9<<27)) // a bit more than is fine
		}
		_, err := Pack(m.request(m.open(dir, os.O_RDONLY), change))
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", want, err)
		}
		if sums := m.sums(dir); sums != "" {
			t.Errorf("%s: left is %s", want, sums)
		}
	}
}

// broken fails after some bytes, as a disk that is full.
type broken struct{ left int }

func (b *broken) Write(p []byte) (int, error) {
	if b.left -= len(p); b.left < 0 {
		return 0, unix.ENOSPC
	}
	return len(p), nil
}

func TestFullDisk(t *testing.T) {
	for _, c := range compressions() {
		z, err := c.open(&broken{1 << 10})
		if err != nil {
			t.Fatal(err)
		}
		_, err = io.CopyN(z, endless{}, 20<<20)
		if err = errors.Join(err, z.Close()); !errors.Is(err, unix.ENOSPC) {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}

// endless is numbers, which compress badly enough.
type endless struct{}

func (endless) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = byte(i * i >> (i % 7))
	}
	return len(p), nil
}
