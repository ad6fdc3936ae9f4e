package tty

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

const soon = 10 * time.Second

// pty is a pseudo-terminal: bryo's end, and the container's.
func pty(t *testing.T) (master, slave *os.File) {
	t.Helper()
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Skip("no pseudo-terminals here: ", err)
	}
	must(t, unix.IoctlSetPointerInt(int(master.Fd()), unix.TIOCSPTLCK, 0))
	peer, _, errno := unix.Syscall(unix.SYS_IOCTL, master.Fd(), unix.TIOCGPTPEER, unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC)
	if errno != 0 {
		t.Fatal(errno)
	}
	slave = os.NewFile(peer, "slave")
	t.Cleanup(func() { _ = master.Close(); _ = slave.Close() })
	return master, slave
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func pipe(t *testing.T) (r, w *os.File) {
	t.Helper()
	r, w, err := os.Pipe()
	must(t, err)
	t.Cleanup(func() { _ = r.Close(); _ = w.Close() })
	return r, w
}

// session is a Link at work: what a test writes and reads at its ends.
type session struct {
	slave   *os.File // the container's terminal
	in      *os.File // bryo's input is its other end
	out     *os.File // of bryo's output
	ended   *os.File // closed, the container has ended
	outcome chan error
	output  *os.File // the end that Copy writes to
}

func begin(t *testing.T, raw bool) *session {
	t.Helper()
	in, write := pipe(t)
	s := beginWith(t, raw, in)
	s.in = write
	return s
}

func beginWith(t *testing.T, raw bool, in *os.File) *session {
	t.Helper()
	master, slave := pty(t)
	if raw {
		_, err := Raw(int(slave.Fd()))
		must(t, err)
	}
	read, out := pipe(t)
	alive, ended := pipe(t)
	s := &session{slave: slave, out: read, ended: ended, outcome: make(chan error, 1), output: out}
	link := &Link{Master: int(master.Fd()), In: int(in.Fd()), Out: int(out.Fd()), Ended: int(alive.Fd())}
	go func() { s.outcome <- link.Copy(); _ = out.Close() }()
	return s
}

// end ends the container and waits for Copy.
func (s *session) end(t *testing.T) error {
	t.Helper()
	_ = s.slave.Close()
	_ = s.ended.Close()
	select {
	case err := <-s.outcome:
		return err
	case <-time.After(soon):
		t.Fatal("Copy goes on after the container has ended")
		return nil
	}
}

// within gives what do returns, unless it takes too long.
func within[T any](t *testing.T, what string, do func() T) T {
	t.Helper()
	done := make(chan T, 1)
	go func() { done <- do() }()
	select {
	case got := <-done:
		return got
	case <-time.After(soon):
		t.Fatal(what + " hangs")
		panic("unreachable")
	}
}

func read(f *os.File, n int) func() string {
	return func() string {
		data := make([]byte, n)
		got, _ := io.ReadFull(f, data)
		return string(data[:got])
	}
}

// binary is n bytes of every value.
func binary(n int) []byte {
	data := make([]byte, n)
	random := rand.NewChaCha8([32]byte{})
	_, _ = random.Read(data)
	return data
}

func TestIs(t *testing.T) {
	master, slave := pty(t)
	r, _ := pipe(t)
	for _, row := range []struct {
		name string
		fd   int
		want bool
	}{{"a terminal", int(slave.Fd()), true}, {"its master", int(master.Fd()), true}, {"a pipe", int(r.Fd()), false}, {"nothing", -1, false}} {
		if got := Is(row.fd); got != row.want {
			t.Errorf("%s: %t", row.name, got)
		}
	}
}

func TestSizes(t *testing.T) {
	master, slave := pty(t)
	if s, err := SizeOf(int(slave.Fd())); s != (Size{}) || err != nil {
		t.Errorf("a new one: %v, %v", s, err)
	}
	for _, want := range []Size{{24, 80}, {1, 65535}, {}} {
		must(t, Resize(int(master.Fd()), want))
		if got, err := SizeOf(int(slave.Fd())); got != want || err != nil {
			t.Errorf("%v, %v, want %v", got, err, want)
		}
	}
	r, _ := pipe(t)
	if _, err := SizeOf(int(r.Fd())); !errors.Is(err, unix.ENOTTY) {
		t.Errorf("of a pipe: %v", err)
	}
	if err := Resize(int(r.Fd()), Size{}); !errors.Is(err, unix.ENOTTY) {
		t.Errorf("of a pipe: %v", err)
	}
}

// foregroundVariable says that the process is the test again.
const foregroundVariable = "BRYO_TTY_TEST"

func TestForeground(t *testing.T) {
	if os.Getenv(foregroundVariable) != "" {
		_, _ = fmt.Fprintln(os.Stdout, "foreground:", Where() == Foreground)
		return
	}
	_, slave := pty(t)
	for _, row := range []struct {
		name       string
		attributes syscall.SysProcAttr
		want       string
	}{
		{"of a session on it", syscall.SysProcAttr{Setsid: true, Setctty: true}, "foreground: true"},
		{"of a session without", syscall.SysProcAttr{Setsid: true}, "foreground: false"},
	} {
		cmd := exec.CommandContext(t.Context(), "/proc/self/exe", "-test.run=^TestForeground$", "-test.v")
		cmd.Env = append(os.Environ(), foregroundVariable+"=1")
		cmd.Stdin, cmd.SysProcAttr = slave, &row.attributes
		if out, err := cmd.Output(); err != nil || !strings.Contains(string(out), row.want) {
			t.Errorf("%s: %v, %s, want %s", row.name, err, out, row.want)
		}
	}
}

func TestRaw(t *testing.T) {
	master, slave := pty(t)
	fd := int(slave.Fd())
	before, err := unix.IoctlGetTermios(fd, unix.TCGETS)
	must(t, err)
	restore, err := Raw(fd)
	must(t, err)
	now, err := unix.IoctlGetTermios(fd, unix.TCGETS)
	must(t, err)
	if now.Lflag&(unix.ECHO|unix.ICANON|unix.ISIG) != 0 || now.Oflag&unix.OPOST != 0 || now.Iflag&(unix.ICRNL|unix.IXON) != 0 {
		t.Errorf("%+v", now)
	}
	every := "\x00\x03\x04\r\n\x11\x13\x1a\x1c\x7f\xff"
	if _, err := master.WriteString(every); err != nil {
		t.Fatal(err)
	}
	if got := within(t, "reading keys", read(slave, len(every))); got != every {
		t.Errorf("keys arrive as %q", got)
	}
	must(t, restore())
	after, err := unix.IoctlGetTermios(fd, unix.TCGETS)
	must(t, err)
	if *after != *before {
		t.Errorf("restored to %+v, want %+v", after, before)
	}
	r, _ := pipe(t)
	if restore, err := Raw(int(r.Fd())); !errors.Is(err, unix.ENOTTY) || restore != nil {
		t.Errorf("a pipe: %v", err)
	}
}

func TestCopyPassesBinaryIn(t *testing.T) {
	s := begin(t, true)
	want := binary(100_000)
	go func() { _, _ = s.in.Write(want) }()
	if got := within(t, "reading input", read(s.slave, len(want))); got != string(want) {
		t.Errorf("%d bytes arrive, not the same", len(got))
	}
	if err := s.end(t); err != nil {
		t.Error(err)
	}
}

// All that was written before the end is passed on, however late it is read.
func TestCopyPassesAllOutput(t *testing.T) {
	for _, size := range []int{0, 1, 4095, 4096, 65536, 1 << 20} {
		s := begin(t, true)
		want := binary(size)
		all := make(chan []byte, 1)
		go func() {
			data, _ := io.ReadAll(s.out)
			all <- data
		}()
		if n := within(t, "writing output", func() int { n, _ := s.slave.Write(want); return n }); n != size {
			t.Errorf("%d of %d bytes are written", n, size)
		}
		if err := s.end(t); err != nil {
			t.Error(err)
		}
		if got := within(t, "reading output", func() []byte { return <-all }); !bytes.Equal(got, want) {
			t.Errorf("%d bytes arrive of %d", len(got), size)
		}
	}
}

// Both ways at once: a program that answers every byte fills both directions.
func TestCopyPassesBothWaysAtOnce(t *testing.T) {
	const size = 1 << 20
	s := begin(t, true)
	want := binary(size)
	go func() { _, _ = io.Copy(s.slave, io.LimitReader(s.slave, size)) }()
	go func() { _, _ = s.in.Write(want) }()
	got := within(t, "an echo of 1 MB", read(s.out, size))
	if sha256.Sum256([]byte(got)) != sha256.Sum256(want) {
		t.Errorf("%d bytes come back, not the same", len(got))
	}
	if err := s.end(t); err != nil {
		t.Error(err)
	}
}

func TestEndOfInputIsTold(t *testing.T) {
	for _, row := range []struct{ name, input string }{
		{"nothing", ""},
		{"a line", "line\n"},
		{"lines", strings.Repeat("line\n", 100)},
		{"the beginning of a line", "word"},
		{"a line and a beginning", "line\nword"},
	} {
		s := begin(t, false)
		must(t, unix.IoctlSetTermios(int(s.slave.Fd()), unix.TCSETS, noEcho(t, s.slave)))
		if _, err := s.in.WriteString(row.input); err != nil {
			t.Fatal(err)
		}
		must(t, s.in.Close())
		got := make(chan string, 1)
		go func() {
			data, _ := io.ReadAll(s.slave)
			got <- string(data)
		}()
		select {
		case text := <-got:
			if text != row.input {
				t.Errorf("%s: %q", row.name, text)
			}
		case <-time.After(2 * time.Second):
			t.Errorf("%s: the command does not see the end of its input", row.name)
		}
		if err := s.end(t); err != nil {
			t.Errorf("%s: %v", row.name, err)
		}
	}
}

func noEcho(t *testing.T, f *os.File) *unix.Termios {
	t.Helper()
	mode, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS)
	must(t, err)
	mode.Lflag &^= unix.ECHO
	return mode
}

func TestCopyEndsWithTheContainer(t *testing.T) {
	for _, row := range []struct {
		name   string
		before func(*session)
	}{
		{"idle", func(*session) {}},
		{"without input", func(s *session) { _ = s.in.Close() }},
		{"its terminal closed before", func(s *session) { _ = s.slave.Close(); time.Sleep(50 * time.Millisecond) }},
		{"its terminal closed, without input", func(s *session) { _ = s.in.Close(); _ = s.slave.Close(); time.Sleep(50 * time.Millisecond) }},
		{"input that nobody reads", func(s *session) { _, _ = s.in.Write(make([]byte, 60000)); time.Sleep(50 * time.Millisecond) }},
	} {
		t.Run(row.name, func(t *testing.T) {
			s := begin(t, true)
			row.before(s)
			if err := s.end(t); err != nil {
				t.Error(err)
			}
		})
	}
}

// The end of the container comes while somebody still has its terminal open.
func TestCopyDoesNotWaitForTheTerminal(t *testing.T) {
	s := begin(t, true)
	if _, err := s.slave.WriteString("last words"); err != nil {
		t.Fatal(err)
	}
	_ = s.ended.Close()
	if err := within(t, "Copy", func() error { return <-s.outcome }); err != nil {
		t.Error(err)
	}
	if got := within(t, "reading", read(s.out, 10)); got != "last words" {
		t.Errorf("%q", got)
	}
}

// A command that closes its terminal and goes on costs nothing.
func TestAClosedTerminalDoesNotSpin(t *testing.T) {
	s := begin(t, true)
	_ = s.slave.Close()
	time.Sleep(50 * time.Millisecond)
	before := used(t)
	time.Sleep(500 * time.Millisecond)
	if spent := used(t) - before; spent > 200*time.Millisecond {
		t.Errorf("%v of CPU time in 500ms", spent)
	}
	if err := s.end(t); err != nil {
		t.Error(err)
	}
}

func used(t *testing.T) time.Duration {
	t.Helper()
	var r unix.Rusage
	must(t, unix.Getrusage(unix.RUSAGE_SELF, &r))
	return time.Duration(r.Utime.Nano() + r.Stime.Nano())
}

func TestOutputThatIsClosedIsTold(t *testing.T) {
	s := begin(t, true)
	_ = s.out.Close()
	if _, err := s.slave.WriteString("x"); err != nil {
		t.Fatal(err)
	}
	if err := within(t, "Copy", func() error { return <-s.outcome }); !errors.Is(err, unix.EPIPE) {
		t.Errorf("%v, want EPIPE", err)
	}
}

// Input that does not block does not end, and output that is full is waited for.
func TestNonblockingEnds(t *testing.T) {
	master, slave := pty(t)
	_, err := Raw(int(slave.Fd()))
	must(t, err)
	var in, out [2]int
	must(t, unix.Pipe2(in[:], unix.O_CLOEXEC|unix.O_NONBLOCK))
	must(t, unix.Pipe2(out[:], unix.O_CLOEXEC|unix.O_NONBLOCK))
	alive, ended := pipe(t)
	outcome := make(chan error, 1)
	go func() {
		outcome <- (&Link{Master: int(master.Fd()), In: in[0], Out: out[1], Ended: int(alive.Fd())}).Copy()
		_ = unix.Close(out[1])
	}()
	want := binary(200_000)
	go func() { _, _ = slave.Write(want); _ = slave.Close(); _ = ended.Close() }()
	time.Sleep(100 * time.Millisecond) // it is full by now
	must(t, unix.SetNonblock(out[0], false))
	reader := os.NewFile(uintptr(out[0]), "out")
	defer func() { _ = reader.Close() }()
	got := within(t, "reading", func() []byte { data, _ := io.ReadAll(reader); return data })
	if !bytes.Equal(got, want) {
		t.Errorf("%d bytes of %d", len(got), len(want))
	}
	must(t, within(t, "Copy", func() error { return <-outcome }))
	must(t, errors.Join(unix.Close(in[0]), unix.Close(in[1])))
}

// TestLastWordsArePassedOn: a command writes and ends between poll's look at its
// terminal and the look at its end. In between stands input, a terminal, too,
// where poll waits for what the kernel still has to put there.
func TestLastWordsArePassedOn(t *testing.T) {
	keyboard, input := pty(t)
	typing := make(chan struct{})
	defer func() { <-typing }()
	over := make(chan struct{})
	defer close(over)
	go func() {
		defer close(typing)
		line := bytes.Repeat([]byte("x"), 64)
		for {
			select {
			case <-over:
				return
			default:
				_, _ = keyboard.Write(line) // never a whole line
			}
		}
	}()
	const times = 300
	for range times {
		t.Run("", func(t *testing.T) {
			s := beginWith(t, true, input)
			_, err := s.slave.WriteString("x")
			must(t, err)
			must(t, s.end(t))
			if got, err := io.ReadAll(s.out); string(got) != "x" || err != nil {
				t.Errorf("got %q, %v", got, err)
			}
		})
	}
}
