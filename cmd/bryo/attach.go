package main

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"sync"

	"github.com/spf13/pflag"
	"golang.org/x/sys/unix"

	"bryo/rootless/monitor"
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
	e, r, err := oneContainer(flags.Arg(0))
	if err == nil {
		err = needRunning(r)
	}
	if err != nil {
		return report(s, err)
	}
	config, err := e.Config()
	if err != nil {
		return report(s, err)
	}
	if *keys == "" {
		*keys = config.Options.DetachKeys
	}
	terminal := config.Spec.Process.Terminal
	a := &attached{streams: s, keys: keysOf(*keys), terminal: terminal, input: !*noInput && (terminal || config.Options.Interactive)}
	code, err := a.run(e)
	if err != nil {
		return report(s, err)
	}
	return code
}

// attached is a terminal, or pipes, that a container's input and output go to.
type attached struct {
	streams  streams
	keys     []byte // that leave it
	terminal bool   // the container has one
	input    bool

	socket *os.File
	sends  sync.Mutex
	typed  int // of the keys, what has been typed so far
}

var errDetached = errors.New("detached")

// run returns the container's exit code, or 0 once it was left.
func (a *attached) run(e *state.Entry) (code int, err error) {
	fd, err := monitor.Dial(e.Path(""))
	if err != nil {
		return 0, fmt.Errorf("attach: %w\nfix: bryo ps -a shows whether it still runs", err)
	}
	a.socket = os.NewFile(uintptr(fd), "attach")
	defer a.socket.Close()
	if a.terminal && a.input && tty.Is(int(a.streams.in.Fd())) {
		window := &console{in: int(a.streams.in.Fd()), out: int(a.streams.out.Fd())}
		if err := window.begin(); err != nil {
			return 0, err
		}
		defer func() { err = errors.Join(err, window.end()) }()
		sizes := make(chan os.Signal, 1)
		signal.Notify(sizes, unix.SIGWINCH)
		defer signal.Stop(sizes)
		sizes <- unix.SIGWINCH
		go a.follow(sizes, window)
	}
	left := make(chan error, 1)
	if a.input {
		go func() { left <- a.passInput() }()
	}
	over := make(chan error, 1)
	go func() { over <- a.passOutput() }()
	select {
	case err = <-over:
	case err = <-left:
		if err == nil {
			err = <-over // input has ended, output goes on
		}
	}
	if errors.Is(err, errDetached) {
		return exitOK, nil
	}
	if err != nil {
		return 0, err
	}
	return waitFor(e.ID)
}

func (a *attached) send(kind monitor.Kind, data []byte) error {
	a.sends.Lock()
	defer a.sends.Unlock()
	_, err := a.socket.Write(monitor.Append(nil, kind, data))
	return err
}

// follow tells the container of the window's size.
func (a *attached) follow(sizes <-chan os.Signal, w *console) {
	for range sizes {
		if size, err := tty.SizeOf(w.in); err == nil {
			data := binary.LittleEndian.AppendUint16(nil, size.Rows)
			_ = a.send(monitor.Size, binary.LittleEndian.AppendUint16(data, size.Columns))
		}
	}
}

// passInput ends with the input, or with the keys that leave.
func (a *attached) passInput() error {
	const chunk = 16 << 10
	buf := make([]byte, chunk)
	for {
		n, err := a.streams.in.Read(buf)
		if n > 0 {
			data, leave := a.look(buf[:n])
			if len(data) > 0 {
				if a.send(monitor.Input, data) != nil {
					return nil //nolint:nilerr // the container has ended: output tells
				}
			}
			if leave {
				return errDetached
			}
		}
		if err != nil {
			_ = a.send(monitor.EndOfInput, nil)
			return nil //nolint:nilerr // whatever ends the input, it ends
		}
	}
}

// look finds the keys that leave, which are kept back until it is clear that
// they are others.
func (a *attached) look(typed []byte) (data []byte, leave bool) {
	if len(a.keys) == 0 || !a.terminal {
		return typed, false
	}
	for _, b := range typed {
		if b == a.keys[a.typed] {
			if a.typed++; a.typed == len(a.keys) {
				return data, true
			}
			continue
		}
		data = append(data, a.keys[:a.typed]...)
		a.typed = 0
		if b == a.keys[0] {
			a.typed = 1
			continue
		}
		data = append(data, b)
	}
	return data, false
}

func (a *attached) passOutput() error {
	const chunk = 64 << 10
	buf := make([]byte, chunk)
	var have []byte
	for {
		n, err := a.socket.Read(buf)
		if err != nil || n == 0 {
			return nil //nolint:nilerr // the monitor has ended, or let us go
		}
		have = append(have, buf[:n]...)
		for {
			kind, data, rest, ok, err := monitor.Cut(have)
			if err != nil {
				return err
			}
			if !ok {
				break
			}
			to := a.streams.out
			if kind == monitor.ErrorOutput {
				to = a.streams.err
			}
			if _, err := to.Write(data); err != nil {
				return err
			}
			have = rest
		}
		have = bytes.Clone(have)
	}
}
