package tests

import (
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// fault is a kill of something of a detached container, and what that may be
// afterwards: its status, "" if it is gone.
type fault struct {
	name  string
	kill  func(s *site, c vital)
	after []string
}

// sinks are the ways in which the containers of the fault test are made.
func sinks() [][]string {
	return [][]string{
		{"--net", "none"},
		{"--net", "user"},
		{"--net", "none", "-t"},
		{"--net", "none", "-i"},
		{"--net", "none", "--restart", "always"},
		{"--net", "none", "--rm"},
		{"--net", "none", "--as-pid-1"},
	}
}

// faults are those of a container that runs.
func faults() []fault {
	alive := []string{"running"}
	verb := func(args ...string) func(*site, vital) {
		return func(s *site, c vital) {
			words := slices.Clone(args)
			words[slices.Index(words, "NAME")] = c.Name
			s.killedOnTheWay(words...)
		}
	}
	return []fault{
		{"supervisor, awake", func(_ *site, c vital) { process{pid: c.Supervisor.PID}.kill() }, []string{"dead"}},
		{"supervisor, as it falls asleep", func(_ *site, c vital) {
			const lull, most = 990 * time.Millisecond, 40 * time.Millisecond
			time.Sleep(lull + rand.N(most))
			process{pid: c.Supervisor.PID}.kill()
		}, []string{"dead"}},
		{"supervisor, asleep", func(s *site, c vital) {
			s.asleep(c.Supervisor.PID)
			process{pid: c.Supervisor.PID}.kill()
		}, []string{"dead"}},
		{"supervisor, as it wakes up", func(s *site, c vital) {
			const most = 5 * time.Millisecond
			s.asleep(c.Supervisor.PID)
			cmd := s.command("bryo", "attach", c.Name)
			s.start(cmd)
			time.Sleep(rand.N(most))
			process{pid: c.Supervisor.PID}.kill()
			s.wait(cmd)
		}, []string{"dead"}},
		{"init", func(_ *site, c vital) { process{pid: c.Init.PID}.kill() }, []string{"exited", "running", ""}},
		{"init and supervisor", func(_ *site, c vital) {
			process{pid: c.Init.PID}.kill()
			time.Sleep(rand.N(3 * time.Millisecond))
			process{pid: c.Supervisor.PID}.kill()
		}, []string{"exited", "dead", ""}},
		{"exec", verb("exec", "NAME", "sleep", "998"), alive},
		{"exec with a terminal", verb("exec", "-t", "NAME", "sleep", "998"), alive},
		{"attach", verb("attach", "NAME"), alive},
		{"stop", verb("stop", "NAME"), []string{"running", "exited", ""}},
		{"rm -f", verb("rm", "-f", "NAME"), []string{"running", "exited", ""}},
		{"kill", verb("kill", "NAME"), []string{"running", "exited", ""}},
		{"restart", verb("restart", "NAME"), []string{"running", "exited", "dead", ""}},
		{"pause", verb("pause", "NAME"), []string{"running", "paused"}},
		{"rename", verb("rename", "NAME", "renamed"), []string{"running", ""}},
	}
}

// looping is a command that ends by SIGTERM, and has children.
const looping = "trap 'exit 5' TERM; echo ready.; sleep 997 & while :; do sleep 0.1; done"

// TestDetachedKilled kills processes of bryo's around detached containers at
// random moments, and looks for what stays: the state of what died, which ps
// shows and rm removes.
func TestDetachedKilled(t *testing.T) {
	if !ordinary(t) {
		return
	}
	s, before := detachedSite(t)
	for i := range count(60, 2000) {
		f, flags := faults()[i%len(faults())], sinks()[rand.N(len(sinks()))]
		what := fmt.Sprintf("%d: %s of %s", i, f.name, strings.Join(flags, " "))
		s.detach("victim", flags, "sh", "-c", looping)
		c := s.becomes("victim", "running")
		const most = 4 * time.Millisecond
		time.Sleep(rand.N(most))
		f.kill(s, c)
		s.vitals()
		if !holds(func() bool { return !s.runs("sleep", "998") }) {
			t.Errorf("%s: the command that was executed goes on", what)
		}
		reap() // a PID namespace ends once all that joined it are reaped: here by the test
		now := s.becomes("victim", f.after...)
		if now.Status == "dead" || now.Status == "exited" {
			if !s.nothingLeft() {
				t.Errorf("%s: it is %s, and runs", what, now.Status)
			}
			if got := s.bryo("rm", "victim"); got.code != 0 {
				t.Errorf("%s: rm: %+v", what, got)
			}
		}
		s.forget("victim", "renamed")
		if left := s.vitals(); len(left) > 0 {
			t.Errorf("%s: left %v", what, left)
		}
		if s.same(before, what); t.Failed() {
			t.Fatal(what)
		}
	}
}

// runs says whether a process of the test has this command line.
func (s *site) runs(args ...string) bool {
	return slices.ContainsFunc(family(os.Getpid()), func(p process) bool {
		line, _ := os.ReadFile(filepath.Join("/proc", strconv.Itoa(p.pid), "cmdline"))
		return string(line) == strings.Join(args, "\x00")+"\x00"
	})
}

// TestDetachedNetworkKilled ends bryo-net alone: the container goes on.
func TestDetachedNetworkKilled(t *testing.T) {
	if !ordinary(t) {
		return
	}
	s, before := detachedSite(t)
	s.detach("victim", []string{"--net", "user"}, "sh", "-c", looping)
	s.find(os.Getpid(), "bryo-net").kill()
	s.becomes("victim", "running")
	if got := s.bryo("exec", "victim", "true"); got.code != 0 {
		t.Errorf("exec without the network: %+v", got)
	}
	s.forget("victim")
	s.vitals()
	s.same(before, "bryo-net, killed")
}

// TestDetachedStartKilled kills whoever starts a container, or the supervisor
// while it does: the container runs, or never does.
func TestDetachedStartKilled(t *testing.T) {
	if !ordinary(t) {
		return
	}
	s, before := detachedSite(t)
	const most = 14 * time.Millisecond
	targets := []struct {
		name string
		kill func(flags []string, moment time.Duration)
	}{
		{"run", func(flags []string, moment time.Duration) {
			s.killedAfter(moment, s.detaching("victim", flags, "sh", "-c", looping), false)
		}},
		{"start", func(flags []string, moment time.Duration) {
			stays := slices.DeleteFunc(slices.Clone(flags), func(f string) bool { return f == "--rm" })
			s.detach("victim", stays, "sh", "-c", looping)
			if got := s.bryo("stop", "-t", "0", "victim"); got.code != 0 {
				t.Fatalf("stop: %+v", got)
			}
			s.killedAfter(moment, s.command("bryo", "start", "victim"), false)
		}},
		{"supervisor", func(flags []string, moment time.Duration) {
			s.killedAfter(moment, s.detaching("victim", flags, "sh", "-c", looping), true)
		}},
	}
	for i := range count(60, 1000) {
		target, flags, moment := targets[i%len(targets)], sinks()[i%len(sinks())], rand.N(most)
		what := fmt.Sprintf("%d: %s of %s, killed after %v", i, target.name, strings.Join(flags, " "), moment)
		target.kill(flags, moment)
		s.vitals()
		var now vital
		if !holds(func() bool { now = s.vitals()["victim"]; return now.Status == "running" || len(alive()) == 0 }) {
			t.Errorf("%s: it is %q, with %v", what, now.Status, alive())
		}
		now = s.becomes("victim", "running", "exited", "dead", "")
		if now.Status != "running" && now.Status != "" {
			if got := s.bryo("rm", "victim"); got.code != 0 {
				t.Errorf("%s: rm: %+v", what, got)
			}
		}
		s.forget("victim")
		if left := s.vitals(); len(left) > 0 {
			t.Errorf("%s: left %v", what, left)
		}
		if s.same(before, what); t.Failed() {
			t.Fatal(what)
		}
	}
}

// TestDetachedStartInterrupted asks run -d to end at a random moment: the
// container runs, or was never there.
func TestDetachedStartInterrupted(t *testing.T) {
	if !ordinary(t) {
		return
	}
	s, before := detachedSite(t)
	signals := []unix.Signal{unix.SIGTERM, unix.SIGINT, unix.SIGHUP}
	for i := range count(42, 1000) {
		number, flags := signals[i%len(signals)], sinks()[i%len(sinks())]
		const most = 14 * time.Millisecond
		moment := rand.N(most)
		what := fmt.Sprintf("%d: run %s, %s after %v", i, strings.Join(flags, " "), unix.SignalName(number), moment)
		cmd := s.detaching("victim", flags, "sh", "-c", looping)
		s.start(cmd)
		time.Sleep(moment)
		_ = cmd.Process.Signal(number)
		switch code := s.wait(cmd); code {
		case 0:
			s.becomes("victim", "running")
			s.forget("victim")
		case 128 + int(number):
			if left := s.vitals(); len(left) > 0 {
				t.Errorf("%s: left %v", what, left)
			}
		default:
			t.Errorf("%s: it ended with %d", what, code)
		}
		if s.same(before, what); t.Failed() {
			t.Fatal(what)
		}
	}
}

// TestStopKilled kills stop while the command does not listen: nobody has stopped
// the container, and it is started again when it ends by itself.
func TestStopKilled(t *testing.T) {
	if !ordinary(t) {
		return
	}
	s := newSite(t)
	const script = "trap 'echo heard.' TERM; trap 'exit 3' HUP; echo ready.; while :; do sleep 0.02; done"
	s.keeps("victim", []string{"--restart", "always"}, "sh", "-c", script)
	s.says("victim", "ready.")
	first := s.inspect("victim").Init.PID
	stop := s.command("bryo", "stop", "-t", "1000", "victim")
	s.start(stop)
	s.says("victim", "heard.")
	_ = stop.Process.Kill()
	s.wait(stop)
	if got := s.bryo("kill", "-s", "HUP", "victim"); got.code != 0 {
		t.Errorf("kill: %+v", got)
	}
	if !holds(func() bool { now := s.inspect("victim"); return now.Status == "running" && now.Init.PID != first }) {
		t.Errorf("it was not started again: %+v", s.inspect("victim"))
	}
}

// killedAfter starts a command and kills it after a while, or rather the
// supervisor that it started.
func (s *site) killedAfter(moment time.Duration, cmd *exec.Cmd, supervisor bool) {
	s.t.Helper()
	s.start(cmd)
	time.Sleep(moment)
	if !supervisor {
		_ = cmd.Process.Kill()
		s.wait(cmd)
		return
	}
	for _, p := range family(os.Getpid()) {
		line, _ := os.ReadFile(filepath.Join("/proc", strconv.Itoa(p.pid), "cmdline"))
		if strings.HasPrefix(string(line), "bryo\x00supervise\x00") {
			p.kill()
		}
	}
	s.wait(cmd)
}

// alive are the test's processes that have not ended.
func alive() []process {
	reap()
	return family(os.Getpid())
}

// TestDetachedRemovalKilled kills those that remove and name containers, and
// finds the names free and the directories whole or gone.
func TestDetachedRemovalKilled(t *testing.T) {
	if !ordinary(t) {
		return
	}
	s, before := detachedSite(t)
	for i := range count(40, 1000) {
		s.detach("old", []string{"--net", "none"}, "true")
		s.becomes("old", "exited")
		if i%2 == 0 {
			s.killedOnTheWay("rename", "old", "new")
		} else {
			s.killedOnTheWay("rm", "old")
		}
		all := s.vitals()
		if len(all) > 1 {
			t.Fatalf("%d: more than there were: %v", i, all)
		}
		for name, c := range all {
			if got := s.bryo("inspect", name); got.code != 0 || !strings.Contains(got.out, c.ID) {
				t.Errorf("%d: %s: %+v", i, name, got)
			}
			if got := s.bryo("rename", name, "third"); got.code != 0 {
				t.Errorf("%d: rename %s: %+v", i, name, got)
			}
		}
		for _, name := range []string{"old", "new"} {
			s.detach(name, []string{"--net", "none"}, "true")
			s.becomes(name, "exited")
		}
		s.forget("old", "new", "third")
		s.vitals()
		if s.same(before, strconv.Itoa(i)); t.Failed() {
			return
		}
	}
}
