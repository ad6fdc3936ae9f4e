package main

import (
	"bytes"
	"io"
	"os"
	"reflect"
	"strings"
	"testing"
	"time"
)

func TestParseStat(t *testing.T) {
	for _, test := range []struct {
		name, text string
		want       process
		fails      bool
	}{
		{"plain", "7 (sh) S 3 7 7 0 -1", process{7, 3, 'S'}, false},
		{"a name that lies", "7 (x) R 1 (y) Z 3 7", process{7, 3, 'Z'}, false},
		{"nothing", "", process{}, true},
		{"cut off", "7 (sh) S", process{}, true},
		{"no number", "x (sh) S 3", process{}, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			got, err := parseStat(test.text)
			if (err != nil) != test.fails || !test.fails && got != test.want {
				t.Errorf("%v, %v, want %v", got, err, test.want)
			}
		})
	}
}

func TestBelow(t *testing.T) {
	all := []process{{9, 8, 'S'}, {8, 5, 'S'}, {5, 1, 'S'}, {6, 1, 'S'}, {7, 5, 'S'}}
	if got, want := below(5, all), []process{{8, 5, 'S'}, {7, 5, 'S'}, {9, 8, 'S'}}; !reflect.DeepEqual(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
}

func TestParsePSS(t *testing.T) {
	if got, err := parsePSS("00-ff ---p 0 00:00 0 [rollup]\nRss:   900 kB\nPss:   424 kB\nPss_Dirty: 9 kB\n"); got != 424 || err != nil {
		t.Errorf("%d, %v", got, err)
	}
	if _, err := parsePSS("Rss: 1 kB\n"); err == nil {
		t.Error("no Pss is no error")
	}
}

func TestWeigherAnswersAsker(t *testing.T) {
	questionsR, questionsW := io.Pipe()
	answersR, answersW := io.Pipe()
	served := make(chan error)
	go func() { served <- weigher(questionsR, answersW) }()
	ask := asker(questionsW, answersR)
	for range 2 {
		got, err := ask([]int{os.Getpid(), 1 << 30})
		if err != nil || got.KiB == 0 || got.Unreadable != 1 {
			t.Errorf("%+v, %v: want this process's size, and no size of one that is not there", got, err)
		}
	}
	questionsW.Close()
	if err := <-served; err != nil {
		t.Error(err)
	}
	if err := weigher(bytes.NewBufferString("what\n"), io.Discard); err == nil {
		t.Error("a question that is no list is answered")
	}
}

// What a command leaves behind is found below the test's own process, and ends.
func TestStraysAreSweptUp(t *testing.T) {
	b, err := newBench(t.Context(), site{t.TempDir()}, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	out, err := b.output([]string{"/bin/sh", "-c", "sleep 600 >&- 2>&- & echo started"}, time.Minute)
	if err != nil || string(out) != "started\n" {
		t.Errorf("%q, %v", out, err)
	}
	isSleeper := func() bool {
		alive := b.alive()
		return len(alive) == 1 && strings.HasPrefix(cmdline(alive[0].pid), "sleep\x00600")
	}
	for range 100 { // the shell may be done before its child has executed it
		if isSleeper() {
			break
		}
		time.Sleep(20 * time.Millisecond)
	}
	if !isSleeper() {
		t.Errorf("alive are %v, want the sleeper", b.alive())
	}
	if left := b.sweep(time.Second); left != 0 {
		t.Errorf("%d are left", left)
	}
	if left := b.end(); left != 0 {
		t.Errorf("%d are left in the end", left)
	}
}

func TestCommandsThatFailSayWhy(t *testing.T) {
	b, err := newBench(t.Context(), site{t.TempDir()}, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	defer b.end()
	for _, test := range []struct{ script, want string }{
		{"echo 'no way' >&2; exit 3", "exit status 3: no way"},
		{"kill -9 $$", "signal: killed"},
		{"sleep 600", "signal: killed"},
	} {
		if _, err := b.output([]string{"/bin/sh", "-c", test.script}, time.Second); err == nil || err.Error() != test.want {
			t.Errorf("%s: %v, want %s", test.script, err, test.want)
		}
	}
}

// The payload of a crowd without any container: the tool is the host's shell.
func TestCrowds(t *testing.T) {
	b, err := newBench(t.Context(), site{t.TempDir()}, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	defer b.end()
	shell := func(options ...string) candidate {
		argv := func(p payload, _ int) ([]string, error) { return append(options, p.argv...), nil }
		return candidate{tool: tool{name: "shell", argv: argv}, path: "/usr/bin/env"}
	}
	for _, ways := range []int{1, 2} {
		g, took, err := b.gather(shell(), 5, ways)
		if err != nil || took <= 0 {
			t.Errorf("%d ways: %v, %v", ways, took, err)
		}
		if alive := b.alive(); len(alive) != 5 || !isPayload(cmdline(alive[0].pid)) {
			t.Errorf("%d ways: alive are %v, want 5 sleepers", ways, alive)
		}
		if stubborn := g.disperse(); stubborn != 0 || len(b.alive()) != 0 {
			t.Errorf("%d ways: %d stubborn, %v alive", ways, stubborn, b.alive())
		}
	}
	g, _, err := b.gather(shell("--no-such-option"), 5, 1)
	if err == nil || !strings.Contains(err.Error(), "it ended before its payload ran: ") {
		t.Errorf("%v, want that the tool ended, and its words", err)
	}
	g.disperse()
}

func TestFlags(t *testing.T) {
	for _, test := range []struct {
		args string
		fits bool
	}{
		{"", true},
		{"-only start,memory -rounds 5 -sleepers 10 -tool /x/bryo", true},
		{"-only nothing", false},
		{"-sleepers 0", false},
		{"-sleepers 1000000", false},
		{"-rounds 0", false},
		{"more", false},
	} {
		if _, err := parse(strings.Fields(test.args), io.Discard); (err == nil) != test.fits {
			t.Errorf("%q: %v", test.args, err)
		}
	}
}
