package idmap

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/rootless-containers/rootlesskit/v3/pkg/parent/idtools"
)

func TestNameIn(t *testing.T) {
	const passwd = "root:x:0:0:root:/root:/bin/bash\n" +
		"# a comment\n\n" +
		"+nis:x:7:7::/:\n" +
		"short:x:8\n" +
		"me:x:1000:1000:Me,,,:/home/me:/bin/sh\n" +
		"too:x:1000:1000::/:\n" +
		"last:x:4294967294:0::/:"
	for uid, want := range map[uint32]string{
		0: "root", 1000: "me", 4294967294: "last", 7: "", 8: "", 100: "", 1: "",
	} {
		if got := nameIn(strings.NewReader(passwd), uid); got != want {
			t.Errorf("nameIn(%d) = %q, want %q", uid, got, want)
		}
	}
}

func TestSourceIn(t *testing.T) {
	for _, row := range []struct{ name, conf, want string }{
		{"nothing", "", "files"},
		{"no such line", "passwd: files sss\ngroup: files\n", "files"},
		{"files", "subid: files\n", "files"},
		{"a directory", "passwd: files\nsubid:\tsss\n", "sss"},
		{"only the first source counts", "subid: files sss\n", "files"},
		{"without a space", "subid:sss", "sss"},
		{"any case", "SubID: sss\n", "sss"},
		{"the first line with a source", "subid:\nSUBID: sss\nsubid: files\n", "sss"},
		{"a comment", "#subid: sss\n", "files"},
		{"a comment after it", "subid: sss# here\n", "sss"},
		{"another key", "subids: sss\nmysubid: sss\n", "files"},
	} {
		if got := sourceIn(row.conf); got != row.want {
			t.Errorf("%s: %q, want %q", row.name, got, row.want)
		}
	}
}

func TestSubidSource(t *testing.T) {
	path := filepath.Join(t.TempDir(), "nsswitch.conf")
	if got, err := subidSource(path); got != "files" || err != nil {
		t.Errorf("no file: %q, %v, want files", got, err)
	}
	if err := os.WriteFile(path, []byte("subid: sss\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if got, err := subidSource(path); got != "sss" || err != nil {
		t.Errorf("%q, %v, want sss", got, err)
	}
	if got, err := subidSource(filepath.Dir(path)); err == nil {
		t.Errorf("a directory: %q, want an error", got)
	}
}

func TestCheckRanges(t *testing.T) {
	type pair [2]int
	for _, row := range []struct {
		name  string
		found []pair
		want  []Range
		cause string
	}{
		{"none", nil, nil, ""},
		{"in order", []pair{{300000, 5}, {100000, 65536}}, []Range{{300000, 5}, {100000, 65536}}, ""},
		{"empty ones are dropped", []pair{{300000, 0}, {1, 1}}, []Range{{1, 1}}, ""},
		{"all of 32 bits", []pair{{0, 1<<32 - 1}}, []Range{{0, NoID}}, ""},
		{"a negative start", []pair{{-1, 5}}, nil, "-1:5 is no range"},
		{"a negative length", []pair{{1, -5}}, nil, "1:-5 is no range"},
		{"the reserved id", []pair{{1<<32 - 1, 1}}, nil, "is no range"},
		{"a start of 33 bits", []pair{{1 << 32, 1}}, nil, "is no range"},
		{"a length of 33 bits", []pair{{1, 1 << 32}}, nil, "is no range"},
		{"one bad among good", []pair{{1, 1}, {-1, 1}}, nil, "is no range"},
	} {
		var found []idtools.SubIDRange
		for _, p := range row.found {
			found = append(found, idtools.SubIDRange{Start: p[0], Length: p[1]})
		}
		got, err := checkRanges(found)
		if !slices.Equal(got, row.want) || !strings.Contains(errorText(err), row.cause) || row.cause == "" && err != nil {
			t.Errorf("%s: %v, %v, want %v, %q", row.name, got, err, row.want, row.cause)
		}
	}
}

// The text of an error is no interface; a new idtools might change it.
func TestIdtoolsSaysNoRangesAsExpected(t *testing.T) {
	// Nobody has the reserved id.
	if _, _, err := idtools.GetSubIDRanges(int(NoID), ""); !isNoRanges(err) {
		t.Errorf("not seen as no ranges: %v", err)
	}
	for _, err := range []error{nil, errors.New("cannot parse subuid/gid information"), fs.ErrPermission} {
		if isNoRanges(err) {
			t.Errorf("seen as no ranges: %v", err)
		}
	}
}

func TestRangesOfThisHost(t *testing.T) {
	self := Identity{UID: uint32(os.Getuid()), GID: uint32(os.Getgid())}
	uids, gids, err := Ranges(self, Name(self.UID))
	if err != nil {
		t.Skipf("this host's files: %v", err)
	}
	choice, err := Choose(Spec{}, self, uids, gids)
	if err != nil || !choice.Maps.UID.Covers(0) {
		t.Errorf("%+v, %v", choice, err)
	}
}

func needRoot(t *testing.T) {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("needs root to have another /etc or other ids")
	}
}

// inEtc gives the rest of the test an /etc with these files alone. The mount
// is seen by the test's thread and the programs it starts, and by nobody else.
func inEtc(t *testing.T, files map[string]string) {
	t.Helper()
	etc := t.TempDir()
	for name, content := range files {
		if err := os.WriteFile(filepath.Join(etc, name), []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	// Never unlocked, so that the thread ends with the test.
	runtime.LockOSThread()
	if err := syscall.Unshare(syscall.CLONE_NEWNS); err != nil {
		t.Skipf("needs a mount namespace: %v", err)
	}
	if err := syscall.Mount("", "/", "", syscall.MS_REC|syscall.MS_PRIVATE, ""); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mount(etc, "/etc", "", syscall.MS_BIND, ""); err != nil {
		t.Fatal(err)
	}
}

// hostFiles is an /etc in which uid 1234 has ranges.
func hostFiles() map[string]string {
	const subids = "# somebody else first\nother:900000:65536\n\nme:100000:65536\n1234:300000:10\nme:400000:0\n"
	return map[string]string{
		"passwd": "root:x:0:0::/root:/bin/sh\nme:x:1234:1234::/:/bin/sh\nother:x:1235:1235::/:/bin/sh\n",
		"group":  "root:x:0:\nme:x:1234:\n",
		"subuid": subids,
		"subgid": strings.ReplaceAll(subids, "00000", "50000"),
	}
}

func TestAsRootRanges(t *testing.T) {
	needRoot(t)
	none := func(f map[string]string, name string) { f[name] = "other:900000:65536\n" }
	for _, row := range []struct {
		name       string
		change     func(map[string]string)
		needs      string
		uids, gids string
		cause      string
	}{
		{name: "by name and by uid", change: func(map[string]string) {}, uids: "[{100000 65536} {300000 10}]", gids: "[{150000 65536} {350000 10}]"},
		{name: "no files", change: func(f map[string]string) { delete(f, "subuid"); delete(f, "subgid") }, uids: "[]", gids: "[]"},
		{name: "empty files", change: func(f map[string]string) { f["subuid"], f["subgid"] = "", "" }, uids: "[]", gids: "[]"},
		{name: "only of others", change: func(f map[string]string) { none(f, "subuid"); none(f, "subgid") }, uids: "[]", gids: "[]"},
		{name: "no gids", change: func(f map[string]string) { none(f, "subgid") }, uids: "[]", gids: "[]"},
		{name: "no name, by uid", change: func(f map[string]string) { f["passwd"] = "" }, uids: "[{300000 10}]", gids: "[{350000 10}]"},
		{
			name: "another's malformed line", needs: "getsubids", change: func(f map[string]string) { f["subuid"] += "other:5\n" },
			uids: "[{100000 65536} {300000 10}]", gids: "[{150000 65536} {350000 10}]",
		},
		{
			name: "nsswitch names a source", needs: "getsubids", change: func(f map[string]string) { f["nsswitch.conf"] = "subid: nosuch\n" },
			// libsubid takes the files where the source's library is missing.
			uids: "[{100000 65536} {300000 10}]", gids: "[{150000 65536} {350000 10}]",
		},
		{
			name: "nsswitch names a source that knows nothing", needs: "getsubids",
			change: func(f map[string]string) {
				f["nsswitch.conf"] = "subid: nosuch\n"
				none(f, "subuid")
				none(f, "subgid")
			},
			uids: "[]", gids: "[]",
		},
	} {
		t.Run(row.name, func(t *testing.T) {
			if _, err := find(row.needs, programDirs()); row.needs != "" && err != nil {
				t.Skipf("needs %s", row.needs)
			}
			files := hostFiles()
			row.change(files)
			inEtc(t, files)
			self := Identity{UID: 1234, GID: 1234}
			uids, gids, err := Ranges(self, Name(self.UID))
			if err != nil {
				t.Fatal(err)
			}
			if fmt.Sprint(uids) != row.uids || fmt.Sprint(gids) != row.gids {
				t.Errorf("%v, %v, want %s, %s", uids, gids, row.uids, row.gids)
			}
		})
	}
}

func TestAsRootName(t *testing.T) {
	needRoot(t)
	inEtc(t, hostFiles())
	for uid, want := range map[uint32]string{0: "root", 1234: "me", 4321: ""} {
		if got := Name(uid); got != want {
			t.Errorf("Name(%d) = %q, want %q", uid, got, want)
		}
	}
}
