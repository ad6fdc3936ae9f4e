package tests

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"
)

// TestDetachedCrowd has many containers alive together: all are started, listed,
// entered and stopped, and none is forgotten.
func TestDetachedCrowd(t *testing.T) {
	if !ordinary(t) {
		return
	}
	s, before := detachedSite(t)
	size := count(50, 1000)
	var names []string
	for i := range size {
		names = append(names, fmt.Sprintf("c%d", i))
	}
	phase := func(name string, do func()) {
		begin := time.Now()
		do()
		t.Logf("%s %d: %v", name, size, time.Since(begin).Round(time.Millisecond))
	}
	phase("start", func() {
		inParallel(size, 2, func(i int) {
			s.detach(names[i], []string{"--net", "none"}, "sh", "-c", "echo $HOSTNAME; exec sleep 999")
		})
	})
	var all map[string]vital
	phase("list", func() { all = s.vitals() })
	if running := s.bryo("ps", "-q"); strings.Count(running.out, "\n") != size {
		t.Errorf("ps has %d of %d", strings.Count(running.out, "\n"), size)
	}
	s.asleep(all[names[size-1]].Supervisor.PID)
	phase("enter", func() {
		inParallel(size, 2, func(i int) {
			got := s.bryo("exec", names[i], "hostname")
			if got.code != 0 || got.err != "" || strings.TrimSpace(got.out) != all[names[i]].ID {
				t.Errorf("exec in %s: %+v", names[i], got)
			}
		})
	})
	phase("stop", func() {
		const batch = 25
		batches := slices.Collect(slices.Chunk(names, batch))
		inParallel(len(batches), 2, func(i int) {
			if got := s.bryo(append([]string{"stop"}, batches[i]...)...); got.code != 0 {
				t.Errorf("stop: %+v", got)
			}
		})
	})
	if running := s.bryo("ps", "-q"); running.out != "" {
		t.Errorf("running still:\n%s", running.out)
	}
	phase("prune", func() {
		if got := s.bryo("prune"); got.code != 0 || strings.Count(got.out, "\n") != size {
			t.Errorf("prune: %+v", got)
		}
	})
	if left := s.vitals(); len(left) > 0 {
		t.Errorf("left %v", left)
	}
	s.same(before, "a crowd")
}

// TestDetachedSleepersAreSmall bounds what a supervisor costs that sleeps, and
// finds out when it is something else.
func TestDetachedSleepersAreSmall(t *testing.T) {
	if !ordinary(t) {
		return
	}
	s, _ := detachedSite(t)
	s.detach("it", []string{"--net", "none"}, "sleep", "999")
	c := s.becomes("it", "running")
	s.asleep(c.Supervisor.PID)
	total := 0
	for _, pid := range []int{c.Supervisor.PID, c.Init.PID} {
		if kib, err := proportion(pid); err == nil {
			total += kib
		} else {
			t.Log(err)
		}
	}
	const bound = 60
	switch {
	case total == 0:
		t.Skip("no process of bryo shows its memory to the user")
	case total > bound:
		t.Errorf("supervisor and init take %d KiB, at most %d are fine: %v", total, bound, family(os.Getpid()))
	default:
		t.Logf("supervisor and init take %d KiB", total)
	}
	s.forget("it")
}
