package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"time"
)

// lasting is how a tool runs a container that nobody waits for: the commands for
// one of a name, one after the other.
type lasting struct {
	tool    string
	missing string
	run     func(name string) ([][]string, error)
	ready   func(name string) string   // a file that is there when the first one has done it, if it comes back before
	exec    func(name string) []string // of /bin/true
	remove  func(name string) []string
}

// Names of tools that tables of detached containers compare.
const (
	conmonCrun = "conmon, crun"
	firstOnes  = "the first 100"
	allOnes    = "all 1000"
	psVerb     = "ps"
)

// lastings are bryo and its peers.
func (b *bench) lastings(p plan, all []candidate) []lasting {
	m := userMaps(p.User, p.UID, p.GID)
	payload := sleepPayload().argv
	list := []lasting{}
	for _, c := range named(all, bryoAll, crunAll, podmanAll) {
		l := lasting{tool: c.name, missing: c.missing}
		plain := func(words ...string) func(string) ([][]string, error) {
			return func(name string) ([][]string, error) {
				argv := append([]string{c.path, "run", "-d", "--name", name}, words...)
				return [][]string{append(argv, payload...)}, nil
			}
		}
		crun := b.crun(c.path, "crun")
		switch c.name {
		case bryoAll:
			l.run = plain("--userns", "auto", "--net", "none", b.site.root())
			l.exec = func(name string) []string { return []string{c.path, "exec", name, "/bin/true"} }
			l.remove = func(name string) []string { return []string{c.path, "rm", "-f", name} }
		case podmanAll:
			l.run = plain("--network", "none", "--cgroups=disabled", "--rootfs", b.site.root())
			l.exec = func(name string) []string { return []string{c.path, "exec", name, "/bin/true"} }
			l.remove = func(name string) []string { return []string{c.path, "rm", "-f", "-t", "0", name} }
		case crunAll:
			l.run = func(name string) ([][]string, error) {
				dir, err := bundle(b.site, m, "crun", sleepPayload())
				return [][]string{sentence(crun, "run", "--detach", "--no-new-keyring", "--bundle", dir, name)}, err
			}
			l.exec = func(name string) []string { return sentence(crun, "exec", name, "/bin/true") }
			l.remove = func(name string) []string { return sentence(crun, "delete", "-f", name) }
			list = append(list, b.conmon(c, m))
		}
		list = append(list, l)
	}
	return list
}

// crun is how every command line of crun begins; the tools do not see each
// other's containers.
func (b *bench) crun(path, state string) []string {
	return []string{path, "--root", b.site.state(state), "--cgroup-manager=disabled"}
}

func sentence(first []string, more ...string) []string {
	return append(append([]string{}, first...), more...)
}

// conmon is how podman has crun's containers looked after.
func (b *bench) conmon(c candidate, m maps) lasting {
	crun := b.crun(c.path, "conmon")
	l := lasting{tool: conmonCrun, missing: c.missing}
	path, missing := lookup("conmon")
	if missing != "" {
		l.missing = missing
	}
	l.ready = func(name string) string { return filepath.Join(b.site.dir, "conmon", name, "pid") }
	l.run = func(name string) ([][]string, error) {
		dir, err := bundle(b.site, m, "crun", sleepPayload())
		state := filepath.Join(b.site.dir, "conmon", name)
		err = errors.Join(err, os.MkdirAll(filepath.Join(state, "exits"), 0o755))
		return [][]string{
			{
				path, "--api-version", "1", "-c", name, "-u", name, "-n", name, "-r", c.path, "-b", dir, "--no-new-keyring",
				"-p", filepath.Join(state, "pid"), "--exit-dir", filepath.Join(state, "exits"), "--persist-dir", state, "--full-attach",
				"-l", "k8s-file:" + filepath.Join(state, "log"), "--log-level", "error",
				"--runtime-arg", "--root", "--runtime-arg", b.site.state("conmon"), "--runtime-arg", "--cgroup-manager=disabled",
			},
			sentence(crun, "start", name),
		}, err
	}
	l.remove = func(name string) []string { return sentence(crun, "delete", "-f", name) }
	return l
}

// begin starts a container and returns how long it took until the last command
// came back.
func (b *bench) begin(l lasting, name string) (time.Duration, error) {
	commands, err := l.run(name)
	total := time.Duration(0)
	for i, argv := range commands {
		if err != nil {
			break
		}
		var took time.Duration
		took, _, err = b.clocked(argv)
		total += took
		if i == 0 && l.ready != nil {
			await(birthLimit, func() bool { _, err := os.Stat(l.ready(name)); return err == nil })
		}
	}
	return total, err
}

// detachedStarts measures how long it takes until a container runs that nobody
// waits for, and the command is back.
func (b *bench) detachedStarts(list []lasting, rounds int) section {
	s := section{Title: "run -d of a sleeper, until it is back", Unit: "ms"}
	alone := slices.DeleteFunc(slices.Clone(list), func(l lasting) bool { return l.tool == conmonCrun })
	b.inTurn(&s, detachGoal, alone, rounds, func(l lasting, round int) (time.Duration, error) {
		name := "start-" + strconv.Itoa(round)
		took, err := b.begin(l, name)
		_, _, removed := b.clocked(l.remove(name))
		return took, errors.Join(err, removed)
	})
	return s
}

// execs measures one more command in a container that runs.
func (b *bench) execs(list []lasting, rounds int) section {
	s := section{Title: "exec of /bin/true in a container that runs", Unit: "ms"}
	const name = "entered"
	entered := []lasting{}
	for _, l := range list {
		if l.exec == nil {
			continue
		}
		if l.missing == "" {
			if _, err := b.begin(l, name); err != nil {
				l.missing = err.Error()
			}
			defer func() { _, _, _ = b.clocked(l.remove(name)) }()
		}
		entered = append(entered, l)
	}
	time.Sleep(2 * time.Second) // bryo's supervisor sleeps then, as it mostly does
	b.inTurn(&s, execGoal, entered, rounds, func(l lasting, _ int) (time.Duration, error) {
		took, _, err := b.clocked(l.exec(name))
		return took, err
	})
	return s
}

// inTurn fills a table by rounds of all tools.
func (b *bench) inTurn(s *section, g goal, list []lasting, rounds int, do func(l lasting, round int) (time.Duration, error)) {
	for _, l := range list {
		r := row{Tool: l.tool, Base: bryoAll, Target: g.target(l.tool), Missing: l.missing}
		if l.tool == bryoAll {
			r.Base = ""
		}
		s.Rows = append(s.Rows, r)
	}
	b.say("%s: %d rounds", s.Title, rounds)
	faults := make([]fault, len(list))
	for round := range rounds {
		for _, i := range b.shuffled(len(list)) {
			if s.Rows[i].Missing != "" || b.ctx.Err() != nil {
				continue
			}
			took, err := do(list[i], round)
			if !faults[i].count(err) {
				s.Rows[i].Samples = append(s.Rows[i].Samples, ms(took))
			}
		}
	}
	for i, f := range faults {
		f.tell(&s.Rows[i], rounds)
	}
}

// detachedMemory measures what looks after containers, for each.
func (b *bench) detachedMemory(list []lasting, size int) section {
	s := section{Title: fmt.Sprintf("memory (PSS) of what looks after detached containers, %d running, for each", size), Unit: "KiB"}
	for _, l := range list {
		if l.tool != bryoAll && l.tool != conmonCrun {
			continue
		}
		r := row{Tool: l.tool, Target: detachedMemoryGoal.target(l.tool), Missing: l.missing}
		if l.tool != bryoAll {
			r.Base = bryoAll
		}
		if r.Missing == "" && b.ctx.Err() == nil {
			b.say("memory of %s, %d", l.tool, size)
			if err := b.weighDetached(&r, l, size); err != nil {
				r.Missing = err.Error()
			}
		}
		s.Rows = append(s.Rows, r)
	}
	return s
}

func (b *bench) weighDetached(r *row, l lasting, size int) error {
	defer b.sweep(crowdLimit / 2)
	for i := range size {
		if _, err := b.begin(l, "heavy-"+strconv.Itoa(i)); err != nil {
			return err
		}
		defer func() { _, _, _ = b.clocked(l.remove("heavy-" + strconv.Itoa(i))) }()
	}
	time.Sleep(3 * time.Second) // until supervisors sleep
	pids := []int{}
	for _, p := range b.alive() {
		if !isPayload(cmdline(p.pid)) {
			pids = append(pids, p.pid)
		}
	}
	total, err := b.weigh(pids)
	if err == nil && total.Unreadable > 0 {
		err = fmt.Errorf("%d of %d processes tell their memory to root only", total.Unreadable, len(pids))
	}
	if err != nil {
		return err
	}
	r.Samples = []float64{float64(total.KiB) / float64(size)}
	r.Each = (len(pids) + size/2) / size
	return nil
}

// detachedCrowd starts many containers of bryo's and returns two tables: what each
// costs when there are many, and what listing all costs.
func (b *bench) detachedCrowd(l lasting) []section {
	const few, many = 100, 1000
	starts := section{Title: "detached sleepers, one after the other, for each", Unit: "ms", Rows: []row{
		{Tool: allOnes, Missing: l.missing}, {Tool: firstOnes, Base: allOnes, Target: detachedCrowdGoal.target(firstOnes), Missing: l.missing},
	}}
	lists := section{Title: "ps of 1000 containers that run, user and system time", Unit: "ms", Rows: []row{
		{Tool: bryoAll, Limit: detachedCrowdGoal.target(psVerb), Missing: l.missing},
	}}
	if l.missing != "" {
		return []section{starts, lists}
	}
	b.say("%s: %d", starts.Title, many)
	settle(2 * time.Second)
	fault := error(nil)
	begin := time.Now()
	for i := range many {
		if i == few {
			starts.Rows[1].Samples = []float64{ms(time.Since(begin)) / few}
		}
		if _, fault = b.begin(l, "crowd-"+strconv.Itoa(i)); fault != nil || b.ctx.Err() != nil {
			break
		}
	}
	starts.Rows[0].Samples = []float64{ms(time.Since(begin)) / many}
	path := l.remove("")[0]
	const times = 20
	for range times {
		if fault != nil || b.ctx.Err() != nil {
			break
		}
		var spent time.Duration
		if _, spent, fault = b.clocked([]string{path, psVerb}); fault == nil {
			lists.Rows[0].Samples = append(lists.Rows[0].Samples, ms(spent))
		}
	}
	all := []string{path, "rm", "-f"}
	for i := range many {
		all = append(all, "crowd-"+strconv.Itoa(i))
	}
	_, _, removed := b.clocked(all)
	b.sweep(crowdLimit / 2)
	if fault = errors.Join(fault, removed); fault != nil {
		starts.Rows[0].Missing, lists.Rows[0].Missing = fault.Error(), fault.Error()
	}
	return []section{starts, lists}
}
