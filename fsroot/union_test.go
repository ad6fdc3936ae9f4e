package fsroot

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// layersOf makes layers, the topmost first, each of lines: "file CONTENT",
// "link -> TARGET", "dir/", "dir/ opaque" and "gone whiteout".
func layersOf(t *testing.T, layers ...string) *Union {
	t.Helper()
	dir := t.TempDir()
	var names []string
	for i, lines := range layers {
		name := string(rune('a' + i))
		names = append(names, name)
		if err := os.Mkdir(filepath.Join(dir, name), 0o755); err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(lines) {
			if err := makeLine(filepath.Join(dir, name), strings.TrimSpace(line)); err != nil {
				t.Fatalf("%s: %v", line, err)
			}
		}
	}
	u := &Union{}
	if err := u.Add(dir, names...); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = u.Close() })
	return u
}

func makeLine(layer, line string) error {
	name, rest, _ := strings.Cut(line, " ")
	path := filepath.Join(layer, name)
	if name == "" {
		return nil
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	switch target, isLink := strings.CutPrefix(rest, "-> "); {
	case isLink:
		return os.Symlink(target, path)
	case rest == "whiteout":
		return unix.Mknod(path, unix.S_IFCHR, 0)
	case strings.HasSuffix(name, "/"):
		if err := os.MkdirAll(path, 0o755); err != nil || rest != "opaque" {
			return err
		}
		return unix.Setxattr(path, "user.overlay.opaque", []byte("y"), 0)
	}
	return os.WriteFile(path, []byte(rest), 0o644)
}

func TestUnionReadsAsOverlayShows(t *testing.T) {
	u := layersOf(t,
		`up top
		 both top
		 gone whiteout
		 dir/up top
		 hidden/ opaque
		 hidden/new top
		 file/in top
		 notdir top
		 abs -> /dir/low
		 rel -> dir/../dir/low
		 out -> ../../../../../../../../etc/passwd
		 loop -> loop
		 around -> around/around/x`,
		`both middle
		 gone middle
		 hidden/old middle
		 dir/gone whiteout
		 file middle
		 notdir/in middle
		 etc/passwd image's`,
		`both low
		 low low
		 gone low
		 dir/low low
		 dir/gone low
		 hidden/old low`)
	for _, test := range []struct{ path, want string }{
		{"up", "top"},
		{"/both", "top"},
		{"low", "low"},
		{"gone", ""},
		{"dir/up", "top"},
		{"dir/low", "low"},
		{"dir/gone", ""},
		{"hidden/new", "top"},
		{"hidden/old", ""},
		{"file/in", "top"},
		{"notdir", "top"},
		{"notdir/in", ""},
		{"abs", "low"},
		{"rel", "low"},
		{"out", "image's"},
		{"loop", ""},
		{"around", ""},
		{"../../etc/passwd", "image's"},
		{"up/x", ""},
		{"dir", ""},
		{strings.Repeat("./", 2000) + "up", ""},
	} {
		data, err := u.ReadFile(test.path, 100)
		if string(data) != test.want || (err != nil) != (test.want == "") {
			t.Errorf("%.40s: %q, %v; want %q", test.path, data, err, test.want)
		}
	}
	if !u.Has("dir") || u.Has("gone") || u.Has("hidden/old") {
		t.Error("what is there")
	}
}

func TestUnionOpensADirectoryOfAllLayersThatShow(t *testing.T) {
	u := layersOf(t, "d/a 1\n", "d/ opaque\n d/b 2\n f 1\n", "d/c 3\n")
	for _, test := range []struct {
		path string
		want []string
		err  error
	}{
		{path: "d", want: []string{"a", "b"}},
		{path: "f", err: unix.ENOTDIR},
		{path: "g", err: unix.ENOENT},
	} {
		fds, err := u.OpenDir(test.path)
		if !errors.Is(err, test.err) {
			t.Fatalf("%s: %v", test.path, err)
		}
		var names []string
		for _, fd := range fds {
			found, err := os.ReadDir("/proc/self/fd/" + strconv.Itoa(fd))
			if err != nil {
				t.Fatal(err)
			}
			names = append(names, found[0].Name())
		}
		closeAll(fds)
		if !slices.Equal(names, test.want) {
			t.Errorf("%s: %q", test.path, names)
		}
	}
}

func TestLayerNames(t *testing.T) {
	names := layerNames(MostLayers)
	if joined := strings.Join(names, ":"); len(joined) > 255 || strings.ContainsAny(strings.Join(names, ""), "./:,\\") {
		t.Errorf("%q is %d bytes", joined, len(joined))
	}
	if slices.Sort(names); len(slices.Compact(names)) != MostLayers {
		t.Error("some are the same")
	}
}
