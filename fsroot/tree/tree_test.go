package tree

import (
	"archive/tar"
	"bytes"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func opened(t *testing.T, dir string) int {
	t.Helper()
	fd, err := unix.Open(dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Close(fd) })
	return fd
}

// plant makes files from "name", "name -> target" and "name/".
func plant(t *testing.T, dir string, names ...string) {
	t.Helper()
	for _, name := range names {
		name, target, link := strings.Cut(name, " -> ")
		at := filepath.Join(dir, name)
		err := os.MkdirAll(filepath.Dir(at), 0o755)
		switch {
		case link:
			err = errors.Join(err, os.Symlink(target, at))
		case strings.HasSuffix(name, "/"):
			err = errors.Join(err, os.MkdirAll(at, 0o755))
		default:
			err = errors.Join(err, os.WriteFile(at, []byte(name), 0o640))
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

// listing is a tree in plant's words, with what files hold.
func listing(t *testing.T, dir string) string {
	t.Helper()
	var list []string
	err := filepath.WalkDir(dir, func(at string, d fs.DirEntry, err error) error {
		name, _ := filepath.Rel(dir, at)
		switch {
		case err != nil || name == ".":
			return err
		case d.IsDir():
			name += "/"
		case d.Type()&fs.ModeSymlink != 0:
			target, _ := os.Readlink(at)
			name += " -> " + target
		default:
			text, err := os.ReadFile(at)
			if err != nil {
				return err
			}
			name += "=" + string(text)
		}
		list = append(list, name)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return strings.Join(list, " ")
}

func quiet(string, string) {}

func TestThereAndBack(t *testing.T) {
	from, to := t.TempDir(), t.TempDir()
	plant(t, from, "a/b/f", "a/g", "a/l -> ../../etc", "a/empty/", "other")
	if err := errors.Join(os.Link(from+"/a/g", from+"/a/h"), os.Chmod(from+"/a/b", 0o500), os.Chmod(from+"/a/g", 0o4751)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _, _ = os.Chmod(from+"/a/b", 0o700), os.Chmod(to+"/c/b", 0o700) })
	then := time.Unix(1e9, 0)
	if err := errors.Join(os.Chtimes(from+"/a/b/f", then, then), os.Chtimes(from+"/a/b", then, then)); err != nil {
		t.Fatal(err)
	}
	var stream bytes.Buffer
	if err := InRoot(opened(t, from)).Pack(&stream, "/a", ".", Packing{Skipped: quiet}); err != nil {
		t.Fatal(err)
	}
	if err := Beneath(opened(t, to)).Unpack(&stream, "c", Unpacking{Skipped: quiet}); err != nil {
		t.Fatal(err)
	}
	if got, want := listing(t, to), "c/ c/b/ c/b/f=a/b/f c/empty/ c/g=a/g c/h=a/g c/l -> ../../etc"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
	for name, want := range map[string]fs.FileMode{"c/b": 0o500 | fs.ModeDir, "c/g": 0o751, "c/b/f": 0o640} {
		info, err := os.Lstat(filepath.Join(to, name))
		if err != nil || info.Mode() != want {
			t.Errorf("%s: %v, %v, want %v", name, info.Mode(), err, want)
		}
		if strings.HasPrefix(name, "c/b") && !info.ModTime().Equal(then) {
			t.Errorf("%s: %v", name, info.ModTime())
		}
	}
	sameFile(t, to+"/c/g", to+"/c/h")
}

func sameFile(t *testing.T, first, second string) {
	t.Helper()
	one, err1 := os.Stat(first)
	two, err2 := os.Stat(second)
	if err1 != nil || err2 != nil || !os.SameFile(one, two) {
		t.Errorf("two names of one file became two files: %v, %v", err1, err2)
	}
}

// No path of a container leads out of it.
func TestPackStaysInside(t *testing.T) {
	outside, root := t.TempDir(), t.TempDir()
	plant(t, outside, "secret")
	plant(t, root, "etc/secret", "up -> ../../../..", "abs -> "+outside, "magic -> /proc/self/root", "loop -> loop")
	for _, path := range []string{"/abs/secret", "up" + outside + "/secret", "/magic" + outside + "/secret", "../.." + outside + "/secret", "loop/x"} {
		var stream bytes.Buffer
		err := InRoot(opened(t, root)).Pack(&stream, path, ".", Packing{Skipped: quiet})
		if err == nil || bytes.Contains(stream.Bytes(), []byte("secret\x00")) {
			t.Errorf("%s was read: %v", path, err)
		}
	}
	var stream bytes.Buffer
	if err := InRoot(opened(t, root)).Pack(&stream, "up/etc/secret", "x", Packing{Skipped: quiet}); err != nil || !strings.Contains(stream.String(), "etc/secret") {
		t.Errorf("a link inside: %v", err)
	}
}

func TestPackSkips(t *testing.T) {
	root := t.TempDir()
	if err := errors.Join(unix.Mkfifo(root+"/pipe", 0o600), unix.Mknod(root+"/socket", unix.S_IFSOCK|0o600, 0)); err != nil {
		t.Fatal(err)
	}
	var skipped []string
	err := InRoot(opened(t, root)).Pack(io.Discard, "/", ".", Packing{Skipped: func(path, _ string) { skipped = append(skipped, path) }})
	slices.Sort(skipped)
	if err != nil || !slices.Equal(skipped, []string{"/pipe", "/socket"}) {
		t.Errorf("%v, %v", skipped, err)
	}
	for path, want := range map[string]string{root + "/pipe": "it is a device, a pipe or a socket", "/dev/null": "it is a device", "/proc/version": "the kernel makes it up", "/proc/self/": "the kernel"} {
		if err := InRoot(opened(t, "/")).Pack(io.Discard, path, ".", Packing{Skipped: quiet}); err == nil || !strings.Contains(err.Error(), path[:len(path)-1]) || !strings.Contains(err.Error(), want) {
			t.Errorf("%s alone: %v", path, err)
		}
	}
}

// archive is a stream of headers; files hold their name.
func archive(t *testing.T, headers ...tar.Header) io.Reader {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for i := range headers {
		h := &headers[i]
		if h.Typeflag == tar.TypeReg {
			h.Size = int64(len(h.Name))
		}
		if h.Mode == 0 {
			h.Mode = 0o755
		}
		if err := w.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
		if h.Typeflag == tar.TypeReg {
			if _, err := io.WriteString(w, h.Name); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return &b
}

func file0(name string) tar.Header { return tar.Header{Typeflag: tar.TypeReg, Name: name} }

func link(name, target string) tar.Header {
	return tar.Header{Typeflag: tar.TypeSymlink, Name: name, Linkname: target}
}

// A hostile stream stays below the directory, and follows no link there.
func TestHostileStream(t *testing.T) {
	for _, row := range []struct {
		name    string
		entries []tar.Header
		want    string // below the directory
		fault   bool
	}{
		{"dots are cut", []tar.Header{file0("../../secret")}, "old=old old.d/ old.l -> ../outside secret=../../secret", false},
		{"so is a leading slash", []tar.Header{file0("/x")}, "old=old old.d/ old.l -> ../outside x=/x", false},
		{"a link and a file behind it", []tar.Header{link("l", "../outside"), file0("l/secret")}, "l -> ../outside old=old old.d/ old.l -> ../outside", true},
		{"a file behind a link that was there", []tar.Header{file0("old.l/secret")}, "old=old old.d/ old.l -> ../outside", true},
		{"a directory in the place of a link", []tar.Header{{Typeflag: tar.TypeDir, Name: "old.l"}}, "old=old old.d/ old.l -> ../outside", true},
		{"a file in the place of a link", []tar.Header{file0("old.l")}, "old=old old.d/ old.l=old.l", false},
		{"a name of a file outside", []tar.Header{{Typeflag: tar.TypeLink, Name: "n", Linkname: "../outside/secret"}}, "old=old old.d/ old.l -> ../outside", true},
		{"by a link", []tar.Header{{Typeflag: tar.TypeLink, Name: "n", Linkname: "old.l/secret"}}, "old=old old.d/ old.l -> ../outside", true},
		{"a file in the place of a directory", []tar.Header{file0("old.d")}, "old=old old.d/ old.l -> ../outside", true},
		{"devices", []tar.Header{{Typeflag: tar.TypeChar, Name: "c", Devmajor: 1, Devminor: 3}, {Typeflag: tar.TypeBlock, Name: "b"}, {Typeflag: tar.TypeFifo, Name: "p"}}, "old=old old.d/ old.l -> ../outside", false},
		{"the directory itself", []tar.Header{file0(".")}, "old=old old.d/ old.l -> ../outside", true},
		{"missing parents", []tar.Header{file0("p/q/x")}, "old=old old.d/ old.l -> ../outside p/ p/q/ p/q/x=p/q/x", false},
	} {
		t.Run(row.name, func(t *testing.T) {
			top := t.TempDir()
			plant(t, top, "outside/secret", "here/old.d/", "here/old.l -> ../outside")
			if err := os.WriteFile(top+"/here/old", []byte("old"), 0o600); err != nil {
				t.Fatal(err)
			}
			err := Beneath(opened(t, top+"/here")).Unpack(archive(t, row.entries...), "", Unpacking{Skipped: quiet})
			if (err != nil) != row.fault {
				t.Errorf("%v", err)
			}
			if got := listing(t, top+"/here"); got != row.want {
				t.Errorf("%s, want %s", got, row.want)
			}
			if got := listing(t, top+"/outside"); got != "secret=outside/secret" {
				t.Errorf("outside: %s", got)
			}
		})
	}
}

func TestModesOfTheHost(t *testing.T) {
	dir := t.TempDir()
	h := file0("x")
	h.Mode, h.Uid = 0o6755, 12345
	if err := Beneath(opened(t, dir)).Unpack(archive(t, h), "", Unpacking{Skipped: quiet}); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(dir + "/x")
	if err != nil || info.Mode() != 0o755 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
}

// In a container links lead on, but not out.
func TestUnpackFollowsInside(t *testing.T) {
	top := t.TempDir()
	plant(t, top, "root/usr/bin/", "root/bin -> usr/bin", "root/out -> ../../../.."+top+"/outside", "outside/secret")
	root := InRoot(opened(t, top+"/root"))
	if err := root.Unpack(archive(t, file0("bin/x")), "/", Unpacking{Skipped: quiet}); err != nil {
		t.Fatal(err)
	}
	if err := root.Unpack(archive(t, file0("out/secret")), "/", Unpacking{Skipped: quiet}); err == nil {
		t.Error("a link to nowhere inside was followed")
	}
	if got := listing(t, top+"/outside"); got != "secret=outside/secret" {
		t.Errorf("outside: %s", got)
	}
	if text, err := os.ReadFile(top + "/root/usr/bin/x"); err != nil || string(text) != "bin/x" {
		t.Errorf("%q, %v", text, err)
	}
}

func TestTooDeep(t *testing.T) {
	root := t.TempDir()
	at := root + strings.Repeat("/d", mostNames+10)
	if err := os.MkdirAll(at, 0o755); err != nil {
		t.Fatal(err)
	}
	err := InRoot(opened(t, root)).Pack(io.Discard, "/", ".", Packing{Skipped: quiet})
	if err == nil || !strings.Contains(err.Error(), strconv.Itoa(mostNames)) {
		t.Errorf("%v", err)
	}
}

// Whatever a stream holds, nothing is made outside.
func FuzzUnpack(f *testing.F) {
	for _, name := range []string{"x", "../x", "l/x", "/", ".", "a//b/../c", "l"} {
		f.Add(name, "../outside", byte(tar.TypeSymlink))
	}
	f.Fuzz(func(t *testing.T, name, target string, kind byte) {
		var b bytes.Buffer
		w := tar.NewWriter(&b)
		_ = w.WriteHeader(&tar.Header{Typeflag: kind, Name: name, Linkname: target, Mode: 0o755})
		_ = w.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: name + "/secret", Mode: 0o755})
		_ = w.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: 0o755})
		_ = w.Close()
		top := t.TempDir()
		plant(t, top, "here/l -> ../outside", "outside/secret")
		_ = Beneath(opened(t, top+"/here")).Unpack(&b, "", Unpacking{Skipped: quiet})
		if got := listing(t, top+"/outside"); got != "secret=outside/secret" {
			t.Errorf("outside: %s", got)
		}
	})
}

// A file that somebody holds a lease on is told by its name, and waited for by
// nobody.
func TestLeased(t *testing.T) {
	dir := t.TempDir()
	plant(t, dir, "a/f")
	file, err := os.OpenFile(dir+"/a/f", os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	if _, err := unix.FcntlInt(file.Fd(), unix.F_SETLEASE, unix.F_WRLCK); err != nil {
		t.Skipf("no lease on a file of %s: %v", dir, err)
	}
	err = InRoot(opened(t, dir)).Pack(io.Discard, "/", ".", Packing{Skipped: quiet})
	if !errors.Is(err, errLeased) || !strings.Contains(err.Error(), "/a/f") {
		t.Errorf("%v", err)
	}
}

// Root's links are the host's own: /home may be one.
func TestOpenNamed(t *testing.T) {
	const roots = "/proc/self/task"
	if os.Geteuid() == 0 {
		t.Skip("links of root's are the user's own")
	}
	for _, path := range []string{roots, roots + "/", "/proc/self/../self/task"} {
		fd, err := OpenNamed(path)
		if err != nil {
			t.Errorf("%s: %v", path, err)
		}
		_ = unix.Close(fd)
	}
	dir := t.TempDir()
	plant(t, dir, "d/f", "l -> d", "ll -> l", "loop -> loop", "top -> /proc/self")
	for path, want := range map[string]error{
		"/l": ErrLink, "/l/.": ErrLink, "/ll/": ErrLink, "/loop/": ErrLink, "/d/f": unix.ENOTDIR, "/no": unix.ENOENT,
		"/l/": nil, "/top/": nil, "/d/../d/": nil,
	} {
		fd, err := OpenNamed(dir + path)
		if !errors.Is(err, want) {
			t.Errorf("%s: %v, want %v", path, err, want)
		}
		_ = unix.Close(fd)
	}
}
