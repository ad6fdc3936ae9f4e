package main

import (
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/pflag"

	"bryo/rootless"
	"bryo/rootless/launch"
)

// report prints an error, at most three lines, and gives the exit code.
func report(s streams, err error) int {
	if err == nil || errors.Is(err, pflag.ErrHelp) {
		return exitOK
	}
	const most = 3
	lines := strings.Split(strings.TrimSpace(err.Error()), "\n")
	if advice := hints(err); advice != nil {
		lines = advice
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

func warn(s streams, warnings []string) {
	for _, w := range warnings {
		fmt.Fprintf(s.err, "bryo: warning: %s\n", w)
	}
}
