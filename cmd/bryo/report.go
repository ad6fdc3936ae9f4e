package main

import (
	"errors"
	"fmt"
	"strings"

	"bryo/rootless"
	"bryo/rootless/launch"
)

// report prints an error, at most three lines, and gives the exit code.
func report(s streams, err error) int {
	const most = 3
	lines := strings.Split(strings.TrimSpace(err.Error()), "\n")
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
