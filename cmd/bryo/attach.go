package main

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"sync"
	"time"

	"github.com/spf13/pflag"
	"golang.org/x/sys/unix"

	"bryo/rootless/monitor"
	"bryo/rootless/program"
	"bryo/rootless/state"
	"bryo/rootless/tty"
)

func attachFlags(s streams) (flags *pflag.FlagSet, keys *string, noInput *bool) {
	flags = verbFlags("attach", s)
	keys = new(string)
	flags.Var(one(keys, "KEYS", parseKeys), "detach-keys", "keys that leave the container running; by default ctrl-p,ctrl-q, or run's")
	return flags, keys, flags.Bool("no-stdin", false, "pass no input on")
}

func attachSyntax() *pflag.FlagSet {
	flags, _, _ := attachFlags(streams{})
	return flags
}

// runAttach connects input and output with a container's, until it ends or the
// keys are pressed.
func runAttach(args []string, s streams) int {
	flags, keys, noInput := attachFlags(s)
	if err := parse(flags, args); err != nil {
		return report(s, err)
	}
	if flags.NArg() != 1 {
		return report(s, errors.New("attach takes one container\nfix: bryo attach CONTAINER"))
	}
	e, config, err := runningContainer(flags.Arg(0))
	if err != nil {
		return report(s, err)
	}
	a := newAttached(s, config, !*noInput)
	// What comes from elsewhere than a terminal may hold any bytes.
	if a.terminal && (flags.Changed("detach-keys") || tty.Is(int(s.in.Fd()))) {
		a.keys.all = keysOf(cmp.Or(*keys, config.Options.DetachKeys))
	}
	code, err := a.run(e, config.Options.Restart.Policy != "")
	if err != nil {
		return report(s, err)
	}
	return code
}

// runningContainer opens a container that runs, with what it was asked to be.
func runningContainer(name string) (*state.Entry, *state.Config, error) {
	e, r, err := oneContainer(name)
	if err == nil {
		err = errors.Join(refusePaused(r), needRunning(r))
	}
	if err != nil {
		return nil, nil, err
	}
	config, err := e.Config()
	return e, config, err
}

// attached is a terminal, or pipes, that a container's input and output go to.
type attached struct {
	streams  streams
	keys     keyFinder
	terminal bool // the container has one
	input    bool
	window   *console // nil unless it is in raw mode

	socket *os.File
	sends  sync.Mutex
}

func newAttached(s streams, config *state.Config, input bool) *attached {
	terminal := config.Spec.Process.Terminal
	return &attached{streams: s, terminal: terminal, input: input && (terminal || config.Options.Interactive)}
}

// leaving is why somebody is attached no more.
type leaving struct {
	code  int
	err   error
	ended bool // the container has
}

// errLetGo means that the monitor closed the connection without a word.
var errLetGo = errors.New("the connection was closed")

// run returns the container's exit code, or 0 once it was left.
func (a *attached) run(e *state.Entry, restarts bool) (code int, err error) {
	fd, err := monitor.Dial(e.Path(""))
	if err != nil {
		return 0, fmt.Errorf("attach: %w\nfix: bryo ps -a shows whether it still runs", err)
	}
	a.socket = os.NewFile(uintptr(fd), "attach")
	defer a.socket.Close()
	const ways = 3
	left := make(chan leaving, ways)
	if a.terminal && a.input && tty.Is(int(a.streams.in.Fd())) {
		a.window = &console{in: int(a.streams.in.Fd()), out: int(a.streams.out.Fd())}
		signals := caught(unix.SIGWINCH, unix.SIGCONT, unix.SIGTSTP, unix.SIGPIPE,
			unix.SIGTERM, unix.SIGHUP, unix.SIGINT, unix.SIGQUIT, unix.SIGUSR1, unix.SIGUSR2, unix.SIGALRM)
		defer signal.Stop(signals)
		if err := a.window.begin(); err != nil {
			return 0, err
		}
		defer func() { _ = a.window.end() }() // it may be gone
		a.sendSize()
		go a.follow(signals, left)
	}
	if a.input {
		go a.passInput(left)
	}
	go a.passOutput(left)
	why := <-left
	switch {
	case errors.Is(why.err, errLetGo):
		return whyLetGo(e)
	case errors.Is(why.err, unix.EPIPE):
		return signalExitBase + int(unix.SIGPIPE), nil
	case why.ended && !restarts:
		_, _ = waitFor(e) // so that others know, too
	}
	return why.code, why.err
}

// whyLetGo tells a slow client from one whose container has ended, or was killed.
func whyLetGo(e *state.Entry) (code int, err error) {
	r, err := e.Record()
	if err != nil {
		return 0, err
	}
	if supervisor, err := r.Supervisor.Open(); err == nil {
		ended(supervisor, time.Second) // if that is the reason
		_ = unix.Close(supervisor)
	}
	if r, err = e.Now(); err != nil {
		return 0, err
	}
	if r.Status == state.Dead {
		return 0, errUnknownEnd(r)
	}
	if r.Status == state.Exited {
		return r.ExitCode, nil
	}
	return 0, fmt.Errorf("attach: the container goes on without this client, which did not take its output in time\nfix: bryo logs -f %s for all of it", r.Name)
}

func (a *attached) send(kind monitor.Kind, data []byte) error {
	a.sends.Lock()
	defer a.sends.Unlock()
	_, err := a.socket.Write(monitor.Append(nil, kind, data))
	return err
}

// sendSize tells the container of the window's size.
func (a *attached) sendSize() {
	if size, err := tty.SizeOf(a.window.in); err == nil {
		data := binary.LittleEndian.AppendUint16(nil, size.Rows)
		_ = a.send(monitor.Size, binary.LittleEndian.AppendUint16(data, size.Columns))
	}
}

// caught is where these signals arrive from now on: those that would leave the
// terminal in raw mode or something half-made, and those that tell of it. One that
// is ignored stays so, as nohup(1) wants it.
func caught(list ...unix.Signal) chan os.Signal {
	const room = 16
	signals := make(chan os.Signal, room)
	ignored := program.Ignored()
	for _, s := range list {
		if !slices.Contains(ignored, s) {
			signal.Notify(signals, s)
		}
	}
	return signals
}

// follow does what signals want of this terminal; the container hears of none.
func (a *attached) follow(signals <-chan os.Signal, left chan<- leaving) {
	for s := range signals {
		switch s {
		case unix.SIGWINCH:
		case unix.SIGPIPE:
			continue // the write tells
		case unix.SIGCONT:
			a.window.again()
		case unix.SIGTSTP:
			_ = a.window.end()
			_ = stop() // refused by nobody
			_ = a.window.begin()
		default:
			if number, ok := s.(unix.Signal); ok {
				left <- leaving{code: signalExitBase + int(number)}
			}
			return
		}
		a.sendSize()
	}
}

// passInput ends with the input, or with the keys that leave.
func (a *attached) passInput(left chan<- leaving) {
	const chunk = 16 << 10
	buf := make([]byte, chunk)
	terminal := tty.Is(int(a.streams.in.Fd()))
	for {
		n, err := a.streams.in.Read(buf)
		if n > 0 {
			data, leave := a.keys.look(buf[:n])
			if len(data) > 0 && a.send(monitor.Input, data) != nil {
				return // the container has ended: output tells
			}
			if leave {
				left <- leaving{}
				return
			}
		}
		if err == nil {
			continue
		}
		if a.window != nil || terminal && !tty.Is(int(a.streams.in.Fd())) {
			left <- leaving{code: signalExitBase + int(unix.SIGHUP)} // nobody is there any more: the container goes on
			return
		}
		_ = a.send(monitor.Input, a.keys.rest())
		_ = a.send(monitor.EndOfInput, nil)
		return
	}
}

// passOutput ends with the container.
func (a *attached) passOutput(left chan<- leaving) {
	code, err := a.copyOutput()
	left <- leaving{code: code, err: err, ended: err == nil}
}

// copyOutput returns the exit code that comes at the end.
func (a *attached) copyOutput() (int, error) {
	const chunk = 64 << 10
	buf := make([]byte, chunk)
	var have []byte
	for {
		n, err := a.socket.Read(buf)
		if err != nil || n == 0 {
			return 0, errLetGo
		}
		have = append(have, buf[:n]...)
		for {
			kind, data, rest, ok, err := monitor.Cut(have)
			if err != nil {
				return 0, err
			}
			if !ok {
				break
			}
			to := a.streams.out
			switch kind {
			case monitor.ErrorOutput:
				to = a.streams.err
			case monitor.End:
				if len(data) == 1 {
					return int(data[0]), nil
				}
			case monitor.Output, monitor.Input, monitor.EndOfInput, monitor.Size:
			}
			if _, err := to.Write(data); err != nil {
				return 0, err
			}
			have = rest
		}
		have = bytes.Clone(have)
	}
}
