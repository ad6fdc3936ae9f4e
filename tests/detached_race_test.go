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

// is says whether the container is one of these, "" if it is gone.
func is(after map[string]vital, statuses ...string) bool {
	return slices.Contains(statuses, after["it"].Status)
}

// won counts commands that succeeded.
func won(list ...outcome) (n int) {
	for _, o := range list {
		if o.code == 0 {
			n++
		}
	}
	return n
}

// either is sane if so many succeed, and the container is one of these.
func either(least int, statuses ...string) func(a, b outcome, after map[string]vital) bool {
	return func(a, b outcome, after map[string]vital) bool { return won(a, b) >= least && is(after, statuses...) }
}

// removed is sane if the second command removed the container, or left it running.
func removed(_, rm outcome, after map[string]vital) bool {
	return rm.code == 0 && is(after, "") || rm.code != 0 && is(after, "running")
}

// races are about how containers begin and end.
func races() []race {
	return []race{
		{false, "start it", "rm it", removed},
		{false, "start it", "rm -f it", removed},
		{false, "start it", "start it", either(1, "running")},
		{false, "start it", "stop -t 1 it", func(_, stop outcome, after map[string]vital) bool {
			return stop.code == 0 && is(after, "running", "exited", "dead")
		}},
		{true, "stop it", "start it", either(2, "running", "exited")},
		{true, "restart it", "restart it", either(1, "running", "exited", "dead")},
		{true, "restart -t 0 it", "rm -f it", removed},
		{false, "rm it", "rm it", either(1, "")},
		{true, "rm -f it", "rm -f it", either(2, "")},
		{true, "stop it", "rm -f it", func(_, rm outcome, after map[string]vital) bool { return rm.code == 0 && is(after, "") }},
		{true, "stop it", "stop it", either(2, "exited")},
		{true, "kill it", "wait it", func(kill, wait outcome, after map[string]vital) bool {
			return kill.code == 0 && wait.out == "137\n" && is(after, "exited")
		}},
		{true, "exec it sleep 998", "rm -f it", func(exec, rm outcome, after map[string]vital) bool {
			return exec.code != 0 && rm.code == 0 && is(after, "")
		}},
		{true, "pause it", "stop -t 1 it", func(_, stop outcome, after map[string]vital) bool {
			return stop.code == 0 && is(after, "exited")
		}},
		{false, "prune", "start it", func(_, start outcome, after map[string]vital) bool {
			return start.code == 0 && is(after, "running") || start.code != 0 && is(after, "")
		}},
	}
}

// nameRaces are about names.
func nameRaces() []race {
	const run = "run -d --name new --net none ROOT sleep 999"
	return []race{
		{true, "rename it this", "rename it that", func(a, b outcome, after map[string]vital) bool {
			return won(a, b) > 0 && len(after) == 1 && (after["this"].ID != "" || after["that"].ID != "")
		}},
		{true, "rename it this", "rm -f it", func(_, _ outcome, after map[string]vital) bool {
			return len(after) == 0 || after["this"].Status == "running"
		}},
		{false, "rename it this", "start it", func(rename, _ outcome, after map[string]vital) bool {
			return rename.code == 0 && len(after) == 1 && slices.Contains([]string{"running", "exited"}, after["this"].Status)
		}},
		{true, run, run, func(a, b outcome, after map[string]vital) bool {
			return won(a, b) == 1 && strings.Contains(a.err+b.err, "the name is taken") && len(after) == 2
		}},
		{true, run, "rename it new", func(run, rename outcome, after map[string]vital) bool {
			return won(run, rename) == 1 && after["new"].ID != "" && (len(after) == 2) == (run.code == 0)
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
	all := slices.Concat(races(), nameRaces())
	for i := range count(3, 60) * len(all) {
		r := all[i%len(all)]
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
