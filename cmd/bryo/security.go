package main

import (
	"fmt"
	"io"
	"strconv"
	"strings"
	"text/tabwriter"

	"bryo/fsroot"
	"bryo/rootless"
	"bryo/rootless/confine"
	"bryo/rootless/procfs"
	"bryo/rootless/state"
)

// secured is what inspect --security prints of a container.
type secured struct {
	ID, Name string
	*procfs.Security
}

// security reads what holds for a container that runs.
func security(name string) (*secured, error) {
	_, record, plan, err := decidedContainer(name)
	if err != nil {
		return nil, err
	}
	command := record.Init
	if plan.Process.Init {
		if command, err = state.FirstChild(record.Init.PID); err != nil {
			return nil, err
		}
	}
	held, err := procfs.Inspect(procfs.Processes{Init: record.Init.PID, Command: command.PID, Supervisor: record.Supervisor.PID}, plan)
	// What was read is the container's if its processes are there to the end: their
	// numbers are not another's before.
	for _, p := range []state.Process{record.Init, command, record.Supervisor} {
		if !p.Lives() {
			return nil, errNotRunning(record)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("inspect %s: %w", record.Name, err)
	}
	return &secured{ID: record.ID, Name: record.Name, Security: held}, nil
}

// rows prints names and what they stand for.
type rows func(name, format string, args ...any)

// printRows aligns what each writes.
func printRows(w io.Writer, each func(rows)) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	each(func(name, format string, args ...any) {
		fmt.Fprintf(t, "%s\t%s\n", name, visible(fmt.Sprintf(format, args...)))
	})
	return t.Flush()
}

// print prints it as a person reads it, by explain's names.
func (s *secured) print(row rows) {
	row("container", "%s %s", s.Name, s.ID)
	for _, w := range s.Weaker {
		row("weaker", "%s", w)
	}
	for _, g := range s.Planned.GivenUp {
		row("given up", "%s", g)
	}
	for _, n := range s.Namespaces {
		whose := "own, " + n.Inode
		if n.Host {
			whose = "host"
		}
		row(n.Kind+" namespace", "%s", whose)
	}
	row("user ids", "%s", extents(s.UIDs.Lines()))
	row("group ids", "%s", extents(s.GIDs.Lines()))
	row("setgroups", "%s", s.SetGroups)
	printProcess(row, "command", &s.Command)
	row("system calls", "planned: %s", s.Planned.Seccomp)
	row("landlock", "planned: %s", s.Planned.Landlock)
	row("masked", "%s", strings.Join(s.Masked, " "))
	for _, m := range s.Mounts {
		if !m.Covered {
			row("mount", "%s %s %s", m.Point, m.Type, m.Options)
		}
	}
	if s.Init != nil {
		printProcess(row, "init", s.Init)
	}
}

func printProcess(row rows, name string, p *procfs.Process) {
	row(name, "%s, process %d", p.Name, p.PID)
	row("  user", "%s", numbers(p.UIDs))
	row("  group", "%s", numbers(p.GIDs))
	row("  groups", "%s%s", numbers(p.Groups), outside(p.Outside))
	if p.Nested {
		row("  user namespace", "one inside, which its capabilities are of")
	}
	for _, c := range []struct {
		name string
		caps confine.Caps
	}{
		{"capabilities", p.Capabilities.Effective},
		{"  permitted", p.Capabilities.Permitted},
		{"  bounding", p.Capabilities.Bounding},
		{"  inheritable", p.Capabilities.Inheritable},
		{"  ambient", p.Capabilities.Ambient},
	} {
		row("  "+c.name, "%s", orNone(strings.Join(c.caps.Names(), " ")))
	}
	row("  no_new_privs", "%s", yes(p.NoNewPrivs))
	row("  seccomp", "%s, %d filters", p.Seccomp, p.Filters)
	row("  dumpable", "%s", p.Dumpable)
	row("  umask", "%s", p.Umask)
	row("  oom score", "%d", p.OOMScoreAdj)
	var limits []string
	for _, l := range p.Limits {
		limits = append(limits, l.Name+"="+l.Soft+":"+l.Hard)
	}
	row("  limits", "%s", strings.Join(limits, " "))
	if p.Hidden {
		row("  descriptors", "the kernel does not show them")
	} else {
		row("  descriptors", "%s", orNone(strings.Join(p.Descriptors, ", ")))
	}
}

func numbers(ids []uint32) string {
	list := make([]string, len(ids))
	for i, id := range ids {
		list[i] = strconv.FormatUint(uint64(id), 10)
	}
	return strings.Join(list, " ")
}

// outside names groups of the host that could not be given up.
func outside(groups []uint32) string {
	if len(groups) == 0 {
		return ""
	}
	return " and the host's " + numbers(groups)
}

func yes(is bool) string {
	if is {
		return "yes"
	}
	return "no"
}

func orNone(text string) string {
	if text == "" {
		return "none"
	}
	return text
}

// printSecurity prints what will hold, by the same names.
func printSecurity(row rows, plan *rootless.Plan) {
	p := &plan.Process
	row("capabilities", "%s", orNone(strings.Join(p.Caps.Names(), " ")))
	row("  ambient", "%s", orNone(strings.Join(p.Ambient.Names(), " ")))
	row("no_new_privs", "%s", yes(!p.NewPrivs))
	row("system calls", "%s", p.Seccomp)
	row("landlock", "%s", &p.Landlock)
	var limits []string
	for _, l := range p.Limits {
		limits = append(limits, l.String())
	}
	row("limits", "%s", strings.Join(limits, " "))
	row("umask", "%04o", p.Umask)
	row("masked", "%s", strings.Join(plan.Root.Masked(), " "))
	row("read-only", "%s", strings.Join(fsroot.ReadOnlyPaths(), " "))
	row("confinement", "own session and keyring, clean environment, no inherited descriptors")
	if p.Init {
		filter := ""
		if p.Seccomp.Instructions() > 0 {
			filter = ", a filter of its own"
		}
		row("init", "bryo's own, PID 1: no descriptors, CAP_KILL, no_new_privs%s, not dumpable; the command is PID 2", filter)
	}
}
