package rootless

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"bryo/idmap"
	"bryo/rootless/confine"
	"bryo/rootless/ns"
)

// SquashChoice says whether one id shall look like many.
type SquashChoice string

// Choices. The first is on with a root that was unpacked under the one id that
// is mapped.
const (
	SquashAuto SquashChoice = ""
	SquashOn   SquashChoice = "on"
	SquashOff  SquashChoice = "off"
)

// Squash is how one id looks like many: see package squash.
type Squash struct {
	Filter   confine.Seccomp
	Killable bool // signals do not break off what is being answered
	Nest     bool // there may be user namespaces inside, and other roots in them

	// Who the command is at first.
	UID, GID uint32
	Groups   []uint32
}

func compileSquash(spec *Spec, facts *Facts, pl *Plan) error {
	if spec.Squash == SquashOff || spec.Squash == SquashAuto && !squashes(spec, facts, pl) {
		return nil
	}
	if err := checkSquash(spec, facts, pl); err != nil {
		return err
	}
	filter, err := confine.SquashFilter()
	if err != nil {
		return fmt.Errorf("--squash: %w", err)
	}
	pl.Squash = &Squash{Filter: filter, Killable: facts.Kernel.Killable, Nest: spec.Process.Nest}
	return nil
}

// squashes says whether the root was unpacked under the one id that is mapped.
func squashes(spec *Spec, facts *Facts, pl *Plan) bool {
	noted, err := idmap.ParseMaps(facts.Root.IDMap)
	return err == nil && noted.RootAlone() && pl.IDs.Maps.RootAlone() && checkSquash(spec, facts, pl) == nil
}

// checkSquash refuses what would let the command at the process that answers, or
// has no need of one.
func checkSquash(spec *Spec, facts *Facts, pl *Plan) error {
	set := spec.Namespaces
	switch {
	case len(facts.Joined) > 0:
		return errors.New("--squash: another container's namespaces have its owners and users\nfix: leave --squash out, or join nothing")
	case !pl.IDs.Maps.RootAlone():
		return errors.New("--squash makes one id look like many, and more than root's is mapped\nfix: leave it out, or say --userns single")
	case set[ns.PID].Mode != ns.Own || set[ns.Mount].Mode != ns.Own:
		return errors.New("--squash needs a PID and a mount namespace of its own: what answers is out of reach behind them\nfix: leave out --squash, or --pid and --mount-ns")
	}
	for _, l := range spec.Process.Limits {
		if l.Resource == unix.RLIMIT_LOCKS {
			return errors.New("--squash: users are kept in the limit locks, which Linux itself has no use for\nfix: leave out --ulimit locks")
		}
	}
	return nil
}

// take has the command look like an account, and be root.
func (s *Squash) take(a Account) Account {
	s.UID, s.GID, s.Groups = a.UID, a.GID, a.Groups
	a.UID, a.GID, a.Groups = 0, 0, nil
	return a
}
