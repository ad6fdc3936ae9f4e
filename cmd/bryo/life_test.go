package main

import (
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"bryo/rootless/launch"
	"bryo/rootless/ns"
)

// told is what a life writes to its status descriptor and its pid file.
func told(t *testing.T, do func(l life)) (status, file string) {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	file = filepath.Join(t.TempDir(), "pid")
	do(life{StatusFD: int(w.Fd()), PIDFile: file})
	_ = w.Close()
	data, err := io.ReadAll(r)
	_ = r.Close()
	if err != nil {
		t.Fatal(err)
	}
	return string(data), file
}

// The status is a line of JSON for each event, with bubblewrap's keys.
func TestStatusStream(t *testing.T) {
	c := &launch.Container{PID: 42}
	for i, k := range ns.All() {
		c.Namespaces[k] = 4026531840 + uint64(i)
	}
	status, file := told(t, func(l life) {
		begun := l.begun(c)
		if text, err := os.ReadFile(l.PIDFile); string(text) != "42\n" || err != nil {
			t.Errorf("pid file %q, %v", text, err)
		}
		if err := errors.Join(begun, l.ended(7)); err != nil {
			t.Error(err)
		}
	})
	var first, second map[string]uint64
	lines := json.NewDecoder(strings.NewReader(status))
	if err := errors.Join(lines.Decode(&first), lines.Decode(&second)); err != nil || strings.Count(status, "\n") != 2 {
		t.Fatalf("%v: %s", err, status)
	}
	if first["child-pid"] != 42 || first["mnt-namespace"] != c.Namespaces[ns.Mount] || len(first) != 1+ns.Count || second["exit-code"] != 7 {
		t.Errorf("%s", status)
	}
	if _, err := os.Stat(file); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the pid file stays: %v", err)
	}
}

func TestNoLifeTellsNothing(t *testing.T) {
	l := life{StatusFD: noStatus}
	for _, do := range []func() error{l.check, func() error { return l.begun(&launch.Container{}) }, func() error { return l.ended(0) }, l.removePID} {
		if err := do(); err != nil {
			t.Error(err)
		}
	}
	if l.stays() || !(life{StatusFD: 0}).stays() || !(life{StatusFD: noStatus, PIDFile: "p"}).stays() {
		t.Error("who stays?")
	}
}

func TestDescriptorIsKeptFromTheContainer(t *testing.T) {
	_, _ = told(t, func(l life) {
		l.PIDFile = ""
		if _, err := unix.FcntlInt(uintptr(l.StatusFD), unix.F_SETFD, 0); err != nil {
			t.Fatal(err)
		}
		if err := l.check(); err != nil {
			t.Error(err)
		}
		if flags, err := unix.FcntlInt(uintptr(l.StatusFD), unix.F_GETFD, 0); err != nil || flags&unix.FD_CLOEXEC == 0 {
			t.Errorf("%#x, %v", flags, err)
		}
	})
}

func TestLifeRefuses(t *testing.T) {
	dir := t.TempDir()
	for _, row := range []struct {
		name string
		life life
		want string
	}{
		{"a closed descriptor", life{StatusFD: 1 << 20}, "--status-fd 1048576: no such open descriptor"},
		{"a pid file in no directory", life{StatusFD: noStatus, PIDFile: dir + "/nothing/pid"}, "--pidfile: "},
		{"a directory as pid file", life{StatusFD: noStatus, PIDFile: dir}, "--pidfile: "},
	} {
		if err := row.life.check(); err == nil || !strings.Contains(err.Error(), row.want) {
			t.Errorf("%s: %v, want %q", row.name, err, row.want)
		}
	}
	null, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = null.Close() }()
	if err := (life{StatusFD: int(null.Fd())}).write("x\n"); err == nil || !strings.Contains(err.Error(), "write to --status-fd") {
		t.Errorf("a descriptor that cannot be written: %v", err)
	}
}

// What is refused leaves no pid file.
func TestRefusalsLeaveNoPIDFile(t *testing.T) {
	file := filepath.Join(t.TempDir(), "pid")
	for _, flags := range []string{"--status-fd 1048576 /", "--status-fd 2 /nothing/here", "--userns host /", "--read-only=maybe /"} {
		code, _, err := said(t, func(s streams) int {
			return run(append([]string{"run", "--pidfile", file}, strings.Fields(flags)...), s)
		})
		if code != exitFailed {
			t.Errorf("%s: code %d, %s", flags, code, err)
		}
		if list, _ := os.ReadDir(filepath.Dir(file)); len(list) != 0 {
			t.Errorf("%s: %s stays", flags, list[0].Name())
			_ = os.Remove(file)
		}
	}
}

func TestShellOfTheCaller(t *testing.T) {
	for variable, want := range map[string]string{"/bin/zsh": "/bin/zsh", "": "/bin/sh"} {
		t.Setenv("SHELL", variable)
		if got := shell(); got != want {
			t.Errorf("%q: %s, want %s", variable, got, want)
		}
	}
}
