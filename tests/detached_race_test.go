package tests

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// race is two commands at once on the container "it", and what may come of it.
type race struct {
	runs          bool // the container runs before
	first, second string
	sane          func(first, second outcome, after map[string]vital) bool
}

// races are in groups: of the beginning, of the end, of names.
func races() []race {
	one := func(after map[string]vital, statuses ...string) bool {
		return slices.Contains(statuses, after["it"].Status)
	}
	won := func(list ...outcome) (n int) {
		for _, o := range list {
			if o.code == 0 {
				n++
			}
		}
		return n
	}
	return []race{
		{false, "start it", "rm it", func(_, rm outcome, after map[string]vital) bool {
			return rm.code == 0 && one(after, "") || rm.code != 0 && one(after, "running")
		}},
		{false, "start it", "rm -f it", func(_, rm outcome, after map[string]vital) bool {
			return rm.code == 0 && one(after, "") || rm.code != 0 && one(after, "running")
		}},
		{false, "start it", "start it", func(a, b outcome, after map[string]vital) bool {
			return won(a, b) > 0 && one(after, "running")
		}},
		{false, "start it", "stop -t 1 it", func(_, stop outcome, after map[string]vital) bool {
			return stop.code == 0 && one(after, "running", "exited", "dead")
		}},
		{true, "stop it", "start it", func(a, b outcome, after map[string]vital) bool {
			return won(a, b) == 2 && one(after, "running", "exited")
		}},
		{true, "restart it", "restart it", func(a, b outcome, after map[string]vital) bool {
			return won(a, b) > 0 && one(after, "running", "exited", "dead")
		}},
		{true, "restart -t 0 it", "rm -f it", func(_, rm outcome, after map[string]vital) bool {
			return rm.code == 0 && one(after, "") || rm.code != 0 && one(after, "running")
		}},

		{false, "rm it", "rm it", func(a, b outcome, after map[string]vital) bool {
			return won(a, b) > 0 && one(after, "")
		}},
		{true, "rm -f it", "rm -f it", func(a, b outcome, after map[string]vital) bool {
			return won(a, b) == 2 && one(after, "")
		}},
		{true, "stop it", "rm -f it", func(_, rm outcome, after map[string]vital) bool {
			return rm.code == 0 && one(after, "")
		}},
		{true, "stop it", "stop it", func(a, b outcome, after map[string]vital) bool {
			return won(a, b) == 2 && one(after, "exited")
		}},
		{true, "kill it", "wait it", func(kill, wait outcome, after map[string]vital) bool {
			return kill.code == 0 && wait.out == "137\n" && one(after, "exited")
		}},
		{true, "exec it sleep 998", "rm -f it", func(exec, rm outcome, after map[string]vital) bool {
			return exec.code != 0 && rm.code == 0 && one(after, "")
		}},
		{true, "pause it", "stop -t 1 it", func(_, stop outcome, after map[string]vital) bool {
			return stop.code == 0 && one(after, "exited")
		}},
		{false, "prune", "start it", func(_, start outcome, after map[string]vital) bool {
			return start.code == 0 && one(after, "running") || start.code != 0 && one(after, "")
		}},

		{true, "rename it this", "rename it that", func(a, b outcome, after map[string]vital) bool {
			return won(a, b) > 0 && len(after) == 1 && (after["this"].ID != "" || after["that"].ID != "")
		}},
		{true, "rename it this", "rm -f it", func(_, _ outcome, after map[string]vital) bool {
			return len(after) == 0 || after["this"].Status == "running"
		}},
		{false, "rename it this", "start it", func(a, _ outcome, after map[string]vital) bool {
			return a.code == 0 && len(after) == 1 && slices.Contains([]string{"running", "exited"}, after["this"].Status)
		}},
		{true, "run -d --name new --net none ROOT sleep 999", "run -d --name new --net none ROOT sleep 999",
			func(a, b outcome, after map[string]vital) bool {
				return won(a, b) == 1 && strings.Contains(a.err+b.err, "the name is taken") && len(after) == 2
			}},
		{true, "run -d --name new --net none ROOT sleep 999", "rename it new", func(a, b outcome, after map[string]vital) bool {
			return won(a, b) == 1 && after["new"].ID != "" && (len(after) == 2) == (a.code == 0)
		}},
	}
}

// TestDetachedRaces has two commands change one container at once. Whoever wins,
// it is one container or none afterwards, and its state tells which.
func TestDetachedRaces(t *testing.T) {
	if !ordinary(t) {
		return
	}
	s, before := detachedSite(t)
	for i := range count(3, 60) * len(races()) {
		r := races()[i%len(races())]
		what := fmt.Sprintf("%q and %q", r.first, r.second)
		s.detach("it", []string{"--net", "none"}, "sh", "-c", looping)
		if !r.runs {
			if got := s.bryo("stop", "-t", "0", "it"); got.code != 0 {
				t.Fatalf("stop: %+v", got)
			}
		}
		var got [2]outcome
		inParallel(len(got), len(got), func(i int) {
			words := strings.Fields([]string{r.first, r.second}[i])
			if at := slices.Index(words, "ROOT"); at >= 0 {
				words[at] = s.root
			}
			got[i] = s.bryo(words...)
		})
		after := s.vitals()
		if !r.sane(got[0], got[1], after) {
			t.Errorf("%s: %+v, %+v, and then %v", what, got[0], got[1], after)
		}
		s.consistent(after)
		for name := range after {
			s.forget(name)
		}
		s.vitals()
		if s.same(before, what); t.Failed() {
			return
		}
	}
}

// consistent complains about names that lead nowhere, and containers that run
// more or less often than once.
func (s *site) consistent(all map[string]vital) {
	s.t.Helper()
	lives := 0
	for name, c := range all {
		if id, err := os.Readlink(filepath.Join(s.run, "bryo/names", name)); err != nil || id != c.ID {
			s.t.Errorf("the name %s leads to %q, not to %s (%v)", name, id, c.ID, err)
		}
		if c.Status == "running" || c.Status == "paused" {
			lives++
		}
	}
	if names, _ := os.ReadDir(filepath.Join(s.run, "bryo/names")); len(names) != len(all) {
		s.t.Errorf("%d containers have %d names", len(all), len(names))
	}
	inits := func() int {
		reap()
		return len(slices.DeleteFunc(family(os.Getpid()), func(p process) bool { return p.name != "bryo-init" }))
	}
	if !holds(func() bool { return inits() == lives }) {
		s.t.Errorf("%d containers are said to run, and %d do: %v", lives, inits(), family(os.Getpid()))
	}
}
