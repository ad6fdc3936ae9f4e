package state

import (
	"bufio"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"slices"
	"testing"
	"time"
)

// workerVariable says that the test, run again, is who is killed.
const workerVariable = "BRYO_STATE_TEST"

// TestCrash kills who makes, changes, names and removes containers, at random
// moments: each container is whole or not there, and can be found and removed.
func TestCrash(t *testing.T) {
	if os.Getenv(workerVariable) != "" {
		work()
	}
	s := opened(t)
	kept := created(t, s, idA, "kept")
	const times, most = 60, 5 * time.Millisecond
	for i := range times {
		moment := rand.N(most)
		killed(t, moment)
		what := fmt.Sprintf("%d, after %v", i, moment)
		records, damaged, err := s.List()
		if err != nil || len(damaged) > 0 || len(records) == 0 {
			t.Fatalf("%s: %v, damaged %q, %v", what, records, damaged, err)
		}
		s.whole(t, what, records)
		for _, r := range records {
			if r.ID == kept.ID {
				continue
			}
			if r.Status != Dead {
				t.Errorf("%s: it is %s", what, r.Status)
			}
			e := s.at(r.ID)
			must(t, e.Lock())
			must(t, e.Remove())
		}
		if t.Failed() {
			return
		}
	}
}

// whole compares the store with what it lists.
func (s *Store) whole(t *testing.T, what string, records []*Record) {
	t.Helper()
	var names, ids []string
	for _, r := range records {
		names, ids = append(names, r.Name), append(ids, r.ID)
		e, err := s.Find(r.Name)
		if err != nil || e.ID != r.ID {
			t.Errorf("%s: %s is %v, %v", what, r.Name, e, err)
		}
		if _, err := s.at(r.ID).Config(); err != nil {
			t.Errorf("%s: %v", what, err)
		}
	}
	slices.Sort(ids)
	s.has(t, what, "containers", ids...)
	for _, name := range s.within(t, "names") {
		if !slices.Contains(names, name) {
			t.Errorf("%s: the name %s is left", what, name)
		}
	}
}

// killed has another process work, and kills it.
func killed(t *testing.T, after time.Duration) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "/proc/self/exe", "-test.run=^TestCrash$")
	cmd.Env = append(os.Environ(), workerVariable+"=1")
	out, err := cmd.StdoutPipe()
	must(t, err)
	must(t, cmd.Start())
	line, err := bufio.NewReader(out).ReadString('\n')
	time.Sleep(after)
	_ = cmd.Process.Kill()
	_ = cmd.Wait()
	if line != ready+"\n" {
		t.Fatalf("%q, %v", line, err)
	}
}

const ready = "ready"

// work does all that changes the store until it is killed.
func work() {
	fmt.Println(ready)
	for i := 0; ; i++ {
		if err := once(fmt.Sprintf("%012x", i)); err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
	}
}

func once(id string) error {
	s, err := Open()
	if err != nil {
		return err
	}
	e, err := s.Create(&Config{ID: id, Name: "one"})
	if err != nil {
		return err
	}
	err = errors.Join(
		e.Change(func(r *Record) error { r.Status = Running; return nil }),
		e.Rename("two"),
		e.Rename("one"),
		e.Lock(),
	)
	if err != nil {
		return err
	}
	return e.Leave(0)
}
