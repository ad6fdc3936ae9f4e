package rootless

import (
	"errors"
	"fmt"
	"slices"

	"golang.org/x/sys/unix"

	"bryo/rootless/cgroup"
	"bryo/rootless/confine"
	"bryo/rootless/ns"
)

// compileLimits decides how the limits on the whole container are set.
func compileLimits(spec *Spec, facts *Facts, pl *Plan) (err error) {
	if !spec.Limits.Any() {
		return nil
	}
	if spec.Limits.PIDs == 1 && !spec.Process.AsPID1 {
		return errors.New("--pids-limit 1: that one is init\nfix: at least 2, or --as-pid-1")
	}
	if pl.Cgroup, err = cgroup.Decide(&spec.Limits, &facts.Cgroup, facts.ID); err == nil {
		pl.Root.Cgroup = pl.Namespaces[ns.Cgroup].Mode == ns.Own
		return nil
	}
	if !countsAll(spec, facts, pl) {
		if !spec.BestEffort {
			return withoutCgroup(spec, facts, err)
		}
		pl.GivenUp = append(pl.GivenUp, "limits: "+spec.Limits.Asked())
		return nil
	}
	pl.Warnings = append(pl.Warnings, "no cgroup limits processes here (bryo doctor cgroup): --pids-limit counts those of the one user id that is mapped")
	return nil
}

// countsAll says whether RLIMIT_NPROC is as good as a cgroup: it counts the
// processes of one user id in one user namespace, and that id may be the only one.
func countsAll(spec *Spec, facts *Facts, pl *Plan) bool {
	return mapsOne(pl) && countsOne(spec, facts)
}

func mapsOne(pl *Plan) bool { return len(pl.IDs.Maps.UID) == 1 && pl.IDs.Maps.UID[0].Count == 1 }

// countsOne says whether it is if only one id is mapped.
func countsOne(spec *Spec, facts *Facts) bool {
	only := spec.Limits
	only.PIDs = 0
	return !only.Any() && !limitsProcesses(spec) && len(facts.Joined) == 0 && facts.Kernel.CountsInside && facts.Self.UID != 0
}

// withoutCgroup adds to a refusal what can be done where it stays.
func withoutCgroup(spec *Spec, facts *Facts, err error) error {
	if countsOne(spec, facts) {
		return fmt.Errorf("%w; or say --userns single, where one id is counted; or --best-effort, which goes without", err)
	}
	return fmt.Errorf("%w; or say --best-effort, which goes without", err)
}

// processLimits are what each process may use: what was asked for, and no fewer
// processes for each user id than the container has together.
func processLimits(spec *Spec, facts *Facts, pl *Plan) []confine.Limit {
	most := spec.Limits.PIDs
	if most == 0 || limitsProcesses(spec) || pl.Cgroup.On() && most <= confine.DefaultProcesses {
		return spec.Process.Limits
	}
	if hard, ok := facts.Limits[unix.RLIMIT_NPROC]; ok {
		most = min(most, hard)
	}
	return append(slices.Clone(spec.Process.Limits), confine.Limit{Resource: unix.RLIMIT_NPROC, Soft: most, Hard: most})
}

func limitsProcesses(spec *Spec) bool {
	return slices.ContainsFunc(spec.Process.Limits, func(l confine.Limit) bool { return l.Resource == unix.RLIMIT_NPROC })
}
