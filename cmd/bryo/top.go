package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/pflag"

	"bryo/idmap"
	"bryo/rootless/cgroup"
	"bryo/rootless/state"
)

// inhabitant is a process of a container.
type inhabitant struct {
	pid, inside int // its numbers on the host and in the container
	uid         uint32
	state       string
	cpu         time.Duration
	memory      uint64 // bytes that are resident
	command     string
}

// inhabitants lists the processes in the PID namespace of a container whose
// PID 1 is init.
func inhabitants(init int) ([]inhabitant, error) {
	home, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/pid", init))
	if err != nil {
		return nil, fmt.Errorf("look at the container's processes: %w", err)
	}
	dir, err := os.Open("/proc")
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	names, err := dir.Readdirnames(-1)
	if err != nil {
		return nil, err
	}
	var list []inhabitant
	for _, name := range names {
		pid, err := strconv.Atoi(name)
		if err != nil {
			continue
		}
		if where, err := os.Readlink("/proc/" + name + "/ns/pid"); err != nil || where != home {
			continue
		}
		if p, err := look(pid); err == nil { // or it has ended
			list = append(list, p)
		}
	}
	slices.SortFunc(list, func(a, b inhabitant) int { return a.inside - b.inside })
	return list, nil
}

// look reads what the kernel says of a process: proc_pid_status(5),
// proc_pid_stat(5).
func look(pid int) (inhabitant, error) {
	p := inhabitant{pid: pid}
	dir := "/proc/" + strconv.Itoa(pid) + "/"
	status, err := os.ReadFile(dir + "status")
	if err != nil {
		return p, err
	}
	for line := range strings.Lines(string(status)) {
		key, rest, _ := strings.Cut(line, ":")
		fields := strings.Fields(rest)
		if len(fields) == 0 {
			continue
		}
		switch key {
		case "NSpid":
			p.inside, _ = strconv.Atoi(fields[len(fields)-1])
		case "Uid":
			uid, _ := strconv.ParseUint(fields[1], 10, 32)
			p.uid = uint32(uid)
		case "State":
			p.state = fields[0]
		case "VmRSS":
			kib, _ := strconv.ParseUint(fields[0], 10, 64)
			p.memory = kib << 10
		}
	}
	stat, err := os.ReadFile(dir + "stat")
	if err != nil {
		return p, err
	}
	const user, system, ticks = 11, 12, 100 // fields behind the name; USER_HZ
	if fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:])); len(fields) > system {
		u, _ := strconv.ParseUint(fields[user], 10, 64)
		k, _ := strconv.ParseUint(fields[system], 10, 64)
		p.cpu = time.Duration(u+k) * time.Second / ticks
	}
	line, err := os.ReadFile(dir + "cmdline")
	p.command = strings.TrimSpace(strings.ReplaceAll(string(line), "\x00", " "))
	return p, err
}

// runTop lists a container's processes.
func runTop(args []string, s streams) int {
	flags := verbFlags("top", s)
	if err := parse(flags, args); err != nil {
		return report(s, err)
	}
	if flags.NArg() != 1 {
		return report(s, errors.New("top takes one container\nfix: bryo top CONTAINER; bryo exec CONTAINER ps for what ps there can show"))
	}
	e, r, err := oneContainer(flags.Arg(0))
	if err == nil {
		err = needRunning(r)
	}
	if err != nil {
		return report(s, err)
	}
	plan, err := e.Plan()
	if err != nil {
		return report(s, err)
	}
	list, err := inhabitants(r.Entrance.PID)
	if err != nil {
		return report(s, err)
	}
	var b strings.Builder
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "USER\tPID\tHPID\tSTATE\tTIME\tMEMORY\tCOMMAND")
	for _, p := range list {
		uid, mapped := plan.IDs.Maps.UID.ToContainer(p.uid)
		user := strconv.FormatUint(uint64(uid), 10)
		if !mapped {
			user = fmt.Sprintf("%d (host)", idmap.NoID)
		}
		fmt.Fprintf(w, "%s\t%d\t%d\t%s\t%s\t%s\t%s\n", user, p.inside, p.pid, p.state, p.cpu.Round(time.Millisecond*10), size(p.memory), visible(p.command))
	}
	_ = w.Flush() // a Builder takes everything
	return write(s, b.String())
}

// size is a number of bytes in its largest unit.
func size(n uint64) string {
	const step = 1024
	value, unit := float64(n), "B"
	for _, u := range []string{"KiB", "MiB", "GiB", "TiB"} {
		if value < step {
			break
		}
		value, unit = value/step, u
	}
	return fmt.Sprintf("%.3g %s", value, unit)
}

const statsAbout = `NET is what the devices of the container's network have received and sent, but for lo.
What comes in by published ports arrives on the container's lo, and is not in it.`

func statsFlags(s streams) (flags *pflag.FlagSet, once *bool) {
	flags = verbFlags("stats", s)
	return flags, flags.Bool("no-stream", false, "print once instead of every second")
}

func statsSyntax() *pflag.FlagSet {
	flags, _ := statsFlags(streams{})
	return flags
}

// runStats shows what containers use, of all that run or those that are named.
func runStats(args []string, s streams) int {
	flags, once := statsFlags(s)
	if err := parse(flags, args); err != nil {
		return report(s, err)
	}
	store, err := state.Open()
	if err != nil {
		return report(s, err)
	}
	before := make(map[string]time.Duration)
	if records, err := running(store, flags.Args()); err == nil {
		consumption(records, before, time.Second)
	}
	for last := time.Now(); ; {
		time.Sleep(time.Second)
		records, err := running(store, flags.Args())
		if err != nil {
			return report(s, err)
		}
		text := consumption(records, before, time.Since(last))
		last = time.Now()
		if code := write(s, text); code != exitOK || *once || len(records) == 0 {
			return code
		}
	}
}

func running(store *state.Store, names []string) ([]*state.Record, error) {
	var list []*state.Record
	for _, name := range names {
		_, r, err := oneContainer(name)
		if err == nil {
			err = needRunning(r)
		}
		if err != nil {
			return nil, err
		}
		list = append(list, r)
	}
	if len(names) > 0 {
		return list, nil
	}
	all, _, err := store.List()
	return slices.DeleteFunc(all, func(r *state.Record) bool { return needRunning(r) != nil }), err
}

// consumption is a table of what containers use; before holds their processor time
// at the last one.
func consumption(records []*state.Record, before map[string]time.Duration, since time.Duration) string {
	var b strings.Builder
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "NAME\tID\tCPU %\tTIME\tMEMORY\tPIDS\tNET IN / OUT")
	for _, r := range records {
		list, err := inhabitants(r.Entrance.PID)
		if err != nil {
			continue // it has ended
		}
		used := consumed(r, list)
		in, out := traffic(r.Entrance.PID)
		percent := "--"
		if was, known := before[r.ID]; known {
			percent = fmt.Sprintf("%.1f", 100*max(0, (used.CPU-was).Seconds())/since.Seconds())
		}
		before[r.ID] = used.CPU
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%d\t%s / %s\n", r.Name, r.ID, percent, used.CPU.Round(time.Millisecond*10), size(used.Memory), used.PIDs, size(in), size(out))
	}
	_ = w.Flush() // a Builder takes everything
	return b.String()
}

// consumed is what the processes of a container use together, as its cgroup says if
// it has one.
func consumed(r *state.Record, list []inhabitant) cgroup.Usage {
	used := cgroup.Usage{PIDs: uint64(len(list))}
	for _, p := range list {
		used.CPU += p.cpu
		used.Memory += p.memory
	}
	if r.Limited {
		used = cgroup.Used(r.Entrance.PID, used)
	}
	return used
}

// traffic is what has come into a network namespace and gone out: the sum over
// its devices but lo, proc_pid_net(5).
func traffic(pid int) (in, out uint64) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/net/dev", pid))
	if err != nil {
		return 0, 0
	}
	const received, sent = 0, 8
	for line := range strings.Lines(string(text)) {
		name, rest, found := strings.Cut(line, ":")
		fields := strings.Fields(rest)
		if !found || strings.TrimSpace(name) == "lo" || len(fields) <= sent {
			continue
		}
		r, _ := strconv.ParseUint(fields[received], 10, 64)
		s, _ := strconv.ParseUint(fields[sent], 10, 64)
		in, out = in+r, out+s
	}
	return in, out
}
