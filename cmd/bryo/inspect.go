package main

import (
	"encoding/json"

	"bryo/rootless"
	"bryo/rootless/state"
)

// inspected is what inspect prints of a container.
type inspected struct {
	*state.Record

	Options state.Options
	Plan    *rootless.Plan `json:",omitempty"` // of its last start
	Dir     string         // of its state
}

// runInspect prints all that is known of containers, as a JSON list.
func runInspect(args []string, s streams) int {
	flags := verbFlags("inspect", s)
	if err := parse(flags, args); err != nil {
		return report(s, err)
	}
	if flags.NArg() == 0 {
		return report(s, errUnnamed())
	}
	var list []inspected
	for _, name := range flags.Args() {
		e, r, err := oneContainer(name)
		if err != nil {
			return report(s, err)
		}
		config, err := e.Config()
		if err != nil {
			return report(s, err)
		}
		i := inspected{Record: r, Options: config.Options, Dir: e.Path("")}
		if plan, err := e.Plan(); err == nil { // there is none before it ran
			plan.Process.Seccomp.Sum()
			i.Plan = plan
		}
		list = append(list, i)
	}
	text, err := json.MarshalIndent(list, "", "  ")
	if err != nil {
		return report(s, err)
	}
	return write(s, string(text)+"\n")
}
