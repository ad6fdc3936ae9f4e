package main

import (
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/spf13/pflag"
	"golang.org/x/sys/unix"

	"bryo/rootless/logs"
	"bryo/rootless/state"
)

// logsRequest is what a command line of logs asks for.
type logsRequest struct {
	options    logs.ReadOptions
	follow     bool
	timestamps bool
}

func logsFlags(s streams, r *logsRequest) *pflag.FlagSet {
	r.options.Tail = -1
	flags := verbFlags("logs", s)
	flags.BoolVarP(&r.follow, "follow", "f", false, "go on until the container ends")
	flags.BoolVarP(&r.timestamps, "timestamps", "t", false, "print when each line came")
	flags.Var(one(&r.options.Since, "TIME", parseTime), "since", "print what came from then on: a time as 2026-01-02T03:04:05Z, or a while ago as 10m")
	flags.Var(one(&r.options.Until, "TIME", parseTime), "until", "print what came before then")
	flags.IntVarP(&r.options.Tail, "tail", "n", -1, "print the last `N` lines")
	return flags
}

// parseTime takes a moment, or how long ago it was.
func parseTime(text string) (time.Time, error) {
	if ago, err := time.ParseDuration(text); err == nil {
		return time.Now().Add(-ago), nil
	}
	for _, layout := range []string{time.RFC3339Nano, "2006-01-02T15:04:05", time.DateOnly} {
		if t, err := time.ParseInLocation(layout, text, time.Local); err == nil {
			return t, nil
		}
	}
	return time.Time{}, fmt.Errorf("%q: write a time as 2026-01-02T03:04:05Z, or how long ago as 10m", text)
}

func logsSyntax() *pflag.FlagSet { return logsFlags(streams{}, &logsRequest{}) }

// runLogs prints what a container has written: its output to standard output,
// its errors to standard error.
func runLogs(args []string, s streams) int {
	r := &logsRequest{}
	flags := logsFlags(s, r)
	if err := parse(flags, args); err != nil {
		return report(s, err)
	}
	if flags.NArg() != 1 {
		return report(s, errors.New("logs takes one container\nfix: bryo logs CONTAINER"))
	}
	entry, record, err := oneContainer(flags.Arg(0))
	if err != nil {
		return report(s, err)
	}
	dir, err := os.Open(entry.Path(""))
	if err != nil {
		return report(s, err)
	}
	defer dir.Close()
	if r.follow {
		r.options.Follow = untilEnd(entry, record)
	}
	r.options.Gap = func() {
		fmt.Fprintln(s.err, "bryo: some lines are gone: the log was rotated before they were read")
	}
	err = logs.Read(int(dir.Fd()), r.options, func(e logs.Entry) error { return r.print(s, e) })
	if errors.Is(err, unix.ENOENT) { // it was removed, or never ran
		err = nil
	}
	return report(s, err)
}

func (r *logsRequest) print(s streams, e logs.Entry) error {
	to := s.out
	if e.Stream != logs.Stdout {
		to = s.err
	}
	line := e.Data
	if r.timestamps {
		line = append([]byte(e.Time.Format(time.RFC3339Nano)+" "), line...)
	}
	_, err := to.Write(line)
	return err
}

// untilEnd is closed when nobody looks after the container any more.
func untilEnd(e *state.Entry, r *state.Record) <-chan struct{} {
	over := make(chan struct{})
	go func() {
		defer close(over)
		_, _ = unattended(e, r)
	}()
	return over
}
