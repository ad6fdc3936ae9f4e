package main

import (
	"fmt"
	"slices"
	"strconv"
)

// tool is one way to run a payload, and its command line.
type tool struct {
	name   string
	is     string // the executable, looked up in PATH
	allIDs bool   // maps a range of ids, not just the user's own
	argv   func(p payload, run int) ([]string, error)
}

// Names of tools that tables compare.
const (
	bryoOne   = "bryo, one id"
	bryoBare  = "bryo, no filter"
	bryoAll   = "bryo, all ids"
	bwrapSame = "bwrap, bryo's mounts"
	bwrapBare = "bwrap, bare"
	crunAll   = "crun"
	runcAll   = "runc"
	podmanAll = "podman"
)

// tools returns all but bubblewrap with bryo's mounts, which is made from what
// bryo does.
func tools(s site, bryo string, m maps) []tool {
	words := func(words ...string) func(payload, int) ([]string, error) {
		return func(p payload, _ int) ([]string, error) { return append(slices.Clip(words), p.argv...), nil }
	}
	return []tool{
		{bryoOne, bryo, false, words("run", "--userns", "single", "--net", "none", s.root())},
		{bryoBare, bryo, false, words("run", "--userns", "single", "--net", "none", "--seccomp", "off", s.root())},
		{bryoAll, bryo, true, words("run", "--userns", "auto", "--net", "none", s.root())},
		{bwrapBare, "bwrap", false, words("--unshare-all", "--uid", "0", "--gid", "0",
			"--bind", s.root(), "/", "--proc", "/proc", "--dev", "/dev")},
		{"unshare, one id", "unshare", false, words(unshare(s)...)},
		{"unshare, all ids", "unshare", true, words(append([]string{"--map-auto"}, unshare(s)...)...)},
		{crunAll, "crun", true, bundled(s, m, "crun", "--cgroup-manager=disabled")},
		{runcAll, "runc", true, bundled(s, m, "runc")},
		{podmanAll, "podman", true, words("run", "--rm", "--network", "none", "--cgroups=disabled", "--rootfs", s.root())},
	}
}

// unshare is the plain floor: all eight namespaces, proc, and a chroot.
func unshare(s site) []string {
	return []string{
		"--map-root-user", "--mount", "--pid", "--uts", "--ipc", "--net", "--cgroup", "--time",
		"--fork", "--kill-child", "--mount-proc", "--root", s.root(),
	}
}

// same is bubblewrap with what bryo does by default, options is from likewise.
func same(s site, options []string) tool {
	argv := []string{
		"--unshare-all", "--unshare-user", "--unshare-cgroup", "--uid", "0", "--gid", "0", "--hostname", "bench",
		"--die-with-parent", "--new-session", "--clearenv", "--setenv", "PATH", "/bin", "--chdir", "/",
		"--bind", s.root(), "/",
	}
	argv = append(argv, options...)
	return tool{bwrapSame, "bwrap", false, func(p payload, _ int) ([]string, error) {
		return append(slices.Clip(argv), p.argv...), nil
	}}
}

// bundled returns the command line of an OCI runtime: its own idea of a rootless
// container with another payload, a bundle for each.
func bundled(s site, m maps, runtime string, options ...string) func(payload, int) ([]string, error) {
	return func(p payload, run int) ([]string, error) {
		dir, err := bundle(s, m, runtime, p)
		if err != nil {
			return nil, fmt.Errorf("bundle for %s: %w", runtime, err)
		}
		argv := append([]string{"--root", s.state(runtime)}, options...)
		argv = append(argv, "run", "--bundle", dir)
		if p.name == sleepPayload().name { // a user may have 200 keyrings, keyrings(7)
			argv = append(argv, "--no-new-keyring")
		}
		return append(argv, "bench-"+strconv.Itoa(run)), nil
	}
}

// base names the row of bryo that a tool is compared with.
func (t tool) base() string {
	switch {
	case t.name == bryoOne || t.name == bryoAll:
		return ""
	case t.allIDs:
		return bryoAll
	}
	return bryoOne
}

// goal names a table with targets.
type goal int

const (
	noGoal goal = iota
	startGoal
	mountsGoal
	crowdGoal
	memoryGoal
	detachGoal
	execGoal
	detachedMemoryGoal
	detachedCrowdGoal
)

// target is what the ratio of bryo to a tool must not exceed; 0 for none.
func (g goal) target(tool string) float64 {
	return map[goal]map[string]float64{
		startGoal:  {bwrapSame: 0.9, crunAll: 0.6, runcAll: 0.15, podmanAll: 0.05},
		mountsGoal: {bwrapSame: 0.5},
		crowdGoal:  {bwrapSame: 0.8},
		memoryGoal: {bwrapSame: 0.1},

		detachGoal:         {podmanAll: 0.05},
		execGoal:           {crunAll: 0.5, podmanAll: 0.05},
		detachedMemoryGoal: {conmonCrun: 1},
		detachedCrowdGoal:  {firstOnes: 1.3, psVerb: 100},
	}[g][tool]
}
