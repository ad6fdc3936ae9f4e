package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"bryo/idmap"
)

func TestParseCp(t *testing.T) {
	for text, want := range map[string]inContainer{
		"web:/etc": {"web", "/etc"}, "web:etc/a:b": {"web", "etc/a:b"}, "web:": {"web", ""}, "2853f6:/": {"2853f6", "/"},
	} {
		if got, is := parseCp(text); !is || got != want {
			t.Errorf("%s: %+v, %t", text, got, is)
		}
	}
	for _, text := range []string{"", "-", ".", "web", "./web:/etc", "/a:b", "a/b:c", ":/etc"} {
		if got, is := parseCp(text); is {
			t.Errorf("%s: %+v", text, got)
		}
	}
}

// Where cp(1) would put it.
func TestPlace(t *testing.T) {
	top := t.TempDir()
	if err := os.Mkdir(top+"/dir", 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("dir", top+"/link"); err != nil {
		t.Fatal(err)
	}
	for _, row := range []struct{ from, to, dir, at string }{
		{"/srv/f", "dir", "dir", "f"},
		{"/srv/f", "dir/", "dir", "f"},
		{"/srv/f", "link", "", "link"},
		{"/srv/f", "link/", "dir", "f"},
		{"/srv/d/.", "link/", "dir", ""},
		{"/srv/f/", "dir", "dir", "f"},
		{"/srv/f", "new", "", "new"},
		{"/srv/f", "dir/new", "dir", "new"},
		{"/srv/d/.", "dir", "dir", ""},
		{"/srv/d/.", "new", "", "new"},
		{"/srv/d/.", "new/", "", "new"},
		{"/", "dir", "dir", ""},
		{"..", "dir", "dir", "."},
		{"/srv/f", "new/", "", "-"},
		{"/srv/f", "no/new", "", "-"},
	} {
		to := top + "/" + row.to
		fd, at, err := place(to, row.from)
		if row.at == "-" {
			if err == nil || !strings.Contains(err.Error(), "\nfix: make the directory first") {
				t.Errorf("%s to %s: %v", row.from, row.to, err)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s to %s: %v", row.from, row.to, err)
			continue
		}
		var got, want unix.Stat_t
		if unix.Fstat(fd, &got) != nil || unix.Stat(filepath.Join(top, row.dir), &want) != nil || got.Ino != want.Ino || at != row.at {
			t.Errorf("%s to %s: at %q in another directory", row.from, row.to, at)
		}
		_ = unix.Close(fd)
	}
}

// What was copied out of a container may be a link, which the next copy does not
// follow, neither for what it writes nor for what it reads.
func TestPlantedLinks(t *testing.T) {
	t.Chdir(t.TempDir())
	for _, err := range []error{os.MkdirAll("secret/d", 0o700), os.Symlink("secret", "link"), os.Mkdir("dir", 0o700), os.Symlink("../secret", "dir/link")} {
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, row := range []struct{ from, to string }{
		{"/srv/d/.", "link"},
		{"/srv/d/.", "link/."},
		{"/srv/f", "link/new"},
		{"/srv/f", "link/d"},
		{"/srv/f", "link/d/"},
		{"/srv/d/.", "dir/link"},
		{"/srv/f", "dir/link/new"},
		{"/srv/f", "dir/../link/d"},
		{"/srv/d", "link/./"},
	} {
		if _, at, err := place(row.to, row.from); err == nil || !strings.Contains(err.Error(), "\nfix: name where it leads") {
			t.Errorf("%s to %s: %q, %v", row.from, row.to, at, err)
		}
	}
	for _, from := range []string{"link/.", "./link/.", "link/d", "link/d/", "link/..", "dir/link/.", "dir/link/d"} {
		if _, name, err := taken(from); err == nil {
			t.Errorf("from %s: %s", from, name)
		}
	}
	for from, want := range map[string]string{"link": "link", "link/": ".", "dir": "dir", "dir/.": ".", "dir/..": ".", "..": ".", "dir/link": "link"} {
		dir, name, err := taken(from)
		if err != nil || name != want {
			t.Errorf("from %s: %q, %v", from, name, err)
		}
		_ = unix.Close(dir)
	}
}

func TestOwnerInside(t *testing.T) {
	ids := idmap.Map{{Inside: 0, Outside: 1000, Count: 1}, {Inside: 1, Outside: 100000, Count: 65536}}
	c := &copier{maps: idmap.Maps{UID: ids, GID: ids}}
	for _, row := range []struct {
		uid, gid uint32
		want     [2]int
	}{{1000, 1000, [2]int{0, 0}}, {100000, 100049, [2]int{1, 50}}, {0, 4, [2]int{0, 0}}} {
		if uid, gid := c.owner(row.uid, row.gid); uid != row.want[0] || gid != row.want[1] {
			t.Errorf("%d:%d is %d:%d", row.uid, row.gid, uid, gid)
		}
	}
}
