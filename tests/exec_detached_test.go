package tests

import (
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestExecDetachedTied has the command that exec --detach began live as long as the
// process that looks after it, which ends as it does, and no longer than the
// container.
func TestExecDetachedTied(t *testing.T) {
	if !ordinary(t) {
		return
	}
	s, before := detachedSite(t)
	for _, row := range []struct {
		name string
		end  func(keeper process)
	}{
		{"its keeper is killed", func(keeper process) { keeper.kill() }},
		{"its keeper is asked to end", func(keeper process) { _ = unix.Kill(keeper.pid, unix.SIGTERM) }},
		{"the container is removed", func(process) { s.forget("victim") }},
	} {
		s.detach("victim", []string{"--net", "none"}, "sleep", "997")
		known := family(os.Getpid())
		if got := s.bryo("exec", "-d", "victim", "sleep", "998"); got != (outcome{}) {
			t.Fatalf("%s: %+v", row.name, got)
		}
		if !s.runs("sleep", "998") {
			t.Errorf("%s: it does not run", row.name)
		}
		row.end(s.keeper(known))
		if !holds(func() bool { reap(); return !s.runs("sleep", "998") }) {
			t.Errorf("%s: it goes on", row.name)
		}
		s.forget("victim")
		s.same(before, row.name)
	}
}

// keeper is who looks after the command that was just begun.
func (s *site) keeper(known []process) process {
	s.t.Helper()
	var list []process
	if !holds(func() bool {
		list = slices.DeleteFunc(family(os.Getpid()), func(p process) bool {
			return !strings.Contains(p.name, "memfd:") || slices.ContainsFunc(known, func(k process) bool { return k.pid == p.pid })
		})
		return len(list) > 0
	}) {
		s.t.Fatal("nobody looks after the command")
	}
	return list[0]
}

// TestExecDetachedInterrupted ends exec --detach at a random moment: the command
// runs, if exec says so, and else does not.
func TestExecDetachedInterrupted(t *testing.T) {
	if !ordinary(t) {
		return
	}
	s, before := detachedSite(t)
	s.detach("victim", []string{"--net", "none"}, "sleep", "997")
	signals := []unix.Signal{unix.SIGTERM, unix.SIGINT, unix.SIGHUP}
	for i := range count(30, 1000) {
		number := signals[i%len(signals)]
		const most = 10 * time.Millisecond
		moment, known := rand.N(most), family(os.Getpid())
		cmd := s.command("bryo", "exec", "-d", "victim", "sleep", "998")
		s.start(cmd)
		time.Sleep(moment)
		_ = cmd.Process.Signal(number)
		switch code := s.wait(cmd); {
		case code == 0:
			if !s.runs("sleep", "998") {
				t.Errorf("%v after %v: it does not run", number, moment)
			}
			s.keeper(known).kill()
		case code != 128+int(number):
			t.Errorf("%v after %v: it ended with %d", number, moment, code)
		}
		if !holds(func() bool { reap(); return !s.runs("sleep", "998") }) {
			t.Fatalf("%v after %v: it goes on", number, moment)
		}
	}
	s.forget("victim")
	s.same(before, "all")
}
