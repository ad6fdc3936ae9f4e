package main

import (
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/spf13/pflag"
	"golang.org/x/sys/unix"

	"bryo/rootless/monitor"
	"bryo/rootless/state"
)

const (
	stopPatience = 10 * time.Second // before a container is killed
	killPatience = 10 * time.Second // for its supervisor to note its end
)

func stopFlags(name string, s streams) (flags *pflag.FlagSet, patience *time.Duration, all *bool) {
	flags = verbFlags(name, s)
	patience = new(time.Duration)
	*patience = stopPatience
	flags.VarP(one(patience, "SECONDS", parseSeconds), "time", "t", "how long the command has before it is killed; 10 seconds by default")
	return flags, patience, allFlag(flags, "that run")
}

func stopSyntax() *pflag.FlagSet {
	flags, _, _ := stopFlags("stop", streams{})
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
	flags, patience, all := stopFlags("stop", s)
	if err := parse(flags, args); err != nil {
		return report(s, err)
	}
	return eachContainer(s, choice{flags: flags, all: *all, are: stays}, func(e *state.Entry, r *state.Record) error {
		if err := stopContainer(e, *patience); err != nil {
			return err
		}
		warnStranded(s, e, r)
		return nil
	})
}

// stopContainer returns once the container has ended; one that has, is stopped.
func stopContainer(e *state.Entry, patience time.Duration) error {
	r, supervisor, err := stopping(e)
	if err != nil {
		return err
	}
	if r == nil {
		return killLeft(e)
	}
	defer unix.Close(supervisor)
	number := unix.SIGTERM
	if config, err := e.Config(); err == nil && config.Spec.Process.StopSignal != "" { // a damaged one keeps nothing alive
		number = unix.SignalNum("SIG" + config.Spec.Process.StopSignal)
	}
	if patience > 0 {
		err := signalInit(r, number)
		if err == nil && r.Status == state.Paused {
			err = e.Change(func(r *state.Record) error { return setStatus(e, r, state.Running) }) // so that it hears
		}
		if err != nil {
			return goneIsFine(err)
		}
	}
	if ended(supervisor, patience) {
		return nil
	}
	return killContainer(r, supervisor)
}

// stopping keeps a container from being started by its supervisor, at first or
// again, and returns how it is from then on, and a pidfd of the supervisor. There
// is no record if nobody looks after it.
func stopping(e *state.Entry) (now *state.Record, supervisor int, err error) {
	supervisor = -1
	err = e.Change(func(r *state.Record) (err error) {
		if supervisor, err = r.Supervisor.Open(); err == nil {
			now, err = r, r.Stop()
		}
		return err
	})
	if err == nil {
		return now, supervisor, nil
	}
	if supervisor >= 0 {
		_ = unix.Close(supervisor)
	}
	if errors.Is(err, state.ErrGone) {
		err = nil
	}
	return nil, -1, goneIsFine(err)
}

// settle waits until the supervisor is gone that has just noted the end of its
// container.
func settle(e *state.Entry) error {
	r, err := e.Record()
	if err != nil || r.Status != state.Exited {
		return err
	}
	if supervisor, err := r.Supervisor.Open(); err == nil {
		ended(supervisor, killPatience)
		_ = unix.Close(supervisor)
	}
	return nil
}

// killContainer ends what runs, and its supervisor if that does not notice.
func killContainer(r *state.Record, supervisor int) error {
	if err := errors.Join(killTied(r), signalInit(r, unix.SIGKILL)); err != nil {
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

// signalInit sends a signal to the container's init, which passes it on.
func signalInit(r *state.Record, s unix.Signal) error { return signalProcess(r, r.Init, s) }

// signalProcess sends a signal to a process of the container. One that has ended
// needs none.
func signalProcess(r *state.Record, to state.Process, s unix.Signal) error {
	process, err := to.Open()
	if errors.Is(err, state.ErrGone) {
		return nil
	}
	if err != nil {
		return err
	}
	defer unix.Close(process)
	if err := unix.PidfdSendSignal(process, s, nil, 0); err != nil && !errors.Is(err, unix.ESRCH) {
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

func killFlags(s streams) (flags *pflag.FlagSet, name *string, all *bool) {
	flags = verbFlags("kill", s)
	name = new(string)
	*name = "KILL"
	flags.VarP(one(name, "SIGNAL", parseSignal), "signal", "s", "what is sent; KILL by default")
	return flags, name, allFlag(flags, "that run")
}

func killSyntax() *pflag.FlagSet {
	flags, _, _ := killFlags(streams{})
	return flags
}

// runKill sends a signal.
func runKill(args []string, s streams) int {
	flags, name, all := killFlags(s)
	if err := parse(flags, args); err != nil {
		return report(s, err)
	}
	return eachContainer(s, choice{flags: flags, all: *all, are: runs}, func(e *state.Entry, r *state.Record) error {
		if err := needRunning(r); err != nil {
			return err
		}
		number := unix.SignalNum("SIG" + *name)
		if number != unix.SIGKILL {
			return signalInit(r, number)
		}
		now, supervisor, err := stopping(e)
		if err != nil || now == nil {
			return err
		}
		defer unix.Close(supervisor)
		return killContainer(now, supervisor)
	})
}

// runWait waits for containers and prints their exit codes.
func runWait(args []string, s streams) int {
	flags := verbFlags("wait", s)
	if err := parse(flags, args); err != nil {
		return report(s, err)
	}
	if flags.NArg() == 0 {
		return report(s, errUnnamed())
	}
	for _, name := range flags.Args() {
		e, _, err := oneContainer(name)
		if err != nil {
			return report(s, err)
		}
		code, err := waitFor(e)
		if err != nil {
			return report(s, err)
		}
		if c := write(s, strconv.Itoa(code)+"\n"); c != exitOK {
			return c
		}
	}
	return exitOK
}

// waitFor returns the exit code of a container once it has ended, also of one that
// is forgotten then.
func waitFor(e *state.Entry) (int, error) {
	follower, err := e.Follow()
	if err != nil {
		return 0, err
	}
	defer follower.Close()
	return lastCode(e, follower)
}

func lastCode(e *state.Entry, follower *state.Follower) (int, error) {
	r, err := e.Record()
	if err == nil {
		r, err = unattended(e, r)
	}
	if code, left := follower.Code(); left && errors.Is(err, state.ErrNotFound) {
		return code, nil
	}
	if err != nil {
		return 0, err
	}
	if r.Status != state.Exited {
		return 0, errUnknownEnd(r)
	}
	return r.ExitCode, nil
}

func errUnknownEnd(r *state.Record) error {
	return fmt.Errorf("container %s: its supervisor was killed, and nobody knows its exit code\nfix: bryo rm %s", r.Name, r.Name)
}

// unattended waits until nobody looks after a container, and returns how it is
// then. Who started it hands it over to its supervisor.
func unattended(e *state.Entry, r *state.Record) (*state.Record, error) {
	for {
		supervisor, err := r.Supervisor.Open()
		if err != nil {
			return e.Now()
		}
		ended(supervisor, -1)
		_ = unix.Close(supervisor)
		if r, err = e.Record(); err != nil {
			return nil, err
		}
	}
}

func rmFlags(s streams) (flags *pflag.FlagSet, force, all, volumes *bool) {
	flags = verbFlags("rm", s)
	volumes = flags.BoolP("volumes", "v", false, "remove the volumes of its image, too, which stay otherwise")
	return flags, flags.BoolP("force", "f", false, "end a container that runs; nothing is wrong with one that is not there"),
		allFlag(flags, "that have ended, with --force also those that run"), volumes
}

func rmSyntax() *pflag.FlagSet {
	flags, _, _, _ := rmFlags(streams{})
	return flags
}

// runRm forgets containers.
func runRm(args []string, s streams) int {
	flags, force, all, volumes := rmFlags(s)
	if err := parse(flags, args); err != nil {
		return report(s, err)
	}
	return eachEntry(s, choice{flags: flags, all: *all, are: over, force: *force}, func(e *state.Entry) error {
		if _, err := e.Record(); err != nil {
			return removeDamaged(e, *force)
		}
		return remove(e, *force, !*volumes, s)
	})
}

// remove forgets a container. Somebody may start it again meanwhile.
func remove(e *state.Entry, force, keepVolumes bool, s streams) error {
	const tries = 3
	if err := settle(e); err != nil {
		return goneIsFine(err)
	}
	for i := 1; ; i++ {
		if force {
			if err := stopContainer(e, 0); err != nil {
				return err
			}
		}
		if err := e.Lock(); err != nil {
			return goneIsFine(err)
		}
		r, err := e.Record()
		if err != nil {
			return goneIsFine(e.Remove())
		}
		if !r.Supervisor.Lives() {
			return errors.Join(killTied(r), forget(e, keepVolumes, s))
		}
		e.Unlock()
		if !force || i == tries {
			return fmt.Errorf("container %s runs\nfix: bryo stop %s first, or bryo rm -f %s", r.Name, r.Name, r.Name)
		}
	}
}

// removeDamaged forgets a container whose record cannot tell who looks after it:
// the kernel knows who listens.
func removeDamaged(e *state.Entry, force bool) error {
	if keeper, err := monitor.Keeper(e.Path("")); err == nil {
		defer unix.Close(keeper)
		if !force {
			return fmt.Errorf("container %s runs, and its state is damaged\nfix: bryo rm -f %s", e.ID, e.ID)
		}
		if err := unix.PidfdSendSignal(keeper, unix.SIGKILL, nil, 0); err != nil && !errors.Is(err, unix.ESRCH) {
			return err
		}
		ended(keeper, killPatience)
	}
	if err := e.Lock(); err != nil {
		return goneIsFine(err)
	}
	return goneIsFine(e.Remove())
}
