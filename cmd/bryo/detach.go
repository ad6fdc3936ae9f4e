package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
	"unicode/utf8"

	"github.com/spf13/pflag"
	"golang.org/x/sys/unix"

	"bryo/fsroot"
	"bryo/rootless/host"
	"bryo/rootless/launch"
	"bryo/rootless/state"
)

// detach is what run -d asks for.
type detach struct {
	On      bool
	Name    string
	Options state.Options
}

func detachFlags(flags *pflag.FlagSet, d *detach) {
	flags.BoolVarP(&d.On, "detach", "d", false, "return once the command runs, and print the container's name")
	flags.Var(one(&d.Name, "NAME", parseName), "name", "name of a container that is detached; by default two words")
	flags.BoolVar(&d.Options.Remove, "rm", false, "with --detach: forget the container once it has ended; others leave nothing behind anyway")
	flags.BoolVarP(&d.Options.Interactive, "interactive", "i", false, "with --detach: keep input open for attach; others have bryo's input anyway")
	flags.Var(one(&d.Options.Restart, "POLICY", parseRestart), "restart", "with --detach: start again when it has ended by itself: no, on-failure[:TRIES], always")
	log := &d.Options.Log
	flags.Var(one(&log.Plain, "FORMAT", parseLogFormat), "log-format", "with --detach: how output is kept: json or plain")
	flags.Var(one(&log.MaxSize, "SIZE", parseSize), "log-max-size", "with --detach: size of a log file before the next one begins; 10m by default")
	flags.Var(one(&log.MaxFiles, "N", parseLogFiles), "log-max-files", "with --detach: keep so many log files, the latest; 3 by default")
	flags.Var(one(&d.Options.DetachKeys, "KEYS", parseKeys), "detach-keys", "keys that leave a container that is attached to, as ctrl-p,ctrl-q")
}

func parseName(text string) (string, error) { return text, state.CheckName(text) }

// parseRestart takes podman's policies.
func parseRestart(text string) (r state.Restart, err error) {
	policy, most, limited := strings.Cut(text, ":")
	switch {
	case policy == "no" && !limited:
		return r, nil
	case (policy == "always" || policy == "unless-stopped") && !limited:
		return state.Restart{Policy: "always"}, nil
	case policy == "on-failure":
		r.Policy = policy
		if limited {
			var n uint64
			n, err = strconv.ParseUint(most, 10, 31)
			r.Most = int(n)
		}
		if err == nil {
			return r, nil
		}
	}
	return r, fmt.Errorf("%q: write no, always, on-failure or on-failure:TRIES", text)
}

// checkDetach refuses what only makes sense with --detach, or without.
func (r *request) checkDetach(flags *pflag.FlagSet) error {
	d := &r.detach
	if d.On {
		if r.life.StatusFD != noStatus {
			return errors.New("--status-fd goes with a container in the foreground\nfix: leave --detach out, or ask bryo wait and bryo inspect")
		}
		if slices.ContainsFunc(r.spec.Mounts, func(m fsroot.Mount) bool { return m.OfDescriptor() }) {
			return errors.New("a mount of a descriptor goes with a container in the foreground: the supervisor has not got it\nfix: leave --detach out, or mount by the path")
		}
		if d.Options.Remove && d.Options.Restart.Policy != "" {
			return errors.New("--rm and --restart contradict each other\nfix: leave one of them out")
		}
		return nil
	}
	for _, name := range []string{"name", "restart", "log-format", "log-max-size", "log-max-files"} {
		if flags.Changed(name) {
			return fmt.Errorf("--%s goes with --detach\nfix: add -d; a container in the foreground ends with bryo run", name)
		}
	}
	return nil
}

// detached has another process start the container and look after it, and
// returns when its command runs.
func (r *request) detached(s streams) (int, error) {
	if err := checkUTF8(r.spec); err != nil {
		return 0, err
	}
	store, err := state.Open()
	if err != nil {
		return 0, err
	}
	config := &state.Config{Name: r.detach.Name, Created: time.Now(), Spec: r.spec, Options: r.detach.Options}
	if config.Options.Dir, err = os.Getwd(); err != nil {
		return 0, err
	}
	if file := r.life.PIDFile; file != "" {
		if !filepath.IsAbs(file) {
			file = filepath.Join(config.Options.Dir, file)
		}
		config.Options.PIDFile = file
	}
	if config.ID, err = host.NewID(); err != nil {
		return 0, err
	}
	used, err := r.takeImage(true, s)
	defer used.close()
	if err != nil {
		return 0, err
	}
	return r.created(store, config, used, s)
}

// created begins the container, whose image, if it has one, is kept for it.
func (r *request) created(store *state.Store, config *state.Config, used *imageRoot, s streams) (code int, err error) {
	if used != nil {
		if err := r.adopt(used, config.ID, s); err != nil {
			return 0, errors.Join(err, used.discard(s))
		}
		config.Spec = r.spec
	}
	signals := caught(unix.SIGTERM, unix.SIGHUP, unix.SIGINT, unix.SIGQUIT)
	entry, err := store.Create(config)
	if err != nil {
		return 0, errors.Join(err, used.discard(s))
	}
	if err = used.keep(entry); err == nil {
		code, err = supervised(s, signals, nil, entry.ID)
	}
	if err != nil || code != exitOK {
		return code, errors.Join(err, withdraw(entry, s))
	}
	r.tellChosen(entry, s)
	if code = write(s, config.Name+"\n"); code != exitOK {
		warn(s, []string{fmt.Sprintf("container %s runs all the same: bryo rm -f %s ends it", config.Name, config.Name)})
	}
	return code, nil
}

// tellChosen tells which ports of the host were chosen.
func (r *request) tellChosen(e *state.Entry, s streams) {
	record, err := e.Record()
	if err != nil || len(record.Ports) != len(r.spec.Net.Publish) {
		return // it has ended
	}
	for i, p := range r.spec.Net.Publish {
		if p.HostPort == 0 {
			fmt.Fprintf(s.err, "bryo: published %s\n", record.Ports[i])
		}
	}
}

// checkUTF8 refuses what would not be the same in JSON.
func checkUTF8(spec any) error {
	if !utf8.ValidString(fmt.Sprint(spec)) {
		return errors.New("a word of the command line is not UTF-8, and cannot be kept for later\nfix: leave --detach out, or write it otherwise")
	}
	return nil
}

// withdraw forgets a container that did not start, unless somebody else did, or
// has started it again.
func withdraw(e *state.Entry, s streams) error {
	err := e.Lock()
	if err != nil {
		return goneIsFine(err)
	}
	defer e.Unlock()
	if r, err := e.Record(); err == nil && r.Supervisor.PID != os.Getpid() && r.Supervisor.Lives() {
		return nil
	}
	return forget(e, false, s)
}

// started is what a supervisor says once the command runs.
const started = "started"

// outcomeFD is where it says so.
const outcomeFD = 3

// supervised starts a supervisor in a session of its own, and waits for its word:
// the exit code, if the command could not be executed. What else there is to say it
// has said. A signal ends the supervisor, and with it what it has begun. It reads in,
// if that is not nil.
func supervised(s streams, signals <-chan os.Signal, in *os.File, args ...string) (int, error) {
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		return 0, err
	}
	defer null.Close()
	read, write, err := os.Pipe()
	if err != nil {
		return 0, err
	}
	defer read.Close()
	if in == nil {
		in = null
	}
	pidfd := -1
	attributes := &syscall.ProcAttr{
		Env:   os.Environ(),
		Files: []uintptr{in.Fd(), null.Fd(), s.err.Fd(), write.Fd()},
		Sys:   &syscall.SysProcAttr{Setsid: true, PidFD: &pidfd},
	}
	pid, err := syscall.ForkExec("/proc/self/exe", append([]string{"bryo", supervise}, args...), attributes) //nolint:gosec // it is bryo, and no shell reads its arguments
	if err = errors.Join(err, write.Close()); err != nil {
		return 0, fmt.Errorf("start the supervisor: %w", err)
	}
	defer unix.Close(pidfd)
	asked := killedBy(signals, pidfd)
	word, err := io.ReadAll(read)
	if number := asked(); number != 0 {
		err = &launch.EndedError{Signal: number}
	}
	if err == nil && string(word) == started {
		return exitOK, nil
	}
	var status syscall.WaitStatus
	if _, waited := syscall.Wait4(pid, &status, 0, nil); waited != nil {
		err = errors.Join(err, fmt.Errorf("wait for the supervisor: %w", waited))
	}
	if err != nil {
		return 0, err
	}
	code, err := strconv.Atoi(string(word))
	if err != nil || code == exitOK {
		return 0, fmt.Errorf("the supervisor ended before the command ran (%v)\nfix: try again, or without --detach to see what happens", status)
	}
	return code, nil
}

// killedBy has the first of these signals kill a process, until done, which tells
// which one did; 0 is none.
func killedBy(signals <-chan os.Signal, pidfd int) (done func() unix.Signal) {
	end, ended := make(chan struct{}), make(chan unix.Signal)
	go func() {
		select {
		case s := <-signals:
			_ = unix.PidfdSendSignal(pidfd, unix.SIGKILL, nil, 0)
			number, _ := s.(unix.Signal)
			<-end
			ended <- number
		case <-end:
			ended <- 0
		}
	}()
	return func() unix.Signal {
		close(end)
		return <-ended
	}
}
