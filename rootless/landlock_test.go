package rootless

import (
	"strings"
	"testing"

	"bryo/rootless/confine"
	"bryo/rootless/ns"
)

func TestLandlock(t *testing.T) {
	with := func(abi int, texts ...string) func(*Spec, *Facts) {
		return func(s *Spec, f *Facts) {
			f.Kernel.Landlock = abi
			for _, text := range texts {
				r, err := confine.ParseLandlock(text)
				if err != nil {
					t.Fatal(err)
				}
				s.Process.Landlock = append(s.Process.Landlock, r)
			}
		}
	}
	outside := func(kinds ...ns.Kind) func(*Spec, *Facts) {
		return func(s *Spec, f *Facts) {
			f.Kernel.Landlock = 6
			for _, k := range kinds {
				s.Namespaces[k].Mode = ns.Host
			}
		}
	}
	for _, row := range []struct {
		name   string
		change []func(*Spec, *Facts)
		want   string // the rules, or the error
		warned string
		given  string
	}{
		{"nothing is exposed", nil, "none", "", ""},
		{"the host's network", []func(*Spec, *Facts){outside(ns.Net)}, "no abstract sockets outside", "", ""},
		{"the host's processes", []func(*Spec, *Facts){outside(ns.PID)}, "no signals outside", "", ""},
		{"both", []func(*Spec, *Facts){outside(ns.PID, ns.Net)}, "no abstract sockets and signals outside", "", ""},
		{"both, on purpose", []func(*Spec, *Facts){outside(ns.PID, ns.Net), with(6, "unscoped")}, "none", "", ""},
		{"the host's network, an old kernel", []func(*Spec, *Facts){outside(ns.Net), with(5)}, "none", "the host's abstract sockets", ""},
		{"the host's network, containers inside", []func(*Spec, *Facts){outside(ns.Net), nest}, "none", "with --nest", ""},
		{"rules", []func(*Spec, *Facts){with(7, "rx:/usr", "rw:/tmp")}, "rx:/usr, rw:/tmp", "", ""},
		{"rules, containers inside", []func(*Spec, *Facts){with(7, "rx:/usr"), nest}, "error: --landlock forbids mounts", "", ""},
		{"rules, no Landlock", []func(*Spec, *Facts){with(0, "rx:/usr")}, "error: --landlock: this kernel has no Landlock", "", ""},
		{"rules, no Landlock, best effort", []func(*Spec, *Facts){with(0, "rx:/usr"), less}, "none", "", "no Landlock for paths"},
		{"ports, no filter", []func(*Spec, *Facts){with(7, "connect:443")}, "connect:443", "pass by the rules for ports", ""},
		{"ports, a filter", []func(*Spec, *Facts){with(7, "connect:443"), filtered}, "connect:443", "", ""},
		{"scope, an old kernel", []func(*Spec, *Facts){with(5, "scope")}, "error: --landlock: this kernel has no Landlock scopes", "", ""},
		{"scope, an old kernel, best effort", []func(*Spec, *Facts){with(5, "scope"), less}, "none", "", "no Landlock scopes"},
	} {
		spec, facts := good()
		for _, change := range row.change {
			change(spec, facts)
		}
		plan, err := Compile(spec, facts)
		if err != nil {
			if got := "error: " + err.Error(); !strings.HasPrefix(got, row.want) {
				t.Errorf("%s: %s", row.name, got)
			}
			continue
		}
		if got := plan.Process.Landlock.String(); got != row.want {
			t.Errorf("%s: %s, want %s", row.name, got, row.want)
		}
		for _, text := range []struct{ got, want string }{{warnings(plan), row.warned}, {strings.Join(plan.GivenUp, "\n"), row.given}} {
			if !strings.Contains(text.got, text.want) || (text.got == "") != (text.want == "") {
				t.Errorf("%s: %q, want %q", row.name, text.got, text.want)
			}
		}
	}
}

func nest(s *Spec, _ *Facts)     { s.Process.Nest = true }
func less(s *Spec, _ *Facts)     { s.BestEffort = true }
func filtered(_ *Spec, f *Facts) { f.Seccomp.Filter = make([]byte, 8) }
