package main

import (
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// Bounds of a crowd: how long one may take to come up, how long one container
// may, and the memory that must be left.
const (
	crowdLimit = 60 * time.Second
	birthLimit = 20 * time.Second
	spare      = 2 << 30
)

// crowd is a number of containers that a tool started and that sleep.
type crowd struct {
	bench *bench
	c     candidate
	size  int

	mu      sync.Mutex
	started []*os.Process
	begin   time.Time
	fault   error // the first one
}

// gather starts size containers, ways at a time, and returns when the payloads
// of all run, with the time that this took. Whatever comes out, the crowd must
// be dispersed.
func (b *bench) gather(c candidate, size, ways int) (*crowd, time.Duration, error) {
	g := &crowd{bench: b, c: c, size: size}
	if _, err := b.command(c, sleepPayload()); err != nil { // which makes what is to be made once
		return g, 0, err
	}
	errs, err := b.errs()
	if err != nil {
		return g, 0, err
	}
	todo := make(chan struct{}, size)
	for range size {
		todo <- struct{}{}
	}
	close(todo)
	g.begin = time.Now()
	workers := sync.WaitGroup{}
	for _, s := range b.starters[:ways] {
		workers.Go(func() { s.do(func() { g.work(todo, errs) }) })
	}
	workers.Wait()
	took := time.Since(g.begin)
	if words := printed(errs); g.fault != nil {
		return g, took, told(g.fault, words)
	}
	return g, took, nil
}

// work starts one container after the other. All write into one pipe, an empty
// line when they run.
func (g *crowd) work(todo <-chan struct{}, errs *os.File) {
	r, w, err := os.Pipe()
	if err != nil {
		g.stop(err)
		return
	}
	defer r.Close()
	defer w.Close()
	for range todo {
		if !g.goOn() {
			return
		}
		if err := g.one(r, w, errs); err != nil {
			g.stop(err)
			return
		}
	}
}

func (g *crowd) one(r, w, errs *os.File) error {
	argv, err := g.bench.command(g.c, sleepPayload())
	if err != nil {
		return err
	}
	p, err := g.bench.start(argv, w, errs)
	if err != nil {
		return err
	}
	g.mu.Lock()
	g.started = append(g.started, p)
	g.mu.Unlock()
	return birth(r, p.Pid)
}

// birth waits for the line of a payload, as long as the tool runs.
func birth(r *os.File, pid int) error {
	pidfd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return fmt.Errorf("watch the tool: %w", err)
	}
	defer unix.Close(pidfd)
	events := []unix.PollFd{{Fd: int32(r.Fd()), Events: unix.POLLIN}, {Fd: int32(pidfd), Events: unix.POLLIN}}
	for end := time.Now().Add(birthLimit); ; {
		ready, err := unix.Poll(events, max(0, int(time.Until(end).Milliseconds())))
		switch {
		case errors.Is(err, unix.EINTR):
		case err != nil:
			return fmt.Errorf("wait for the payload: %w", err)
		case ready == 0:
			return fmt.Errorf("its payload does not run after %v", birthLimit)
		case events[0].Revents != 0:
			_, err := r.Read(make([]byte, 1))
			return err
		default:
			return errors.New("it ended before its payload ran")
		}
	}
}

func (g *crowd) stop(err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.fault == nil {
		g.fault = err
	}
}

// goOn holds until something went wrong or would take too much.
func (g *crowd) goOn() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	count := len(g.started)
	took := time.Since(g.begin)
	switch {
	case g.fault != nil:
	case g.bench.ctx.Err() != nil:
		g.fault = g.bench.ctx.Err()
	case count >= 10 && took/time.Duration(count)*time.Duration(g.size) > crowdLimit:
		g.fault = fmt.Errorf("%.1f ms each, %d would take more than %v", ms(took)/float64(count), g.size, crowdLimit)
	case count%20 == 0 && available() < spare:
		g.fault = fmt.Errorf("after %d, less than %d MiB of memory are left", count, spare>>20)
	}
	return g.fault == nil
}

func ms(d time.Duration) float64 { return d.Seconds() * 1e3 }

// disperse ends the payloads, waits for the tools to end by that, and kills
// those that do not. It returns how many these were.
func (g *crowd) disperse() (stubborn int) {
	b := g.bench
	for _, p := range b.alive() {
		if isPayload(cmdline(p.pid)) {
			kill([]process{p})
		}
	}
	limit := 10*time.Second + time.Duration(len(g.started))*20*time.Millisecond
	clock := time.AfterFunc(limit, func() { kill(b.alive()) })
	defer clock.Stop()
	for _, p := range g.started {
		// One that was killed with its payload has no other exit status.
		_ = b.wait(p)
	}
	if !await(limit, func() bool { return len(b.alive()) == 0 }) {
		stubborn = len(b.alive())
		b.sweep(limit)
	}
	return stubborn
}

// crowds measures how long it takes per container to start size ones.
func (b *bench) crowds(candidates []candidate, size, ways int) section {
	s := section{Title: fmt.Sprintf("%d sleepers, %s, for each", size, pace(ways)), Unit: "ms"}
	g := noGoal
	if size == 1000 && ways == 2 {
		g = crowdGoal
	}
	for _, c := range candidates {
		s.Rows = append(s.Rows, row{Tool: c.name, Base: c.base(), Target: g.target(c.name), Missing: c.missing})
	}
	passes := 3
	if size > 100 {
		passes = 2
	}
	for pass := range passes {
		b.say("%s: pass %d of %d", s.Title, pass+1, passes)
		for _, i := range b.shuffled(len(candidates)) {
			if s.Rows[i].Missing == "" && b.ctx.Err() == nil {
				b.crowdOnce(&s.Rows[i], candidates[i], size, ways)
			}
		}
	}
	return s
}

func pace(ways int) string {
	if ways == 1 {
		return "one after the other"
	}
	return "two at a time"
}

func (b *bench) crowdOnce(r *row, c candidate, size, ways int) {
	settle(time.Second + time.Duration(size)*5*time.Millisecond)
	g, took, err := b.gather(c, size, ways)
	stubborn := g.disperse()
	if err != nil {
		r.Samples = nil
		r.Missing = err.Error()
		return
	}
	r.Samples = append(r.Samples, ms(took)/float64(size))
	if stubborn > 0 {
		r.Note = fmt.Sprintf("%d of its processes outlived their containers and were killed", stubborn)
	}
}

// memory measures what the processes of a tool weigh, per container: all that
// it started and that are not the payload.
func (b *bench) memory(candidates []candidate, size int) section {
	s := section{Title: fmt.Sprintf("memory (PSS) of the supervising processes, %d running, for each", size), Unit: "KiB"}
	for _, c := range candidates {
		r := row{Tool: c.name, Base: c.base(), Target: memoryGoal.target(c.name), Missing: c.missing}
		if c.missing == "" && b.ctx.Err() == nil {
			b.say("memory of %s, %d", c.name, size)
			b.weighCrowd(&r, c, size)
		}
		s.Rows = append(s.Rows, r)
	}
	return s
}

func (b *bench) weighCrowd(r *row, c candidate, size int) {
	g, _, err := b.gather(c, size, 1)
	defer g.disperse()
	pids := []int{}
	if err == nil {
		time.Sleep(500 * time.Millisecond)
		for _, p := range b.alive() {
			if !isPayload(cmdline(p.pid)) {
				pids = append(pids, p.pid)
			}
		}
		if len(pids) == 0 {
			err = errors.New("no supervising process found")
		}
	}
	total := sizes{}
	if err == nil {
		total, err = b.weigh(pids)
	}
	if err == nil && total.Unreadable > 0 {
		err = fmt.Errorf("%d of %d processes tell their memory to root only", total.Unreadable, len(pids))
	}
	if err != nil {
		r.Missing = err.Error()
		return
	}
	r.Samples = []float64{float64(total.KiB) / float64(size)}
	r.Each = (len(pids) + size/2) / size
}
