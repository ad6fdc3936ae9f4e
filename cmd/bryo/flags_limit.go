package main

import (
	"github.com/spf13/pflag"

	"bryo/fsroot"
	"bryo/rootless/cgroup"
)

// limitFlags are podman's, for all processes of a container together.
func limitFlags(flags *pflag.FlagSet, l *cgroup.Limits) {
	flags.VarP(one(&l.Memory, "SIZE", fsroot.ParseSize), "memory", "m", "limit memory, as 64m; what needs more is killed")
	flags.Var(one(&l.Swap, "SIZE", parseSwap), "memory-swap", "limit memory and swap together; twice --memory by default, -1 for no limit")
	flags.Var(one(&l.CPU, "NUMBER", cgroup.ParseCPUs), "cpus", "limit processor time to that of so many processors, as 1.5")
	set := one(&l.CPUs, "LIST", cgroup.ParseCPUSet)
	flags.Var(set, "cpuset", "run on these processors, as 0-3,7")
	flags.Var(set, "cpuset-cpus", "the same as --cpuset")
	_ = flags.MarkHidden("cpuset-cpus")
	flags.Var(one(&l.PIDs, "N", cgroup.ParsePIDs), "pids-limit", "limit processes and threads, init among them; -1 is no limit")
	flags.Var(one(&l.IOWeight, "WEIGHT", cgroup.ParseIOWeight), "io-weight", "share of the disks' time, 1 to 10000, where others have 100")
}

func parseSwap(text string) (uint64, error) {
	if text == "-1" {
		return cgroup.Unlimited, nil
	}
	return fsroot.ParseSize(text)
}
