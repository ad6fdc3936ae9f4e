package state

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// opened is a new store.
func opened(t *testing.T) *Store {
	t.Helper()
	dir := t.TempDir()
	if err := os.Chmod(dir, dirMode); err != nil {
		t.Fatal(err)
	}
	t.Setenv("XDG_RUNTIME_DIR", dir)
	s, err := Open()
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// created is a new container of this process's.
func created(t *testing.T, s *Store, id, name string) *Entry {
	t.Helper()
	e, err := s.Create(&Config{ID: id, Name: name, Created: time.Unix(1, 0)})
	if err != nil {
		t.Fatal(err)
	}
	return e
}

const (
	idA = "aaaa00000001"
	idB = "aaaa00000002"
	idC = "bbbb00000003"
)

func wants(t *testing.T, what string, err error, want string) {
	t.Helper()
	if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
		t.Errorf("%s: %v, want %q", what, err, want)
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// within are the names in a directory of the store's.
func (s *Store) within(t *testing.T, part string) (names []string) {
	t.Helper()
	list, err := os.ReadDir(filepath.Join(s.path, part))
	must(t, err)
	for _, f := range list {
		names = append(names, f.Name())
	}
	return names
}

// has compares a directory of the store's with what is to be there.
func (s *Store) has(t *testing.T, what, part string, want ...string) {
	t.Helper()
	if got := s.within(t, part); !slices.Equal(got, want) {
		t.Errorf("%s: %s are %q, want %q", what, part, got, want)
	}
}

func TestCheckName(t *testing.T) {
	for _, row := range []struct {
		name string
		ok   bool
	}{
		{"web", true},
		{"0", true},
		{"A_b.c-9", true},
		{strings.Repeat("x", 128), true},
		{strings.Repeat("x", 129), false},
		{"", false},
		{".", false},
		{"..", false},
		{"-f", false},
		{"_a", false},
		{"a/b", false},
		{"a b", false},
		{"a\n", false},
		{"a\x00b", false},
		{"\u00e9", false},
		{"a\u00e9", false},
		{"\xff", false},
	} {
		if err := CheckName(row.name); (err == nil) != row.ok {
			t.Errorf("%q: %v", row.name, err)
		}
	}
}

func TestNewNames(t *testing.T) {
	s := opened(t)
	pattern := regexp.MustCompile(`^[a-z]+-[a-z]+-[0-9]{1,2}$`)
	for i := range 20 {
		config := &Config{ID: fmt.Sprintf("%012x", i)}
		e, err := s.Create(config)
		must(t, err)
		r, err := e.Record()
		must(t, err)
		if !pattern.MatchString(r.Name) || config.Name != r.Name || CheckName(r.Name) != nil {
			t.Errorf("%q, %q", r.Name, config.Name)
		}
	}
}

func TestFind(t *testing.T) {
	s := opened(t)
	created(t, s, idA, "web")
	created(t, s, idB, "bbbb") // as another's id begins
	created(t, s, idC, "db")
	must(t, os.Remove(s.name("db"))) // of one that was killed
	must(t, os.Symlink(idA, s.name("stale")))
	must(t, os.Symlink("../../elsewhere", s.name("astray")))
	for _, row := range []struct{ ref, id, err string }{
		{"web", idA, ""},
		{idA, idA, ""},
		{"aaaa00000001", idA, ""},
		{"aaaa00000002", idB, ""},
		{"bbbb", idB, ""}, // a name before the beginning of an id
		{"bbb", idC, ""},
		{"b", idC, ""},
		{"db", idC, ""},
		{"aaaa", "", "the ids of 2 containers begin so"},
		{"", "", ErrNotFound.Error()},
		{"we", "", ErrNotFound.Error()},
		{"stale", "", ErrNotFound.Error()},
		{"astray", "", ErrNotFound.Error()},
		{"../containers/" + idA, "", ErrNotFound.Error()},
		{idA + "0", "", ErrNotFound.Error()},
		{"AAAA00000001", "", ErrNotFound.Error()},
	} {
		e, err := s.Find(row.ref)
		wants(t, row.ref, err, row.err)
		if err == nil && e.ID != row.id {
			t.Errorf("%q is %s, want %s", row.ref, e.ID, row.id)
		}
	}
}

func TestCreate(t *testing.T) {
	s := opened(t)
	created(t, s, idA, "web")
	for _, row := range []struct{ what, id, name, err string }{
		{"a taken name", idB, "web", "the name is taken"},
		{"a taken id", idA, "other", "file exists"},
		{"no name", idB, "a/b", "no name for a container"},
		{"no id", "", "other", "is no id"},
		{"a short id", "aaaa", "other", "is no id"},
		{"another directory", "../../elsewhere", "other", "is no id"},
	} {
		_, err := s.Create(&Config{ID: row.id, Name: row.name})
		wants(t, row.what, err, row.err)
		s.has(t, row.what, "containers", idA)
		s.has(t, row.what, "names", "web")
	}
}

func TestRename(t *testing.T) {
	s := opened(t)
	e, other := created(t, s, idA, "web"), created(t, s, idB, "db")
	for _, row := range []struct{ to, is, err string }{
		{"site", "site", ""},
		{"db", "site", "the name is taken"},
		{"site", "site", "the name is taken"},
		{"a b", "site", "no name for a container"},
	} {
		wants(t, row.to, e.Rename(row.to), row.err)
		found, err := s.Find(row.is)
		if err != nil || found.ID != idA {
			t.Errorf("%s: %v, %v", row.to, found, err)
		}
		s.has(t, row.to, "names", "db", row.is)
	}
	must(t, other.Lock())
	must(t, other.Remove())
	wants(t, "a name that is free again", e.Rename("db"), "")
	wants(t, "one that is gone", other.Rename("gone"), ErrNotFound.Error())
}

// TestOthers refuses a directory that others could have put there.
func TestOthers(t *testing.T) {
	for _, row := range []struct {
		what   string
		make   func(dir string) error
		refuse bool
	}{
		{"the user's", func(dir string) error { return os.Mkdir(dir, 0o700) }, false},
		{"others may read", func(dir string) error { return errors.Join(os.Mkdir(dir, 0o700), os.Chmod(dir, 0o755)) }, false},
		{"others may write", func(dir string) error { return errors.Join(os.Mkdir(dir, 0o700), os.Chmod(dir, 0o702)) }, true},
		{"the group may write", func(dir string) error { return errors.Join(os.Mkdir(dir, 0o700), os.Chmod(dir, 0o720)) }, true},
		{"none", func(string) error { return nil }, true},
		{"a file", func(dir string) error { return os.WriteFile(dir, nil, 0o600) }, true},
		{"a link", func(dir string) error {
			return errors.Join(os.Mkdir(dir+".real", 0o700), os.Symlink(dir+".real", dir))
		}, true},
	} {
		dir := filepath.Join(t.TempDir(), "run")
		must(t, row.make(dir))
		t.Setenv("XDG_RUNTIME_DIR", dir)
		if _, err := Open(); (err != nil) != row.refuse {
			t.Errorf("%s: %v", row.what, err)
		}
		if row.refuse {
			continue
		}
		for _, part := range []string{"bryo/names", "bryo/containers", "bryo"} {
			part = filepath.Join(dir, part)
			var st unix.Stat_t
			if err := unix.Lstat(part, &st); err != nil || st.Mode&0o777 != dirMode {
				t.Errorf("%s: %s: %v, mode %o", row.what, part, err, st.Mode)
			}
			must(t, os.Chmod(part, 0o777))
			if _, err := Open(); err == nil {
				t.Errorf("%s: others may write %s", row.what, part)
			}
			must(t, os.Chmod(part, dirMode))
		}
	}
}

// leftover is what somebody left who was killed on the way.
type leftover struct {
	what string
	make func(t *testing.T, s *Store) error
	name string // of the container that is there
}

func leftovers() []leftover {
	whole := func(s *Store) *Entry { return s.at(idA) }
	half := func(s *Store) *Entry { return &Entry{store: s, ID: idA, dir: s.container(idA) + aside} }
	mkdir := func(e *Entry) error { return os.Mkdir(e.dir, dirMode) }
	link := func(s *Store, name string) error { return os.Symlink(idA, s.name(name)) }
	config, record := &Config{ID: idA, Name: "web"}, &Record{ID: idA, Name: "web", Status: Created}
	return []leftover{
		{"made: a directory", func(_ *testing.T, s *Store) error { return mkdir(half(s)) }, ""},
		{"made: its name", func(_ *testing.T, s *Store) error { return errors.Join(mkdir(half(s)), link(s, "web")) }, ""},
		{"made: all but its place", func(_ *testing.T, s *Store) error {
			h := half(s)
			return errors.Join(mkdir(h), link(s, "web"), h.write(configFile, config), h.Save(record))
		}, ""},
		{"changed: half a record", func(t *testing.T, s *Store) error {
			created(t, s, idA, "web")
			return os.WriteFile(whole(s).Path(recordFile+".new"), []byte(`{"ID":`), fileMode)
		}, "web"},
		{"named: another name", func(t *testing.T, s *Store) error {
			created(t, s, idA, "web")
			return link(s, "other")
		}, "web"},
		{"named: and the record", func(t *testing.T, s *Store) error {
			e := created(t, s, idA, "web")
			return errors.Join(link(s, "other"), e.Change(func(r *Record) error { r.Name = "other"; return nil }))
		}, "other"},
		{"removed: aside", func(t *testing.T, s *Store) error {
			created(t, s, idA, "web")
			return os.Rename(whole(s).dir, half(s).dir)
		}, ""},
		{"removed: its name", func(t *testing.T, s *Store) error {
			created(t, s, idA, "web")
			return errors.Join(os.Rename(whole(s).dir, half(s).dir), os.Remove(s.name("web")), os.Remove(half(s).Path(recordFile)))
		}, ""},
	}
}

// TestHalves finds what somebody left who was killed, at every step: the container
// is whole or not there, its name leads to it or is free, and List tidies up.
func TestHalves(t *testing.T) {
	for _, row := range leftovers() {
		t.Run(row.what, func(t *testing.T) {
			s := opened(t)
			must(t, row.make(t, s))
			for _, name := range []string{"web", "other"} {
				e, err := s.Find(name)
				if name == row.name && (err != nil || e.ID != idA) || name != row.name && !errors.Is(err, ErrNotFound) {
					t.Errorf("%s is %v, %v", name, e, err)
				}
			}
			records, damaged, err := s.List()
			if err != nil || len(damaged) != 0 || len(records) != min(len(row.name), 1) {
				t.Errorf("%v, %q, %v", records, damaged, err)
			}
			var names, ids []string
			if row.name != "" {
				names, ids = []string{row.name}, []string{idA}
			}
			s.has(t, "it", "containers", ids...)
			s.has(t, "it", "names", names...)
		})
	}
}

// TestHalvesAreTaken has a name that somebody left be anybody's at once.
func TestHalvesAreTaken(t *testing.T) {
	s := opened(t)
	must(t, os.Symlink(idB, s.name("web")))
	created(t, s, idA, "web")
	must(t, os.Remove(s.name("web")))
	must(t, os.WriteFile(s.name("web"), nil, fileMode))
	created(t, s, idC, "web") // idA has lost its own
	if records, damaged, err := s.List(); len(records) != 2 || len(damaged) != 0 || err != nil {
		t.Errorf("%v, %q, %v", records, damaged, err)
	}
}
