package tree

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"bryo/fsroot"
)

// Merge makes what overlay would show, with hard links and holes.
func TestMergeCopiesWhatLayersShow(t *testing.T) {
	dir := t.TempDir()
	script := []func() error{
		func() error { return os.MkdirAll(dir+"/low/d/sub", 0o750) },
		func() error { return os.WriteFile(dir+"/low/d/a", []byte("low"), 0o600) },
		func() error { return os.Link(dir+"/low/d/a", dir+"/low/d/sub/b") },
		func() error { return os.WriteFile(dir+"/low/d/gone", []byte("low"), 0o644) },
		func() error { return os.Truncate(dir+"/low/d/a", 1<<30) },
		func() error { return unix.Setxattr(dir+"/low/d", "user.note", []byte("low"), 0) },
		func() error { return os.MkdirAll(dir+"/low/opaque", 0o755) },
		func() error { return os.WriteFile(dir+"/low/opaque/old", nil, 0o644) },
		func() error { return os.MkdirAll(dir+"/top/d", 0o711) },
		func() error { return unix.Mknod(dir+"/top/d/gone", unix.S_IFCHR, 0) },
		func() error { return os.Symlink("/etc/passwd", dir+"/top/d/link") },
		func() error { return unix.Mkfifo(dir+"/top/d/pipe", 0o640) },
		func() error { return os.Mkdir(dir+"/top/opaque", 0o755) },
		func() error { return unix.Setxattr(dir+"/top/opaque", "user.overlay.opaque", []byte("y"), 0) },
		func() error { return os.Mkdir(dir+"/to", 0o700) },
	}
	for i, step := range script {
		if err := step(); err != nil {
			t.Skipf("step %d: %v", i, err)
		}
	}
	layers := &fsroot.Union{}
	if err := layers.Add(dir, "top", "low"); err != nil {
		t.Fatal(err)
	}
	defer layers.Close()
	to, err := unix.Open(dir+"/to", unix.O_RDONLY|unix.O_DIRECTORY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(to)
	if err := Merge(to, layers, "/"); err != nil {
		t.Fatal(err)
	}
	want := `d drwx--x--x
d/a -rw------- 2 1073741824
d/link Lrwxrwxrwx -> /etc/passwd
d/pipe prw-r-----
d/sub drwxr-x---
d/sub/b -rw------- 2 1073741824
opaque drwxr-xr-x
`
	if got := treeOf(t, dir+"/to"); got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
	var st unix.Stat_t
	if err := unix.Stat(dir+"/to/d/a", &st); err != nil || st.Blocks > 64 {
		t.Errorf("the hole is %d blocks, %v", st.Blocks, err)
	}
	if n, err := unix.Getxattr(dir+"/to/opaque", "user.overlay.opaque", nil); err == nil {
		t.Errorf("overlay's attribute is copied, %d bytes", n)
	}
}

func treeOf(t *testing.T, root string) string {
	t.Helper()
	var b strings.Builder
	err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || path == root {
			return err
		}
		info, err := entry.Info()
		if err != nil {
			return err
		}
		fmt.Fprintf(&b, "%s %s", strings.TrimPrefix(path, root+"/"), info.Mode())
		switch st, is := info.Sys().(*syscall.Stat_t); {
		case info.Mode().IsRegular() && is:
			fmt.Fprintf(&b, " %d %d", st.Nlink, info.Size())
		case info.Mode()&fs.ModeSymlink != 0:
			target, _ := os.Readlink(path)
			b.WriteString(" -> " + target)
		}
		b.WriteString("\n")
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// What is no directory in the image is none to fill a volume with.
func TestMergeOfAPart(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"low/v/in", "to"} {
		if err := os.MkdirAll(filepath.Join(dir, name), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(dir+"/low/file", nil, 0o644); err != nil {
		t.Fatal(err)
	}
	layers := &fsroot.Union{}
	if err := layers.Add(dir, "low"); err != nil {
		t.Fatal(err)
	}
	defer layers.Close()
	to, err := unix.Open(dir+"/to", unix.O_RDONLY|unix.O_DIRECTORY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(to)
	for _, test := range []struct {
		path string
		fine bool
	}{{"/nowhere", true}, {"/file", false}, {"/v", true}} {
		if err := Merge(to, layers, test.path); (err == nil) != test.fine {
			t.Errorf("%s: %v", test.path, err)
		}
	}
	if got := treeOf(t, dir+"/to"); got != "in drwxr-xr-x\n" {
		t.Errorf("%q", got)
	}
}
