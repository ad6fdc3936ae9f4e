package main

import (
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/spf13/pflag"
	"golang.org/x/sys/unix"

	"bryo/rootless/state"
)

const (
	stopPatience = 10 * time.Second // before a container is killed
	killPatience = 10 * time.Second // for its supervisor to note its end
)

func stopFlags(s streams) (flags *pflag.FlagSet, patience *time.Duration) {
	flags = verbFlags("stop", s)
	patience = new(time.Duration)
	*patience = stopPatience
	flags.VarP(one(patience, "SECONDS", parseSeconds), "time", "t", "how long the command has before it is killed; 10 seconds by default")
	return flags, patience
}

func stopSyntax() *pflag.FlagSet {
	flags, _ := stopFlags(streams{})
	return flags
}

func parseSeconds(text string) (time.Duration, error) {
	n, err := strconv.ParseUint(text, 10, 31)
	if err != nil {
		return 0, fmt.Errorf("%q: write a number of seconds", text)
	}
	return time.Duration(n) * time.Second, nil
}

// runStop asks containers to end, and ends them if they do not.
func runStop(args []string, s streams) int {
	flags, patience := stopFlags(s)
	if err := parse(flags, args); err != nil {
		return report(s, err)
	}
	return eachContainer(s, flags.Args(), func(e *state.Entry, r *state.Record) error {
		if r == nil {
			return damaged(e)
		}
		return stopContainer(e, r, *patience)
	})
}

func damaged(e *state.Entry) error {
	return fmt.Errorf("the state of container %s is damaged\nfix: bryo rm -f %s", e.ID, e.ID)
}

// stopContainer returns once the container has ended; one that has, is stopped.
func stopContainer(e *state.Entry, r *state.Record, patience time.Duration) error {
	supervisor, err := r.Supervisor.Open()
	if errors.Is(err, state.ErrGone) {
		return nil
	}
	if err != nil {
		return err
	}
	defer unix.Close(supervisor)
	config, err := e.Config()
	if err != nil {
		return err
	}
	if err := e.Change(func(r *state.Record) error { r.Stopping = true; return nil }); err != nil {
		return goneIsFine(err)
	}
	number := unix.SIGTERM
	if name := config.Spec.Process.StopSignal; name != "" {
		number = unix.SignalNum("SIG" + name)
	}
	if patience > 0 {
		if err := signalInit(r, number); err != nil {
			return err
		}
	}
	if ended(supervisor, patience) {
		return nil
	}
	return killContainer(r, supervisor)
}

// killContainer ends what runs, and its supervisor if that does not notice.
func killContainer(r *state.Record, supervisor int) error {
	if err := signalInit(r, unix.SIGKILL); err != nil {
		return err
	}
	if ended(supervisor, killPatience) {
		return nil
	}
	if err := unix.PidfdSendSignal(supervisor, unix.SIGKILL, nil, 0); err != nil && !errors.Is(err, unix.ESRCH) {
		return err
	}
	ended(supervisor, killPatience)
	return nil
}

func goneIsFine(err error) error {
	if errors.Is(err, state.ErrNotFound) {
		return nil
	}
	return err
}

// signalInit sends a signal to the container's init, which passes it on. One
// that has ended needs none.
func signalInit(r *state.Record, s unix.Signal) error {
	init, err := r.Init.Open()
	if errors.Is(err, state.ErrGone) {
		return nil
	}
	if err != nil {
		return err
	}
	defer unix.Close(init)
	if err := unix.PidfdSendSignal(init, s, nil, 0); err != nil && !errors.Is(err, unix.ESRCH) {
		return fmt.Errorf("send %s to container %s: %w", unix.SignalName(s), r.Name, err)
	}
	return nil
}

// ended waits for a process; negative patience, for ever.
func ended(pidfd int, patience time.Duration) bool {
	deadline := time.Now().Add(patience)
	for {
		left := -1
		if patience >= 0 {
			left = max(0, int(time.Until(deadline).Milliseconds()))
		}
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(pidfd), Events: unix.POLLIN}}, left)
		switch {
		case errors.Is(err, unix.EINTR):
		case err != nil || n > 0:
			return err == nil
		case left == 0:
			return false
		}
	}
}

func killFlags(s streams) (flags *pflag.FlagSet, name *string) {
	flags = verbFlags("kill", s)
	name = new(string)
	*name = "KILL"
	flags.VarP(one(name, "SIGNAL", parseSignal), "signal", "s", "what is sent; KILL by default")
	return flags, name
}

func killSyntax() *pflag.FlagSet {
	flags, _ := killFlags(streams{})
	return flags
}

// runKill sends a signal.
func runKill(args []string, s streams) int {
	flags, name := killFlags(s)
	if err := parse(flags, args); err != nil {
		return report(s, err)
	}
	return eachContainer(s, flags.Args(), func(e *state.Entry, r *state.Record) error {
		if r == nil {
			return damaged(e)
		}
		if err := needRunning(r); err != nil {
			return err
		}
		number := unix.SignalNum("SIG" + *name)
		if number != unix.SIGKILL {
			return signalInit(r, number)
		}
		if err := e.Change(func(r *state.Record) error { r.Stopping = true; return nil }); err != nil {
			return goneIsFine(err)
		}
		supervisor, err := r.Supervisor.Open()
		if err != nil {
			return nil // it has ended
		}
		defer unix.Close(supervisor)
		return killContainer(r, supervisor)
	})
}

// runWait waits for containers and prints their exit codes.
func runWait(args []string, s streams) int {
	flags := verbFlags("wait", s)
	if err := parse(flags, args); err != nil {
		return report(s, err)
	}
	if flags.NArg() == 0 {
		return report(s, errors.New("no container was named\nfix: bryo ps -a lists yours"))
	}
	for _, name := range flags.Args() {
		code, err := waitFor(name)
		if err != nil {
			return report(s, err)
		}
		if c := write(s, strconv.Itoa(code)+"\n"); c != exitOK {
			return c
		}
	}
	return exitOK
}

// waitFor returns the exit code of a container, even of one that is forgotten
// as soon as it ends.
func waitFor(name string) (int, error) {
	e, r, err := oneContainer(name)
	if err != nil {
		return 0, err
	}
	exit, err := e.Exit()
	if err != nil {
		return 0, err
	}
	defer exit.Close()
	if supervisor, err := r.Supervisor.Open(); err == nil {
		ended(supervisor, -1)
		_ = unix.Close(supervisor)
	}
	last := r
	if r, err = e.Record(); err == nil {
		last = r
	} else if !errors.Is(err, state.ErrNotFound) {
		return 0, err
	}
	if last.Status == state.Exited {
		return last.ExitCode, nil
	}
	if code, ok := state.ExitCode(exit); ok && err != nil {
		return code, nil
	}
	return 0, errUnknownEnd(last)
}

func errUnknownEnd(r *state.Record) error {
	return fmt.Errorf("container %s: its supervisor was killed, and nobody knows its exit code\nfix: bryo rm %s", r.Name, r.Name)
}

func rmFlags(s streams) (flags *pflag.FlagSet, force *bool) {
	flags = verbFlags("rm", s)
	return flags, flags.BoolP("force", "f", false, "end a container that runs; nothing is wrong with one that is not there")
}

func rmSyntax() *pflag.FlagSet {
	flags, _ := rmFlags(streams{})
	return flags
}

// runRm forgets containers.
func runRm(args []string, s streams) int {
	flags, force := rmFlags(s)
	if err := parse(flags, args); err != nil {
		return report(s, err)
	}
	store, err := state.Open()
	if err != nil {
		return report(s, err)
	}
	names := flags.Args()
	if *force {
		names = nil
		for _, name := range flags.Args() {
			if _, err := store.Find(name); !errors.Is(err, state.ErrNotFound) {
				names = append(names, name)
			}
		}
		if len(names) == 0 && flags.NArg() > 0 {
			return exitOK
		}
	}
	return eachContainer(s, names, func(e *state.Entry, r *state.Record) error { return remove(e, r, *force) })
}

func remove(e *state.Entry, r *state.Record, force bool) error {
	if r != nil && r.Supervisor.Lives() {
		if !force {
			return fmt.Errorf("container %s runs\nfix: bryo stop %s first, or bryo rm -f %s", r.Name, r.Name, r.Name)
		}
		if err := stopContainer(e, r, 0); err != nil {
			return err
		}
	}
	if err := e.Lock(); err != nil {
		return goneIsFine(err)
	}
	if r, err := e.Record(); err == nil && r.Supervisor.Lives() { // somebody started it meanwhile
		e.Unlock()
		return fmt.Errorf("container %s runs\nfix: bryo rm -f %s", r.Name, r.Name)
	}
	return goneIsFine(e.Remove())
}
