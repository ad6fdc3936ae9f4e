package main

import (
	"os"
	ossignal "os/signal"
	"runtime"
	"slices"
	"sync"

	"github.com/rootless-containers/rootlesskit/v3/pkg/sigproxy/signal"
	"golang.org/x/sys/unix"

	"bryo/rootless/launch"
	"bryo/rootless/program"
	"bryo/rootless/tty"
)

// console is bryo's own terminal, or whatever stands for it, while the
// container has one: in raw mode, so that every key goes there.
type console struct {
	in, out int

	mutex   sync.Mutex   // the forwarder stops and continues, too
	restore func() error // puts the mode back; nil while it is not raw
}

// begin goes into raw mode. A job in the background stops until it is in the
// foreground, as the kernel has it for other programs; here the signal that
// would do so is caught, or kept back.
func (w *console) begin() (err error) {
	w.mutex.Lock()
	defer w.mutex.Unlock()
	for tty.Is(w.in) && tty.Where() == tty.Background {
		if err := stop(); err != nil {
			return err
		}
	}
	if w.restore == nil && tty.Is(w.in) {
		w.restore, err = tty.Raw(w.in)
	}
	return err
}

// end puts the mode back.
func (w *console) end() error {
	w.mutex.Lock()
	defer w.mutex.Unlock()
	if w.restore == nil {
		return nil
	}
	err := w.restore()
	w.restore = nil
	return err
}

// again goes into raw mode once more: a shell sets its own when it notices that
// a job has been stopped, which SIGSTOP does unheard.
func (w *console) again() {
	w.mutex.Lock()
	defer w.mutex.Unlock()
	if w.restore != nil && tty.Where() != tty.Background {
		_, _ = tty.Raw(w.in) // it may be gone
	}
}

// resize gives the container's terminal the console's size.
func (w *console) resize(c *launch.Container) {
	if size, err := tty.SizeOf(w.in); err == nil {
		_ = c.Resize(size) // the container may have ended
	}
}

// forwarder passes every signal that bryo gets on to the command.
type forwarder struct {
	container *launch.Container
	window    *console // nil without a terminal
	signals   chan os.Signal
	done      chan struct{}
}

func forwardSignals(c *launch.Container, window *console) *forwarder {
	const room = 128
	f := &forwarder{container: c, window: window, signals: make(chan os.Signal, room), done: make(chan struct{})}
	ignored := program.Ignored()
	signal.CatchAll(f.signals)
	for _, s := range ignored {
		ossignal.Ignore(s) // as nohup(1) wants it
	}
	go func() {
		defer close(f.done)
		for s := range f.signals {
			if number, ok := s.(unix.Signal); ok {
				f.pass(number)
			}
		}
	}()
	return f
}

// pass passes one signal on. A change of the window goes to the terminal; a
// stop stops bryo, too, so that the shell sees it.
func (f *forwarder) pass(s unix.Signal) {
	switch {
	case slices.Contains([]unix.Signal{unix.SIGCHLD, unix.SIGURG, unix.SIGPIPE}, s): // the runtime's and our own
	case s == unix.SIGWINCH && f.window != nil:
		f.window.resize(f.container)
	case slices.Contains([]unix.Signal{unix.SIGTSTP, unix.SIGTTIN, unix.SIGTTOU}, s):
		_ = f.container.Signal(s) // the container may have ended
		f.stopSelf()
	case slices.Contains([]unix.Signal{unix.SIGINT, unix.SIGQUIT}, s) && tty.Where() == tty.Foreground:
		_ = f.container.SignalGroup(s)
	default:
		if s == unix.SIGCONT && f.window != nil {
			f.window.again()
		}
		_ = f.container.Signal(s)
	}
}

// stopSelf stops this process, with the terminal as the shell wants it, until
// somebody continues it.
func (f *forwarder) stopSelf() {
	if f.window != nil {
		_ = f.window.end()
	}
	_ = stop() // refused by nobody
	if f.window != nil {
		_ = f.window.begin()
		f.window.resize(f.container)
	}
}

// stop stops this process until somebody continues it. The signal goes to this
// very thread, which otherwise might run on for a moment.
func stop() error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	return os.NewSyscallError("tgkill", unix.Tgkill(os.Getpid(), unix.Gettid(), unix.SIGSTOP))
}

func (f *forwarder) stop() {
	signal.StopCatch(f.signals) // closes the channel
	<-f.done
}
