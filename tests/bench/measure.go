package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"
	"time"
)

// measure does what a plan asks for and writes reports, one as soon as each table
// is there.
func measure(ctx context.Context, p plan, errs io.Writer) error {
	s := site{p.Dir}
	if err := s.make(p.Busybox); err != nil {
		return fmt.Errorf("make the site: %w", err)
	}
	shm, hadShm := podmanFile(p.UID)
	b, err := newBench(ctx, s, errs)
	if err != nil {
		return err
	}
	if p.Root {
		b.weigh = asker(os.NewFile(questions, "questions"), os.NewFile(answers, "answers"))
	}
	file := os.NewFile(reportFD, "report")
	out := json.NewEncoder(file)
	err = b.containers(p, out)
	if err == nil && ctx.Err() == nil && p.wants("net") && p.Mounts == 0 {
		err = fakeHost(ctx, p, errs, file)
	}
	notes := conditions(p)
	if left := b.end(); left == 0 {
		notes = append(notes, "left behind: no process; the bench's directory and its mounts are gone, too")
	} else {
		notes = append(notes, fmt.Sprintf("left behind: %d processes that could not be ended", left))
	}
	if !hadShm {
		_ = os.Remove(shm)
	}
	if err := errors.Join(err, ctx.Err()); err != nil {
		return err
	}
	return out.Encode(report{Notes: notes})
}

// containers reports all that is compared with other tools for containers, which
// are asked for what they are unless only the network is wanted.
func (b *bench) containers(p plan, out *json.Encoder) error {
	if p.netAlone() {
		return nil
	}
	candidates := b.candidates(p)
	r := report{Versions: versions(b.ctx, b.site, candidates)}
	for _, c := range candidates {
		r.Given = append(r.Given, portion{c.name, c.missing, c.given})
	}
	err := out.Encode(r)
	for _, tables := range b.tables(p, candidates) {
		if err != nil || b.ctx.Err() != nil {
			break
		}
		done := tables()
		if b.ctx.Err() == nil { // an interrupted table says nothing
			err = out.Encode(report{Sections: done})
		}
	}
	return err
}

// podmanFile is what podman leaves in /dev/shm.
func podmanFile(uid uint32) (name string, exists bool) {
	name = fmt.Sprintf("/dev/shm/libpod_rootless_lock_%d", uid)
	_, err := os.Stat(name)
	return name, err == nil
}

// candidates checks all tools. Bubblewrap's mounts are made from those of bryo.
func (b *bench) candidates(p plan) []candidate {
	host := hostNamespaces()
	all := []candidate{}
	for _, t := range tools(b.site, p.Tool, userMaps(p.User, p.UID, p.GID)) {
		b.say("check %s", t.name)
		c := b.check(t, host)
		b.remember()
		all = append(all, c)
		if t.name == bryoAll {
			all = append(all, b.same(all[0], host))
		}
	}
	return all
}

// same checks bubblewrap with the mounts of the first candidate, bryo.
func (b *bench) same(bryo candidate, host map[string]string) candidate {
	if bryo.missing != "" {
		return candidate{tool: same(b.site, nil), missing: "there is no container of bryo to take the mounts from"}
	}
	options, without, err := likewise(bryo.given.Mounts, b.site.files(), isDir)
	if err != nil {
		return candidate{tool: same(b.site, nil), missing: err.Error()}
	}
	c := b.check(same(b.site, options), host)
	b.say("bwrap goes without %d mounts of bryo's, below /sys", without)
	return c
}

func isDir(name string) bool {
	info, err := os.Stat(name)
	return err == nil && info.IsDir()
}

// tables returns what the plan asks for, to be measured one after the other.
func (b *bench) tables(p plan, all []candidate) []func() []section {
	one := named(all, bryoOne, bwrapSame, bwrapBare, "unshare, one id")
	full := named(all, bryoAll, crunAll, runcAll, podmanAll, "unshare, all ids")
	both := slices.Concat(one, full)
	alone := slices.Concat(named(all, bryoOne, bryoBare), one[1:])
	list := []func() []section{}
	several := func(name string, tables func() []section) {
		if p.wants(name) && (name == "mounts") == (p.Mounts > 0) {
			list = append(list, tables)
		}
	}
	add := func(name string, table func() section) {
		several(name, func() []section { return []section{table()} })
	}
	starts := func(title string, candidates []candidate, g goal) func() section {
		return func() section { return b.starts(title, candidates, g, p.Rounds) }
	}
	add("mounts", starts(mountsTitle, both, mountsGoal))
	add("start", starts("start to exit of /bin/true, one id mapped", alone, startGoal))
	add("start", starts("start to exit of /bin/true, all ids mapped", full, startGoal))
	for _, size := range []int{1, 100} {
		add("memory", func() section { return b.memory(both, size) })
	}
	for _, size := range p.Sleepers {
		for _, ways := range []int{1, 2} {
			add("sleepers", func() section { return b.crowds(both, size, ways) })
		}
	}
	const slower = 4 // than a start
	add("unpack", func() section { return b.unpacks(p.Tool, max(p.Rounds/slower, 1)) })
	add("image", func() section { return b.imageStarts(p.Tool, p.Rounds) })
	for i, f := range filteredCalls() {
		add("filter", func() section { return b.filters(f, i, max(p.Rounds/slower, 1)) })
	}
	const running = 100
	lasting := b.lastings(p, all)
	add("detached", func() section { return b.detachedStarts(lasting, p.Rounds) })
	add("detached", func() section { return b.execs(lasting, p.Rounds) })
	add("detached", func() section { return b.detachedMemory(lasting, running) })
	several("detached", func() []section { return b.detachedCrowd(lasting[0]) })
	return list
}

// versions asks every executable once.
func versions(ctx context.Context, s site, all []candidate) []version {
	list := []version{}
	seen := map[string]bool{}
	for _, c := range all {
		if seen[c.is] {
			continue
		}
		seen[c.is] = true
		name, _, _ := strings.Cut(c.name, ",")
		path, missing := lookup(c.is)
		if missing != "" {
			list = append(list, version{name, missing})
			continue
		}
		list = append(list, version{name, says(ctx, s, path)})
	}
	return list
}

func says(ctx context.Context, s site, path string) string {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, path, "--version")
	cmd.Env = s.environment()
	text, err := cmd.Output()
	if line := firstLine(string(text)); err == nil && line != "" {
		return line
	}
	return "tells no version"
}

// conditions are what a reader of the tables has to know.
func conditions(p plan) []string {
	list := []string{}
	if !p.netAlone() {
		list = peersConditions()
	}
	switch {
	case p.Root:
		list = append(list, "measured as "+p.User+", in private mount and PID namespaces with a pure cgroup2 on /sys/fs/cgroup")
	default:
		list = append(list, "measured in the machine as it is: without root there is no private cgroup2, which some peers ask for")
	}
	return list
}

func peersConditions() []string {
	return []string{
		"ratios are bryo's figure through that of the row: one id against one id, all ids against all ids",
		"bwrap, bryo's mounts: the mounts are made from what a container of bryo has; bubblewrap cannot mount sysfs, so it goes " +
			"without /sys and what bryo covers there, and it has no time namespace: less work than bryo's",
		"bryo has its default seccomp filter, bubblewrap none; bryo, no filter: --seccomp off",
		"bwrap, bare: --unshare-all, the root file system, /proc and /dev, nothing else",
		"crun, runc: what their spec --rootless writes, with all ids, an own network namespace and a fresh sysfs; no cgroup is made; " +
			"their sleepers do without keyrings of their own, of which a user may have 200",
		"podman: its pause process, which all its containers share, is in no figure of memory",
		"unshare: namespaces, /proc and a chroot, no /dev, nothing masked: a floor rather than a container",
		"detached: conmon, crun is what podman has started for each container: conmon looks after it, crun makes and starts it",
		"sleepers and memory: every payload is a shell that prints a line and becomes sleep; the time is until the line came",
	}
}
