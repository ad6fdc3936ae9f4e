package main

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

// traffic measures all that moves, one short test on each path after the other
// in every round.
func (n *network) traffic() []section {
	paths := chosen(netPaths(n.plan), n.plan.Net.Paths)
	tests := slices.DeleteFunc(netTests(), func(t netTest) bool {
		return !n.plan.Net.wants(t.key) || !slices.ContainsFunc(paths, t.takes)
	})
	paths = slices.DeleteFunc(paths, func(p netPath) bool {
		return !slices.ContainsFunc(tests, func(t netTest) bool { return t.takes(p) })
	})
	if len(tests) == 0 {
		return nil
	}
	if err := n.open(paths); err != nil {
		return []section{{Title: "network", Unit: "-", Rows: []row{{Tool: "all", Missing: err.Error()}}}}
	}
	defer n.closeAll()
	tables := make([]*netTable, len(tests))
	for i, t := range tests {
		tables[i] = n.table(t)
	}
	for round := range n.plan.Net.Rounds {
		n.say("network: round %d of %d", round+1, n.plan.Net.Rounds)
		for _, t := range tables {
			for _, i := range n.shuffled(len(t.ways)) {
				if n.ctx.Err() == nil {
					n.sample(t, i)
				}
			}
		}
	}
	all := []section{}
	for _, t := range tables {
		all = append(all, t.sections(n.plan.Net.Rounds)...)
	}
	return all
}

// netTable collects the figures of a test.
type netTable struct {
	test   netTest
	ways   []*way
	rate   section
	cost   section // seconds of processors for each GB
	lost   [][]float64
	faults []fault
}

func (n *network) table(t netTest) *netTable {
	table := &netTable{
		test: t, rate: section{Title: t.title, Unit: t.unit, More: true},
		cost: section{Title: "processor time: " + t.title, Unit: "s/GB"},
	}
	for _, w := range n.ways {
		if !t.takes(w.netPath) {
			continue
		}
		base := t.base()
		if w.name == base {
			base = ""
		}
		most := 0.0
		if w.relay == pastaRelay {
			most = 1
		}
		table.ways = append(table.ways, w)
		table.rate.Rows = append(table.rate.Rows, row{Tool: w.name, Base: base, Target: t.least[w.name], Missing: w.missing})
		table.cost.Rows = append(table.cost.Rows, row{Tool: w.name, Base: base, Target: most, Missing: w.missing})
	}
	table.faults = make([]fault, len(table.ways))
	table.lost = make([][]float64, len(table.ways))
	return table
}

// sample makes one test on one path.
func (n *network) sample(t *netTable, i int) {
	w := t.ways[i]
	if w.missing != "" || w.station == nil {
		return
	}
	before := n.spent()
	a, err := n.client1(w).ask(order{
		Do: t.test.do, Address: t.test.address(w.netPath), Workers: t.test.workers, Millis: int(n.plan.Net.Time / time.Millisecond),
	})
	if t.faults[i].count(err) {
		return
	}
	r := &t.rate.Rows[i]
	r.Samples = append(r.Samples, a.Value/t.test.scale)
	t.lost[i] = append(t.lost[i], a.Lost)
	if a.Bytes > 0 {
		c := &t.cost.Rows[i]
		c.Samples = append(c.Samples, since(before, n.spent()).Seconds()/(a.Bytes/1e9))
	}
}

func (t *netTable) sections(rounds int) []section {
	for i, f := range t.faults {
		f.tell(&t.rate.Rows[i], rounds)
		f.tell(&t.cost.Rows[i], rounds)
		if t.test.do == "udp" && len(t.lost[i]) > 0 {
			t.rate.Rows[i].Note = fmt.Sprintf("%.0f %% lost", 100*summarize(t.lost[i]).median)
		}
	}
	if !t.test.moves() {
		return []section{t.rate}
	}
	return []section{t.rate, t.cost}
}

// spent is the time that each descendant has had from the processors, with its
// threads. All but one path are idle, so that the sum of what grew is that
// path's: client, server and relay.
func (n *network) spent() map[int]time.Duration {
	all := map[int]time.Duration{}
	for _, p := range below(os.Getpid(), table()) {
		if took, err := processorTime(p.pid); err == nil {
			all[p.pid] = took
		}
	}
	return all
}

func since(before, after map[int]time.Duration) time.Duration {
	sum := time.Duration(0)
	for pid, took := range after {
		sum += took - before[pid]
	}
	return sum
}

// processorTime reads user and system time, proc_pid_stat(5): ticks of 10 ms.
func processorTime(pid int) (time.Duration, error) {
	text, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "stat"))
	if err != nil {
		return 0, err
	}
	return parseTime(string(text))
}

func parseTime(text string) (time.Duration, error) {
	fields := strings.Fields(text[strings.LastIndexByte(text, ')')+1:])
	if len(fields) < 13 {
		return 0, fmt.Errorf("no line of PID/stat: %q", text)
	}
	user, err := strconv.Atoi(fields[11])
	if err != nil {
		return 0, err
	}
	system, err := strconv.Atoi(fields[12])
	return time.Duration(user+system) * 10 * time.Millisecond, err
}
