package tests

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// damage is what a crash, or somebody else, may have made of a container's
// state; dir is its directory.
type damage struct {
	name  string
	make  func(s *site, dir string)
	shown string // how ps shows it, "" if as damaged
}

func damages() []damage {
	list := []damage{
		{"another live process has the number", func(s *site, dir string) {
			s.edit(dir, func(r map[string]any) {
				r["Supervisor"] = map[string]any{"PID": os.Getpid(), "Start": 1}
				r["Init"] = map[string]any{"PID": os.Getpid(), "Start": 1}
			})
		}, "dead"},
		{"another boot, whose numbers are others' now", func(s *site, dir string) {
			s.edit(dir, func(r map[string]any) {
				r["Supervisor"] = map[string]any{"PID": os.Getpid(), "Start": startOf(s.t, os.Getpid())}
				r["Init"] = r["Supervisor"]
				r["Boot"] = "11111111-2222-3333-4444-555555555555"
			})
		}, "dead"},
		{"a process that cannot be", func(s *site, dir string) {
			s.edit(dir, func(r map[string]any) { r["Supervisor"] = map[string]any{"PID": -1, "Start": 0} })
		}, "dead"},
		{"record.json of another container", func(s *site, dir string) {
			s.edit(dir, func(r map[string]any) { r["ID"] = "0123456789ab" })
		}, ""},
		{"no lock", func(s *site, dir string) { s.must(os.Remove(filepath.Join(dir, "lock"))) }, "dead"},
		{"no socket", func(s *site, dir string) { s.must(os.Remove(filepath.Join(dir, "attach"))) }, "dead"},
	}
	for _, file := range []string{"config.json", "record.json", "plan.json"} {
		shown := "dead"
		if file == "record.json" {
			shown = ""
		}
		rewrite := func(text func(old string) string) func(*site, string) {
			return func(s *site, dir string) {
				old, err := os.ReadFile(filepath.Join(dir, file))
				s.must(err)
				s.must(os.WriteFile(filepath.Join(dir, file), []byte(text(string(old))), 0o600))
			}
		}
		list = append(list,
			damage{file + " truncated", rewrite(func(old string) string { return old[:len(old)/2] }), shown},
			damage{file + " empty", rewrite(func(string) string { return "" }), shown},
			damage{file + " of nothing", rewrite(func(string) string { return "null" }), shown},
			damage{file + " of zeros", rewrite(func(old string) string { return strings.Repeat("\x00", len(old)) }), shown},
			damage{file + " of other words", rewrite(func(string) string { return `{"ID": 1, "Spec": []}` }), shown},
			damage{file + " missing", func(s *site, dir string) { s.must(os.Remove(filepath.Join(dir, file))) }, shown},
			damage{file + " unreadable", func(s *site, dir string) { s.must(os.Chmod(filepath.Join(dir, file), 0)) }, shown},
			damage{file + ".new half written", func(s *site, dir string) {
				s.must(os.WriteFile(filepath.Join(dir, file+".new"), []byte(`{"ID`), 0o600))
			}, "dead"},
		)
	}
	return list
}

func (s *site) must(err error) {
	s.t.Helper()
	if err != nil {
		s.t.Fatal(err)
	}
}

// edit changes a record behind bryo's back.
func (s *site) edit(dir string, change func(map[string]any)) {
	s.t.Helper()
	name := filepath.Join(dir, "record.json")
	text, err := os.ReadFile(name)
	s.must(err)
	r := map[string]any{}
	s.must(json.Unmarshal(text, &r))
	change(r)
	text, err = json.Marshal(r)
	s.must(err)
	s.must(os.WriteFile(name, text, 0o600))
}

// startOf is when a process started, in ticks: proc_pid_stat(5).
func startOf(t *testing.T, pid int) uint64 {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "stat"))
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(text), ") ")
	const start = 19
	ticks, err := strconv.ParseUint(strings.Fields(rest)[start], 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return ticks
}

// dies makes a container whose supervisor has been killed, and returns its id and
// directory.
func (s *site) dies(name string) (id, dir string) {
	s.t.Helper()
	s.detach(name, []string{"--net", "none"}, "sleep", "999")
	c := s.becomes(name, "running")
	process{pid: c.Supervisor.PID}.kill()
	s.becomes(name, "dead")
	s.nothingLeft()
	return c.ID, filepath.Join(s.run, "bryo/containers", c.ID)
}

// TestDetachedStateDamaged damages the state of dead containers: ps shows each as
// what it is, all else tells what is wrong, and rm removes it.
func TestDetachedStateDamaged(t *testing.T) {
	if !ordinary(t) {
		return
	}
	s, before := detachedSite(t)
	for _, d := range damages() {
		id, dir := s.dies("it")
		d.make(s, dir)
		s.tells(d, id)
		ref := "it"
		if d.shown == "" {
			ref = id
		}
		if got := s.bryo("rm", ref); got.code != 0 || got.err != "" {
			t.Errorf("%s: rm: %+v", d.name, got)
		}
		if left := s.vitals(); len(left) > 0 {
			t.Errorf("%s: left %v", d.name, left)
		}
		if s.same(before, d.name); t.Failed() {
			return
		}
	}
}

// tells asks everybody about damaged state.
func (s *site) tells(d damage, id string) {
	s.t.Helper()
	got := s.bryo("ps", "-a")
	warned, listed := strings.Contains(got.err, id+" is damaged"), strings.Contains(got.out, id)
	if got.code != 0 || warned != (d.shown == "") || listed == warned || !strings.Contains(got.out, d.shown) {
		s.t.Errorf("%s: ps: %+v", d.name, got)
	}
	const most = 3
	for _, words := range []string{"stop it", "kill it", "exec it true", "attach it", "wait it", "pause it", "inspect it", "top it", "logs it"} {
		if got := s.bryo(strings.Fields(words)...); strings.Count(got.err, "\n") > most || strings.Contains(got.err, "goroutine") || got.code > 125 {
			s.t.Errorf("%s: %s: %+v", d.name, words, got)
		}
	}
}

// TestDetachedStateDamagedWhileItRuns loses the record of a container that runs:
// it is not forgotten before it is ended.
func TestDetachedStateDamagedWhileItRuns(t *testing.T) {
	if !ordinary(t) {
		return
	}
	s, before := detachedSite(t)
	for _, file := range []string{"record.json", "config.json"} {
		s.detach("it", []string{"--net", "none"}, "sleep", "999")
		c := s.becomes("it", "running")
		s.must(os.WriteFile(filepath.Join(s.run, "bryo/containers", c.ID, file), []byte("{"), 0o600))
		if got := s.bryo("rm", c.ID); got.code != 125 || !strings.Contains(got.err, "runs") {
			t.Errorf("%s: rm: %+v", file, got)
		}
		if got := s.bryo("rm", "-f", c.ID); got.code != 0 {
			t.Errorf("%s: rm -f: %+v", file, got)
		}
		s.vitals()
		s.same(before, file)
	}
}

// TestDetachedNames plants names that lead astray.
func TestDetachedNames(t *testing.T) {
	if !ordinary(t) {
		return
	}
	s, before := detachedSite(t)
	s.detach("one", []string{"--net", "none"}, "true")
	s.detach("two", []string{"--net", "none"}, "true")
	one, two := s.becomes("one", "exited"), s.becomes("two", "exited")
	names := filepath.Join(s.run, "bryo/names")
	swap := func(name, target string) {
		_ = os.Remove(filepath.Join(names, name))
		s.must(os.Symlink(target, filepath.Join(names, name)))
	}
	for _, c := range []struct {
		name  string
		plant func()
	}{
		{"dangling", func() { swap("astray", "0123456789ab") }},
		{"of another container", func() { swap("astray", two.ID) }},
		{"out of the store", func() { swap("astray", "../../../home") }},
		{"a file", func() { s.must(os.WriteFile(filepath.Join(names, "astray"), []byte(one.ID), 0o600)) }},
		{"a directory", func() { s.must(os.Mkdir(filepath.Join(names, "astray"), 0o700)) }},
	} {
		c.plant()
		if got := s.bryo("rm", "astray"); got.code != 125 || !strings.Contains(got.err, "no such container") {
			t.Errorf("%s: rm: %+v", c.name, got)
		}
		if got := s.bryo("rename", "one", "astray"); got.code != 0 {
			t.Errorf("%s: rename: %+v", c.name, got)
		}
		if got := s.bryo("rename", "astray", "one"); got.code != 0 {
			t.Errorf("%s: rename back: %+v", c.name, got)
		}
		c.plant()
		s.consistent(s.vitals())
	}
	for _, c := range []struct {
		name  string
		plant func()
	}{
		{"exchanged", func() { swap("one", two.ID); swap("two", one.ID) }},
		{"lost", func() { s.must(os.Remove(filepath.Join(names, "one"))) }},
	} {
		c.plant()
		for name, id := range map[string]string{"one": one.ID, "two": two.ID} {
			if got := s.bryo("inspect", name); got.code != 0 || !strings.Contains(got.out, `"`+id+`"`) {
				t.Errorf("%s: inspect %s, which is %s: %+v", c.name, name, id, got)
			}
		}
	}
	s.forget("one", "two")
	s.vitals()
	s.same(before, "names that lead astray")
}

// TestDetachedHalves plants what those leave who are killed while they make or
// remove a container: ps removes it.
func TestDetachedHalves(t *testing.T) {
	if !ordinary(t) {
		return
	}
	s, before := detachedSite(t)
	containers := filepath.Join(s.run, "bryo/containers")
	for _, name := range []string{"", "config.json", "record.json", "log"} {
		half := filepath.Join(containers, "0123456789ab.aside")
		s.must(os.Mkdir(half, 0o700))
		if name != "" {
			s.must(os.WriteFile(filepath.Join(half, name), []byte("{"), 0o600))
		}
		s.must(os.Symlink("0123456789ab", filepath.Join(s.run, "bryo/names/half")))
		if left := s.vitals(); len(left) > 0 {
			t.Errorf("a half is shown: %v", left)
		}
		s.same(before, "half a container")
	}
	empty := filepath.Join(containers, "0123456789ab")
	s.must(os.Mkdir(empty, 0o700))
	if got := s.bryo("ps"); got.code != 0 || !strings.Contains(got.err, "0123456789ab is damaged") {
		t.Errorf("an empty directory: ps: %+v", got)
	}
	if got := s.bryo("rm", "0123456789ab"); got.code != 0 {
		t.Errorf("an empty directory: rm: %+v", got)
	}
	s.same(before, "an empty directory")
}

// TestDetachedStoreOfOthers refuses directories that others could write.
func TestDetachedStoreOfOthers(t *testing.T) {
	if !ordinary(t) {
		return
	}
	s, _ := detachedSite(t)
	store := filepath.Join(s.run, "bryo")
	s.dies("it")
	for _, c := range []struct {
		name   string
		change func(dir string) error
		back   func(dir string) error
	}{
		{"writable for all", func(d string) error { return os.Chmod(d, 0o777) }, func(d string) error { return os.Chmod(d, 0o700) }},
		{"writable for the group", func(d string) error { return os.Chmod(d, 0o770) }, func(d string) error { return os.Chmod(d, 0o700) }},
		{"a link", func(d string) error { return replaced(d, func() error { return os.Symlink(d+".real", d) }) }, restored},
		{"a file", func(d string) error { return replaced(d, func() error { return os.WriteFile(d, nil, 0o600) }) }, restored},
		{"somebody else's", func(d string) error { return mapped("chown", "1:1", d) }, func(d string) error { return mapped("chown", "0:0", d) }},
	} {
		if c.name == "somebody else's" && !hasSubids() {
			continue
		}
		for _, dir := range []string{s.run, store, filepath.Join(store, "containers"), filepath.Join(store, "names")} {
			s.must(c.change(dir))
			for _, words := range []string{"ps", "rm -f it", "run -d --net none " + s.root + " true", "prune"} {
				got := s.bryo(strings.Fields(words)...)
				if got.code != 125 || !strings.Contains(got.err, dir) || !strings.Contains(got.err, "\nfix: ") {
					t.Errorf("%s, %s: %s: %+v", dir, c.name, words, got)
				}
			}
			s.must(c.back(dir))
			s.becomes("it", "dead")
		}
	}
	s.forget("it")
}

// replaced puts something else in the place of a directory; restored takes it
// away again.
func replaced(dir string, by func() error) error {
	if err := os.Rename(dir, dir+".real"); err != nil {
		return err
	}
	return by()
}

func restored(dir string) error {
	if err := os.Remove(dir); err != nil {
		return err
	}
	return os.Rename(dir+".real", dir)
}
