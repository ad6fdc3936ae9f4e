package cgroup

import (
	"errors"
	"strings"
	"testing"
)

func TestParse(t *testing.T) {
	for _, c := range []struct {
		parse func(string) (uint64, error)
		text  string
		want  uint64 // 0 for none
	}{
		{ParseCPUs, "1.5", 150_000},
		{ParseCPUs, "0.01", 1000},
		{ParseCPUs, "2", 200_000},
		{ParseCPUs, "0.009", 0},
		{ParseCPUs, "0", 0},
		{ParseCPUs, "-1", 0},
		{ParseCPUs, "nan", 0},
		{ParseCPUs, "inf", 0},
		{ParseCPUs, "1e300", 0},
		{ParseCPUs, "", 0},
		{ParsePIDs, "200", 200},
		{ParsePIDs, "0", 0},
		{ParsePIDs, "-2", 0},
		{ParsePIDs, "99999999", 0},
		{ParseIOWeight, "1", 1},
		{ParseIOWeight, "10000", 10_000},
		{ParseIOWeight, "10001", 0},
		{ParseIOWeight, "+5", 0},
	} {
		if n, err := c.parse(c.text); n != c.want || (err == nil) != (c.want != 0) {
			t.Errorf("%q: %d, %v", c.text, n, err)
		}
	}
	for _, text := range []string{"-1", "unlimited"} {
		if n, err := ParsePIDs(text); n != 0 || err != nil {
			t.Errorf("%q: %d, %v", text, n, err)
		}
	}
}

func TestParseCPUSet(t *testing.T) {
	for text, want := range map[string]string{
		"0": "0", "3,1,2,7": "1-3,7", "0-3,2-5": "0-5", "8191": "8191", "1,1": "1",
		"": "", "3-1": "", "8192": "", "-1": "", "1-": "", "1,": "", "a": "", "0-99999": "", "1 2": "",
	} {
		if got, err := ParseCPUSet(text); got != want || (err == nil) != (want != "") {
			t.Errorf("%q: %q, %v; want %q", text, got, err, want)
		}
	}
}

// What is put in order stays what it is.
func FuzzParseCPUSet(f *testing.F) {
	f.Add("0-3,7")
	f.Add("1,,2")
	f.Fuzz(func(t *testing.T, text string) {
		once, err := ParseCPUSet(text)
		if err != nil {
			return
		}
		if twice, err := ParseCPUSet(once); err != nil || twice != once {
			t.Errorf("%q: %q, then %q, %v", text, once, twice, err)
		}
	})
}

func TestSettings(t *testing.T) {
	for _, c := range []struct {
		name   string
		limits Limits
		want   string
	}{
		{"none", Limits{}, ""},
		{"memory, and as much swap", Limits{Memory: 64 << 20}, "memory.max=67108864, memory.swap.max=67108864"},
		{"no swap", Limits{Memory: 4096, Swap: 4096}, "memory.max=4096, memory.swap.max=0"},
		{"any swap", Limits{Memory: 4096, Swap: Unlimited}, "memory.max=4096"},
		{"all", Limits{Memory: 4096, Swap: 8192, CPU: 50_000, PIDs: 9, CPUs: "0-1", IOWeight: 20}, "memory.max=4096, memory.swap.max=4096, cpu.max=50000 100000, pids.max=9, cpuset.cpus=0-1, io.weight=20"},
	} {
		if got := c.limits.String(); got != c.want {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
	}
	weight := (&Limits{IOWeight: 9000}).Settings()[0]
	if weight.Value != "default 9000" || weight.Else.File != "io.bfq.weight" || weight.Else.Value != "1000" {
		t.Errorf("weight: %+v, else %+v", weight, weight.Else)
	}
}

func TestCheck(t *testing.T) {
	for _, c := range []struct {
		limits Limits
		says   string
	}{
		{Limits{Memory: 1 << 20, Swap: 1 << 20}, ""},
		{Limits{Memory: 1 << 20, Swap: Unlimited}, ""},
		{Limits{Swap: 2}, "give --memory, too"},
		{Limits{Memory: 1 << 20, Swap: 1}, "less than --memory"},
		{Limits{Memory: 1<<20 - 1}, "at least 1m"},
	} {
		if err := c.limits.Check(); (err == nil) != (c.says == "") || err != nil && !strings.Contains(err.Error(), c.says) {
			t.Errorf("%+v: %v, want %q", c.limits, err, c.says)
		}
	}
}

// systemd is a host with a user's manager that delegates everything.
func systemd() *Facts {
	return &Facts{
		Unified: true, Program: "/usr/bin/bryo-cgroup", Self: "/user.slice/user-1000.slice/session-2.scope",
		Manager: Manager{"/run/user/1000/bus", All()},
	}
}

func TestAsked(t *testing.T) {
	for _, c := range []struct {
		limits Limits
		want   string
	}{
		{Limits{}, ""},
		{Limits{Memory: 64 << 20}, "--memory 64m"},
		{Limits{Memory: 1<<20 + 1}, "--memory 1048577"},
		{Limits{Memory: 1 << 40, Swap: Unlimited}, "--memory 1t --memory-swap -1"},
		{Limits{Memory: 3 << 10, Swap: 5 << 30}, "--memory 3k --memory-swap 5g"},
		{Limits{CPU: 100_000}, "--cpus 1"},
		{Limits{CPU: 150_000, PIDs: 9, CPUs: "0-1", IOWeight: 20}, "--cpus 1.5 --pids-limit 9 --cpuset 0-1 --io-weight 20"},
		{Limits{CPU: 1_000}, "--cpus 0.01"},
	} {
		if got := c.limits.Asked(); got != c.want {
			t.Errorf("%q, want %q", got, c.want)
		}
	}
}

func TestDecide(t *testing.T) {
	yours := Place{"/ci", []string{cpu, memory, pids}, false}
	alone := Place{"/ci/job", []string{cpu, io, memory, pids}, true}
	for _, c := range []struct {
		name   string
		change func(*Limits, *Facts)
		want   string // of the plan, or of the refusal
	}{
		{"systemd", func(*Limits, *Facts) {}, "bryo-0123.scope"},
		{"systemd, as it comes", func(_ *Limits, f *Facts) { f.Manager.Controllers = Few() }, "bryo-0123.scope"},
		{"systemd delegates less", func(l *Limits, f *Facts) { f.Manager.Controllers, l.IOWeight, l.CPUs = Few(), 5, "0" }, "--cpuset, --io-weight, --memory: systemd does not delegate the controller cpuset, io"},
		{"no helper", func(_ *Limits, f *Facts) { f.Program = "" }, "bryo-cgroup is missing"},
		{"v1", func(_ *Limits, f *Facts) { f.Unified = false }, "--memory: limits need cgroup v2"},
		{"nobody delegates", func(_ *Limits, f *Facts) { f.Manager = Manager{} }, "no cgroup is delegated to you"},
		{"systemd alone makes cgroups where it is", func(l *Limits, f *Facts) { f.Manager.Controllers, f.Places, l.IOWeight = Few(), []Place{alone}, 5 }, "does not delegate"},
		{"a place", func(_ *Limits, f *Facts) { f.Manager, f.Places = Manager{}, []Place{yours, alone} }, "/ci"},
		{"the place that has it", func(l *Limits, f *Facts) { f.Manager, f.Places, l.IOWeight = Manager{}, []Place{yours, alone}, 5 }, "/ci/job"},
		{"no place has it", func(l *Limits, f *Facts) { f.Manager, f.Places, l.CPUs = Manager{}, []Place{yours, alone}, "0" }, "/ci, which is yours, has no controller cpuset"},
	} {
		limits, facts := &Limits{Memory: 4096}, systemd()
		c.change(limits, facts)
		pl, err := Decide(limits, facts, "0123")
		got := pl.Unit + pl.Place.Path
		if refusal, is := errors.AsType[*RefusedError](err); is {
			got = refusal.Why
			if refusal.Fix == "" || refusal.ID == "" || strings.Count(err.Error(), "\n") != 1 {
				t.Errorf("%s: %q", c.name, err)
			}
		}
		if !strings.Contains(got, c.want) || err != nil && pl.On() {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
		if err == nil && (!pl.On() || pl.Lasts() != (pl.Socket == "")) {
			t.Errorf("%s: %+v", c.name, pl)
		}
	}
}

func TestEnter(t *testing.T) {
	pl, err := Decide(&Limits{PIDs: 3}, systemd(), "0123")
	if err != nil {
		t.Fatal(err)
	}
	facts := &Facts{Program: "/usr/bin/bryo-cgroup", Entered: "/user.slice/app.slice/bryo-4567.scope/bryo-4567"}
	if in, err := pl.Enter(facts); err != nil || in.Unit != "bryo-4567.scope" || !in.On() || in.Lasts() {
		t.Errorf("%+v, %v", in, err)
	}
	if _, err := pl.Enter(&Facts{}); err == nil {
		t.Error("a command without limits in a container that has some")
	}
}

func TestOwnCgroup(t *testing.T) {
	for text, want := range map[string]string{
		"0::/\n":                           "/",
		"0::/user.slice/session-2.scope\n": "/user.slice/session-2.scope",
		"9:cpu:/x\n1:name=systemd:/y\n0::/user.slice/z\n": "/user.slice/z",
		"9:cpu:/x\n":                 "",
		"0::/../other\n":             "",
		"0::relative\n":              "",
		"":                           "",
		"0::/user.slice (deleted)\n": "/user.slice (deleted)",
	} {
		if got, ok := Parse(text); ok != (want != "") || ok && got != want {
			t.Errorf("%q: %q, %t; want %q", text, got, ok, want)
		}
	}
	for cgroup, want := range map[string][2]bool{
		"/user.slice/user-1.slice/user@1.service/app.slice/bryo-12.scope/bryo": {true, true},
		"/user.slice/user-1.slice/user@1.service/app.slice/bryo-12.scope":      {true, false},
		"/user.slice/user-1.slice/session-2.scope":                             {false, false},
		"/ci/bryo": {false, false},
	} {
		if got := [2]bool{managed(cgroup), ours(cgroup)}; got != want {
			t.Errorf("%s: %v, want %v", cgroup, got, want)
		}
	}
}
