package cgroup

import (
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"
)

// Facts are what the host has for limits.
type Facts struct {
	Unified bool   // the cgroups of v2 are at Root, and no others
	Self    string // this process's cgroup, below Root
	Manager Manager
	Places  []Place
	Program string // bryo-cgroup by absolute path; "" if it is missing
	Entered string // bryo exec: the container's cgroup
}

// Manager is systemd's user manager.
type Manager struct {
	Socket      string   // where it speaks D-Bus; "" if it is not there
	Controllers []string // that it has to delegate
}

// Place is a cgroup below which the user can make some. Only one that has no
// processes can give controllers to those below it.
type Place struct {
	Path        string // below Root
	Controllers []string
	Move        bool // bryo has to leave it first
}

// Plan is how the limits are set. The zero value is no cgroup.
type Plan struct {
	Limits  Limits
	Socket  string // systemd's, which makes Unit with Program; "" for a Place
	Program string
	Unit    string
	Place   Place
	Name    string // the cgroup's
	Entered string `json:",omitempty"` // bryo exec: the cgroup that is there
}

// On says whether the container has a cgroup.
func (pl *Plan) On() bool { return pl.Name != "" || pl.Entered != "" }

// Lasts says that bryo has to remove the cgroup in the end: systemd does it by
// itself.
func (pl *Plan) Lasts() bool { return pl.Name != "" && pl.Socket == "" }

// A RefusedError is why limits cannot be set here.
type RefusedError struct {
	ID       string // of doctor's finding
	Why, Fix string
	Script   string // for the administrator; may be empty
}

func (r *RefusedError) Error() string { return r.Why + "\nfix: " + r.Fix }

// prefix begins the names of what bryo makes; own is where it goes itself.
const (
	prefix = "bryo-"
	own    = "bryo"
	scope  = ".scope"
)

// Decide finds where the cgroup of a container with this id can be made.
func Decide(limits *Limits, facts *Facts, id string) (Plan, error) {
	need := limits.Controllers()
	pl, refusal := facts.find(need)
	if refusal != nil {
		refusal.Why = limits.flags(need) + ": " + refusal.Why
		return Plan{}, refusal
	}
	pl.Limits, pl.Name = *limits, prefix+id
	if pl.Socket != "" {
		pl.Unit = pl.Name + scope
	}
	return pl, nil
}

// find is who makes a cgroup with these controllers. Where systemd is, it
// alone does.
func (facts *Facts) find(need []string) (Plan, *RefusedError) {
	m := &facts.Manager
	switch {
	case !facts.Unified:
	case m.Socket != "":
		if facts.Program != "" && len(lacking(need, m.Controllers)) == 0 {
			return Plan{Socket: m.Socket, Program: facts.Program}, nil
		}
	default:
		for _, p := range facts.Places {
			if len(lacking(need, p.Controllers)) == 0 {
				return Plan{Place: p}, nil
			}
		}
	}
	return Plan{}, facts.refusal(need)
}

// Lacks is why cgroups with these controllers cannot be had; nil if they can.
func (facts *Facts) Lacks(need ...string) *RefusedError {
	_, refusal := facts.find(need)
	return refusal
}

// Enter is the Plan of one more command in a container.
func (pl *Plan) Enter(facts *Facts) (Plan, error) {
	if facts.Entered == "" {
		return Plan{}, errors.New("the container's cgroup is not to be found, and a command outside of it would have no limits\nfix: bryo stop and bryo start the container")
	}
	in := Plan{Limits: pl.Limits, Socket: pl.Socket, Program: facts.Program, Unit: path.Base(path.Dir(facts.Entered)), Entered: facts.Entered}
	if in.Socket != "" && !isScope(in.Unit) {
		return Plan{}, fmt.Errorf("the container has moved itself to the cgroup %s\nfix: bryo stop and bryo start the container", facts.Entered)
	}
	return in, nil
}

func lacking(need, have []string) []string {
	return slices.DeleteFunc(slices.Clone(need), func(c string) bool { return slices.Contains(have, c) })
}

// Few lists the controllers that systemd delegates as it comes; All, every one
// that limits may need.
func Few() []string { return []string{cpu, memory, pids} }

// All is Few and those that the administrator has to add.
func All() []string { return []string{cpu, cpuset, io, memory, pids} }

// refusal is why controllers cannot be had, and what mends it.
func (facts *Facts) refusal(need []string) *RefusedError {
	m := &facts.Manager
	missing := lacking(need, m.Controllers)
	switch {
	case !facts.Unified:
		return &RefusedError{
			ID:  "no-cgroup2",
			Why: "limits need cgroup v2 at " + Root + ", and this host has the older version there, or none",
			Fix: "boot with systemd.unified_cgroup_hierarchy=1 (in a container: see that it has cgroup v2)",
		}
	case m.Socket == "" && len(facts.Places) > 0:
		missing = lacking(need, facts.Places[0].Controllers)
		return &RefusedError{
			ID:  "no-controller",
			Why: fmt.Sprintf("the cgroup %s, which is yours, has no controller %s", facts.Places[0].Path, strings.Join(missing, ", ")),
			Fix: "have whoever delegates it enable them in the cgroups above",
		}
	case m.Socket == "":
		return &RefusedError{
			ID:  "no-cgroup",
			Why: "no cgroup is delegated to you: systemd's user manager is not running, and the cgroup " + facts.Self + " is not yours",
			Fix: "sudo loginctl enable-linger $(id -un), or log in with ssh instead of su and sudo; as a service: Delegate=yes",
		}
	case facts.Program == "":
		return &RefusedError{
			ID:  "no-bryo-cgroup",
			Why: "the executable bryo-cgroup is missing, which asks systemd for a cgroup",
			Fix: "install it beside bryo, or in ../libexec/bryo",
		}
	case len(missing) > 0:
		const dir = "/etc/systemd/system/user@.service.d"
		return &RefusedError{
			ID:  "no-controller",
			Why: "systemd does not delegate the controller " + strings.Join(missing, ", ") + " to users here",
			Fix: "put \"[Service]\" and \"Delegate=cpu cpuset io memory pids\" into " + dir + "/delegate.conf (bryo doctor --fix-script cgroup), and log in again",
			Script: "mkdir -p " + dir + "\nprintf '[Service]\\nDelegate=cpu cpuset io memory pids\\n' >" + dir + "/delegate.conf\n" +
				"systemctl daemon-reload\necho 'users have it from their next login on'\n",
		}
	}
	return &RefusedError{ID: "no-cgroup", Why: "no limits can be set", Fix: "bryo doctor cgroup tells more"}
}

// Parse reads /proc/PID/cgroup, and returns the cgroup of v2: cgroups(7).
func Parse(text string) (cgroup string, ok bool) {
	for line := range strings.Lines(text) {
		if name, found := strings.CutPrefix(strings.TrimSuffix(line, "\n"), "0::"); found {
			return name, path.IsAbs(name) && path.Clean(name) == name
		}
	}
	return "", false
}

// managed says whether a cgroup belongs to systemd's user manager, which alone
// makes cgroups there. ours is true in a scope that it made for bryo.
func managed(cgroup string) bool { return strings.Contains(cgroup, "/user@") }

func ours(cgroup string) bool {
	return path.Base(cgroup) == own && isScope(path.Base(path.Dir(cgroup)))
}

func isScope(unit string) bool {
	return strings.HasPrefix(unit, prefix) && strings.HasSuffix(unit, scope)
}
