package state

import (
	"errors"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// sleeper is a process, until the test ends or end is called.
func sleeper(t *testing.T) (p Process, end func()) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "sleep", "1000")
	must(t, cmd.Start())
	p, err := ProcessOf(cmd.Process.Pid)
	must(t, err)
	return p, func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	}
}

func TestProcess(t *testing.T) {
	p, end := sleeper(t)
	later := Process{p.PID, p.Start + 1}
	for _, row := range []struct {
		what string
		p    Process
		open bool
	}{{"it", p, true}, {"a later one", later, false}, {"none", Process{}, false}, {"none, with a time", Process{0, 1}, false}} {
		if row.p.Lives() != row.open {
			t.Errorf("%s: lives: %v", row.what, !row.open)
		}
		fd, err := row.p.Open()
		if (err == nil) != row.open || err != nil && !errors.Is(err, ErrGone) {
			t.Errorf("%s: %v", row.what, err)
		}
		if err == nil {
			_ = unix.Close(fd)
		}
	}
	must(t, unix.Kill(p.PID, unix.SIGKILL))
	for deadline := time.Now().Add(10 * time.Second); p.Lives(); { // as a zombie it does not
		if time.Sleep(time.Millisecond); time.Now().After(deadline) {
			t.Fatal("it lives on")
		}
	}
	if _, err := p.Open(); !errors.Is(err, ErrGone) {
		t.Error(err)
	}
	end()
	if _, err := ProcessOf(p.PID); !errors.Is(err, ErrGone) {
		t.Error(err)
	}
}

// TestProcessNames has a process call itself what its state could look like.
func TestProcessNames(t *testing.T) {
	self, err := ProcessOf(os.Getpid())
	must(t, err)
	before, err := os.ReadFile("/proc/self/comm")
	must(t, err)
	t.Cleanup(func() { _ = os.WriteFile("/proc/self/comm", before, 0) })
	for _, name := range []string{") Z 1 2 3", "(", ")", ") R (", "a\nb) Z 0", " "} {
		must(t, os.WriteFile("/proc/self/comm", []byte(name), 0))
		if got, err := ProcessOf(os.Getpid()); err != nil || got != self {
			t.Errorf("%q: %v, want %v: %v", name, got, self, err)
		}
	}
}

func TestFirstChild(t *testing.T) {
	p, end := sleeper(t)
	defer end()
	if got, err := FirstChild(p.PID); err != nil || got != (Process{}) {
		t.Errorf("of one that has none: %v, %v", got, err)
	}
	if got, err := FirstChild(os.Getpid()); err == nil && got != (Process{}) && !got.Lives() {
		t.Errorf("%v", got)
	}
	if _, err := FirstChild(0); err == nil {
		t.Error("there is no process 0")
	}
}

// TestNow believes no record: who is to look after the container has to live, on
// this run of the machine.
func TestNow(t *testing.T) {
	self, err := ProcessOf(os.Getpid())
	must(t, err)
	gone := Process{self.PID, self.Start + 1}
	boot, err := BootID()
	must(t, err)
	if boot == "" || strings.ContainsAny(boot, " \n") {
		t.Errorf("%q", boot)
	}
	for _, row := range []struct {
		said       Status
		supervisor Process
		boot       string
		want       Status
	}{
		{Created, self, boot, Created},
		{Running, self, boot, Running},
		{Paused, self, boot, Paused},
		{Restarting, self, boot, Restarting},
		{Exited, self, boot, Exited},
		{Created, gone, boot, Dead},
		{Running, gone, boot, Dead},
		{Paused, gone, boot, Dead},
		{Restarting, gone, boot, Dead},
		{Exited, gone, boot, Exited},
		{Running, Process{}, boot, Dead},
		{Running, self, "another", Dead},
		{Exited, self, "another", Exited},
	} {
		s := opened(t)
		e := created(t, s, idA, "web")
		must(t, e.Save(&Record{ID: idA, Name: "web", Status: row.said, Supervisor: row.supervisor, Init: self, Entrance: self, Stoppers: []Process{self}, Boot: row.boot}))
		r, err := e.Now()
		must(t, err)
		if r.Status != row.want {
			t.Errorf("%+v: %s", row, r.Status)
		}
		ours := row.boot == boot
		if got := [...]bool{r.Supervisor.Lives(), r.Init.Lives(), r.Entrance.Lives(), r.Stopping()}; got != [...]bool{ours && row.supervisor == self, ours, ours, ours} {
			t.Errorf("%+v: %+v", row, r)
		}
		records, _, err := s.List()
		if err != nil || len(records) != 1 || records[0].Status != row.want {
			t.Errorf("%+v: listed as %+v, %v", row, records, err)
		}
	}
}

// TestStop has a stop count while one of those lives who stop.
func TestStop(t *testing.T) {
	self, err := ProcessOf(os.Getpid())
	must(t, err)
	other, end := sleeper(t)
	defer end()
	gone := Process{other.PID, other.Start + 1}
	r := &Record{}
	for _, row := range []struct {
		what          string
		before, after []Process
		stopping      bool
	}{
		{"nobody", nil, []Process{self}, false},
		{"one that is gone", []Process{gone}, []Process{self}, false},
		{"another", []Process{other}, []Process{other, self}, true},
		{"this one", []Process{self}, []Process{self}, true},
		{"all", []Process{gone, other, self}, []Process{other, self}, true},
	} {
		r.Stoppers = slices.Clone(row.before)
		if r.Stopping() != row.stopping {
			t.Errorf("%s: %v", row.what, !row.stopping)
		}
		if err := r.Stop(); err != nil || !r.Stopping() || !slices.Equal(r.Stoppers, row.after) {
			t.Errorf("%s: %v: %v", row.what, r.Stoppers, err)
		}
	}
	end()
	r.Stoppers = []Process{gone, other}
	if r.Stopping() {
		t.Error("those who stopped it are gone")
	}
}
