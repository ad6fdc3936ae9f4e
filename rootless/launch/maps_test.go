package launch

import (
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"bryo/idmap"
	"bryo/rootless"
	"bryo/rootless/program"
	"bryo/rootless/tty"
)

func TestExitCode(t *testing.T) {
	for status, want := range map[unix.WaitStatus]int{0: 0, 1 << 8: 1, 255 << 8: 255, 9: 137, 15: 143, 11 | 0x80: 139} {
		if got := exitCode(status); got != want {
			t.Errorf("%#x: %d, want %d", status, got, want)
		}
	}
}

// helpers writes programs that stand where newuidmap and newgidmap do.
func helperScripts(t *testing.T, uid, gid string) (*rootless.Plan, string) {
	t.Helper()
	runtime.LockOSThread() // as in bryo, what is started ends with its thread
	t.Cleanup(runtime.UnlockOSThread)
	dir := t.TempDir()
	for name, script := range map[string]string{"uid": uid, "gid": gid} {
		text := "#!/bin/sh\n" + strings.ReplaceAll(script, "DIR", dir) + "\n"
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return &rootless.Plan{
		Helpers: rootless.Helpers{UID: filepath.Join(dir, "uid"), GID: filepath.Join(dir, "gid")},
		IDs:     idmap.Choice{Maps: idmap.Maps{UID: idmap.Map{{Inside: 0, Outside: 1000, Count: 1}, {Inside: 1, Outside: 100000, Count: 65536}}, GID: idmap.Map{{Inside: 0, Outside: 5, Count: 1}}}},
	}, dir
}

func TestHelpersGetTheMaps(t *testing.T) {
	plan, dir := helperScripts(t, `echo "$@" >DIR/uids; env >DIR/env`, `echo "$@" >DIR/gids`)
	if err := mapIDs(plan, 4242); err != nil {
		t.Fatal(err)
	}
	for file, want := range map[string]string{"uids": "4242 0 1000 1 1 100000 65536\n", "gids": "4242 0 5 1\n"} {
		if got, err := os.ReadFile(filepath.Join(dir, file)); string(got) != want || err != nil {
			t.Errorf("%s: %q, %v, want %q", file, got, err, want)
		}
	}
	if env, err := os.ReadFile(filepath.Join(dir, "env")); err != nil || strings.Contains(string(env), "HOME=") {
		t.Errorf("a set-user-ID program gets the environment: %q, %v", env, err)
	}
}

// Each waits for the other's file: one after the other, they would not end.
func TestHelpersRunAtTheSameTime(t *testing.T) {
	const wait = `i=0; while [ ! -e DIR/%s ]; do i=$((i+1)); [ $i -gt 100 ] && exit 9; sleep 0.05; done`
	plan, _ := helperScripts(t, ">DIR/first; "+strings.Replace(wait, "%s", "second", 1), ">DIR/second; "+strings.Replace(wait, "%s", "first", 1))
	if err := mapIDs(plan, 1); err != nil {
		t.Error(err)
	}
}

func TestHelpersThatRefuse(t *testing.T) {
	for _, row := range []struct{ name, uid, gid, want string }{
		{"what it says", "echo 'newuidmap: no range' >&2; exit 1", "exit 0", "newuidmap: no range"},
		{"the first line", "printf '\\n one \\ntwo\\n' >&2; exit 1", "exit 0", "one "},
		{"the group's", "exit 0", "echo no >&2; exit 1", "no"},
		{"the user's first", "sleep 0.1; echo user >&2; exit 1", "echo group >&2; exit 1", "user"},
		{"nothing", "exit 3", "exit 0", "ended with status 3"},
		{"by a signal", "kill -9 $$", "exit 0", "ended with status 137"},
		{"very much", "head -c 3000 /dev/zero | tr '\\0' x >&2; exit 1", "exit 0", "xxx"},
	} {
		plan, _ := helperScripts(t, row.uid, row.gid)
		err := mapIDs(plan, 1)
		var h *HelperError
		if !errors.As(err, &h) || !strings.Contains(err.Error(), row.want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: %v, want %q", row.name, err, row.want)
		}
	}
	plan, _ := helperScripts(t, "exit 0", "exit 0")
	plan.Helpers.GID = "/nothing/newgidmap"
	if err := mapIDs(plan, 1); err == nil {
		t.Error("a helper that is not there: no error")
	}
}

// Nothing of a helper stays: no descriptor, no process.
func TestHelpersLeaveNothing(t *testing.T) {
	plan, _ := helperScripts(t, "echo no >&2; exit 1", "exit 0")
	_ = mapIDs(plan, 1)
	before := descriptorsOpen(t)
	for range 20 {
		_ = mapIDs(plan, 1)
	}
	if after := descriptorsOpen(t); after > before {
		t.Errorf("%d descriptors, %d before", after, before)
	}
	var status unix.WaitStatus
	if pid, err := unix.Wait4(-1, &status, unix.WNOHANG, nil); !errors.Is(err, unix.ECHILD) {
		t.Errorf("process %s is left, %v", strconv.Itoa(pid), err)
	}
}

func descriptorsOpen(t *testing.T) int {
	t.Helper()
	list, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(list)
}

func TestPipes(t *testing.T) {
	before := descriptorsOpen(t)
	p, err := newPipe()
	if err != nil {
		t.Fatal(err)
	}
	s, err := newSocket()
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range []descriptor{p.read, p.write, s.read, s.write} {
		if flags, err := unix.FcntlInt(uintptr(d.fd()), unix.F_GETFD, 0); err != nil || flags&unix.FD_CLOEXEC == 0 {
			t.Errorf("%d is inherited: %#x, %v", d.fd(), flags, err)
		}
	}
	p.close()
	s.close()
	p.close() // once more does nothing
	if p.read.fd() != -1 || descriptorsOpen(t) != before {
		t.Errorf("%d descriptors, %d before", descriptorsOpen(t), before)
	}
	var none descriptor
	none.close()
	if none.fd() != -1 {
		t.Error(none.fd())
	}
}

// The terminal's master comes over a socket, and nothing else is taken for it.
func TestReceive(t *testing.T) {
	for _, row := range []struct {
		name string
		send func(socket int) error
		ok   bool
	}{
		{"a descriptor", func(s int) error { return unix.Sendmsg(s, []byte("t"), unix.UnixRights(s), nil, 0) }, true},
		{"none", func(s int) error { return unix.Sendmsg(s, []byte("t"), nil, nil, 0) }, false},
		{"the end", func(s int) error { return unix.Shutdown(s, unix.SHUT_RDWR) }, false},
	} {
		pair, err := newSocket()
		if err != nil {
			t.Fatal(err)
		}
		before := descriptorsOpen(t)
		if err := row.send(pair.write.fd()); err != nil {
			t.Fatal(err)
		}
		fd, err := program.Receive(pair.read.fd())
		if (err == nil) != row.ok {
			t.Errorf("%s: %d, %v", row.name, fd, err)
		}
		if err == nil {
			if tty.Is(fd) {
				t.Errorf("%s: a socket is no terminal", row.name)
			}
			_ = unix.Close(fd)
		}
		if after := descriptorsOpen(t); after != before {
			t.Errorf("%s: %d descriptors, %d before", row.name, after, before)
		}
		pair.close()
	}
}
