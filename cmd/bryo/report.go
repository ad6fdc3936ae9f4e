package main

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"unicode"

	"github.com/spf13/pflag"

	"bryo/rootless"
	"bryo/rootless/launch"
)

// report prints an error, at most three lines, and gives the exit code.
func report(s streams, err error) int {
	if err == nil || errors.Is(err, pflag.ErrHelp) {
		return exitOK
	}
	if ended, is := errors.AsType[*launch.EndedError](err); is { // as any program that a signal ends, without a word
		return signalExitBase + int(ended.Signal)
	}
	const most = 3
	lines := splitAdvice(err.Error())
	if advice := hints(err); advice != nil {
		lines = advice
	}
	for i, line := range lines {
		lines[i] = visible(line)
	}
	fmt.Fprintf(s.err, "bryo: %s\n", strings.Join(lines[:min(len(lines), most)], "\n"))
	var exec *launch.ExecError
	switch {
	case errors.As(err, &exec) && exec.Found:
		return exitCannotRun
	case exec != nil, errors.Is(err, rootless.ErrNoShell):
		return exitNotFound
	}
	return exitFailed
}

// splitAdvice parts what is wrong from what mends it. Other line ends are part
// of somebody's file name.
func splitAdvice(text string) []string {
	var lines []string
	what, fix, found := strings.Cut(text, "\nfix: ")
	lines = append(lines, what)
	if found {
		lines = append(lines, "fix: "+fix)
	}
	return lines
}

// visible makes a name safe for a terminal: an image may choose names that
// move the cursor, or look like lines of bryo's own.
func visible(line string) string {
	if !strings.ContainsFunc(line, func(r rune) bool { return !unicode.IsPrint(r) }) {
		return line
	}
	var b strings.Builder
	for _, r := range line {
		if unicode.IsPrint(r) {
			b.WriteRune(r)
			continue
		}
		quoted := strconv.QuoteRune(r)
		b.WriteString(quoted[1 : len(quoted)-1])
	}
	return b.String()
}

func warn(s streams, warnings []string) {
	for _, w := range warnings {
		fmt.Fprintf(s.err, "bryo: warning: %s\n", w)
	}
}

// warnGivenUp tells of controls that the kernel refused: --best-effort.
func warnGivenUp(s streams, controls []string) {
	if len(controls) > 0 {
		warn(s, []string{"given up: " + strings.Join(controls, "; ")})
	}
}
