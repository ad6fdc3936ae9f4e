// Skips reads the output of go test -json and shows it as go test itself would:
// a line for each package, and what failed tests printed. With -end it shows
// only the tests that did not run anywhere, each with its reason, and then the
// lines of the packages. Whether tests failed is for the exit code of go test.
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
)

func main() { os.Exit(run(os.Args[1:], os.Stdin, os.Stdout, os.Stderr)) }

func run(args []string, in io.Reader, out, errs io.Writer) int {
	end := slices.Equal(args, []string{"-end"})
	if len(args) > 0 && !end {
		fmt.Fprintln(errs, "usage: go test -json | skips [-end]")
		return 2
	}
	l := log{printed: map[test][]string{}, skipped: map[test]string{}, ran: map[test]bool{}}
	live := out
	if end {
		live = io.Discard
	}
	if err := l.read(in, live); err != nil {
		fmt.Fprintln(errs, "skips:", err)
		return 1
	}
	if end {
		l.summary(out)
	}
	return 0
}

// event is a line of go test -json, see `go doc test2json`.
type event struct {
	Action  string
	Package string
	Test    string
	Output  string
}

// test names a test; without a name it is the package's own output.
type test struct{ pkg, name string }

type log struct {
	printed  map[test][]string
	skipped  map[test]string // with the reason
	ran      map[test]bool
	order    []test   // the skipped ones, as they came
	packages []string // the lines of the packages
}

// read takes the events in, and prints what go test would print meanwhile. A
// line that is no event, such as one of the linker, is passed on.
func (l *log) read(in io.Reader, live io.Writer) error {
	lines := bufio.NewReader(in)
	for {
		line, err := lines.ReadString('\n')
		if line != "" {
			e := event{}
			if !strings.HasPrefix(line, "{") || json.Unmarshal([]byte(line), &e) != nil {
				fmt.Fprint(live, line)
			} else {
				fmt.Fprint(live, l.take(e))
			}
		}
		if err == io.EOF {
			return nil
		} else if err != nil {
			return err
		}
	}
}

// take returns what go test would print at this event.
func (l *log) take(e event) string {
	t := test{e.Package, e.Test}
	switch e.Action {
	case "build-output":
		return e.Output
	case "output":
		if strings.HasPrefix(e.Output, "=== ") {
			break // only go test -v has these
		}
		l.printed[t] = append(l.printed[t], e.Output)
	case "skip":
		if t.name != "" {
			l.skipped[t] = reason(l.printed[t])
			l.order = append(l.order, t)
			delete(l.printed, t) // it may be skipped again, in another run
			break
		}
		return l.endPackage(t, false)
	case "pass", "fail":
		if t.name == "" {
			return l.endPackage(t, e.Action == "fail")
		}
		l.ran[t] = true
		if e.Action == "fail" {
			return strings.Join(l.printed[t], "")
		}
	}
	return ""
}

func (l *log) endPackage(t test, failed bool) string {
	shown := strings.Builder{}
	for _, line := range l.printed[t] {
		last := strings.HasPrefix(line, "ok  \t") || strings.HasPrefix(line, "?   \t") || strings.HasPrefix(line, "FAIL\t")
		if last {
			l.packages = append(l.packages, line)
		}
		if last || failed {
			shown.WriteString(line)
		}
	}
	delete(l.printed, t)
	return shown.String()
}

// summary leaves out a test that was skipped once and ran another time, as
// another user.
func (l *log) summary(out io.Writer) {
	skipped := []string{}
	for _, t := range l.order {
		line := fmt.Sprintf("skip %s %s: %s\n", t.pkg, t.name, l.skipped[t])
		if !l.ran[t] && !slices.Contains(skipped, line) {
			skipped = append(skipped, line)
		}
	}
	fmt.Fprintf(out, "%d tests skipped\n%s", len(skipped), strings.Join(skipped, ""))
	fmt.Fprint(out, strings.Join(l.packages, ""))
}

// reason is what a test printed, without the line that go test adds.
func reason(printed []string) string {
	words := []string{}
	for _, line := range printed {
		line = strings.TrimSpace(line)
		if line != "" && !strings.HasPrefix(line, "--- ") {
			words = append(words, line)
		}
	}
	if len(words) == 0 {
		return "no reason given"
	}
	return strings.Join(words, " ")
}
