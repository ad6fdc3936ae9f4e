package tests

import (
	"encoding/json"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// vital is what ps says of a detached container.
type vital struct {
	ID, Name, Status string
	Supervisor, Init struct{ PID int }
	ExitCode         int
}

// vitals are all containers of the site, by their names. There is no moment
// at which ps does not know.
func (s *site) vitals() map[string]vital {
	s.t.Helper()
	got := s.bryo("ps", "-a", "--json")
	var list []vital
	if err := json.Unmarshal([]byte(got.out), &list); err != nil || got.code != 0 || got.err != "" {
		s.t.Fatalf("ps: %v: %+v", err, got)
	}
	all := map[string]vital{}
	for _, c := range list {
		if _, twice := all[c.Name]; twice {
			s.t.Errorf("two containers have the name %s", c.Name)
		}
		if !slices.Contains([]string{"created", "running", "paused", "restarting", "exited", "dead"}, c.Status) {
			s.t.Errorf("container %s is %q", c.Name, c.Status)
		}
		all[c.Name] = c
	}
	return all
}

// becomes waits until a container is one of these, "" if it is gone, and
// returns how it is. What ps says then is so.
func (s *site) becomes(name string, statuses ...string) vital {
	s.t.Helper()
	var now vital
	if !holds(func() bool { now = s.vitals()[name]; return slices.Contains(statuses, now.Status) }) {
		s.t.Fatalf("container %s is %q, not one of %q; processes: %v", name, now.Status, statuses, family(os.Getpid()))
	}
	alive := now.Supervisor.PID > 0 && !slices.Contains([]byte{'Z', 'X', 0}, stateOf(now.Supervisor.PID))
	switch now.Status {
	case "running", "paused", "created", "restarting":
		if later := s.vitals()[name]; !alive && later.Status == now.Status && later.Supervisor == now.Supervisor {
			s.t.Errorf("container %s is said to be %s, and nobody looks after it", name, now.Status)
		}
	case "dead":
		if alive {
			s.t.Errorf("container %s is said to be dead, and its supervisor lives", name)
		}
	}
	return now
}

// detaching is the command that starts a detached container.
func (s *site) detaching(name string, flags []string, command ...string) *exec.Cmd {
	args := append([]string{"run", "-d", "--name", name}, flags...)
	return s.command("bryo", append(append(args, s.root), command...)...)
}

// detach starts a detached container, which has to succeed.
func (s *site) detach(name string, flags []string, command ...string) {
	s.t.Helper()
	if got := s.end(s.detaching(name, flags, command...)); got.code != 0 || got.out != name+"\n" || got.err != "" {
		s.t.Fatalf("run -d %s: %+v", strings.Join(flags, " "), got)
	}
}

// forget removes a container, whatever it does.
func (s *site) forget(names ...string) {
	s.t.Helper()
	if got := s.bryo(append([]string{"rm", "-f"}, names...)...); got.code != 0 {
		s.t.Errorf("rm -f %q: %+v", names, got)
	}
}

// asleep waits until a supervisor has been replaced by the program that sleeps.
func (s *site) asleep(pid int) {
	s.t.Helper()
	if !holds(func() bool {
		exe, err := os.Readlink(filepath.Join("/proc", strconv.Itoa(pid), "exe"))
		return err != nil || strings.Contains(exe, "memfd:")
	}) {
		s.t.Errorf("the supervisor %d does not sleep", pid)
	}
}

// killedOnTheWay starts a command of bryo's and kills it at a random moment, at
// which it may have ended.
func (s *site) killedOnTheWay(args ...string) {
	s.t.Helper()
	const most = 12 * time.Millisecond
	cmd := s.command("bryo", args...)
	s.start(cmd)
	time.Sleep(rand.N(most))
	_ = cmd.Process.Kill()
	s.wait(cmd)
}

// count is a number of containers: few, or many for a soak.
func count(few, many int) int {
	if soak() {
		return many
	}
	return few
}

// detachedSite has a look at the host before its containers.
func detachedSite(t *testing.T) (s *site, before trace) {
	t.Helper()
	s = newSite(t)
	s.detach("first", []string{"--net", "none"}, "true") // which makes directories that stay
	s.becomes("first", "exited")
	s.forget("first")
	s.vitals()
	return s, s.traces()
}
