package fsroot

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// tree makes a directory: a name that ends in a slash is one, one that ends in
// an arrow leads to its value, all others have their value as content. Beside
// it lies a file that nothing inside must reach.
func tree(t *testing.T, entries map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	root := filepath.Join(dir, "root")
	must(t, os.WriteFile(filepath.Join(dir, "secret"), []byte("secret"), 0o644))
	must(t, os.Mkdir(root, 0o755))
	for name, value := range entries {
		path := filepath.Join(root, strings.TrimSuffix(name, " ->"))
		must(t, os.MkdirAll(filepath.Dir(path), 0o755))
		switch {
		case strings.HasSuffix(name, "/"):
			must(t, os.MkdirAll(path, 0o755))
		case strings.HasSuffix(name, " ->"):
			must(t, os.Symlink(strings.ReplaceAll(value, "OUTSIDE", dir), path))
		default:
			must(t, os.WriteFile(path, []byte(value), 0o644))
		}
	}
	return root
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func open(t *testing.T, path string) *Root {
	t.Helper()
	r, err := OpenRoot(path)
	must(t, err)
	t.Cleanup(func() { must(t, r.Close()) })
	return r
}

// soon fails the test when something hangs.
func soon(t *testing.T, do func()) {
	t.Helper()
	done := make(chan struct{})
	go func() { defer close(done); do() }()
	select {
	case <-done:
	case <-time.After(10 * time.Second):
		t.Fatal("hangs")
	}
}

func TestReadFile(t *testing.T) {
	r := open(t, tree(t, map[string]string{
		"etc/passwd":  "root",
		"etc/empty":   "",
		"usr/lib/os":  "bryo",
		"etc/os ->":   "../usr/lib/os",
		"etc/abs ->":  "/usr/lib/os",
		"lib ->":      "usr/lib",
		"up ->":       "../../../../etc/passwd",
		"chain ->":    "lib/../lib/os",
		"odd \n name": "odd",
	}))
	for name, want := range map[string]string{
		"etc/passwd": "root", "/etc/passwd": "root", "//etc/./passwd": "root", "/../../etc/passwd": "root", "etc/empty": "",
		"etc/os": "bryo", "etc/abs": "bryo", "lib/os": "bryo", "up": "root", "chain": "bryo", "odd \n name": "odd",
	} {
		if got, err := r.ReadFile(name, 100); string(got) != want || err != nil {
			t.Errorf("%q: %q, %v, want %q", name, got, err, want)
		}
		if !r.Has(name) {
			t.Errorf("%q is not there", name)
		}
	}
}

// A link in a hostile root file system leads nowhere outside.
func TestNothingLeadsOut(t *testing.T) {
	r := open(t, tree(t, map[string]string{
		"dir/":          "",
		"abs ->":        "OUTSIDE/secret",
		"up ->":         "../secret",
		"ups ->":        "../../../../../../../../../../OUTSIDE/secret",
		"dir/up ->":     "../../secret",
		"out ->":        "OUTSIDE",
		"parent ->":     "..",
		"slash ->":      "/",
		"self ->":       "self",
		"a ->":          "b",
		"b ->":          "a",
		"dir/deeper ->": "../dir/deeper",
		"proc ->":       "/proc/self/root",
		"fd ->":         "/proc/self/fd/0",
		"dangling ->":   "nowhere",
		"long ->":       strings.Repeat("dir/../", 500) + "secret",
	}))
	for _, name := range []string{
		"abs", "up", "ups", "dir/up", "out/secret", "parent/secret", "slash/../secret", "slash/slash/secret", "self", "a", "b", "dir/deeper",
		"proc/secret", "fd", "dangling", "long", "../secret", "/../secret", "dir/../../secret", "nothing", "",
	} {
		soon(t, func() {
			if got, err := r.ReadFile(name, 100); err == nil || got != nil {
				t.Errorf("%q: %q, %v", name, got, err)
			}
			if r.Has(name) {
				t.Errorf("%q is there", name)
			}
		})
	}
}

// Where a root has a real /proc, its magic links are not followed.
func TestMagicLinksAreNotFollowed(t *testing.T) {
	r := open(t, "/proc/self")
	for _, name := range []string{"root/etc/passwd", "cwd/within_test.go", "exe", "fd/0", "root", "cwd/.."} {
		if _, err := r.ReadFile(name, 1<<30); !errors.Is(err, unix.ELOOP) {
			t.Errorf("%s: %v", name, err)
		}
		if r.Has(name) {
			t.Errorf("%s is there", name)
		}
	}
	if _, err := r.ReadFile("status", 1<<20); err != nil {
		t.Error(err)
	}
}

func TestWhatIsNoFile(t *testing.T) {
	root := tree(t, map[string]string{"dir/": "", "null ->": "/dev/null"})
	must(t, unix.Mkfifo(filepath.Join(root, "fifo"), 0o644))
	socket, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	must(t, err)
	defer func() { must(t, unix.Close(socket)) }()
	must(t, unix.Bind(socket, &unix.SockaddrUnix{Name: filepath.Join(root, "socket")}))
	names := []string{"dir", "fifo", "socket", "null", "/", "."}
	for name, number := range map[string]uint64{"zero": unix.Mkdev(1, 5), "tty": unix.Mkdev(5, 0)} {
		if err := unix.Mknod(filepath.Join(root, name), unix.S_IFCHR|0o666, int(number)); err != nil {
			t.Logf("no devices can be made here: %v", err)
			continue
		}
		names = append(names, name)
	}
	r := open(t, root)
	for _, name := range names {
		soon(t, func() {
			if got, err := r.ReadFile(name, 100); err == nil || got != nil {
				t.Errorf("%s: %q, %v", name, got, err)
			} else if !strings.Contains(err.Error(), name+" of the root file system: ") {
				t.Errorf("%s: %v does not say of what", name, err)
			}
		})
	}
	if !r.Has("fifo") || !r.Has("dir") || !r.Has("socket") {
		t.Error("they are there all the same")
	}
}

func TestSizesAreLimited(t *testing.T) {
	root := tree(t, map[string]string{"ten": "0123456789"})
	must(t, os.WriteFile(filepath.Join(root, "sparse"), nil, 0o644))
	must(t, os.Truncate(filepath.Join(root, "sparse"), 1<<40))
	r := open(t, root)
	for _, row := range []struct {
		name  string
		limit int
		ok    bool
	}{{"ten", 11, true}, {"ten", 10, true}, {"ten", 9, false}, {"ten", 0, false}, {"sparse", 1 << 20, false}} {
		got, err := r.ReadFile(row.name, row.limit)
		if (err == nil) != row.ok || (row.ok && len(got) != 10) {
			t.Errorf("%s in %d: %q, %v", row.name, row.limit, got, err)
		}
	}
}

func TestMissingFilesAreToldFromOthers(t *testing.T) {
	r := open(t, tree(t, map[string]string{"etc/x": "", "loop ->": "loop"}))
	for name, want := range map[string]error{"etc/passwd": fs.ErrNotExist, "nothing/x": fs.ErrNotExist, "etc/x/y": unix.ENOTDIR, "loop": unix.ELOOP, strings.Repeat("x", 256): unix.ENAMETOOLONG} {
		if _, err := r.ReadFile(name, 100); !errors.Is(err, want) {
			t.Errorf("%s: %v, want %v", name, err, want)
		}
	}
	if _, err := r.ReadFile("etc/x\x00", 100); err == nil {
		t.Error("a NUL ends the name")
	}
}

// A look-up that races with renames ends, inside.
func TestRenamesDuringALookup(t *testing.T) {
	root := tree(t, map[string]string{"a/b/c/file": "inside", "other/": ""})
	r := open(t, root)
	ctx, cancel := context.WithCancel(t.Context())
	renamed := make(chan struct{})
	go func() {
		defer close(renamed)
		inner, outer := filepath.Join(root, "a/b/c"), filepath.Join(root, "other/c")
		for ctx.Err() == nil {
			_ = os.Rename(inner, outer)
			_ = os.Rename(outer, inner)
		}
	}()
	path := "a/b/c/" + strings.Repeat("../c/", 50) + "../../../../../secret"
	found := 0
	soon(t, func() {
		for range 2000 {
			if got, err := r.ReadFile(path, 100); err == nil {
				t.Errorf("found %q", got)
			}
			if got, err := r.ReadFile("a/b/c/../c/file", 100); err == nil && string(got) == "inside" {
				found++
			}
		}
	})
	cancel()
	<-renamed
	t.Logf("found %d times", found)
}

func TestOpenRoot(t *testing.T) {
	root := tree(t, map[string]string{"file": "", "dir/": "", "link ->": "dir"})
	for name, want := range map[string]error{"": nil, "dir": nil, "link": nil, "file": unix.ENOTDIR, "nothing": fs.ErrNotExist, "file/x": unix.ENOTDIR} {
		r, err := OpenRoot(filepath.Join(root, name))
		if !errors.Is(err, want) {
			t.Errorf("%q: %v, want %v", name, err, want)
		}
		if err == nil {
			must(t, r.Close())
		}
	}
	must(t, os.Chmod(filepath.Join(root, "dir"), 0o600))
	if os.Getuid() == 0 {
		t.Log("root may enter every directory")
		return
	}
	if _, err := OpenRoot(filepath.Join(root, "dir")); !errors.Is(err, fs.ErrPermission) {
		t.Errorf("one that must not be entered: %v", err)
	}
}

func TestEmptyAndWritable(t *testing.T) {
	root := tree(t, map[string]string{"empty/": "", "full/.hidden": "", "linked/x ->": "nowhere"})
	for name, want := range map[string]bool{"empty": true, "full": false, "linked": false, "": false} {
		if got := open(t, filepath.Join(root, name)).Empty(); got != want {
			t.Errorf("%q is empty: %t", name, got)
		}
	}
	if !open(t, root).Writable() {
		t.Error("cannot be written")
	}
	if open(t, "/proc/self/fdinfo").Writable() && os.Getuid() != 0 {
		t.Error("/proc can be written")
	}
}

func TestSourcesAreIdentified(t *testing.T) {
	root := tree(t, map[string]string{"dir/": "", "file": "", "link ->": "file"})
	var st unix.Stat_t
	must(t, unix.Stat(filepath.Join(root, "file"), &st))
	want := FileID{Major: unix.Major(st.Dev), Minor: unix.Minor(st.Dev), Inode: st.Ino}
	for name, dir := range map[string]bool{"file": false, "link": false, "dir": true} {
		s, err := OpenSource(filepath.Join(root, name))
		if err != nil || s.Dir != dir || s.Path != filepath.Join(root, name) || (!dir && s.ID != want) {
			t.Errorf("%s: %+v, %v", name, s, err)
		}
	}
	if _, err := OpenSource(filepath.Join(root, "nothing")); !errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
}

func TestSourcesBecomeAbsolute(t *testing.T) {
	root := tree(t, map[string]string{"dir/": "", "file": ""})
	t.Chdir(root)
	if s, err := OpenSource("./dir/../file"); err != nil || s.Path != filepath.Join(root, "file") || s.Dir {
		t.Errorf("%+v, %v", s, err)
	}
	if s, err := open(t, root).Source("anything"); err != nil || s.Path != "anything" || !s.Dir {
		t.Errorf("%+v, %v", s, err)
	}
}

// What the host has locked of a mount is told.
func TestLockedFlags(t *testing.T) {
	s, err := OpenSource("/proc/self/mounts")
	must(t, err)
	var st unix.Statfs_t
	must(t, unix.Statfs("/proc", &st))
	if got, want := s.Kept&unix.MS_NOSUID != 0, st.Flags&unix.ST_NOSUID != 0; got != want {
		t.Errorf("nosuid: %t, want %t", got, want)
	}
	if got, want := s.Kept&unix.MS_RELATIME != 0, st.Flags&unix.ST_RELATIME != 0; got != want {
		t.Errorf("relatime: %t, want %t", got, want)
	}
}

func TestEntries(t *testing.T) {
	root := tree(t, map[string]string{
		"bin ->": "usr/bin", "usr/bin/": "", "etc/": "", "mnt/disk/": "", "file": "", "proc/": "", "sys/": "", "dev ->": "/tmp", "out ->": "../../secret", "a blank": "",
	})
	must(t, unix.Mkfifo(filepath.Join(root, "fifo"), 0o644))
	got, err := open(t, root).Entries([]string{"/mnt/disk", "/etcetera"})
	must(t, err)
	want := map[string]Entry{
		"bin": {Link: "usr/bin"}, "usr": {Dir: true}, "etc": {Dir: true}, "mnt": {Dir: true, Mixed: true}, "file": {}, "out": {Link: "../../secret"}, "a blank": {},
	}
	for _, e := range got {
		w, there := want[e.Name]
		w.Name = e.Name
		if !there || e != w {
			t.Errorf("%+v, want %+v, %t", e, w, there)
		}
		delete(want, e.Name)
	}
	if len(want) > 0 {
		t.Errorf("missing: %v", want)
	}
}

// insideVariable says that the process is the test again, as root of a user
// and a mount namespace of its own; its value is a directory to work in.
const insideVariable = "BRYO_FSROOT_INSIDE"

// inside runs the test as root of a mount namespace, or returns the directory
// to work in when it is there.
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
	case err != nil || bytes.Contains(out, []byte("--- SKIP")):
		t.Errorf("%v\n%s", err, out)
	}
	return ""
}

func TestSubmounts(t *testing.T) {
	dir := inside(t)
	if dir == "" {
		return
	}
	for _, name := range []string{"a/x", "a/y z/deep", "a/tab\tnewline\n", "ab/other"} {
		path := filepath.Join(dir, name)
		must(t, os.MkdirAll(path, 0o755))
		must(t, unix.Mount("tmpfs", path, "tmpfs", 0, "size=4k"))
	}
	for of, want := range map[string]string{
		"a":      "/x, /y z/deep, /tab\tnewline\n",
		"a/y z":  "/deep",
		"a/x":    "",
		"ab":     "/other",
		"absent": "",
	} {
		got, err := Submounts(filepath.Join(dir, of))
		if err != nil || strings.Join(got, ", ") != want {
			t.Errorf("%q: %q, %v, want %q", of, got, err, want)
		}
	}
	all, err := Submounts("/")
	if err != nil || !strings.Contains(strings.Join(all, " "), "/proc") {
		t.Errorf("of the root: %q, %v", all, err)
	}
	entries, err := open(t, dir).Entries([]string{"/a/x"})
	if err != nil || len(entries) != 2 {
		t.Errorf("%v, %v", entries, err)
	}
}

// A process that holds a lease on a file lets nobody open it: that is told, and
// keeps nobody waiting.
func TestLeases(t *testing.T) {
	root := tree(t, map[string]string{"etc/passwd": "root:x:0:0::/root:/bin/sh\n"})
	file, err := os.OpenFile(root+"/etc/passwd", os.O_RDWR, 0)
	must(t, err)
	defer file.Close()
	if _, err := unix.FcntlInt(file.Fd(), unix.F_SETLEASE, unix.F_WRLCK); err != nil {
		t.Skipf("no lease on a file of %s: %v", root, err)
	}
	soon(t, func() {
		_, err := open(t, root).ReadFile("etc/passwd", 1<<10)
		if !errors.Is(err, errLeased) || !strings.Contains(err.Error(), "etc/passwd") {
			t.Errorf("%v", err)
		}
	})
}
