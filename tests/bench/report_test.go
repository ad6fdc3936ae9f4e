package main

import (
	"strings"
	"testing"
)

func TestTables(t *testing.T) {
	for _, test := range []struct {
		name string
		s    section
		want string
	}{
		{"quartiles", section{Title: "start", Unit: "ms", Rows: []row{
			{Tool: "bryo", Samples: []float64{1, 2, 3, 4, 5}},
			{Tool: "slow peer", Base: "bryo", Samples: []float64{10, 20, 30, 40, 50}, Target: 0.1},
			{Tool: "quick", Base: "bryo", Samples: []float64{1, 1, 1, 1, 1}, Target: 2.5},
		}}, `
start (ms)
             min    p25  median    p75  bryo/it p25  bryo/it median         target
  bryo      1.00   2.00    3.00   4.00            -               -
  slow peer 10.00  20.00   30.00  40.00         0.10            0.10      0.10, met
  quick     1.00   1.00    1.00   1.00         2.00            3.00  2.50, not met
`},
		{"few passes", section{Title: "sleepers", Unit: "ms", Rows: []row{
			{Tool: "bryo", Samples: []float64{3, 1}},
			{Tool: "peer", Base: "bryo", Samples: []float64{4, 4}, Note: "2 were killed"},
		}, Notes: []string{"all of this is made up"}}, `
sleepers (ms)
        min  median  bryo/it median  target
  bryo  1.00    2.00               -
  peer  4.00    4.00            0.50
  peer: 2 were killed
  all of this is made up
`},
		{"one figure", section{Title: "memory", Unit: "KiB", Rows: []row{
			{Tool: "bryo", Samples: []float64{12}, Each: 2},
			{Tool: "peer", Base: "bryo", Samples: []float64{400}, Each: 1, Target: 0.1},
		}}, `
memory (KiB)
        KiB  bryo/it  processes     target
  bryo   12.00        -          2
  peer  400.00     0.03          1  0.10, met
`},
		{"a peer that does not run", section{Title: "start", Unit: "ms", Rows: []row{
			{Tool: "bryo", Samples: []float64{1, 2, 3}},
			{Tool: "peer", Base: "bryo", Target: 0.5, Missing: "exit status 1: no cgroup"},
		}}, `
start (ms)
       min median bryo/it median target
  bryo 1.00 2.00 -
  peer - - - 0.50, open
  peer: missing: exit status 1: no cgroup
`},
		{"bryo does not run", section{Title: "start", Unit: "ms", Rows: []row{
			{Tool: "bryo", Missing: "not installed"},
			{Tool: "peer", Base: "bryo", Target: 0.5, Samples: []float64{2}},
		}}, `
start (ms)
       ms bryo/it target
  bryo - -
  peer 2.00 - 0.50, open
  bryo: missing: not installed
`},
	} {
		t.Run(test.name, func(t *testing.T) {
			out := &strings.Builder{}
			if err := test.s.write(out); err != nil {
				t.Fatal(err)
			}
			if got := squeezed(out.String()); got != squeezed(test.want) {
				t.Errorf("got:\n%s\nwant:\n%s", got, squeezed(test.want))
			}
		})
	}
}

// squeezed has one space where there were more: what stands in which column is
// another test.
func squeezed(text string) string {
	lines := []string{}
	for line := range strings.Lines(text) {
		lines = append(lines, strings.Join(strings.Fields(line), " "))
	}
	return strings.Join(lines, "\n")
}

func TestColumnsAreAligned(t *testing.T) {
	s := section{Unit: "ms", Rows: []row{
		{Tool: "bryo", Samples: []float64{1, 2}},
		{Tool: "a long name", Base: "bryo", Samples: []float64{1000, 2000}, Target: 0.1},
	}}
	out := &strings.Builder{}
	if err := s.write(out); err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(out.String(), "\n")[2:5]
	for _, line := range lines {
		if len(line) != len(lines[0]) {
			t.Errorf("lines of different lengths:\n%s", out)
		}
	}
	if strings.Index(lines[1], "bryo") != strings.Index(lines[2], "a long") {
		t.Errorf("names begin in different columns:\n%s", out)
	}
}

func TestTargets(t *testing.T) {
	for _, test := range []struct {
		target, ratio float64
		known         bool
		want          string
	}{
		{0, 0.5, true, ""},
		{0.9, 0.82, true, "0.90, met"},
		{0.9, 0.9, true, "0.90, met"},
		{0.9, 0.904, true, "0.90, met"}, // printed as 0.90
		{0.9, 0.906, true, "0.90, not met"},
		{0.9, 0, false, "0.90, open"},
	} {
		if got := (section{}).target(row{Target: test.target}, test.ratio, test.known); got != test.want {
			t.Errorf("target %v, ratio %v: %q, want %q", test.target, test.ratio, got, test.want)
		}
	}
}

func TestTargetsThatAreReachedOrKept(t *testing.T) {
	for _, test := range []struct {
		row   row
		more  bool
		ratio float64
		want  string
	}{
		{row{Target: 0.9}, true, 0.9, "0.90, met"},
		{row{Target: 0.9}, true, 0.896, "0.90, met"}, // printed as 0.90
		{row{Target: 0.9}, true, 0.89, "0.90, not met"},
		{row{Target: 0.9}, true, 7, "0.90, met"},
		{row{Limit: 2.5, Samples: []float64{2.4}}, false, 9, "2.50, met"},
		{row{Limit: 2.5, Samples: []float64{2.6}}, false, 0, "2.50, not met"},
		{row{Limit: 2.5}, false, 0, "2.50, open"},
	} {
		if got := (section{More: test.more}).target(test.row, test.ratio, test.row.Limit == 0); got != test.want {
			t.Errorf("%+v, ratio %v: %q, want %q", test.row, test.ratio, got, test.want)
		}
	}
}

func TestEveryTargetHasItsTool(t *testing.T) {
	known := map[string]bool{bwrapSame: true, conmonCrun: true, firstOnes: true, psVerb: true}
	for _, tool := range tools(site{}, "bryo", maps{}) {
		known[tool.name] = true
	}
	for g, want := range map[goal]int{noGoal: 0, startGoal: 4, mountsGoal: 1, crowdGoal: 1, memoryGoal: 1, detachGoal: 1, execGoal: 2, detachedMemoryGoal: 1, detachedCrowdGoal: 2} {
		found := 0
		for name := range known {
			if g.target(name) != 0 {
				found++
			}
		}
		if found != want {
			t.Errorf("goal %d: %d of the tools have a target, want %d", g, found, want)
		}
	}
}

func TestPortions(t *testing.T) {
	out := &strings.Builder{}
	err := writePortions(out, []portion{
		{Tool: "bryo", Given: given{Own: []string{"net", "user"}, IDs: 65536, Mounts: []string{"a", "b"}, NoNewPrivs: true, Seccomp: true, Caps: 11}},
		{Tool: "peer", Missing: "not installed"},
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"bryo net user 65536 2 yes filter 11", "peer missing: not installed"} {
		if !strings.Contains(squeezed(out.String()), want) {
			t.Errorf("no %q in:\n%s", want, out)
		}
	}
}
