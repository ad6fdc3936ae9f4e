package state

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"bryo/rootless"
)

// TestChange has many change one record at once: nobody's change is lost, and one
// that is refused changes nothing.
func TestChange(t *testing.T) {
	s := opened(t)
	created(t, s, idA, "web")
	const people, times = 8, 10
	var group sync.WaitGroup
	for range people {
		group.Go(func() {
			for range times {
				e := s.at(idA)
				if err := e.Change(func(r *Record) error { r.Restarts++; return nil }); err != nil {
					t.Error(err)
				}
				if r, err := e.Now(); err != nil || r.Restarts == 0 {
					t.Errorf("%+v, %v", r, err)
				}
			}
		})
	}
	group.Wait()
	no := errors.New("no")
	if err := s.at(idA).Change(func(r *Record) error { r.Restarts = 0; return no }); !errors.Is(err, no) {
		t.Error(err)
	}
	if r, err := s.at(idA).Record(); err != nil || r.Restarts != people*times {
		t.Errorf("%+v, %v", r, err)
	}
}

// TestRemove has those who wait for a container's lock hear that it is gone.
func TestRemove(t *testing.T) {
	s := opened(t)
	e := created(t, s, idA, "web")
	must(t, e.Lock())
	heard := make(chan error)
	go func() { heard <- s.at(idA).Change(func(*Record) error { return errors.New("it was changed") }) }()
	time.Sleep(20 * time.Millisecond)
	must(t, e.Remove())
	if err := <-heard; !errors.Is(err, ErrNotFound) {
		t.Error(err)
	}
	for what, err := range map[string]error{
		"lock": e.Lock(), "change": e.Change(func(*Record) error { return nil }), "save": e.Save(&Record{}),
		"plan": e.SavePlan(&rootless.Plan{}), "rename": e.Rename("other"),
	} {
		if !errors.Is(err, ErrNotFound) {
			t.Errorf("%s: %v", what, err)
		}
	}
	if _, err := e.Now(); !errors.Is(err, ErrNotFound) {
		t.Error(err)
	}
	s.has(t, "removed", "names")
	s.has(t, "removed", "containers")
	created(t, s, idA, "web") // once more
}

// TestFollow tells the exit code of a container that is forgotten.
func TestFollow(t *testing.T) {
	for _, row := range []struct {
		what  string
		leave func(*Entry) error
		code  int
		ok    bool
	}{
		{"zero", func(e *Entry) error { return e.Leave(0) }, 0, true},
		{"another", func(e *Entry) error { return e.Leave(137) }, 137, true},
		{"removed", func(e *Entry) error { return e.Remove() }, 0, false},
		{"still there", func(e *Entry) error { e.Unlock(); return nil }, 0, false},
	} {
		s := opened(t)
		e := created(t, s, idA, "web")
		f, err := s.at(idA).Follow()
		must(t, err)
		must(t, e.Lock())
		must(t, row.leave(e))
		if code, ok := f.Code(); code != row.code || ok != row.ok {
			t.Errorf("%s: %d, %v", row.what, code, ok)
		}
		must(t, f.Close())
	}
	_, err := opened(t).at(idA).Follow()
	if !errors.Is(err, ErrNotFound) {
		t.Error(err)
	}
}

// TestDamaged tells what nobody can read, and removes it.
func TestDamaged(t *testing.T) {
	put := func(text string) func(path string) error {
		return func(path string) error { return os.WriteFile(path, []byte(text), fileMode) }
	}
	for _, file := range []string{recordFile, configFile} {
		for _, row := range []struct {
			what   string
			damage func(path string) error
		}{
			{"missing", os.Remove},
			{"empty", put("")},
			{"half", put(`{"ID":"` + idA + `","Na`)},
			{"another's", put(`{"ID":"` + idB + `","Name":"web"}`)},
			{"of another type", put(`{"ID":7}`)},
			{"no object", put(`[]`)},
			{"noise", put("\x00\xff\x00")},
			{"a directory", func(path string) error { return errors.Join(os.Remove(path), os.Mkdir(path, dirMode)) }},
			{"a link to nothing", func(path string) error { return errors.Join(os.Remove(path), os.Symlink("nothing", path)) }},
			{"not to be read", func(path string) error { return errors.Join(put("{")(path), os.Chmod(path, 0)) }},
		} {
			what := fmt.Sprintf("%s, %s", file, row.what)
			s := opened(t)
			e := created(t, s, idA, "web")
			created(t, s, idB, "other")
			must(t, row.damage(e.Path(file)))
			var err error
			if file == recordFile {
				_, err = e.Now()
			} else {
				_, err = e.Config()
			}
			if err == nil || errors.Is(err, ErrNotFound) || !strings.Contains(err.Error(), "fix: bryo rm -f "+idA) {
				t.Errorf("%s: %v", what, err)
			}
			records, damaged, err := s.List()
			if err != nil || (len(damaged) == 1) != (file == recordFile) || len(records)+len(damaged) != 2 {
				t.Errorf("%s: %d records, damaged %q, %v", what, len(records), damaged, err)
			}
			if _, err := s.Create(&Config{ID: idC, Name: "web"}); !errors.Is(err, ErrExists) {
				t.Errorf("%s: its name: %v", what, err)
			}
			found, err := s.Find("web")
			must(t, err)
			must(t, found.Lock())
			must(t, found.Remove())
			created(t, s, idC, "web")
		}
	}
}
