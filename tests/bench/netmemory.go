package main

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

const (
	loadConnections = 64
	loadTime        = 2 * time.Second
	rest            = 5 * time.Second // after the connections were closed
)

// netMemory weighs the processes that move the data: idle, while 64 connections
// move what they can, half of them each way, and a while after those are closed.
func (n *network) netMemory() []section {
	if !n.plan.Net.wants("memory") {
		return nil
	}
	paths := slices.DeleteFunc(chosen(netPaths(n.plan), n.plan.Net.Paths), func(p netPath) bool {
		return !slices.Contains([]string{bryoPath, splicePath, tapPath, slirpPath}, p.name)
	})
	// What idle is to be afterwards is twice what it may be before.
	states := []section{
		n.memoryTable("idle", paths, 2.5),
		n.memoryTable(fmt.Sprintf("most under the load of %d connections", loadConnections), paths, 20),
		n.memoryTable(fmt.Sprintf("%v after they were closed", rest), paths, 5),
	}
	rounds := max(1, n.plan.Net.Rounds/3)
	faults := make([]fault, len(paths))
	for round := range rounds {
		n.say("network: memory: round %d of %d", round+1, rounds)
		n.memoryRound(paths, states, faults)
	}
	for i, f := range faults {
		for j := range states {
			f.tell(&states[j].Rows[i], rounds)
		}
	}
	return states
}

func (n *network) memoryTable(state string, paths []netPath, limit float64) section {
	s := section{Title: "private memory of what moves the data, " + state, Unit: "MB"}
	for _, p := range paths {
		r := row{Tool: p.name, Base: bryoPath}
		if p.name == bryoPath {
			r.Base, r.Limit = "", limit
		}
		s.Rows = append(s.Rows, r)
	}
	return s
}

// memoryRound starts all anew, so that each begins idle, and loads one after the
// other.
func (n *network) memoryRound(paths []netPath, states []section, faults []fault) {
	defer n.closeAll()
	if err := n.open(paths); err != nil {
		for i := range faults {
			faults[i].count(err)
		}
		return
	}
	each := func(state int, weigh func(*way) (float64, error)) {
		for i, w := range n.ways {
			if w.missing != "" || n.ctx.Err() != nil {
				continue
			}
			mb, err := weigh(w)
			if !faults[i].count(err) {
				states[state].Rows[i].Samples = append(states[state].Rows[i].Samples, mb)
			}
		}
	}
	for i, w := range n.ways {
		if w.missing != "" {
			faults[i].count(errors.New(w.missing))
		}
	}
	weigh := func(w *way) (float64, error) { return private(w.relays) }
	each(0, weigh)
	each(1, loaded)
	select {
	case <-time.After(rest):
	case <-n.ctx.Done():
	}
	each(2, weigh)
}

// loaded returns the most that was seen under load.
func loaded(w *way) (float64, error) {
	most, stop, watch := 0.0, make(chan struct{}), sync.WaitGroup{}
	var last error
	watch.Go(func() {
		for {
			select {
			case <-stop:
				return
			case <-time.After(50 * time.Millisecond):
				mb, err := private(w.relays)
				most, last = max(most, mb), errors.Join(last, err)
			}
		}
	})
	_, err := w.station.ask(order{
		Do: "load", Address: w.address, Workers: loadConnections, Millis: int(loadTime / time.Millisecond),
	})
	close(stop)
	watch.Wait()
	return most, errors.Join(err, last)
}

// relays returns the descendants whose name begins so and that were not there
// before, whoever their parent is by now.
func relays(name string, before []process) []int {
	found := []int{}
	for _, p := range below(os.Getpid(), table()) {
		old := slices.ContainsFunc(before, func(b process) bool { return b.pid == p.pid })
		is, _ := os.ReadFile(fmt.Sprintf("/proc/%d/comm", p.pid))
		if !old && name != "" && strings.HasPrefix(string(is), name) {
			found = append(found, p.pid)
		}
	}
	return found
}

// private returns the megabytes that no other process has.
func private(pids []int) (float64, error) {
	if len(pids) == 0 {
		return 0, errors.New("no process found that moves the data")
	}
	sum := 0
	for _, pid := range pids {
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", pid))
		if err != nil {
			return 0, err
		}
		kib, err := parsePrivate(string(text))
		if err != nil {
			return 0, err
		}
		sum += kib
	}
	return float64(sum) / 1000, nil
}

// parsePrivate finds the dirty pages, proc_pid_smaps(5): clean ones are those of
// the executable, which the page cache has once for all containers.
func parsePrivate(text string) (int, error) {
	for line := range strings.Lines(text) {
		name, rest, _ := strings.Cut(line, ":")
		if name != "Private_Dirty" {
			continue
		}
		kib, err := strconv.Atoi(strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(rest), "kB")))
		if err != nil {
			return 0, err
		}
		return kib, nil
	}
	return 0, errors.New("no line Private_Dirty")
}
