package main

import (
	"errors"
	"fmt"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/pflag"

	"bryo/rootless"
	"bryo/rootless/state"
)

// verbFlags is the flag set of a verb that names containers.
func verbFlags(name string, s streams) *pflag.FlagSet {
	flags := pflag.NewFlagSet(name, pflag.ContinueOnError)
	if s.err != nil {
		flags.SetOutput(s.err)
	}
	flags.SortFlags = false
	flags.Usage = func() { showHelp(name, s) }
	return flags
}

// showHelp is what -h and --help do.
func showHelp(name string, s streams) {
	if c, found := lookup(name); found {
		write(s, c.help())
	}
}

// allFlag has a verb mean every container instead of those that are named.
func allFlag(flags *pflag.FlagSet, which string) (all *bool) {
	return flags.BoolP("all", "a", false, "all containers "+which+", instead of some by name")
}

// choice is the containers that a verb is meant for.
type choice struct {
	flags *pflag.FlagSet          // has their names
	all   bool                    // it means, instead,
	are   func(state.Status) bool // all that are so, also none
	force bool                    // also the damaged; nothing is wrong with one that is gone
}

// runs says whether a container has processes.
func runs(s state.Status) bool { return s == state.Running || s == state.Paused }

// stays says whether it has some, or will have without a start.
func stays(s state.Status) bool { return runs(s) || s == state.Restarting }

// over says whether it has none any more.
func over(s state.Status) bool { return s == state.Exited || s == state.Dead }

func errUnnamed() error { return errors.New("no container was named\nfix: bryo ps -a lists yours") }

func (c *choice) names(store *state.Store) (names []string, err error) {
	switch {
	case !c.all && c.flags.NArg() == 0:
		return nil, errUnnamed()
	case !c.all:
		return c.flags.Args(), nil
	case c.flags.NArg() > 0:
		return nil, errors.New("--all and names contradict each other\nfix: leave one of them out")
	}
	records, damaged, err := store.List()
	for _, r := range records {
		if c.force || c.are(r.Status) {
			names = append(names, r.Name)
		}
	}
	if c.force {
		names = append(names, damaged...)
	}
	return names, err
}

// eachContainer does something to every container that is chosen, prints its name,
// and goes on after one that it could not be done to.
func eachContainer(s streams, which choice, do func(*state.Entry, *state.Record) error) int {
	return eachEntry(s, which, func(e *state.Entry) error {
		r, err := e.Now()
		if err != nil {
			return err
		}
		return do(e, r)
	})
}

// eachEntry is eachContainer also for containers whose record nobody can read.
func eachEntry(s streams, which choice, do func(*state.Entry) error) int {
	store, err := state.Open()
	if err != nil {
		return report(s, err)
	}
	names, err := which.names(store)
	if err != nil {
		return report(s, err)
	}
	code := exitOK
	for _, name := range names {
		entry, err := store.Find(name)
		if err == nil {
			err = do(entry)
		}
		if (which.force || which.all) && errors.Is(err, state.ErrNotFound) {
			continue
		}
		if err != nil {
			code = report(s, err)
			continue
		}
		if c := write(s, name+"\n"); c != exitOK {
			code = c
		}
	}
	return code
}

// oneContainer opens the container that is named, with its record as it is now.
func oneContainer(name string) (*state.Entry, *state.Record, error) {
	store, err := state.Open()
	if err != nil {
		return nil, nil, err
	}
	entry, err := store.Find(name)
	if err != nil {
		return nil, nil, err
	}
	record, err := entry.Now()
	return entry, record, err
}

// errNotRunning is what a verb says that needs a container that runs.
func errNotRunning(r *state.Record) error {
	return fmt.Errorf("container %s does not run\nfix: bryo start %s, or bryo ps -a shows how it ended", r.Name, r.Name)
}

// refusePaused refuses a container whose processes would not answer.
func refusePaused(r *state.Record) error {
	if r.Status == state.Paused {
		return fmt.Errorf("container %s is paused\nfix: bryo unpause %s", r.Name, r.Name)
	}
	return nil
}

// decidedContainer finds a container that runs, and what was decided for it.
func decidedContainer(name string) (*state.Entry, *state.Record, *rootless.Plan, error) {
	entry, record, err := oneContainer(name)
	if err == nil {
		err = needRunning(record)
	}
	if err != nil {
		return nil, nil, nil, err
	}
	plan, err := entry.Plan()
	return entry, record, plan, err
}

// needRunning refuses a container that does not run.
func needRunning(r *state.Record) error {
	if !runs(r.Status) {
		return errNotRunning(r)
	}
	return nil
}

func psFlags(s streams) (flags *pflag.FlagSet, all, asJSON, quiet *bool) {
	flags = verbFlags("ps", s)
	return flags, flags.BoolP("all", "a", false, "show those that have ended, too"), flags.Bool("json", false, "print JSON"),
		flags.BoolP("quiet", "q", false, "print ids alone")
}

func psSyntax() *pflag.FlagSet {
	flags, _, _, _ := psFlags(streams{})
	return flags
}

// runPs lists containers.
func runPs(args []string, s streams) int {
	flags, all, asJSON, quiet := psFlags(s)
	err := parse(flags, args)
	if err == nil && flags.NArg() > 0 {
		err = errors.New("ps takes no names\nfix: bryo ps -a, or bryo inspect " + flags.Arg(0))
	}
	if err != nil {
		return report(s, err)
	}
	shown, damaged, err := listed(*all)
	if err != nil {
		return report(s, err)
	}
	for _, id := range damaged {
		fmt.Fprintf(s.err, "bryo: warning: the state of container %s is damaged; bryo rm -f %s removes it\n", id, id)
	}
	if *asJSON {
		return writeJSON(s, shown)
	}
	if *quiet {
		var b strings.Builder
		for _, r := range shown {
			b.WriteString(r.ID + "\n")
		}
		return write(s, b.String())
	}
	return write(s, table(shown, time.Now()))
}

// listed are the containers that run, or all, as they are now.
func listed(all bool) (shown []*state.Record, damaged []string, err error) {
	store, err := state.Open()
	if err != nil {
		return nil, nil, err
	}
	records, damaged, err := store.List()
	if err != nil {
		return nil, nil, err
	}
	shown = []*state.Record{}
	for _, r := range records {
		if all || stays(r.Status) {
			shown = append(shown, r)
		}
	}
	return shown, damaged, nil
}

func table(records []*state.Record, now time.Time) string {
	var b strings.Builder
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "NAME\tID\tROOT\tCOMMAND\tCREATED\tSTATUS\tPORTS")
	for _, r := range records {
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s ago\t%s\t%s\n", r.Name, r.ID, cut(visible(r.Root), true), cut(visible(r.Command), false),
			age(now.Sub(r.Created)), word(r, now), strings.Join(r.Ports, ", "))
	}
	_ = w.Flush() // a Builder takes everything
	return b.String()
}

// cut shortens a text to what a column holds.
func cut(text string, keepEnd bool) string {
	const most = 24
	runes := []rune(text)
	switch {
	case len(runes) <= most:
		return text
	case keepEnd:
		return "..." + string(runes[len(runes)-most+3:])
	default:
		return string(runes[:most-3]) + "..."
	}
}

func word(r *state.Record, now time.Time) string {
	switch r.Status {
	case state.Running, state.Paused:
		return fmt.Sprintf("%s %s", r.Status, age(now.Sub(r.Started)))
	case state.Exited:
		return fmt.Sprintf("exited (%d) %s ago", r.ExitCode, age(now.Sub(r.Finished)))
	case state.Created, state.Restarting, state.Dead:
	}
	return string(r.Status)
}

// age is a duration in its largest unit.
func age(d time.Duration) string {
	const day = 24 * time.Hour
	for _, unit := range []struct {
		size time.Duration
		name string
	}{{day, "d"}, {time.Hour, "h"}, {time.Minute, "m"}} {
		if d >= unit.size {
			return fmt.Sprintf("%d%s", d/unit.size, unit.name)
		}
	}
	return fmt.Sprintf("%ds", max(0, d/time.Second))
}
