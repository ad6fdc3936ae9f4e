package main

import (
	"fmt"
	"os"
	"slices"
	"time"
)

// spawnRow is the row of the payload without any container.
const spawnRow = "no container"

// starts measures from fork to exit of /bin/true, all tools in turn in every
// round.
func (b *bench) starts(title string, candidates []candidate, g goal, rounds int) section {
	s := section{Title: title, Unit: "ms"}
	commands := [][]string{{b.site.root() + "/bin/busybox", "true"}}
	s.Rows = []row{{Tool: spawnRow}}
	for _, c := range candidates {
		argv, err := []string(nil), error(nil)
		if c.missing == "" {
			argv, err = b.command(c, truePayload())
		}
		if err != nil {
			c.missing = err.Error()
		}
		commands = append(commands, argv)
		s.Rows = append(s.Rows, row{Tool: c.name, Base: c.base(), Target: g.target(c.name), Missing: c.missing})
	}
	b.say("%s: %d rounds", title, rounds)
	settle(2 * time.Second)
	faults := make([]fault, len(commands))
	for range rounds {
		for _, i := range b.shuffled(len(commands)) {
			if s.Rows[i].Missing != "" || b.ctx.Err() != nil {
				continue
			}
			took, err := b.timed(commands[i])
			if faults[i].count(err) {
				continue
			}
			s.Rows[i].Samples = append(s.Rows[i].Samples, took.Seconds()*1e3)
		}
	}
	for i, f := range faults {
		f.tell(&s.Rows[i], rounds)
	}
	return s
}

// fault is what went wrong in some of the rounds.
type fault struct {
	times int
	last  error
}

// count takes an error, if it is one.
func (f *fault) count(err error) bool {
	if err != nil {
		f.times++
		f.last = err
	}
	return err != nil
}

func (f *fault) tell(r *row, rounds int) {
	switch {
	case f.times == 0:
	case len(r.Samples) == 0:
		r.Missing = f.last.Error()
	default:
		r.Note = fmt.Sprintf("%d of %d runs went wrong, at last: %v", f.times, rounds, f.last)
	}
}

// timed runs a command and returns how long it took as a whole. Then it waits
// for what the command left behind, so that the next one has the machine for
// itself.
func (b *bench) timed(argv []string) (time.Duration, error) {
	took, _, err := b.clocked(argv)
	b.sweep(2 * time.Second)
	return took, err
}

// clocked runs a command and returns how long it took, and its processor time.
func (b *bench) clocked(argv []string) (took, spent time.Duration, err error) {
	errs, err := b.errs()
	if err != nil {
		return 0, 0, err
	}
	b.starters[0].do(func() {
		var p *os.Process
		begin := time.Now()
		if p, err = b.start(argv, b.null, errs); err != nil {
			return
		}
		clock := time.AfterFunc(30*time.Second, func() { _ = p.Kill() })
		defer clock.Stop()
		spent, err = b.spent(p)
		took = time.Since(begin)
	})
	if words := printed(errs); err != nil {
		err = told(err, words)
	}
	return took, spent, err
}

// named returns the candidates of these names, in their order.
func named(all []candidate, names ...string) []candidate {
	found := []candidate{}
	for _, name := range names {
		if i := slices.IndexFunc(all, func(c candidate) bool { return c.name == name }); i >= 0 {
			found = append(found, all[i])
		}
	}
	return found
}
