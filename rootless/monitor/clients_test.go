package monitor

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"bryo/rootless/launch"
)

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// fresh is a monitor of a container without a terminal, which reads its input
// from a pipe: the other end.
func fresh(t testing.TB) (m *Monitor, stdin int) {
	t.Helper()
	var pipe [2]int
	must(t, unix.Pipe2(pipe[:], unix.O_CLOEXEC|unix.O_NONBLOCK))
	null, err := unix.Open(os.DevNull, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	must(t, err)
	m = &Monitor{container: launch.Resume(launch.Handle{PIDFD: null}), fds: descriptors{In: pipe[1]}, buf: make([]byte, chunk)}
	t.Cleanup(func() {
		for _, c := range m.clients {
			c.closed = true
		}
		m.dropClosed()
		m.fds.close()
		_ = unix.Close(pipe[0])
		_ = unix.Close(null)
	})
	return m, pipe[0]
}

// attach adds a client: the other end.
func (m *Monitor) attach(t testing.TB) (peer int) {
	t.Helper()
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	must(t, err)
	t.Cleanup(func() { _ = unix.Close(pair[1]) })
	m.clients = append(m.clients, &client{fd: pair[0]})
	return pair[1]
}

// step does what there is to do now.
func (m *Monitor) step(t testing.TB) {
	t.Helper()
	var ready []event
	for _, c := range m.clients {
		polls := []unix.PollFd{{Fd: int32(c.fd), Events: c.wants(len(m.input) < mostInput)}}
		_, err := unix.Poll(polls, 0)
		for errors.Is(err, unix.EINTR) { // the runtime's own signals
			_, err = unix.Poll(polls, 0)
		}
		must(t, err)
		if polls[0].Revents != 0 {
			ready = append(ready, event{c.fd, polls[0].Revents})
		}
	}
	if len(m.input) > 0 {
		ready = append(ready, event{m.fds.In, unix.POLLOUT})
	}
	m.handle(ready)
}

// read is what a descriptor has now; ended says that there is no more.
func read(t testing.TB, fd int) (text []byte, ended bool) {
	t.Helper()
	buf := make([]byte, chunk)
	for {
		n, err := unix.Read(fd, buf)
		switch {
		case errors.Is(err, unix.EAGAIN):
			return text, false
		case err != nil || n == 0:
			return text, true
		}
		text = append(text, buf[:n]...)
	}
}

// TestInput has what clients send become the command's input, in the order in which
// it came, and hold up nobody.
func TestInput(t *testing.T) {
	for _, row := range []struct {
		name, sent string
		input      string
		ended      bool // the input
		letGo      bool // the client
	}{
		{"input", "i\x03\x00\x00\x00abci\x01\x00\x00\x00d", "abcd", false, false},
		{"its end", "i\x01\x00\x00\x00ae\x00\x00\x00\x00", "a", true, false},
		{"more after its end", "e\x00\x00\x00\x00i\x01\x00\x00\x00a", "", true, false},
		{"what a monitor says", "o\x01\x00\x00\x00ax\x01\x00\x00\x00bq\x01\x00\x00\x00\x00", "", false, false},
		{"nobody's word", "?\x01\x00\x00\x00ai\x01\x00\x00\x00b", "b", false, false},
		{"a size without a terminal", "s\x04\x00\x00\x00\x18\x00\x50\x00i\x01\x00\x00\x00a", "a", false, false},
		{"half a size", "s\x01\x00\x00\x00\x18", "", false, false},
		{"half a message", "i\x09\x00\x00\x00abc", "", false, false},
		{"too much", "i\x01\x00\x00\x00ai\x00\x00\x00\x7f", "a", false, true},
	} {
		t.Run(row.name, func(t *testing.T) {
			m, stdin := fresh(t)
			peer := m.attach(t)
			for i := range row.sent { // byte for byte
				if _, err := unix.Write(peer, []byte{row.sent[i]}); err != nil {
					break // it was let go
				}
				m.step(t)
			}
			got, ended := read(t, stdin)
			if string(got) != row.input || ended != row.ended || (len(m.clients) == 0) != row.letGo {
				t.Errorf("input %q, ended: %v, %d clients", got, ended, len(m.clients))
			}
		})
	}
}

// TestInputNobodyTakes keeps so much of it, and then reads no more of the clients.
func TestInputNobodyTakes(t *testing.T) {
	m, stdin := fresh(t)
	peer := m.attach(t)
	text := Append(nil, Input, bytes.Repeat([]byte("x"), chunk))
	for range 100 {
		_, _ = unix.Write(peer, text)
		m.step(t)
		if kept := len(m.input) + len(m.clients[0].in); kept > 2*(mostInput+mostMessage) {
			t.Fatalf("%d bytes are kept", kept)
		}
	}
	if len(m.clients) != 1 || m.clients[0].wants(len(m.input) < mostInput) != 0 {
		t.Error("it reads on")
	}
	taken := 0
	for {
		got, _ := read(t, stdin)
		m.step(t)
		if taken += len(got); len(got) == 0 && len(m.input) == 0 {
			break
		}
	}
	if taken < mostInput {
		t.Errorf("%d bytes were taken", taken)
	}
	_ = unix.Close(m.fds.In)
	m.fds.In = 0
	m.take([]byte("there is nobody"))
	if len(m.input) != 0 {
		t.Errorf("kept %q", m.input)
	}
}

// TestSlowClient is let go, and those that read lose nothing.
func TestSlowClient(t *testing.T) {
	m, _ := fresh(t)
	slow, quick := m.attach(t), m.attach(t)
	said := bytes.Repeat([]byte("0123456789abcdef"), chunk/16)
	var got []byte
	begin := time.Now()
	const times = 3 * mostBehind / chunk
	for range times {
		for _, c := range m.clients {
			c.send(Output, said)
		}
		text, _ := read(t, quick)
		got = append(got, text...)
		m.dropClosed()
	}
	if took := time.Since(begin); took > 10*moment {
		t.Errorf("it held up the rest for %v", took)
	}
	if len(m.clients) != 1 {
		t.Fatalf("%d clients", len(m.clients))
	}
	if _, ended := read(t, slow); !ended {
		t.Error("it was not let go")
	}
	m.clients[0].send(End, []byte{7})
	text, _ := read(t, quick)
	list, rest, err := cutAll(append(got, text...))
	if err != nil || len(rest) != 0 || len(list) != times+1 || list[times] != (message{End, "\x07"}) {
		t.Errorf("%d messages, %d bytes over, %v", len(list), len(rest), err)
	}
}

// TestGoneClient is one whose other end is closed.
func TestGoneClient(t *testing.T) {
	m, _ := fresh(t)
	peer := m.attach(t)
	must(t, unix.Shutdown(peer, unix.SHUT_RDWR))
	m.clients[0].send(Output, []byte("text")) // without SIGPIPE
	m.step(t)
	if len(m.clients) != 0 {
		t.Error("it is still there")
	}
}

// TestListen connects below a path of any length; a socket that somebody left who
// was killed is replaced, and there is room for so many.
func TestListen(t *testing.T) {
	dir := filepath.Join(t.TempDir(), strings.Repeat("d", 120), strings.Repeat("e", 120))
	must(t, os.MkdirAll(dir, 0o700))
	if _, err := Dial(dir); err == nil {
		t.Error("nobody listens yet")
	}
	if _, err := Keeper(dir); err == nil {
		t.Error("nobody keeps it yet")
	}
	old, err := listen(dir, SocketName)
	must(t, err)
	must(t, unix.Close(old))
	if _, err := Dial(dir); !errors.Is(err, unix.ECONNREFUSED) {
		t.Error(err)
	}
	m, _ := fresh(t)
	m.fds.Listener, err = listen(dir, SocketName)
	must(t, err)
	var peers []int
	for range mostClients + 2 {
		fd, err := Dial(dir)
		must(t, err)
		peers = append(peers, fd)
		m.accept()
	}
	if len(m.clients) != mostClients {
		t.Errorf("%d clients", len(m.clients))
	}
	m.accept() // there is none
	pidfd, err := Keeper(dir)
	must(t, err)
	for _, fd := range append(peers, pidfd) {
		_ = unix.Close(fd)
	}
	for range len(m.clients) {
		m.step(t)
	}
	if len(m.clients) != 0 {
		t.Errorf("%d clients are left", len(m.clients))
	}
}

// FuzzServe has clients say anything: the command gets what Cut finds for it, and
// nothing else.
func FuzzServe(f *testing.F) {
	f.Add([]byte("i\x03\x00\x00\x00abce\x00\x00\x00\x00"))
	f.Add([]byte("s\x04\x00\x00\x00\x18\x00\x50\x00q\x01\x00\x00\x00\x00"))
	f.Add([]byte("i\xff\xff\xff\xff"))
	f.Fuzz(func(t *testing.T, text []byte) {
		text = text[:min(len(text), chunk)] // what a pipe holds for sure
		m, stdin := fresh(t)
		peer := m.attach(t)
		_, err := unix.Write(peer, text)
		must(t, err)
		m.step(t)
		list, _, failed := cutAll(text)
		var want []byte
		end := slices.IndexFunc(list, func(m message) bool { return m.kind == EndOfInput })
		for i, one := range list {
			if one.kind == Input && (end < 0 || i < end) {
				want = append(want, one.data...)
			}
		}
		got, ended := read(t, stdin)
		if !bytes.Equal(got, want) || ended != (end >= 0) || (failed != nil) != (len(m.clients) == 0) {
			t.Errorf("%q is %q, ended: %v, %d clients", text, got, ended, len(m.clients))
		}
	})
}
