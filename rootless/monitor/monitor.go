package monitor

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"bryo/rootless"
	"bryo/rootless/launch"
	"bryo/rootless/logs"
	"bryo/rootless/state"
	"bryo/rootless/tty"
)

// SocketName is the attach socket's, in the container's directory.
const SocketName = "attach"

const (
	chunk = 32 << 10
	lull  = time.Second // without an event, before the process sleeps
)

// Monitor is a container and who looks after it.
type Monitor struct {
	entry     *state.Entry
	container *launch.Container
	fds       descriptors
	clients   []*client
	input     []byte // for the command, which it has not taken yet
	last      byte   // of the input so far
	noMore    bool   // input: its pipe is closed once all is taken
	log       *logs.Writer
	buf       []byte
}

// descriptors of a monitor, which stay while it sleeps; 0 is none.
type descriptors struct {
	Out, Err int // what the command writes: reading ends, or the terminal
	In       int // what it reads
	Listener int
	Self     int // the executable
	Dir      int `json:"-"` // of the container's state
}

// mostTold is what fits into an argument for sure: execve(2).
const mostTold = 100 << 10

// handle is what a monitor that wakes up is told.
type handle struct {
	Container launch.Handle
	FDs       descriptors
	Log       logs.State
}

// Start starts the container and begins to look after it. Standard input,
// output and error of this process become the container's while it is made,
// and lead nowhere afterwards.
func Start(entry *state.Entry, config *state.Config, plan *rootless.Plan) (*Monitor, error) {
	m := &Monitor{entry: entry, buf: make([]byte, chunk)}
	if err := m.start(config, plan); err != nil {
		m.fds.close()
		_ = os.Remove(entry.Path(SocketName)) // nobody listens any more
		return nil, err
	}
	return m, nil
}

func (m *Monitor) start(config *state.Config, plan *rootless.Plan) (err error) {
	if err := m.openLog(config, logs.State{}); err != nil {
		return err
	}
	if m.fds.Self, err = unix.Open("/proc/self/exe", unix.O_PATH|unix.O_CLOEXEC, 0); err != nil {
		return os.NewSyscallError("open", err)
	}
	if m.fds.Listener, err = listen(m.entry.Path(""), SocketName); err != nil {
		return err
	}
	if !plan.Process.Terminal {
		if err := m.streams(config.Options.Interactive); err != nil {
			return err
		}
	}
	if m.container, err = launch.Start(plan); err != nil {
		return err
	}
	if err := errors.Join(m.container.Deliver(), redirect(-1, -1, -1)); err != nil {
		return errors.Join(err, m.container.Kill())
	}
	if !plan.Process.Terminal {
		return nil
	}
	m.fds.Out = m.container.Master()
	// A command that does not read holds up nothing else.
	if err := unix.SetNonblock(m.fds.Out, true); err != nil {
		return errors.Join(os.NewSyscallError("nonblock", err), m.container.Kill())
	}
	return nil
}

// openLog opens the log, with what a monitor that slept had in memory.
func (m *Monitor) openLog(config *state.Config, held logs.State) (err error) {
	o := config.Options.Log
	if m.fds.Dir, err = unix.Open(m.entry.Path(""), unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0); err != nil {
		return os.NewSyscallError("open", err)
	}
	format := logs.JSON
	if o.Plain {
		format = logs.Plain
	}
	if m.log, err = logs.Open(m.fds.Dir, logs.Options{Format: format, MaxSize: o.MaxSize, MaxFiles: o.MaxFiles}); err != nil {
		return err
	}
	return m.log.Import(held)
}

// streams makes the pipes that the command has for its standard ones.
func (m *Monitor) streams(interactive bool) error {
	var out, errs, in [2]int
	if err := errors.Join(unix.Pipe2(out[:], unix.O_CLOEXEC), unix.Pipe2(errs[:], unix.O_CLOEXEC)); err != nil {
		return os.NewSyscallError("pipe2", err)
	}
	m.fds.Out, m.fds.Err = out[0], errs[0]
	in[0] = -1
	if interactive {
		if err := unix.Pipe2(in[:], unix.O_CLOEXEC); err != nil {
			return os.NewSyscallError("pipe2", err)
		}
		m.fds.In = in[1]
	}
	for _, fd := range []int{m.fds.Out, m.fds.Err, m.fds.In} {
		if fd != 0 {
			_ = unix.SetNonblock(fd, true)
		}
	}
	err := redirect(in[0], out[1], errs[1])
	for _, fd := range []int{in[0], out[1], errs[1]} {
		if fd >= 0 {
			_ = unix.Close(fd)
		}
	}
	return err
}

// redirect makes descriptors the process's standard ones; -1 leads nowhere.
func redirect(in, out, errs int) error {
	null, err := unix.Open(os.DevNull, unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return os.NewSyscallError("open", err)
	}
	defer unix.Close(null)
	for standard, fd := range []int{in, out, errs} {
		if fd < 0 {
			fd = null
		}
		if err := unix.Dup3(fd, standard, 0); err != nil {
			return os.NewSyscallError("dup3", err)
		}
	}
	return nil
}

// Resume is the monitor that slept, from what it was told.
func Resume(entry *state.Entry, config *state.Config, told string) (*Monitor, error) {
	var h handle
	if err := json.Unmarshal([]byte(told), &h); err != nil {
		return nil, fmt.Errorf("wake up: %w", err)
	}
	for _, fd := range h.FDs.all() {
		unix.CloseOnExec(fd)
	}
	m := &Monitor{entry: entry, container: launch.Resume(h.Container), fds: h.FDs, buf: make([]byte, chunk)}
	return m, m.openLog(config, h.Log)
}

func (d *descriptors) all() (list []int) {
	for _, fd := range []int{d.Out, d.Err, d.In, d.Listener, d.Self, d.Dir} {
		if fd != 0 {
			list = append(list, fd)
		}
	}
	return list
}

func (d *descriptors) close() {
	for _, fd := range d.all() {
		_ = unix.Close(fd)
	}
}

// PID is the container's PID 1.
func (m *Monitor) PID() int { return m.container.PID }

// GivenUp are the controls that the container was started without.
func (m *Monitor) GivenUp() []string { return m.container.GivenUp }

// Wait looks after the container until it has ended, and returns its exit
// code. When nothing happens the process sleeps, and begins anew as argv with
// one more argument, for Resume.
func (m *Monitor) Wait(argv []string) (int, error) {
	defer m.close()
	for {
		events, err := m.poll(lull)
		if err != nil {
			return 0, errors.Join(err, m.container.Kill())
		}
		if len(events) == 0 && len(m.clients) == 0 && len(m.input) == 0 {
			m.sleep(argv)
			if _, err := m.poll(-1); err != nil { // it could not sleep: it only waits
				return 0, errors.Join(err, m.container.Kill())
			}
			continue
		}
		if m.handle(events) {
			return m.finish()
		}
	}
}

// event is a descriptor that is ready.
type event struct {
	fd  int
	how int16
}

func (m *Monitor) poll(patience time.Duration) ([]event, error) {
	polls := []unix.PollFd{{Fd: int32(m.container.PIDFD), Events: unix.POLLIN}, {Fd: int32(m.fds.Listener), Events: unix.POLLIN}}
	for _, fd := range []int{m.fds.Out, m.fds.Err} {
		if fd != 0 {
			polls = append(polls, unix.PollFd{Fd: int32(fd), Events: unix.POLLIN})
		}
	}
	if to := m.inputFD(); to != 0 && len(m.input) > 0 {
		polls = append(polls, unix.PollFd{Fd: int32(to), Events: unix.POLLOUT})
	}
	for _, c := range m.clients {
		polls = append(polls, unix.PollFd{Fd: int32(c.fd), Events: c.wants(len(m.input) < mostInput)})
	}
	milliseconds := -1
	if patience >= 0 {
		milliseconds = int(patience.Milliseconds())
	}
	if _, err := unix.Poll(polls, milliseconds); err != nil && !errors.Is(err, unix.EINTR) {
		return nil, os.NewSyscallError("poll", err)
	}
	var events []event
	for _, p := range polls {
		if p.Revents != 0 {
			events = append(events, event{int(p.Fd), p.Revents})
		}
	}
	return events, nil
}

// handle does what is to be done; ended says that the container has ended.
func (m *Monitor) handle(events []event) (ended bool) {
	for _, e := range events {
		switch e.fd {
		case m.container.PIDFD:
			ended = true
		case m.fds.Listener:
			m.accept()
		case m.fds.Out, m.fds.Err:
			if e.how&unix.POLLOUT != 0 && e.fd == m.inputFD() {
				m.feed()
			}
			if e.how&^unix.POLLOUT != 0 {
				m.pass(e.fd)
			}
		case m.fds.In:
			m.feed()
		default:
			m.serve(e)
		}
	}
	m.dropClosed()
	return ended
}

// pass keeps and passes on what the command has written, once; false says that
// there is no more for now.
func (m *Monitor) pass(fd int) bool {
	stream, kind := logs.Stdout, Output
	if fd == m.fds.Err {
		stream, kind = logs.Stderr, ErrorOutput
	}
	n, err := unix.Read(fd, m.buf)
	switch {
	case errors.Is(err, unix.EAGAIN), errors.Is(err, unix.EINTR):
		return false
	case n <= 0: // all writers are gone; of a terminal, perhaps not for good
		if fd != m.container.Master() {
			m.closeStream(fd)
		} else {
			time.Sleep(terminalPause)
		}
		return false
	}
	_ = m.log.Write(stream, time.Now(), m.buf[:n]) // what is dropped, the log tells
	for _, c := range m.clients {
		c.send(kind, m.buf[:n])
	}
	return true
}

// terminalPause is between looks at a terminal that nobody has open.
const terminalPause = 20 * time.Millisecond

func (m *Monitor) closeStream(fd int) {
	_ = unix.Close(fd)
	if fd == m.fds.Out {
		m.fds.Out = 0
	} else {
		m.fds.Err = 0
	}
}

// inputFD is what input goes to.
func (m *Monitor) inputFD() int {
	if m.container.Master() >= 0 {
		return m.fds.Out
	}
	return m.fds.In
}

// feed gives the command its input.
func (m *Monitor) feed() {
	if len(m.input) > 0 {
		n, err := unix.Write(m.inputFD(), m.input)
		switch {
		case errors.Is(err, unix.EAGAIN), errors.Is(err, unix.EINTR):
		case err != nil:
			m.input = nil // it reads no more
		default:
			m.input = m.input[n:]
		}
	}
	if m.noMore && len(m.input) == 0 && m.fds.In != 0 {
		_ = unix.Close(m.fds.In)
		m.fds.In = 0
	}
}

// take keeps input until the command takes it.
func (m *Monitor) take(data []byte) {
	if m.inputFD() == 0 || m.noMore || len(data) == 0 {
		return
	}
	m.input = append(m.input, data...)
	m.last = data[len(data)-1]
	m.feed()
}

// endInput tells the command that there is no more input.
func (m *Monitor) endInput() {
	if m.container.Master() < 0 {
		m.noMore = true
		m.feed()
		return
	}
	const endOfInput = 4 // VEOF, ctrl-D
	if m.last != 0 && m.last != '\n' {
		m.take([]byte{endOfInput}) // this one only ends the line
	}
	m.take([]byte{endOfInput})
	m.last = 0
}

// resize gives the container's terminal a client's size.
func (m *Monitor) resize(data []byte) {
	const size = 4
	if m.container.Master() >= 0 && len(data) == size {
		_ = m.container.Resize(tty.Size{Rows: binary.LittleEndian.Uint16(data), Columns: binary.LittleEndian.Uint16(data[2:])})
	}
}

// finish takes what is left, and the exit code.
func (m *Monitor) finish() (int, error) {
	for _, fd := range []int{m.fds.Out, m.fds.Err} {
		const most = 1 << 10 // chunks: somebody else may have the pipe and go on writing
		for range most {
			if fd == 0 || !m.pass(fd) {
				break
			}
		}
	}
	_ = m.log.Flush(time.Now())
	code, err := m.container.Wait()
	const patience = 2 * time.Second
	deadline := time.Now().Add(patience)
	for _, c := range m.clients {
		if err == nil {
			c.send(End, []byte{byte(code)})
		}
		c.drain(deadline, 0)
	}
	return code, err
}

func (m *Monitor) close() {
	for _, c := range m.clients {
		_ = unix.Close(c.fd)
	}
	_ = m.log.Close()
	_ = os.Remove(m.entry.Path(SocketName))
	m.fds.close()
}

// sleep returns if the process could not be replaced.
func (m *Monitor) sleep(argv []string) {
	told, err := json.Marshal(handle{m.container.Handle(), m.fds, m.log.Export()})
	if err != nil || len(told) > mostTold {
		return
	}
	wake := []int{m.container.PIDFD, m.fds.Listener}
	for _, fd := range []int{m.fds.Out, m.fds.Err} {
		if fd != 0 {
			wake = append(wake, fd)
		}
	}
	var keep []int
	if m.fds.In != 0 {
		keep = append(keep, m.fds.In)
	}
	_ = m.container.Sleep(wake, keep, m.fds.Self, append(argv, string(told)), os.Environ())
}
