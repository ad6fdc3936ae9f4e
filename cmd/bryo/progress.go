package main

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"bryo/fsroot/fetch"
	"bryo/rootless/tty"
)

// progress shows how far a download is: on a terminal a bar for each part that is
// coming, otherwise a line for each that has come.
type progress struct {
	s        streams
	quiet    bool
	terminal bool

	parts  []part
	drawn  int // lines, which are drawn over
	last   time.Time
	began  time.Time
	before int64 // bytes that were there from an earlier time
}

type part struct {
	fetch.Blob

	done    int64
	started bool
	told    bool
}

func newProgress(s streams, quiet bool) *progress {
	return &progress{s: s, quiet: quiet, terminal: tty.Is(int(s.err.Fd())), began: time.Now()}
}

func (p *progress) show(e *fetch.Event) {
	if e.Warning != "" {
		p.clear()
		warn(p.s, []string{visible(e.Warning)})
	}
	if p.quiet {
		return
	}
	switch {
	case e.Image != nil:
		p.parts = nil
		for _, b := range e.Image.Missing {
			p.parts = append(p.parts, part{Blob: b})
		}
		if e.Image.Skipped > 0 {
			p.say(fmt.Sprintf("%d of %d layers are there", e.Image.Skipped, e.Image.Skipped+len(p.parts)))
		}
	case e.Progress != nil:
		p.advance(e.Progress)
	}
}

func (p *progress) advance(news *fetch.Progress) {
	i := slices.IndexFunc(p.parts, func(part part) bool { return part.Digest == news.Digest })
	if i < 0 {
		return
	}
	part := &p.parts[i]
	if !part.started {
		part.started = true
		p.before += news.Done
	}
	part.done = min(news.Done, part.Size)
	if part.done == part.Size && !part.told {
		part.told = true
		p.say(part.name() + " " + size(uint64(part.Size)))
	}
	const often = 100 * time.Millisecond
	if now := time.Now(); p.terminal && now.Sub(p.last) > often {
		p.last = now
		p.draw(now)
	}
}

func (p *part) name() string {
	const prefix, short = len("sha256:"), 12
	name := visible(p.Digest)
	return name[min(prefix, len(name)):min(prefix+short, len(name))]
}

// say prints a line that stays.
func (p *progress) say(line string) {
	p.clear()
	fmt.Fprintln(p.s.err, line)
}

// clear takes the bars away.
func (p *progress) clear() {
	if p.drawn > 0 {
		fmt.Fprintf(p.s.err, "\x1b[%dA\x1b[J", p.drawn)
		p.drawn = 0
	}
}

func (p *progress) end() { p.clear() }

func (p *progress) draw(now time.Time) {
	const fallback = 80
	width := fallback
	if s, err := tty.SizeOf(int(p.s.err.Fd())); err == nil && s.Columns > 0 {
		width = int(s.Columns)
	}
	var lines []string
	var all, done int64
	for i := range p.parts {
		part := &p.parts[i]
		all, done = all+part.Size, done+part.done
		if part.started && part.done < part.Size {
			lines = append(lines, bar(part.name(), part.done, part.Size, "", width))
		}
	}
	rate := ""
	if seconds := now.Sub(p.began).Seconds(); seconds > 1 {
		rate = size(uint64(float64(max(done-p.before, 0))/seconds)) + "/s"
	}
	lines = append(lines, bar("all", done, all, rate, width))
	p.clear()
	fmt.Fprint(p.s.err, strings.Join(lines, "\n")+"\n")
	p.drawn = len(lines)
}

// bar is a line that is shorter than a terminal is wide.
func bar(name string, done, all int64, rate string, width int) string {
	const least, most, names = 5, 40, 12
	text := fmt.Sprintf(" %s/%s %s", size(uint64(done)), size(uint64(all)), rate)
	line := fmt.Sprintf("%-*s", names, name)
	if room := min(width-len(line)-len(text)-len(" []")-1, most); room >= least && all > 0 {
		full := int(int64(room) * min(done, all) / all)
		line += " [" + strings.Repeat("#", full) + strings.Repeat(".", room-full) + "]"
	}
	line += text
	return line[:min(len(line), max(width-1, 0))]
}
