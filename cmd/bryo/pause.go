package main

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"bryo/rootless"
	"bryo/rootless/launch"
	"bryo/rootless/ns"
	"bryo/rootless/state"
)

// runPause stops all processes of containers where they are.
func runPause(args []string, s streams) int {
	return pauseAll("pause", args, s, state.Running, state.Paused)
}

// runUnpause lets them go on.
func runUnpause(args []string, s streams) int {
	return pauseAll("unpause", args, s, state.Paused, state.Running)
}

func pauseAll(name string, args []string, s streams, from, to state.Status) int {
	flags := verbFlags(name, s)
	if err := parse(flags, args); err != nil {
		return report(s, err)
	}
	return eachContainer(s, choice{flags: flags}, func(e *state.Entry, r *state.Record) error {
		if err := needRunning(r); err != nil {
			return err
		}
		return e.Change(func(r *state.Record) error {
			if r.Status != from {
				return fmt.Errorf("container %s is %s\nfix: only one that is %s can be %sd", r.Name, r.Status, from, name)
			}
			return setStatus(e, r, to)
		})
	})
}

// setStatus pauses a container or lets it go on. It is paused as long as any of its
// processes may be: unpause helps also if this one is killed on the way.
func setStatus(e *state.Entry, r *state.Record, to state.Status) error {
	before := r.Status
	r.Status = state.Paused
	if err := e.Save(r); err != nil {
		return err
	}
	err := setPaused(e, r, to == state.Paused)
	if err == nil {
		r.Status = to
		return nil
	}
	r.Status = before
	return errors.Join(err, e.Save(r))
}

// setPaused stops all processes or continues them. Cgroups could do so, too, but
// an unprivileged user seldom has them.
func setPaused(e *state.Entry, r *state.Record, paused bool) error {
	plan, err := e.Plan()
	if err != nil {
		return err
	}
	if plan.Namespaces[ns.PID].Mode != ns.Own {
		return errors.New("the container shares its PID namespace, and with it all processes there\nfix: make it without --pid")
	}
	entrance, err := r.Entrance.Open()
	if err != nil {
		return errNotRunning(r)
	}
	defer unix.Close(entrance)
	init, err := r.Init.Open()
	if err != nil {
		return errNotRunning(r)
	}
	defer unix.Close(init)
	number := unix.SIGCONT
	if paused {
		number = unix.SIGSTOP
	}
	if !plan.Process.Init { // PID 1 is the command
		if err := unix.PidfdSendSignal(init, number, nil, 0); err != nil {
			return err
		}
	}
	to := &rootless.Plan{Namespaces: plan.Namespaces, Entered: entrance}
	return launch.SignalAll(to, number)
}
