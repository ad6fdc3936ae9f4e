package tree

import (
	"archive/tar"
	"bytes"
	"errors"
	"math"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"bryo/fsroot"
)

// many is more than any test needs.
func many() Limits { return Limits{Bytes: 1 << 40, Entries: 1 << 20} }

func dir0(name string) tar.Header { return tar.Header{Typeflag: tar.TypeDir, Name: name + "/"} }

func hard(name, of string) tar.Header {
	return tar.Header{Typeflag: tar.TypeLink, Name: name, Linkname: of}
}

type entries = []tar.Header

// Layers do to lower layers what they say, and nothing to what is outside.
func TestLayers(t *testing.T) {
	deep := strings.Repeat("d/", 200)
	for _, row := range []struct {
		name   string
		layers []entries
		want   string // below the root
		fault  bool
	}{
		{"one above another", []entries{{file0("a"), file0("b")}, {file0("b"), file0("c")}}, "a=a b=b c=c", false},
		{"a whiteout", []entries{{file0("d/a"), file0("d/b")}, {file0("d/.wh.a")}}, "d/ d/b=d/b", false},
		{"of a directory", []entries{{file0("d/a"), file0("e")}, {file0(".wh.d")}}, "e=e", false},
		{"of a link", []entries{{file0("d/a"), link("l", "d")}, {file0(".wh.l")}}, "d/ d/a=d/a", false},
		{"of what is not there", []entries{{file0("a")}, {file0(".wh.b")}}, "a=a", false},
		{"of its own layer's file", []entries{{file0("a")}, {file0("a"), file0("b"), file0(".wh.a"), file0(".wh.b")}}, "a=a b=b", false},
		{"of its own layer's directory", []entries{{file0("d/old")}, {dir0("d"), file0("d/new"), file0(".wh.d")}}, "d/ d/new=d/new", false},
		{"of its own layer's directory without an entry", []entries{{file0("d/old")}, {file0("d/new"), file0(".wh.d")}}, "d/ d/new=d/new", false},
		{"opaque, above a directory without an entry", []entries{{file0("d/e/old")}, {file0("d/e/new"), file0("d/.wh..wh..opq")}}, "d/ d/e/ d/e/new=d/e/new", false},
		{"in the lowest layer", []entries{{file0("a"), file0(".wh.a")}}, "a=a", false},
		{"opaque, behind", []entries{{file0("d/old/x"), file0("d/y")}, {file0("d/new"), file0("d/.wh..wh..opq")}}, "d/ d/new=d/new", false},
		{"opaque, before", []entries{{file0("d/old/x")}, {file0("d/.wh..wh..opq"), file0("d/new")}}, "d/ d/new=d/new", false},
		{"opaque, of a lower directory that is there again", []entries{{file0("d/e/old")}, {dir0("d/e"), file0("d/e/new"), file0("d/.wh..wh..opq")}}, "d/ d/e/ d/e/new=d/e/new", false},
		{"others of aufs", []entries{{file0("a")}, {file0(".wh..wh.plnk")}}, "a=a", false},
		{"a whiteout of itself", []entries{{file0("a")}, {file0(".wh..")}}, "a=a", true},
		{"a whiteout of what is above", []entries{{file0("d/a")}, {file0("d/.wh...")}}, "d/ d/a=d/a", true},
		{"a whiteout of nothing", []entries{{file0("a")}, {file0(".wh.")}}, "a=a", true},
		{"a whiteout through a link out", []entries{{link("l", "../outside")}, {file0("l/.wh.secret")}}, "l -> ../outside", true},
		{"opaque through a link out", []entries{{link("l", "/../../outside")}, {file0("l/.wh..wh..opq")}}, "l -> /../../outside", true},
		{"a file through a link in", []entries{{file0("usr/bin/a"), link("bin", "usr/bin")}, {file0("bin/b")}}, "bin -> usr/bin usr/ usr/bin/ usr/bin/a=usr/bin/a usr/bin/b=bin/b", false},
		{"a file through a link out", []entries{{link("l", "../outside")}, {file0("l/secret")}}, "l -> ../outside", true},
		{"through an absolute one", []entries{{link("l", "/outside"), file0("l/secret")}}, "l -> /outside", true},
		{"through links in a circle", []entries{{link("a", "b"), link("b", "a"), file0("a/x")}}, "a -> b b -> a", true},
		{"a directory for a link", []entries{{link("l", "../outside")}, {dir0("l"), file0("l/x")}}, "l/ l/x=l/x", false},
		{"a file for a link", []entries{{link("l", "../outside/secret"), file0("l")}}, "l=l", false},
		{"a file for a directory", []entries{{file0("d/e/f")}, {file0("d")}}, "d=d", false},
		{"a link for a directory", []entries{{file0("d/e/f")}, {link("d", "../outside")}, {file0("d/secret")}}, "d -> ../outside", true},
		{"a directory for a file", []entries{{file0("d")}, {file0("x"), dir0("d")}}, "d/ x=x", false},
		{"a file below a file", []entries{{file0("f"), file0("f/x")}}, "f=f", true},
		{"dots", []entries{{file0("../../secret"), file0("a/../../b"), file0("/c")}}, "b=a/../../b c=/c secret=../../secret", false},
		{"a hard link", []entries{{file0("a"), hard("b", "a")}}, "a=a b=a", false},
		{"in another layer", []entries{{file0("a"), file0("b")}, {hard("b", "/a")}}, "a=a b=a", false},
		{"to itself", []entries{{file0("a"), hard("a", "./a")}}, "a=a", false},
		{"to what is not there", []entries{{hard("b", "a")}}, "", true},
		{"out", []entries{{hard("b", "../outside/secret")}}, "", true},
		{"out by a link", []entries{{link("l", "../outside"), hard("b", "l/secret")}}, "l -> ../outside", true},
		{"to a link out", []entries{{link("l", "../outside/secret"), hard("b", "l"), file0("b")}}, "b=b l -> ../outside/secret", false},
		{"to the root", []entries{{hard("b", "/")}}, "", true},
		{"to nothing", []entries{{hard("b", "")}}, "", true},
		{"to a directory", []entries{{dir0("d"), hard("b", "d")}}, "d/", true},
		{"the root as a file", []entries{{file0(".")}}, "", true},
		{"the root as a link", []entries{{link("x/..", "/")}}, "", true},
		{"the root", []entries{{dir0("."), file0("a")}}, "a=a", false},
		{"devices", []entries{{{Typeflag: tar.TypeChar, Name: "c", Devmajor: 1, Devminor: 3}, {Typeflag: tar.TypeBlock, Name: "b"}}}, "", false},
		{"a long name", []entries{{file0(strings.Repeat("n", 256))}}, "", true},
		{"a long path", []entries{{file0(strings.Repeat("n/", 2100) + "f")}}, "", true},
		{"many directories", []entries{{file0(strings.Repeat("n/", 600) + "f")}}, "", true},
		{"odd names", []entries{{file0("a\nb"), file0("\x1b[2J"), file0(" "), file0("-rf")}}, "\x20=\x20 -rf=-rf a\nb=a\nb \x1b[2J=\x1b[2J", false},
		{"twice", []entries{{file0("a"), link("a", "b"), dir0("a"), file0("a/x"), file0("a")}}, "a=a", false},
		{"what links make deep", []entries{{file0(deep + "x"), link("l", deep)}, {file0("l/" + deep + "x"), link("m", "l/"+deep)}, {file0("m/" + deep + "x")}, {file0(".wh.d")}}, "l -> " + deep + " m -> l/" + deep, false},
		{"an owner without an id", []entries{{{Typeflag: tar.TypeReg, Name: "f", Uid: math.MaxUint32}}}, "f=f", true},
	} {
		t.Run(row.name, func(t *testing.T) {
			top := t.TempDir()
			plant(t, top, "outside/secret", "here/")
			image := NewImage(opened(t, top+"/here"), many())
			var err error
			for _, layer := range row.layers {
				if err = image.Apply(archive(t, layer...)); err != nil {
					break
				}
			}
			if (err != nil) != row.fault {
				t.Errorf("%v", err)
			}
			words := strings.Split(listing(t, top+"/here"), " ")
			slices.Sort(words)
			want := strings.Split(row.want, " ")
			slices.Sort(want)
			if !slices.Equal(words, want) {
				t.Errorf("%q, want %q", words, want)
			}
			if got := listing(t, top+"/outside"); got != "secret=outside/secret" {
				t.Errorf("outside: %s", got)
			}
			if err := InRoot(opened(t, top+"/here")).Clear(); err != nil {
				t.Error(err)
			}
			if got := listing(t, top); got != "here/ outside/ outside/secret=outside/secret" {
				t.Errorf("after all is removed: %s", got)
			}
		})
	}
}

// What is no layer has no whiteouts.
func TestPlainArchive(t *testing.T) {
	dir := t.TempDir()
	image := NewImage(opened(t, dir), many())
	if err := errors.Join(image.Unpack(archive(t, file0("a"))), image.Unpack(archive(t, file0(".wh.a")))); err != nil {
		t.Fatal(err)
	}
	if got := listing(t, dir); got != ".wh.a=.wh.a a=a" {
		t.Error(got)
	}
}

func TestLimits(t *testing.T) {
	for _, row := range []struct {
		name   string
		limits Limits
		fault  bool
	}{
		{"just enough", Limits{Bytes: 5, Entries: 3}, false},
		{"a byte less", Limits{Bytes: 4, Entries: 3}, true},
		{"an entry less", Limits{Bytes: 5, Entries: 2}, true},
	} {
		image := NewImage(opened(t, t.TempDir()), row.limits)
		err := image.Apply(archive(t, file0("aa"), file0("bbb"), dir0("c")))
		if (err != nil) != row.fault {
			t.Errorf("%s: %v", row.name, err)
		}
	}
}

// An archive that ends in the middle of a file is no archive.
func TestCutOff(t *testing.T) {
	var whole bytes.Buffer
	if _, err := whole.ReadFrom(archive(t, file0("first"), file0("second"))); err != nil {
		t.Fatal(err)
	}
	const block = 512
	for _, size := range []int{1, 100, block, block + 3, 2*block + 1, 3 * block, 3*block + 2} {
		image := NewImage(opened(t, t.TempDir()), many())
		if err := image.Apply(bytes.NewReader(whole.Bytes()[:size])); err == nil {
			t.Errorf("%d bytes were taken for an archive", size)
		}
	}
}

func TestAttributes(t *testing.T) {
	when := time.Unix(1234567890, 123456789)
	dir := t.TempDir()
	image := NewImage(opened(t, dir), many())
	uid, gid := os.Getuid(), os.Getgid()
	headers := entries{
		{Typeflag: tar.TypeDir, Name: "d/", Mode: 0o2711, Uid: uid, Gid: gid, ModTime: when},
		{Typeflag: tar.TypeReg, Name: "d/f", Mode: 0o4751, Uid: uid, Gid: gid, ModTime: when, Format: tar.FormatPAX, PAXRecords: map[string]string{
			"SCHILY.xattr.user.kept": "moss", "SCHILY.xattr.user.overlay.opaque": "y", "SCHILY.xattr.trusted.overlay.opaque": "y",
			"SCHILY.xattr.user.bryo.idmap": "x", "SCHILY.xattr.security.selinux": "label",
		}},
		{Typeflag: tar.TypeReg, Name: "d/g", Mode: 0o666, ModTime: when, Format: tar.FormatPAX, Uid: uid, Gid: gid},
		{Typeflag: tar.TypeFifo, Name: "d/p", Mode: 0o622, ModTime: when, Format: tar.FormatPAX, Uid: uid, Gid: gid},
		{Typeflag: tar.TypeSymlink, Name: "d/l", Linkname: "x", ModTime: when, Format: tar.FormatPAX, Uid: uid, Gid: gid},
		{Typeflag: tar.TypeChar, Name: "null", Devmajor: 1, Devminor: 3, Mode: 0o666},
	}
	if err := image.Apply(archive(t, headers...)); err != nil {
		t.Fatal(err)
	}
	for name, mode := range map[string]uint32{
		"d": unix.S_IFDIR | 0o2711, "d/f": unix.S_IFREG | 0o4751, "d/g": unix.S_IFREG | 0o666, "d/p": unix.S_IFIFO | 0o622, "d/l": unix.S_IFLNK | 0o777,
	} {
		var st unix.Stat_t
		if err := unix.Lstat(dir+"/"+name, &st); err != nil || st.Mode != mode || int(st.Uid) != uid || int(st.Gid) != gid {
			t.Errorf("%s: mode %o, want %o; owner %d:%d; %v", name, st.Mode, mode, st.Uid, st.Gid, err)
		}
		if got := time.Unix(st.Mtim.Unix()); !got.Equal(when) && (name == "d/f" || got.Unix() != when.Unix()) {
			t.Errorf("%s: time %v", name, got)
		}
	}
	checkXattrs(t, dir+"/d/f", &image.Report)
	if want := "c 1:3 666 0:0 /null"; image.Report.Omitted != 1 || image.Report.Devices[0] != want {
		t.Errorf("devices: %v, want %s", image.Report.Devices, want)
	}
}

func checkXattrs(t *testing.T, path string, report *Report) {
	t.Helper()
	value := make([]byte, 100)
	if n, err := unix.Getxattr(path, "user.kept", value); err == nil && string(value[:n]) != "moss" {
		t.Errorf("the attribute is %q", value[:n])
	} else if err != nil && report.Xattrs["user.kept"] != 1 {
		t.Errorf("the attribute is lost without a word: %v", err)
	}
	for _, name := range []string{"user.overlay.opaque", "user.bryo.idmap", "trusted.overlay.opaque"} {
		if _, err := unix.Getxattr(path, name, value); err == nil || report.Xattrs[name] != 1 {
			t.Errorf("%s: %v, told %d times", name, err, report.Xattrs[name])
		}
	}
}

// Nobody else can enter a root before all is well.
func TestFinish(t *testing.T) {
	for _, row := range []struct {
		headers entries
		mode    os.FileMode
	}{
		{entries{{Typeflag: tar.TypeDir, Name: "./", Mode: 0o751, Uid: os.Getuid(), Gid: os.Getgid()}, file0("a")}, 0o751},
		{entries{file0("a")}, 0o755},
	} {
		dir := t.TempDir()
		if err := os.Chmod(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		image := NewImage(opened(t, dir), many())
		if err := image.Apply(archive(t, row.headers...)); err != nil {
			t.Fatal(err)
		}
		if info, err := os.Stat(dir); err != nil || info.Mode().Perm() != 0o700 {
			t.Errorf("before the end: %v, %v", info.Mode(), err)
		}
		if err := image.Under("0:1000:1 0:1000:1").Finish(); err != nil {
			t.Fatal(err)
		}
		if info, err := os.Stat(dir); err != nil || info.Mode().Perm() != row.mode {
			t.Errorf("in the end: %v, want %v; %v", info.Mode(), row.mode, err)
		}
		root, err := fsroot.OpenRoot(dir)
		if err != nil {
			t.Fatal(err)
		}
		if note := root.IDMap(); note != "0:1000:1 0:1000:1" && !image.Report.Unnoted {
			t.Errorf("the note is %q", note)
		}
		_ = root.Close()
	}
}

// What a set-group-ID directory or a default ACL would change is set anew.
func TestInherited(t *testing.T) {
	dir := t.TempDir()
	image := NewImage(opened(t, dir), many())
	acl := "\x02\x00\x00\x00" + "\x01\x00\x07\x00\xff\xff\xff\xff" + "\x04\x00\x00\x00\xff\xff\xff\xff" + "\x20\x00\x00\x00\xff\xff\xff\xff"
	first := tar.Header{Typeflag: tar.TypeDir, Name: "d/", Mode: 0o2755, Format: tar.FormatPAX, PAXRecords: map[string]string{"SCHILY.xattr." + aclDefault: acl}}
	second := tar.Header{Typeflag: tar.TypeReg, Name: "d/f", Mode: 0o664, Uid: os.Getuid(), Gid: os.Getgid()}
	if err := errors.Join(image.Apply(archive(t, first)), image.Apply(archive(t, second))); err != nil {
		t.Fatal(err)
	}
	if len(image.Report.Xattrs) > 0 {
		t.Skip("the file system has no ACLs")
	}
	if info, err := os.Stat(dir + "/d/f"); err != nil || info.Mode() != 0o664 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
}

// Whatever layers hold, nothing changes outside, and all can be removed.
func FuzzLayers(f *testing.F) {
	for _, name := range []string{"x", "../x", "l/x", "/", ".", "a//b/../c", "l", ".wh.l", "l/.wh..wh..opq", ".wh..."} {
		f.Add(name, "../outside", byte(tar.TypeSymlink))
		f.Add(name, "l/secret", byte(tar.TypeLink))
	}
	f.Fuzz(func(t *testing.T, name, target string, kind byte) {
		var b bytes.Buffer
		w := tar.NewWriter(&b)
		_ = w.WriteHeader(&tar.Header{Typeflag: kind, Name: name, Linkname: target, Mode: 0o755})
		_ = w.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: name + "/secret", Mode: 0o755})
		_ = w.WriteHeader(&tar.Header{Typeflag: tar.TypeLink, Name: "h", Linkname: target, Mode: 0o755})
		_ = w.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: 0o755})
		_ = w.Close()
		top := t.TempDir()
		plant(t, top, "here/l -> ../outside", "outside/secret")
		image := NewImage(opened(t, top+"/here"), Limits{Bytes: 1 << 20, Entries: 100})
		_ = image.Apply(bytes.NewReader(b.Bytes()))
		_ = image.Apply(bytes.NewReader(b.Bytes()))
		if err := InRoot(opened(t, top+"/here")).Clear(); err != nil {
			t.Error(err)
		}
		if got := listing(t, top); got != "here/ outside/ outside/secret=outside/secret" {
			t.Errorf("outside: %s", got)
		}
	})
}
