package main

import (
	"os"

	"github.com/spf13/pflag"

	"bryo/rootless"
	"bryo/rootless/host"
	"bryo/rootless/launch"
)

const unshareAbout = `PROGRAM runs on the host's own files, as root of what your subordinate ids own: it can unpack a root file system, or remove one.
Without PROGRAM your shell runs.`

// runUnshare runs a command under the user's id map: as root of what
// subordinate ids own, on the host's own files.
func runUnshare(args []string, s streams) int {
	spec := &rootless.Spec{}
	flags := unshareFlags(spec)
	flags.SetOutput(s.err)
	err := parse(flags, args)
	if err != nil {
		return report(s, err)
	}
	args = flags.Args()
	if len(args) > 0 && args[0] == "--" {
		args = args[1:]
	}
	if len(args) == 0 {
		args = []string{shell()}
	}
	container, err := unshare(spec, args, s)
	if err != nil {
		return report(s, err)
	}
	code, err := life{StatusFD: noStatus}.await(container, false, s)
	if err != nil {
		return report(s, err)
	}
	return code
}

func unshareFlags(spec *rootless.Spec) *pflag.FlagSet {
	flags := pflag.NewFlagSet("unshare", pflag.ContinueOnError)
	flags.SetInterspersed(false)
	flags.Usage = func() {}
	mapFlag(flags, spec)
	return flags
}

func unshareSyntax() *pflag.FlagSet { return unshareFlags(&rootless.Spec{}) }

func unshare(spec *rootless.Spec, args []string, s streams) (*launch.Container, error) {
	facts, err := host.ProbeIDs(spec)
	if err != nil {
		return nil, err
	}
	plan, err := rootless.CompileUnshare(spec, facts, args, os.Environ())
	if err != nil {
		return nil, err
	}
	warn(s, plan.Warnings)
	return launch.Unshare(plan)
}

func shell() string {
	if path := os.Getenv("SHELL"); path != "" {
		return path
	}
	return "/bin/sh"
}
