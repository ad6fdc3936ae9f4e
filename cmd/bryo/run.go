package main

import (
	"errors"

	"github.com/spf13/pflag"

	"bryo/rootless"
	"bryo/rootless/host"
	"bryo/rootless/launch"
)

// request is what a command line of run asks for.
type request struct {
	spec rootless.Spec
	life life
}

// life is what run does besides the container itself.
type life struct {
	StatusFD int    // JSON lines go there, unless it is negative
	PIDFile  string // the container's pid is written there
}

// runRun runs a command in a new container. When nothing of Go is needed while
// it runs, a supervisor of a few KB takes this process's place.
func runRun(args []string, s streams) int {
	request, err := parseRun(args, s)
	if errors.Is(err, pflag.ErrHelp) {
		return runHelp([]string{"run"}, s)
	}
	if err != nil {
		return report(s, err)
	}
	plan, err := plan(&request.spec)
	if err != nil {
		return report(s, err)
	}
	warn(s, plan.Warnings)
	container, err := launch.Start(plan)
	if err != nil {
		return report(s, err)
	}
	if err := container.Become(); err != nil {
		return report(s, err)
	}
	return exitFailed
}

// plan decides everything for this host.
func plan(spec *rootless.Spec) (*rootless.Plan, error) {
	facts, err := host.Probe(spec)
	if err != nil {
		return nil, err
	}
	return rootless.Compile(spec, facts)
}
