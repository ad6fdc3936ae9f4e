package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"time"
)

// candidate is a tool that takes part, or the reason why it does not.
type candidate struct {
	tool
	path    string
	given   given
	missing string
}

// bench starts tools and ends them.
type bench struct {
	ctx      context.Context //nolint:containedctx // one bench is one run: interrupts reach every loop
	site     site
	env      []string
	null     *os.File
	starters [2]*starter
	weigh    func([]int) (sizes, error)
	progress io.Writer
	order    *rand.Rand

	mu      sync.Mutex
	runs    int
	waited  map[int]bool // pids that a Wait belongs to
	standby map[int]bool // what tools leave running between their runs, such as podman's pause process
}

func newBench(ctx context.Context, s site, progress io.Writer) (*bench, error) {
	if err := adopt(); err != nil {
		return nil, err
	}
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	return &bench{
		ctx: ctx, site: s, env: s.environment(), null: null, progress: progress, weigh: weigh,
		starters: [2]*starter{newStarter(), newStarter()},
		order:    rand.New(rand.NewPCG(1, 2)), //nolint:gosec // a fixed order of rounds, no secret
		waited:   map[int]bool{}, standby: map[int]bool{},
	}, nil
}

// end kills what is left and returns how many processes resisted.
func (b *bench) end() int {
	b.standby = map[int]bool{}
	left := b.sweep(5 * time.Second)
	for _, s := range b.starters {
		s.stop()
	}
	_ = b.null.Close()
	return left
}

func (b *bench) say(format string, args ...any) {
	fmt.Fprintf(b.progress, "bench: "+format+"\n", args...)
}

// run counts containers, so that each has its own name.
func (b *bench) run() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.runs++
	return b.runs
}

// command returns the whole command line of a tool for a payload.
func (b *bench) command(c candidate, p payload) ([]string, error) {
	argv, err := c.argv(p, b.run())
	return append([]string{c.path}, argv...), err
}

// start starts a process and remembers that it is waited for.
func (b *bench) start(argv []string, out, errs *os.File) (*os.Process, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	p, err := start(argv, b.env, b.site.dir, [3]*os.File{b.null, out, errs})
	if err == nil {
		b.waited[p.Pid] = true
	}
	return p, err
}

// wait waits for a process that start returned.
func (b *bench) wait(p *os.Process) error {
	_, err := b.spent(p)
	return err
}

// spent waits for a process that start returned, and tells the processor time
// that it took.
func (b *bench) spent(p *os.Process) (spent time.Duration, err error) {
	state, err := p.Wait()
	b.mu.Lock()
	delete(b.waited, p.Pid)
	b.mu.Unlock()
	if err != nil {
		return 0, err
	}
	if !state.Success() {
		err = errors.New(state.String())
	}
	return state.UserTime() + state.SystemTime(), err
}

// alive returns the descendants that tools have no reason to leave.
func (b *bench) alive() []process {
	b.mu.Lock()
	defer b.mu.Unlock()
	alive := []process{}
	for _, p := range descendants(func(pid int) bool { return b.waited[pid] }) {
		if !b.standby[p.pid] {
			alive = append(alive, p)
		}
	}
	return alive
}

// sweep waits until all descendants are gone. From half of the time on it kills
// them. It returns how many are there at the end.
func (b *bench) sweep(limit time.Duration) int {
	left := 0
	middle := time.Now().Add(limit / 2)
	await(limit, func() bool {
		alive := b.alive()
		left = len(alive)
		if time.Now().After(middle) {
			kill(alive)
		}
		return left == 0
	})
	return left
}

// errs returns a new file for what a tool prints as errors.
func (b *bench) errs() (*os.File, error) { return os.CreateTemp(b.site.dir, "errors-") }

// printed returns what is in a file of errs, and removes it.
func printed(f *os.File) string {
	text, _ := os.ReadFile(f.Name())
	_ = f.Close()
	_ = os.Remove(f.Name())
	return string(text)
}

// output runs a tool for its output, with a limit of time.
func (b *bench) output(argv []string, limit time.Duration) ([]byte, error) {
	errs, err := b.errs()
	if err != nil {
		return nil, err
	}
	out, err := os.CreateTemp(b.site.dir, "output-")
	if err != nil {
		return nil, err
	}
	b.starters[0].do(func() {
		var p *os.Process
		if p, err = b.start(argv, out, errs); err != nil {
			return
		}
		clock := time.AfterFunc(limit, func() { _ = p.Kill() })
		defer clock.Stop()
		err = b.wait(p)
	})
	text := []byte(printed(out))
	if words := printed(errs); err != nil {
		err = told(err, words)
	}
	return text, err
}

// check finds out whether a tool works here, and what it gives to a container.
func (b *bench) check(t tool, host map[string]string) candidate {
	c := candidate{tool: t}
	c.path, c.missing = lookup(t.is)
	if c.missing != "" {
		return c
	}
	for _, p := range []payload{truePayload(), probePayload()} {
		argv, err := b.command(c, p)
		if err != nil {
			c.missing = err.Error()
			return c
		}
		text, err := b.output(argv, time.Minute)
		if err == nil && p.name == "probe" {
			c.given, err = parseGiven(text, host)
		}
		if err != nil {
			c.missing = err.Error()
			return c
		}
	}
	c.missing = c.given.fault(t.allIDs)
	return c
}

// lookup finds an executable in the search path.
func lookup(name string) (file, missing string) {
	if strings.Contains(name, "/") {
		if _, err := os.Stat(name); err != nil {
			return "", err.Error()
		}
		return name, ""
	}
	for _, dir := range filepath.SplitList(searchPath()) {
		if file, err := exec.LookPath(filepath.Join(dir, name)); err == nil {
			return file, ""
		}
	}
	return "", "not installed"
}

// remember takes what runs now for what tools keep running.
func (b *bench) remember() {
	await(2*time.Second, func() bool { return len(b.alive()) == 0 })
	for _, p := range b.alive() {
		b.standby[p.pid] = true
	}
}

// shuffled returns the indices below n in an order that differs from round to
// round, so that no tool always pays for what the one before it left to do.
func (b *bench) shuffled(n int) []int { return b.order.Perm(n) }
