package rootless

import (
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"bryo/idmap"
	"bryo/rootless/cgroup"
	"bryo/rootless/confine"
	"bryo/rootless/ns"
)

func unit(pl *Plan) string {
	if pl.Root.Cgroup {
		return pl.Cgroup.Unit + " shown"
	}
	return pl.Cgroup.Unit
}

// delegated is a host whose systemd delegates all controllers.
func delegated(f *Facts) {
	f.Kernel.CountsInside = true
	f.Cgroup = cgroup.Facts{
		Unified: true, Program: "/usr/bin/bryo-cgroup", Manager: cgroup.Manager{Socket: "/run/user/1000/bus", Controllers: cgroup.All()},
	}
}

func TestLimitsOnTheWholeContainer(t *testing.T) {
	asked := func(l cgroup.Limits, more ...func(*Spec, *Facts)) func(*Spec, *Facts) {
		return func(s *Spec, f *Facts) {
			s.Limits = l
			delegated(f)
			for _, change := range more {
				change(s, f)
			}
		}
	}
	nowhere := func(_ *Spec, f *Facts) { f.Cgroup = cgroup.Facts{} }
	single := func(s *Spec, _ *Facts) { s.IDs.Mode = idmap.Single }
	bestEffort := func(s *Spec, _ *Facts) { s.BestEffort = true }
	given := func(pl *Plan) string { return strings.Join(pl.GivenUp, "\n") }
	few := cgroup.Limits{PIDs: 20}
	decide(t, []decision{
		{"none", nothing, unit, ""},
		{"none, though they could be had", asked(cgroup.Limits{}), unit, ""},
		{"memory", asked(cgroup.Limits{Memory: 1 << 20}), unit, "bryo-0123456789ab.scope shown"},
		{"the host's cgroup namespace shows none", asked(few, host(ns.Cgroup)), unit, "bryo-0123456789ab.scope"},
		{"a joined network", asked(few, join(ns.Net)), unit, "bryo-0123456789ab.scope shown"},
		{"processes: each id may have what it could", asked(few), limits, "core=0:0 nofile=1024:524288 nproc=4096:4096"},
		{"more processes than an id has by default", asked(cgroup.Limits{PIDs: 5000}), limits, "core=0:0 nofile=1024:524288 nproc=5000:5000"},
		{"as many as the user may have", asked(cgroup.Limits{PIDs: 90000}), limits, "core=0:0 nofile=1024:524288 nproc=30000:30000"},
		{"one id is counted", asked(few, nowhere, single), limits, "core=0:0 nofile=1024:524288 nproc=20:20"},
		{"one id has no cgroup", asked(few, nowhere, single), unit, ""},
		{"given up", asked(few, nowhere, bestEffort), given, "limits: --pids-limit 20"},
		{"and is told", asked(few, nowhere, single), warnings, "no cgroup limits processes here (bryo doctor cgroup): --pids-limit counts those of the one user id that is mapped"},
	})
	for name, change := range map[string]func(*Spec, *Facts){
		"many ids":                         asked(few, nowhere),
		"memory, too":                      asked(cgroup.Limits{PIDs: 20, Memory: 1 << 20}, nowhere, single),
		"a kernel that counts all over":    asked(few, nowhere, single, func(_ *Spec, f *Facts) { f.Kernel.CountsInside = false }),
		"root of the host, who may exceed": asked(few, nowhere, single, func(_ *Spec, f *Facts) { f.Self.UID = 0 }),
		"somebody else's user namespace":   asked(few, nowhere, join(ns.Net)),
		"another limit for each id": asked(few, nowhere, single, func(s *Spec, _ *Facts) {
			s.Process.Limits = []confine.Limit{{Resource: unix.RLIMIT_NPROC, Soft: 50, Hard: 50}}
		}),
	} {
		spec, facts := good()
		change(spec, facts)
		if _, err := Compile(spec, facts); err == nil || !strings.Contains(err.Error(), "limits need cgroup v2") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// What is offered in a cgroup's place works, and nothing else is offered.
func TestRefusedLimitsOfferWhatWorks(t *testing.T) {
	for _, row := range []struct {
		name   string
		limits cgroup.Limits
		change func(*Spec, *Facts)
		single bool
	}{
		{"processes", cgroup.Limits{PIDs: 20}, nothing, true},
		{"processes and memory", cgroup.Limits{PIDs: 20, Memory: 1 << 20}, nothing, false},
		{"processors", cgroup.Limits{CPUs: "0"}, nothing, false},
		{"processes, single already", cgroup.Limits{PIDs: 20}, func(s *Spec, f *Facts) { s.IDs.Mode, f.Kernel.CountsInside = idmap.Single, false }, false},
	} {
		spec, facts := good()
		delegated(facts)
		spec.Limits, facts.Cgroup = row.limits, cgroup.Facts{}
		row.change(spec, facts)
		_, err := Compile(spec, facts)
		if err == nil {
			t.Errorf("%s: not refused", row.name)
			continue
		}
		_, fix, _ := strings.Cut(err.Error(), "\nfix: ")
		if !strings.HasSuffix(fix, "--best-effort, which goes without") || strings.Contains(fix, "--userns single") != row.single || strings.Contains(fix, "--ulimit") {
			t.Errorf("%s: %s", row.name, fix)
		}
		for _, instead := range []func(){func() { spec.BestEffort = true }, func() { spec.BestEffort, spec.IDs.Mode = false, idmap.Single }} {
			instead()
			if _, err := Compile(spec, facts); err != nil && (spec.BestEffort || row.single) {
				t.Errorf("%s: what is offered does not work: %v", row.name, err)
			}
		}
	}
}

func TestOneProcessIsInit(t *testing.T) {
	spec, facts := good()
	delegated(facts)
	spec.Limits.PIDs = 1
	if _, err := Compile(spec, facts); err == nil || !strings.Contains(err.Error(), "at least 2") {
		t.Errorf("init and a command are one process: %v", err)
	}
	spec.Process.AsPID1 = true
	if _, err := Compile(spec, facts); err != nil {
		t.Error(err)
	}
}

// A command never enters a limited container without its limits.
func TestExecEntersTheCgroup(t *testing.T) {
	spec, facts := good()
	delegated(facts)
	spec.Limits.Memory = 1 << 20
	pl, err := Compile(spec, facts)
	if err != nil {
		t.Fatal(err)
	}
	facts.Cgroup.Entered = "/user.slice/bryo-1.scope/bryo-1"
	exec := &ExecSpec{Args: []string{"/bin/true"}, InitFD: 9}
	to, err := CompileExec(spec, pl, exec, facts)
	if err != nil || to.Cgroup.Entered != facts.Cgroup.Entered || to.Cgroup.Lasts() {
		t.Errorf("%+v, %v", to, err)
	}
	facts.Cgroup.Entered = ""
	if _, err := CompileExec(spec, pl, exec, facts); err == nil {
		t.Error("it is not known where the container's cgroup is")
	}
}
