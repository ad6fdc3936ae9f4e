package cgroup

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
)

// Limits are what a container may use. The zero value of each is no limit.
type Limits struct {
	Memory   uint64 // bytes
	Swap     uint64 // bytes of memory and swap together; Unlimited, or 0 for twice Memory
	CPU      uint64 // microseconds of processor time in each Period
	PIDs     uint64 // processes and threads
	CPUs     string // processors, as cpuset(7)'s list format has them
	IOWeight uint64 // 1 to 10000, where others have 100
}

// Unlimited is no limit where 0 means something else.
const Unlimited = math.MaxUint64

// Period is what processor time is measured in: microseconds.
const Period = 100_000

// The controllers that limits need.
const (
	cpu    = "cpu"
	cpuset = "cpuset"
	io     = "io"
	memory = "memory"
	pids   = "pids"
)

// Any says whether there is a limit.
func (l *Limits) Any() bool { return *l != Limits{} }

// Check refuses what contradicts itself.
func (l *Limits) Check() error {
	const least = 1 << 20 // or the kernel kills what makes the container, and bryo with it
	switch {
	case l.Memory != 0 && l.Memory < least:
		return errors.New("--memory: no container is made in so little\nfix: at least 1m")
	case l.Swap == 0:
	case l.Memory == 0:
		return errors.New("--memory-swap limits memory and swap together\nfix: give --memory, too")
	case l.Swap < l.Memory:
		return errors.New("--memory-swap is memory and swap together, and less than --memory\nfix: at least --memory, which means no swap, or -1 for no limit")
	}
	return nil
}

// Controllers lists what the limits need, in alphabetical order.
func (l *Limits) Controllers() []string {
	var list []string
	for _, c := range []struct {
		name string
		need bool
	}{{cpu, l.CPU != 0}, {cpuset, l.CPUs != ""}, {io, l.IOWeight != 0}, {memory, l.Memory != 0}, {pids, l.PIDs != 0}} {
		if c.need {
			list = append(list, c.name)
		}
	}
	return list
}

// flags are the command line's names of the limits that need a controller.
func (l *Limits) flags(missing []string) string {
	names := map[string]string{cpu: "--cpus", cpuset: "--cpuset", io: "--io-weight", memory: "--memory", pids: "--pids-limit"}
	var list []string
	for _, c := range l.Controllers() {
		if slices.Contains(missing, c) {
			list = append(list, names[c])
		}
	}
	return strings.Join(list, ", ")
}

// Setting is a file of a cgroup, and what is written to it.
type Setting struct {
	File, Value string
	Else        *Setting // where the kernel has no such file
}

// Settings are the limits as the kernel takes them, in an order that it takes.
func (l *Limits) Settings() []Setting {
	number := func(n uint64) string { return strconv.FormatUint(n, 10) }
	var list []Setting
	if l.Memory != 0 {
		list = append(list, Setting{File: "memory.max", Value: number(l.Memory)})
		swap := l.Memory
		if l.Swap != 0 {
			swap = l.Swap - l.Memory
		}
		if l.Swap != Unlimited {
			list = append(list, Setting{File: swapMax, Value: number(swap)})
		}
	}
	if l.CPU != 0 {
		list = append(list, Setting{File: "cpu.max", Value: number(l.CPU) + " " + number(Period)})
	}
	if l.PIDs != 0 {
		list = append(list, Setting{File: "pids.max", Value: number(l.PIDs)})
	}
	if l.CPUs != "" {
		list = append(list, Setting{File: cpusetCPUs, Value: l.CPUs})
	}
	if l.IOWeight != 0 {
		const bfqMost = 1000 // of a scheduler with weights of its own
		list = append(list, Setting{
			File: "io.weight", Value: "default " + number(l.IOWeight),
			Else: &Setting{File: "io.bfq.weight", Value: number(min(l.IOWeight, bfqMost))},
		})
	}
	return list
}

// Files that not every kernel has, or takes.
const (
	swapMax    = "memory.swap.max"
	cpusetCPUs = "cpuset.cpus"
)

// Asked is the limits as the command line asks for them.
func (l *Limits) Asked() string {
	var list []string
	add := func(flag, value string) { list = append(list, flag+" "+value) }
	if l.Memory != 0 {
		add("--memory", sizeText(l.Memory))
	}
	switch l.Swap {
	case 0:
	case Unlimited:
		add("--memory-swap", "-1")
	default:
		add("--memory-swap", sizeText(l.Swap))
	}
	if l.CPU != 0 {
		add("--cpus", strconv.FormatFloat(float64(l.CPU)/Period, 'f', -1, 64))
	}
	if l.PIDs != 0 {
		add("--pids-limit", strconv.FormatUint(l.PIDs, 10))
	}
	if l.CPUs != "" {
		add("--cpuset", l.CPUs)
	}
	if l.IOWeight != 0 {
		add("--io-weight", strconv.FormatUint(l.IOWeight, 10))
	}
	return strings.Join(list, " ")
}

// sizeText is a number of bytes in the largest unit that has it without a rest.
func sizeText(n uint64) string {
	const step = 1024
	unit := ""
	for _, next := range []string{"k", "m", "g", "t"} {
		if n%step != 0 {
			break
		}
		n, unit = n/step, next
	}
	return strconv.FormatUint(n, 10) + unit
}

// String is the limits as the kernel takes them.
func (l *Limits) String() string {
	var list []string
	for _, s := range l.Settings() {
		list = append(list, s.File+"="+strings.TrimPrefix(s.Value, "default "))
	}
	return strings.Join(list, ", ")
}

// ParseCPUs reads a number of processors, as 1.5.
func ParseCPUs(text string) (uint64, error) {
	const least, most = 0.01, 10_000 // the kernel's least is a millisecond
	n, err := strconv.ParseFloat(text, 64)
	if err != nil || !(n >= least && n <= most) {
		return 0, fmt.Errorf("%q: write a number of processors, as 1.5 or 0.25", text)
	}
	return uint64(math.Round(n * Period)), nil
}

// ParsePIDs reads a number of processes; -1 is no limit.
func ParsePIDs(text string) (uint64, error) {
	if text == "-1" || text == "unlimited" {
		return 0, nil
	}
	const most = 4 << 20 // PID_MAX_LIMIT
	n, err := strconv.ParseUint(text, 10, 64)
	if err != nil || n == 0 || n > most {
		return 0, fmt.Errorf("%q: write how many processes there may be, as 200, or -1 for no limit", text)
	}
	return n, nil
}

// ParseIOWeight reads a share of the disks' time.
func ParseIOWeight(text string) (uint64, error) {
	const most = 10_000
	n, err := strconv.ParseUint(text, 10, 64)
	if err != nil || n == 0 || n > most {
		return 0, fmt.Errorf("%q: write a weight from 1 to %d, where others have 100", text, most)
	}
	return n, nil
}

// ParseCPUSet reads a list of processors, as 0-3,7, and puts it in order.
func ParseCPUSet(text string) (string, error) {
	set, err := parseSet(text)
	if err != nil || len(set) == 0 {
		return "", fmt.Errorf("%q: write a list of processors, as 0-3,7", text)
	}
	return formatSet(set), nil
}

// parseSet reads cpuset(7)'s list format.
func parseSet(text string) (map[int]bool, error) {
	const most = 8192 // NR_CPUS
	set := map[int]bool{}
	if text == "" {
		return set, nil
	}
	for part := range strings.SplitSeq(text, ",") {
		from, to, isRange := strings.Cut(part, "-")
		first, err := strconv.ParseUint(from, 10, 16)
		last := first
		if err == nil && isRange {
			last, err = strconv.ParseUint(to, 10, 16)
		}
		if err != nil || first > last || last >= most {
			return nil, fmt.Errorf("%q is no list of processors", text)
		}
		for n := first; n <= last; n++ {
			set[int(n)] = true
		}
	}
	return set, nil
}

func formatSet(set map[int]bool) string {
	var list []string
	for n := 0; len(set) > 0; n++ {
		if !set[n] {
			continue
		}
		first := n
		for ; set[n]; n++ {
			delete(set, n)
		}
		if text := strconv.Itoa(first); first == n-1 {
			list = append(list, text)
		} else {
			list = append(list, text+"-"+strconv.Itoa(n-1))
		}
	}
	return strings.Join(list, ",")
}
