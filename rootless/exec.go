package rootless

import (
	"slices"

	"bryo/idmap"
	"bryo/rootless/ns"
)

// ExecSpec is one more command in a container that runs. What is not asked for
// is as the container's own command has it.
type ExecSpec struct {
	Args     []string
	Env      []string // besides the container's
	User     string
	Groups   []string
	Dir      string
	Terminal bool
	InitFD   int // a pidfd of a process in the container's namespaces
}

// CompileExec decides what bryo exec does, from what was decided for the
// container: spec and pl are the container's. Facts.Root is the container's
// root as it is now.
func CompileExec(spec *Spec, pl *Plan, exec *ExecSpec, facts *Facts) (*Plan, error) {
	inner := *spec
	p := &inner.Process
	p.Args, p.Entrypoint = exec.Args, nil
	p.Env = slices.Concat(p.Env, exec.Env)
	p.Terminal = exec.Terminal
	if exec.User != "" {
		p.User, p.Groups = exec.User, nil
	}
	p.Groups = slices.Concat(p.Groups, exec.Groups)
	if exec.Dir != "" {
		p.Dir = exec.Dir
	}
	to := &Plan{
		ID: pl.ID, Namespaces: pl.Namespaces, IDs: idmap.Choice{Maps: pl.IDs.Maps, Setgroups: pl.IDs.Setgroups},
		Self: pl.Self, Hostname: pl.Hostname, Terminal: facts.Window, Entered: exec.InitFD, BestEffort: pl.BestEffort,
		OOMScore: raised(facts.OOMScore),
	}
	to.Root.Host = pl.Root.Host
	if pl.Squash != nil {
		squash := *pl.Squash
		to.Squash = &squash
	}
	if pl.Cgroup.On() {
		var err error
		if to.Cgroup, err = pl.Cgroup.Enter(&facts.Cgroup); err != nil {
			return nil, err
		}
	}
	if err := compileProcess(&inner, facts, to); err != nil {
		return nil, err
	}
	to.Process.Init = false
	to.Process.Caps, to.Process.Seccomp, to.Process.Landlock = pl.Process.Caps, pl.Process.Seccomp, pl.Process.Landlock
	if to.Process.UID == 0 {
		to.Process.Ambient = 0
	} else {
		to.Process.Ambient &= pl.Process.Caps
	}
	return to, nil
}

// CompileMapped decides how a program of bryo's own runs under the ids of a
// container, in a user namespace beside it: it may do with files what the
// container's root may, and the container has no power over it.
func CompileMapped(pl *Plan, facts *Facts, argv, env []string) *Plan {
	mine := func(m idmap.Map, id uint32) bool { return len(m) == 1 && m[0].Count == 1 && m[0].Outside == id }
	maps := pl.IDs.Maps
	one := mine(maps.UID, facts.Self.UID) && mine(maps.GID, facts.Self.GID)
	return &Plan{
		Self: facts.Self, Helpers: facts.Helpers, IDs: idmap.Choice{Maps: maps, Helpers: !one, Setgroups: !one},
		Process: Process{Argv: argv, Paths: []string{"/proc/self/exe"}, Env: env, SetGroups: !one},
	}
}

// Inside are the kinds whose namespace is not the host's: those that a command
// has to enter.
func (pl *Plan) Inside() (flags uint64) {
	for _, k := range ns.All() {
		if pl.Namespaces[k].Mode != ns.Host {
			flags |= k.CloneFlag()
		}
	}
	return flags
}
