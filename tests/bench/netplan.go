package main

import (
	"errors"
	"flag"
	"fmt"
	"slices"
	"strings"
	"time"
)

// netPlan is what is to be measured of the network.
type netPlan struct {
	Rounds int
	Time   time.Duration // of each test
	Only   []string      // tests; none means all
	Paths  []string      // words of paths; none means all
}

// netFlags adds the flags of the network; read is called after they are parsed.
func netFlags(flags *flag.FlagSet) (read func() (netPlan, error)) {
	p := netPlan{}
	flags.IntVar(&p.Rounds, "net-rounds", 3, "how often each test of the network is made")
	flags.DurationVar(&p.Time, "net-time", time.Second, "how long each test of the network takes")
	only := flags.String("net-only", "", "which `tests` of the network: "+strings.Join(netNames(), ","))
	paths := flags.String("net-paths", "", "only the ways to the network whose names contain one of these `words`")
	return func() (netPlan, error) {
		p.Only, p.Paths = listed(*only), listed(*paths)
		if p.Rounds < 1 || p.Time < 10*time.Millisecond || p.Time > 20*time.Second {
			return p, errors.New("-net-rounds needs a positive number, -net-time is from 10ms to 20s")
		}
		for _, name := range p.Only {
			if !slices.Contains(netNames(), name) {
				return p, fmt.Errorf("-net-only %s: not one of %s", name, strings.Join(netNames(), ", "))
			}
		}
		return p, nil
	}
}

// listed splits at commas; nothing is no word.
func listed(words string) []string {
	return strings.FieldsFunc(words, func(r rune) bool { return r == ',' })
}

// wants tells whether a test is to be made.
func (p netPlan) wants(name string) bool { return len(p.Only) == 0 || slices.Contains(p.Only, name) }

// netNames are what -net-only may name.
func netNames() []string {
	names := []string{}
	for _, t := range netTests() {
		names = append(names, t.key)
	}
	return append(names, "start", "memory")
}

// netAlone holds if no tool but those of the network is asked for.
func (p plan) netAlone() bool {
	return !slices.ContainsFunc(p.Only, func(s string) bool { return s != "net" })
}
