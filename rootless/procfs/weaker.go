package procfs

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"bryo/fsroot"
	"bryo/rootless"
	"bryo/rootless/confine"
	"bryo/rootless/ns"
)

// weaker lists where less holds than the plan says. filters is how many seccomp
// filters the container's surroundings have.
func (s *Security) weaker(plan *rootless.Plan, filters int) []string {
	list := slices.Concat(s.weakerOutside(plan), s.Command.weaker("command", plan, filters), s.weakerMounts(plan))
	if s.Init == nil {
		return list
	}
	init := *s.Init
	if !init.NoNewPrivs {
		list = append(list, "init: no no_new_privs")
	}
	if more := init.Capabilities.Permitted &^ (1 << unix.CAP_KILL); more != 0 {
		list = append(list, "init: capabilities "+strings.Join(more.Names(), " "))
	}
	if plan.Process.Seccomp.Instructions() > 0 && (init.Seccomp != "filter" || init.Filters <= filters) {
		list = append(list, "init: no seccomp filter of its own")
	}
	if len(init.Descriptors) > 0 {
		list = append(list, "init: open descriptors: "+strings.Join(init.Descriptors, ", "))
	}
	return list
}

func (s *Security) weakerOutside(plan *rootless.Plan) (list []string) {
	for _, m := range []struct{ kind, got, want string }{
		{"user", s.UIDs.Lines(), plan.IDs.Maps.UID.Lines()}, {"group", s.GIDs.Lines(), plan.IDs.Maps.GID.Lines()},
	} {
		if m.got != m.want && len(plan.Joined) == 0 {
			list = append(list, fmt.Sprintf("%s ids: %q, planned %q", m.kind, m.got, m.want))
		}
	}
	for i, k := range ns.All() {
		if s.Namespaces[i].Host && plan.Namespaces[k].Mode != ns.Host {
			list = append(list, k.File()+" namespace: the host's")
		}
	}
	for _, path := range s.Bare {
		list = append(list, path+": not masked")
	}
	return list
}

func (p *Process) weaker(name string, plan *rootless.Plan, filters int) (list []string) {
	add := func(format string, args ...any) { list = append(list, name+": "+fmt.Sprintf(format, args...)) }
	c := &plan.Process
	for _, set := range []struct {
		name      string
		got, most confine.Caps
	}{
		{"effective", p.Capabilities.Effective, c.Caps},
		{"permitted", p.Capabilities.Permitted, c.Caps},
		{"bounding", p.Capabilities.Bounding, c.Caps},
		{"inheritable", p.Capabilities.Inheritable, c.Ambient},
		{"ambient", p.Capabilities.Ambient, c.Ambient},
	} {
		if more := set.got &^ set.most; more != 0 && !p.Nested {
			add("%s capabilities beyond the planned: %s", set.name, strings.Join(more.Names(), " "))
		}
	}
	if !p.NoNewPrivs && !c.NewPrivs {
		add("no no_new_privs")
	}
	if planned := c.Seccomp.Instructions() > 0; planned && (p.Seccomp != "filter" || p.Filters <= filters) {
		add("no seccomp filter of its own")
	}
	for _, l := range c.Limits {
		i := slices.IndexFunc(p.Limits, func(got Limit) bool { return got.Name == confine.ResourceName(l.Resource) })
		if i >= 0 && above(p.Limits[i].Hard, l.Hard) {
			add("limit %s is %s", p.Limits[i].Name, p.Limits[i].Hard)
		}
	}
	return list
}

func above(got string, most uint64) bool {
	n, err := strconv.ParseUint(got, 10, 64)
	if err != nil {
		n = confine.Unlimited
	}
	return n > most
}

func (s *Security) weakerMounts(plan *rootless.Plan) (list []string) {
	want := map[string]string{"/": "nodev", "/proc": "nosuid,nodev,noexec", "/sys": "ro,nosuid,nodev,noexec", "/dev": "ro,nosuid,noexec"}
	if !plan.Root.SetUID {
		want["/"] += ",nosuid"
	}
	if plan.Root.ReadOnly {
		want["/"] += ",ro"
	}
	for _, path := range fsroot.ReadOnlyPaths() {
		want[path] = "ro"
	}
	for _, m := range s.Mounts {
		if m.Covered {
			continue
		}
		for option := range strings.SplitSeq(want[m.Point], ",") {
			if option != "" && !m.has(option) {
				list = append(list, fmt.Sprintf("mount %s: not %s", m.Point, option))
			}
		}
	}
	slices.Sort(list)
	return list
}
