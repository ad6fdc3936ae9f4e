package rootless

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"bryo/rootless/confine"
	"bryo/rootless/ns"
)

// Exposed is what of the host a command could reach besides files, through
// namespaces that are the host's. A network namespace has the abstract sockets of
// unix(7); signals go where processes are seen.
func (spec *Spec) Exposed() (s confine.Scope) {
	if spec.Namespaces[ns.Net].Mode == ns.Host {
		s |= confine.ScopeAbstract
	}
	if spec.Namespaces[ns.PID].Mode == ns.Host {
		s |= confine.ScopeSignal
	}
	return s
}

// compileLandlock decides what Landlock refuses: what was asked for, and unless
// told what is exposed. Landlock forbids mounts, so that containers inside go
// without.
func compileLandlock(spec *Spec, facts *Facts, pl *Plan) error {
	rules, exposed := spec.Process.Landlock, spec.Exposed()
	if spec.Process.Nest {
		if len(rules) > 0 {
			return errors.New("--landlock forbids mounts, which containers inside need\nfix: leave out --landlock or --nest")
		}
		pl.Warnings = append(pl.Warnings, exposure(exposed, "with --nest programs inside reach")...)
		return nil
	}
	landlock, missing, bare, err := confine.CompileLandlock(rules, exposed, facts.Kernel.Landlock)
	if err != nil {
		return err
	}
	if len(missing) > 0 && !spec.BestEffort {
		return fmt.Errorf("--landlock: %s\nfix: leave the rule out, or accept less with --best-effort", missing[0])
	}
	pl.GivenUp = append(pl.GivenUp, missing...)
	pl.Warnings = append(pl.Warnings, exposure(bare&exposed, "this kernel (before Linux 6.12) lets programs inside reach")...)
	if landlock.Net != 0 && facts.Seccomp.Instructions() == 0 {
		pl.Warnings = append(pl.Warnings, "without a seccomp filter programs inside pass by the rules for ports, as with Multipath TCP")
	}
	pl.Process.Landlock = landlock
	return nil
}

// exposure warns of what is not kept out of reach.
func exposure(of confine.Scope, why string) []string {
	var what []string
	for _, e := range []struct {
		scope confine.Scope
		text  string
	}{{confine.ScopeAbstract, "the host's abstract sockets"}, {confine.ScopeSignal, "your processes on the host by signals"}} {
		if of&e.scope != 0 {
			what = append(what, e.text)
		}
	}
	if len(what) == 0 {
		return nil
	}
	return []string{why + " " + strings.Join(slices.Clip(what), ", and ")}
}
