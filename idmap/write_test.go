package idmap

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

func TestFind(t *testing.T) {
	first, second := t.TempDir(), t.TempDir()
	for path, mode := range map[string]os.FileMode{
		first + "/plain":  0o644,
		first + "/both":   0o755,
		second + "/both":  0o755,
		second + "/plain": 0o4755,
	} {
		if err := os.WriteFile(path, nil, mode); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Mkdir(first+"/dir", 0o755); err != nil {
		t.Fatal(err)
	}
	for _, row := range []struct{ name, program, want string }{
		{"the first", "both", first + "/both"},
		{"the first executable", "plain", second + "/plain"},
		{"no directory", "dir", ""},
		{"none", "none", ""},
	} {
		got, err := find(row.program, []string{first, second})
		if got != row.want || (row.want == "") != errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s: %q, %v, want %q", row.name, got, err, row.want)
		}
	}
}

func TestHelperIsNotOfThePath(t *testing.T) {
	dir := t.TempDir()
	for kind, name := range map[Kind]string{UID: "newuidmap", GID: "newgidmap"} {
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o755); err != nil {
			t.Fatal(err)
		}
		t.Setenv("PATH", dir)
		got, err := Helper(kind)
		if err != nil {
			t.Skipf("needs %s", name)
		}
		if !filepath.IsAbs(got) || filepath.Base(got) != name || filepath.Dir(got) == dir {
			t.Errorf("Helper(%s) = %q", kind, got)
		}
	}
}

// sleeper is a process in a new user namespace without maps, which prints
// whether setgroups(2) works as soon as it is sent a line.
type sleeper struct {
	pid   int
	stdin io.Writer
	lines *bufio.Scanner
}

// asleep starts a sleeper as uid and gid. unshare(1) makes the namespace after
// the ids are set: in it they could not be.
func asleep(t *testing.T, uid, gid uint32) sleeper {
	t.Helper()
	cmd := exec.Command("unshare", "--user", "sh", "-c", "echo ready; read line; cat /proc/self/setgroups")
	if os.Getuid() == 0 {
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uid, Gid: gid}}
	}
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Skipf("needs unshare: %v", err)
	}
	t.Cleanup(func() {
		_ = stdin.Close()
		_ = cmd.Wait()
	})
	lines := bufio.NewScanner(stdout)
	if !lines.Scan() {
		t.Skip("needs a user namespace")
	}
	return sleeper{pid: cmd.Process.Pid, stdin: stdin, lines: lines}
}

func (s sleeper) write(t *testing.T, file, text string) error {
	t.Helper()
	f, err := os.OpenFile(fmt.Sprintf("/proc/%d/%s", s.pid, file), os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	_, err = f.WriteString(text)
	return err
}

// maps is the map as the kernel shows it.
func (s sleeper) maps(t *testing.T, kind Kind) string {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/%s_map", s.pid, kind))
	if err != nil {
		t.Fatal(err)
	}
	var fields []string
	for line := range strings.Lines(string(text)) {
		fields = append(fields, strings.Join(strings.Fields(line), ":"))
	}
	return strings.Join(fields, " ")
}

func (s sleeper) setgroups(t *testing.T) bool {
	t.Helper()
	if _, err := io.WriteString(s.stdin, "\n"); err != nil || !s.lines.Scan() {
		t.Fatalf("the namespace is gone: %v", err)
	}
	return s.lines.Text() == "allow"
}

func TestTheKernelTakesOneIDWithoutHelpers(t *testing.T) {
	self := Identity{UID: uint32(os.Getuid()), GID: uint32(os.Getgid())}
	s := asleep(t, self.UID, self.GID)
	choice, err := Choose(Spec{Mode: Single}, self, nil, nil)
	if err != nil || choice.Helpers || choice.Setgroups {
		t.Fatalf("%+v, %v", choice, err)
	}
	for _, row := range []struct{ file, text string }{
		{"setgroups", "deny"}, {"uid_map", choice.Maps.UID.Lines()}, {"gid_map", choice.Maps.GID.Lines()},
	} {
		if err := s.write(t, row.file, row.text); err != nil {
			t.Fatalf("%s: %v", row.file, err)
		}
	}
	if got := s.maps(t, UID); got != printed(choice.Maps.UID) {
		t.Errorf("the kernel shows %s", got)
	}
}

func TestAsRootTheKernelAgreesWithValidate(t *testing.T) {
	needRoot(t)
	if os.Getpagesize() != pageSize {
		t.Skip("needs pages of 4096 bytes")
	}
	for _, row := range []struct {
		name string
		m    Map
	}{
		{"one id", extents(t, "0:1000:1")},
		{"all ids", extents(t, "0:0:4294967295")},
		{"the reserved id", extents(t, "0:4294967295:1")},
		{"past the last id", extents(t, "0:4294967290:100")},
		{"an empty extent", extents(t, "0:1:1 5:5:0")},
		{"overlap inside", extents(t, "0:1000:10 9:2000:1")},
		{"overlap outside", extents(t, "0:1000:10 10:1009:1")},
		{"a page less one byte", append(apart(255), extents(t, "30000:200000:1")...)},
		{"a page", apart(256)},
	} {
		valid, written := row.m.Validate(), asleep(t, 0, 0).write(t, "uid_map", row.m.Lines())
		if (valid == nil) != (written == nil) {
			t.Errorf("%s: Validate says %v, the kernel %v", row.name, valid, written)
		}
	}
}

func TestAsRootTheHelpersTakeWhatIsChosen(t *testing.T) {
	needRoot(t)
	for _, row := range []struct {
		name  string
		files func(map[string]string)
		spec  Spec
	}{
		{"auto", func(map[string]string) {}, Spec{}},
		{"keep-id", func(map[string]string) {}, Spec{Mode: KeepID}},
		{"own id within a range", func(f map[string]string) { f["subuid"], f["subgid"] = "me:1230:10\n", "me:1230:10\n" }, Spec{}},
		{"overlapping ranges", func(f map[string]string) { f["subuid"] += "me:165000:2000\nme:100000:65536\n" }, Spec{}},
		{"many ranges", func(f map[string]string) {
			for i := range 400 {
				f["subuid"] += fmt.Sprintf("me:%d:1\n", 2000000000+2*i)
			}
		}, Spec{}},
		{"explicit across ranges", func(f map[string]string) {
			f["subuid"] += "me:165536:10\n"
		}, Spec{Mode: Explicit, UIDs: extents(t, "0:165530:10"), GIDs: extents(t, "0:150000:10")}},
		{"explicit, own gid alone", func(map[string]string) {}, Spec{Mode: Explicit, UIDs: extents(t, "0:100000:10"), GIDs: extents(t, "0:1234:1")}},
	} {
		t.Run(row.name, func(t *testing.T) {
			files := hostFiles()
			row.files(files)
			inEtc(t, files)
			self := Identity{UID: 1234, GID: 1234}
			uids, gids, err := Ranges(self, "me")
			if err != nil {
				t.Fatal(err)
			}
			choice, err := Choose(row.spec, self, uids, gids)
			if err != nil || !choice.Helpers {
				t.Fatalf("%+v, %v", choice, err)
			}
			s := asleep(t, self.UID, self.GID)
			for kind, m := range map[Kind]Map{UID: choice.Maps.UID, GID: choice.Maps.GID} {
				path, err := Helper(kind)
				if err != nil {
					t.Skip(err)
				}
				cmd := exec.Command(path, append([]string{strconv.Itoa(s.pid)}, m.Args()...)...)
				cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: self.UID, Gid: self.GID}}
				if out, err := cmd.CombinedOutput(); err != nil {
					t.Fatalf("%s: %v: %s", kind, err, out)
				}
				if got := s.maps(t, kind); got != printed(m) {
					t.Errorf("the kernel shows %s, want %s", got, printed(m))
				}
			}
			if got := s.setgroups(t); got != choice.Setgroups {
				t.Errorf("setgroups works: %v, want %v", got, choice.Setgroups)
			}
		})
	}
}
