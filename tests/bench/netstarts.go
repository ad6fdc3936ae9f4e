package main

import (
	"path/filepath"
	"slices"
	"time"
)

// startsEach is how many starts are timed for each round of the network's tests.
const startsEach = 10

// netStarts times /bin/true in containers with and without a network, in turn.
func (n *network) netStarts() []section {
	if !n.plan.Net.wants("start") {
		return nil
	}
	s := section{Title: "start to exit of /bin/true, with a network and without", Unit: "ms"}
	bryo := func(net string) []string {
		return []string{n.plan.Tool, "run", "--userns", "single", "--net", net, n.site.root(), "/bin/true"}
	}
	busybox := filepath.Join(n.site.root(), "bin", "busybox")
	commands := [][]string{}
	for _, c := range []struct {
		row
		argv []string
	}{
		{row{Tool: bryoPath}, bryo("user")},
		{row{Tool: "bryo, --net none", Base: bryoPath, Target: 1.4}, bryo("none")},
		{
			row{Tool: "pasta, no container", Base: bryoPath},
			[]string{"pasta", "--config-net", "-4", "-q", "-f", "--", busybox, "true"},
		},
	} {
		var path string
		if path, c.Missing = lookup(c.argv[0]); c.Missing == "" {
			c.argv[0] = path
		}
		commands = append(commands, c.argv)
		s.Rows = append(s.Rows, c.row)
	}
	rounds := startsEach * n.plan.Net.Rounds
	n.say("network: start to exit: %d rounds", rounds)
	settle(2 * time.Second)
	faults := make([]fault, len(commands))
	for range rounds {
		for _, i := range n.shuffled(len(commands)) {
			if s.Rows[i].Missing != "" || n.ctx.Err() != nil || faults[i].times > few {
				continue
			}
			took, err := n.timed(slices.Clone(commands[i]))
			if !faults[i].count(err) {
				s.Rows[i].Samples = append(s.Rows[i].Samples, took.Seconds()*1e3)
			}
		}
	}
	for i, f := range faults {
		f.tell(&s.Rows[i], rounds)
	}
	return []section{s}
}
