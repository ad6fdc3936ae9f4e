package tree

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"math/rand/v2"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// insideVariable says that the process is the test again, as root of a user
// and a mount namespace of its own; its value is a directory to work in.
const insideVariable = "BRYO_TREE_INSIDE"

// inside runs the test where it can mount, or returns the directory to work in
// when it is there.
func inside(t *testing.T) string {
	t.Helper()
	if dir := os.Getenv(insideVariable); dir != "" {
		return dir
	}
	cmd := exec.CommandContext(t.Context(), "/proc/self/exe", "-test.run=^"+t.Name()+"$", "-test.v")
	dir := t.TempDir()
	cmd.Env = append(os.Environ(), insideVariable+"="+dir, "TMPDIR="+dir)
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  unix.CLONE_NEWUSER | unix.CLONE_NEWNS,
		UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}},
	}
	out, err := cmd.CombinedOutput()
	switch {
	case err != nil && len(out) == 0:
		t.Skip("no user namespaces here: ", err)
	case bytes.Contains(out, []byte("--- SKIP")):
		t.Skip("no overlay file systems for users here")
	case err != nil:
		t.Errorf("%v\n%s", err, out)
	}
	return ""
}

// stacked makes a stack of layers, each by itself, and returns what is seen of it.
func stacked(t *testing.T, dir string, layers []entries) (string, error) {
	t.Helper()
	var stack []Stacked
	var lower []string
	for i, layer := range layers {
		at := filepath.Join(dir, strconv.Itoa(i))
		must(t, os.Mkdir(at, 0o700))
		fd := opened(t, at)
		image, err := NewLayer(fd, many().Budget())
		if err == nil {
			err = image.Apply(archive(t, layer...))
		}
		if err == nil {
			err = image.Finish()
		}
		if err != nil {
			return "", err
		}
		if l := image.Layer(); l.Opaque {
			lower = nil
		}
		stack = append(stack, Stacked{image.Layer(), fd})
		lower = append([]string{at}, lower...)
	}
	seam, err := FindSeam(stack)
	must(t, err)
	if !seam.Empty() {
		must(t, os.Mkdir(dir+"/seam", 0o700))
		must(t, seam.Write(opened(t, dir+"/seam")))
		lower = append([]string{dir + "/seam"}, lower...)
	}
	must(t, os.MkdirAll(dir+"/none", 0o755), os.Mkdir(dir+"/merged", 0o755))
	lower = append(lower, dir+"/none")
	err = unix.Mount("overlay", dir+"/merged", "overlay", 0, "userxattr,lowerdir="+strings.Join(lower, ":"))
	if errors.Is(err, unix.EPERM) || errors.Is(err, unix.ENODEV) {
		t.Skip("no overlay file systems for users here")
	}
	must(t, err)
	seen := seen(t, dir+"/merged")
	must(t, unix.Unmount(dir+"/merged", 0))
	return seen, nil
}

func must(t *testing.T, errs ...error) {
	t.Helper()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
}

// seen is a tree with kinds, modes, times, contents and targets.
func seen(t *testing.T, top string) string {
	t.Helper()
	var b strings.Builder
	must(t, filepath.WalkDir(top, func(at string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		var what string
		switch {
		case d.Type() == fs.ModeSymlink:
			what, err = os.Readlink(at)
		case d.Type().IsRegular():
			var data []byte
			data, err = os.ReadFile(at)
			what = string(data)
		}
		fmt.Fprintf(&b, "%s %v %s\n", strings.TrimPrefix(at, top), info.Mode(), what)
		return err
	}))
	return b.String()
}

// invented is a layer of few names, so that layers have much to do with each
// other. Whiteouts come first, the highest before those below.
func invented(random *rand.Rand) (layer entries) {
	for range 1 + random.IntN(6) {
		letter := func() string { return string("abc"[random.IntN(3)]) }
		name := []string{"", letter() + "/", letter() + "/" + letter() + "/"}[random.IntN(3)]
		base := letter()
		modes := []int64{0o700, 0o711, 0o755, 0o750, 0o1777}
		h := tar.Header{Typeflag: tar.TypeReg, Name: name + base, Mode: 0o644, ModTime: time.Unix(1, 0)}
		switch random.IntN(8) {
		case 0, 1, 2:
			h.Typeflag, h.Mode = tar.TypeDir, modes[random.IntN(len(modes))]
		case 3:
			h.Typeflag, h.Linkname = tar.TypeSymlink, "nowhere"
		case 4:
			h.Name = name + whiteout + base
		case 5:
			h.Name = name + whiteout + opaque
		case 6:
			h.Typeflag, h.Mode, h.Name = tar.TypeDir, modes[random.IntN(len(modes))], name+"."
		}
		layer = append(layer, h)
	}
	slices.SortStableFunc(layer, func(a, b tar.Header) int { return whiteoutDepth(a.Name) - whiteoutDepth(b.Name) })
	return layer
}

func whiteoutDepth(name string) int {
	if !strings.HasPrefix(path.Base(name), whiteout) {
		return math.MaxInt
	}
	return strings.Count(name, "/")
}

// A stack of layers that were made each by itself shows what they make one above
// the other.
func TestStacked(t *testing.T) {
	dir := inside(t)
	if dir == "" {
		return
	}
	random := rand.New(rand.NewPCG(6, 18))
	compared := 0
	for i := range 150 {
		var layers []entries
		for range 1 + random.IntN(4) {
			layers = append(layers, invented(random))
		}
		at := filepath.Join(dir, strconv.Itoa(i))
		must(t, os.MkdirAll(at+"/one", 0o755))
		image := NewImage(opened(t, at+"/one"), many())
		var err error
		for _, layer := range layers {
			err = errors.Join(err, image.Apply(archive(t, layer...)))
		}
		if err != nil || image.Finish() != nil {
			continue // such as a file below a file
		}
		want := seen(t, at+"/one")
		got, err := stacked(t, at, layers)
		if err != nil || got != want {
			t.Fatalf("%v: %v\n%s\nshows\n%s\ninstead of\n%s", i, err, described(layers), got, want)
		}
		compared++
		must(t, os.RemoveAll(at))
	}
	if compared < 40 {
		t.Errorf("only %d compared", compared)
	}
}

func described(layers []entries) string {
	var b strings.Builder
	for i, layer := range layers {
		for _, h := range layer {
			fmt.Fprintf(&b, "layer %d: %c %s %o\n", i, h.Typeflag, h.Name, h.Mode)
		}
	}
	return b.String()
}

// What a layer says of overlay file systems itself means nothing, and what it can
// only say of other layers is refused.
func TestHostileLayer(t *testing.T) {
	xattr := func(h tar.Header, name, value string) tar.Header {
		h.PAXRecords = map[string]string{paxXattr + name: value}
		return h
	}
	for _, row := range []struct {
		name  string
		layer entries
		want  string
		fault bool
	}{
		{"attributes of overlay", entries{xattr(dir0("d"), overlayOpaque, "y"), xattr(file0("f"), "user.overlay.metacopy", ""), xattr(dir0("e"), "user.overlay.redirect", "/d")}, "d/ e/ f=f", false},
		{"of root's overlay", entries{xattr(dir0("d"), "trusted.overlay.opaque", "y"), xattr(file0("f"), "trusted.overlay.metacopy", "")}, "d/ f=f", false},
		{"a whiteout as a device", entries{{Typeflag: tar.TypeChar, Name: "c"}}, "", false},
		{"a link to a whiteout", entries{file0("x/.wh.a"), hard("b", "x/a")}, "x/", true},
		{"a link to a lower file", entries{hard("b", "a")}, "", true},
		{"below a whiteout", entries{file0(".wh.d"), file0("d/f")}, "d/ d/f=d/f", false},
		{"a whiteout through a link out", entries{link("l", "../outside"), file0("l/.wh.secret")}, "l -> ../outside", true},
		{"opaque through a link out", entries{link("l", "/../../outside"), file0("l/.wh..wh..opq")}, "l -> /../../outside", true},
		{"a whiteout of what is above", entries{file0("d/.wh...")}, "d/", true},
		{"a whiteout of nothing", entries{file0(".wh.")}, "", true},
	} {
		t.Run(row.name, func(t *testing.T) {
			top := t.TempDir()
			plant(t, top, "outside/secret", "here/")
			image, err := NewLayer(opened(t, top+"/here"), many().Budget())
			if err == nil {
				err = image.Apply(archive(t, row.layer...))
			}
			if errors.Is(err, unix.EPERM) {
				t.Skip("whiteouts are for root only here")
			}
			if (err != nil) != row.fault {
				t.Error(err)
			}
			if row.name == "a link to a whiteout" {
				must(t, os.Remove(top+"/here/x/a")) // nobody can open it
			}
			if got := listing(t, top+"/here"); got != row.want {
				t.Errorf("%q, want %q", got, row.want)
			}
			if got := listing(t, top+"/outside"); got != "secret=outside/secret" {
				t.Errorf("outside: %s", got)
			}
			must(t, filepath.WalkDir(top+"/here", func(at string, _ fs.DirEntry, _ error) error {
				for _, name := range []string{overlayOpaque, "user.overlay.metacopy", "user.overlay.redirect", "trusted.overlay.opaque", "trusted.overlay.metacopy"} {
					ours := name == overlayOpaque && row.name == "below a whiteout"
					if _, err := unix.Lgetxattr(at, name, nil); err == nil && !ours {
						t.Errorf("%s has %s", at, name)
					}
				}
				return nil
			}))
		})
	}
}
