package tests

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// keeps starts a container that stays, and has it forgotten at the end.
func (s *site) keeps(name string, flags []string, command ...string) {
	s.t.Helper()
	args := slices.Concat([]string{"run", "-d", "--name", name, "--net", "none"}, flags, []string{s.root}, command)
	if got := s.bryo(args...); got.code != 0 || got.out != name+"\n" {
		s.t.Fatalf("bryo %q: %+v", args, got)
	}
	s.t.Cleanup(func() {
		if got := s.bryo("rm", "-f", name); got.code != 0 {
			s.t.Errorf("rm -f %s: %+v", name, got)
		}
	})
}

// inspection is what inspect says of a container, as far as tests ask.
type inspection struct {
	Status     string
	ExitCode   int
	Dir        string
	Supervisor struct{ PID int }
	Init       struct{ PID int }
}

func (s *site) inspect(name string) inspection {
	s.t.Helper()
	got := s.bryo("inspect", name)
	var list []inspection
	if err := json.Unmarshal([]byte(got.out), &list); err != nil || len(list) != 1 {
		s.t.Fatalf("inspect %s: %+v: %v", name, got, err)
	}
	return list[0]
}

// says waits until a container has said something.
func (s *site) says(name, word string) {
	s.t.Helper()
	var got outcome
	if !holds(func() bool { got = s.bryo("logs", name); return strings.Contains(got.out+got.err, word) }) {
		s.t.Fatalf("%s does not say %q: %+v", name, word, got)
	}
}

const (
	ctrlP = "\x10"
	ctrlQ = "\x11"
)

// TestAttachGivesTheTerminalBack: however somebody stops to be attached, the
// terminal is as it was; and it is only the container's end that ends it.
func TestAttachGivesTheTerminalBack(t *testing.T) {
	if !ordinary(t) {
		return
	}
	s := newSite(t)
	for i, c := range []struct {
		name   string
		flags  []string // of attach
		keys   string
		signal unix.Signal
		do     func(name string)
		code   int
		status string
	}{
		{name: "it ends", keys: "end\r", code: 3, status: "exited"},
		{name: "ctrl-C", keys: ctrlC, code: 130, status: "exited"},
		{name: "ctrl-D", keys: ctrlD, code: 4, status: "exited"},
		{name: "the keys", keys: ctrlP + ctrlQ, code: 0, status: "running"},
		{name: "other keys", flags: []string{"--detach-keys", "ctrl-a,d"}, keys: ctrlP + ctrlQ + "\x01d", code: 0, status: "running"},
		{name: "TERM", signal: unix.SIGTERM, code: 143, status: "running"},
		{name: "HUP", signal: unix.SIGHUP, code: 129, status: "running"},
		{name: "INT", signal: unix.SIGINT, code: 130, status: "running"},
		{name: "QUIT", signal: unix.SIGQUIT, code: 131, status: "running"},
		{name: "USR1", signal: unix.SIGUSR1, code: 138, status: "running"},
		{name: "kill", do: func(name string) { s.bryo("kill", name) }, code: 137, status: "exited"},
		{name: "stop", do: func(name string) { s.bryo("stop", name) }, code: 143, status: "exited"},
		{name: "rm", do: func(name string) { s.bryo("rm", "-f", name) }, code: 137},
		{name: "its supervisor is killed", do: func(name string) { _ = unix.Kill(s.inspect(name).Supervisor.PID, unix.SIGKILL) }, code: 125, status: "dead"},
	} {
		name := fmt.Sprintf("box%d", i)
		s.keeps(name, []string{"-it"}, "sh", "-c", `echo ready.; read x || exit 4; test "$x" = end && exit 3; exec sleep 1000`)
		screen := newScreen(s)
		before := screen.mode()
		cmd := s.command("bryo", append(append([]string{"attach"}, c.flags...), name)...)
		screen.start(cmd)
		if !holds(screen.raw) {
			t.Errorf("%s: no raw mode", c.name)
		}
		screen.key(c.keys)
		if c.signal != 0 {
			_ = cmd.Process.Signal(c.signal)
		}
		if c.do != nil {
			c.do(name)
		}
		if code := s.wait(cmd); code != c.code {
			t.Errorf("%s: ended with %d, want %d\n%s", c.name, code, c.code, screen)
		}
		if after := screen.mode(); after != before {
			t.Errorf("%s: the mode is %+v, was %+v", c.name, after, before)
		}
		if c.status != "" {
			if got := s.inspect(name).Status; got != c.status {
				t.Errorf("%s: the container is %s, want %s", c.name, got, c.status)
			}
		}
	}
}

// TestAttachWindow: nobody's size is known when a container begins without
// one; then it is that of whoever is attached, and follows.
func TestAttachWindow(t *testing.T) {
	if !ordinary(t) {
		return
	}
	s := newSite(t)
	s.keeps("box", []string{"-t"}, "sh", "-c", `trap 'echo now $(stty size).' WINCH; echo ready.; while :; do sleep 0.05; done`)
	s.says("box", "ready.")
	for i := range 2 { // of which the second finds the first one's size
		rows := uint16(30 + i)
		c := newScreen(s)
		c.resize(rows, 101)
		cmd := s.command("bryo", "attach", "box")
		c.start(cmd)
		c.expect(fmt.Sprintf("now %d 101.", rows))
		c.resize(rows+20, 132)
		c.expect(fmt.Sprintf("now %d 132.", rows+20))
		c.key(ctrlP + ctrlQ)
		if code := s.wait(cmd); code != 0 {
			t.Errorf("ended with %d\n%s", code, c)
		}
	}
}

// TestExecTerminal has exec make a terminal like run's.
func TestExecTerminal(t *testing.T) {
	if !ordinary(t) {
		return
	}
	s := newSite(t)
	s.keeps("box", nil, "sleep", "1000")
	for _, flags := range [][]string{nil, {"-u", "1000"}, {"-it"}} {
		c := newScreen(s)
		c.resize(33, 101)
		before := c.mode()
		cmd := s.command("bryo", append(append([]string{"exec"}, flags...), "box", "sh", "-c", `
			tty; stty size; echo to-tty > /dev/tty; test -t 0 && test -t 1 && test -t 2 && echo terminals
			trap 'echo now $(stty size).; exit 6' WINCH
			echo ready.; while :; do sleep 0.1; done`)...)
		c.start(cmd)
		c.expect("ready.")
		for _, word := range []string{"/dev/pts/", "33 101", "to-tty", "terminals"} {
			if !strings.Contains(c.String(), word) {
				t.Errorf("%q: no %s:\n%s", flags, word, c)
			}
		}
		if !holds(c.raw) {
			t.Errorf("%q: no raw mode", flags)
		}
		c.resize(44, 132)
		c.expect("now 44 132.")
		if code := s.wait(cmd); code != 6 || c.mode() != before {
			t.Errorf("%q: ended with %d, mode %+v", flags, code, c.mode())
		}
	}
}

// TestExecGivesTheTerminalBack, whoever dies.
func TestExecGivesTheTerminalBack(t *testing.T) {
	if !ordinary(t) {
		return
	}
	s := newSite(t)
	for i, c := range []struct {
		name   string
		keys   string
		signal unix.Signal
		do     func(name string)
		code   int
	}{
		{name: "ctrl-C", keys: ctrlC, code: 130},
		{name: "ctrl-\\", keys: "\x1c", code: 131},
		{name: "TERM", signal: unix.SIGTERM, code: 143},
		{name: "HUP", signal: unix.SIGHUP, code: 129},
		{name: "kill", do: func(name string) { s.bryo("kill", name) }, code: 137},
		{name: "supervisor", do: func(name string) { _ = unix.Kill(s.inspect(name).Supervisor.PID, unix.SIGKILL) }, code: 137},
	} {
		name := fmt.Sprintf("box%d", i)
		s.keeps(name, nil, "sleep", "2000")
		screen := newScreen(s)
		before := screen.mode()
		cmd := s.command("bryo", "exec", "-t", name, "sh", "-c", "echo ready.; exec sleep 1000")
		screen.start(cmd)
		screen.expect("ready.")
		holds(screen.raw)
		s.find(cmd.Process.Pid, "sleep")
		screen.key(c.keys)
		if c.signal != 0 {
			_ = cmd.Process.Signal(c.signal)
		}
		if c.do != nil {
			c.do(name)
		}
		if code := s.wait(cmd); code != c.code {
			t.Errorf("%s: ended with %d, want %d\n%s", c.name, code, c.code, screen)
		}
		if after := screen.mode(); after != before {
			t.Errorf("%s: the mode is %+v, was %+v", c.name, after, before)
		}
	}
}

// TestDetachKeys types keys that begin like those that leave.
func TestDetachKeys(t *testing.T) {
	if !ordinary(t) {
		return
	}
	s := newSite(t)
	for i, c := range []struct {
		run, attach string
		typed, seen string
	}{
		{"", "", ctrlP + "x" + ctrlP + ctrlP + ctrlQ, "^Px^P"},
		{"ctrl-a,d", "", "\x01\x01x\x01d", "^A^Ax"},
		{"ctrl-a,d", "x,y", "\x01dxxy", "^Adx"},
		{"", "a,a,b", "aaab", "a"},
		{"", "a,b,a,c", "ababac", "ab"},
		{"", "ctrl-],ctrl-]", ctrlP + ctrlQ + "\x1d.\x1d\x1d", "^P^Q^]."},
	} {
		name := fmt.Sprintf("box%d", i)
		s.keeps(name, []string{"-it", "--detach-keys=" + c.run}, "sh", "-c", "stty raw -echo; echo ready.; cat -v")
		if c.run == "" { // an empty text is none
			s.bryo("rm", "-f", name)
			s.keeps(name, []string{"-it"}, "sh", "-c", "stty raw -echo; echo ready.; cat -v")
		}
		s.says(name, "ready.")
		screen := newScreen(s)
		args := []string{"attach"}
		if c.attach != "" {
			args = append(args, "--detach-keys", c.attach)
		}
		cmd := s.command("bryo", append(args, name)...)
		screen.start(cmd)
		if !holds(screen.raw) {
			t.Fatal("no raw mode")
		}
		for _, b := range []byte(c.typed) { // as people type: each key by itself
			screen.key(string(b))
			time.Sleep(2 * time.Millisecond)
		}
		if code := s.wait(cmd); code != 0 {
			t.Errorf("%q: ended with %d", c.typed, code)
		}
		end := s.command("bryo", "attach", "--detach-keys=^", name)
		end.Stdin = strings.NewReader("\n^") // cat holds a line back
		s.end(end)
		s.says(name, "\n"+c.seen)
		if got := s.bryo("logs", name).out; got != "ready.\n"+c.seen+"\n" {
			t.Errorf("%q: the command read %q, want %q", c.typed, got, c.seen)
		}
	}
	// An empty text is none: all keys are the command's.
	s.keeps("none", []string{"-it", "--detach-keys="}, "sh", "-c", "stty raw -echo; echo ready.; head -c 2 | cat -v; exit 9")
	s.says("none", "ready.")
	screen := newScreen(s)
	cmd := s.command("bryo", "attach", "none")
	screen.start(cmd)
	holds(screen.raw)
	screen.key(ctrlP + ctrlQ)
	if code := s.wait(cmd); code != 9 || !strings.Contains(screen.String(), "^P^Q") {
		t.Errorf("no keys: ended with %d\n%s", code, screen)
	}
}

// TestSeveralAttached: all see what one types.
func TestSeveralAttached(t *testing.T) {
	if !ordinary(t) {
		return
	}
	s := newSite(t)
	s.keeps("box", []string{"-it"}, "sh", "-c", `while read x; do echo got $x.; test "$x" = end && exit 5; done`)
	const many = 5
	var screens [many]*screen
	var codes []func() int
	for i := range screens {
		screens[i] = newScreen(s)
		cmd := s.command("bryo", "attach", "box")
		screens[i].start(cmd)
		holds(screens[i].raw)
		codes = append(codes, func() int { return s.wait(cmd) })
	}
	for i, c := range screens {
		c.key(fmt.Sprintf("word%d\r", i))
		for _, other := range screens {
			other.expect(fmt.Sprintf("got word%d.", i))
		}
	}
	screens[0].key("end\r")
	for i, code := range codes {
		if got := code(); got != 5 {
			t.Errorf("client %d ended with %d\n%s", i, got, screens[i])
		}
	}
}

// TestBytesThroughAttach passes a million bytes of all kinds in and out, as
// files, among them the keys that leave.
func TestBytesThroughAttach(t *testing.T) {
	if !ordinary(t) {
		return
	}
	s := newSite(t)
	all := make([]byte, 1<<20)
	random := rand.New(rand.NewPCG(1, 2))
	for i := range all {
		all[i] = byte(random.Uint32())
	}
	copy(all[1000:], ctrlP+ctrlQ)
	sum := sha256.Sum256(all)
	for _, c := range []struct {
		name   string
		flags  []string
		script string
	}{
		{"pipes", []string{"-i"}, "echo ready. >&2; cat"},
		{"terminal", []string{"-it"}, fmt.Sprintf("stty raw -echo; echo ready.; head -c %d", len(all))},
		{"pipes, read late", []string{"-i"}, "echo ready. >&2; sleep 1.5; cat"},
		{"terminal, read late", []string{"-it"}, fmt.Sprintf("stty raw -echo; echo ready.; sleep 1.5; head -c %d", len(all))},
	} {
		s.keeps("box", c.flags, "sh", "-c", c.script)
		s.says("box", "ready.")
		cmd := s.command("bryo", "attach", "box")
		cmd.Stdin = bytes.NewReader(all)
		got := s.end(cmd)
		if sha256.Sum256([]byte(got.out)) != sum || got.code != 0 {
			t.Errorf("%s: %d bytes came back, code %d, %s", c.name, len(got.out), got.code, got.err)
		}
		if log := s.bryo("logs", "box").out; !strings.HasSuffix(log, got.out) {
			t.Errorf("%s: the log differs, with %d bytes", c.name, len(log))
		}
		s.bryo("rm", "-f", "box")
	}
}

// TestLargeOutputThroughAttach: who reads at all loses nothing, however fast
// the command writes.
func TestLargeOutputThroughAttach(t *testing.T) {
	if !ordinary(t) {
		return
	}
	s := newSite(t)
	const size = 50 << 20
	s.keeps("box", []string{"-i"}, "sh", "-c", fmt.Sprintf("read x; head -c %d /dev/zero; exit 3", size))
	if got := s.sh("echo | { bryo attach box; echo $? >&2; } | wc -c"); strings.TrimSpace(got.out) != strconv.Itoa(size) || got.err != "3\n" {
		t.Errorf("%d bytes are %+v", size, got)
	}
}

// TestSlowClient: one that does not read holds up neither the command nor
// others, and is told so.
func TestSlowClient(t *testing.T) {
	if !ordinary(t) {
		return
	}
	s := newSite(t)
	s.keeps("box", []string{"-i"}, "sh", "-c", "read x; head -c 20000000 /dev/zero; echo done. >&2; exec sleep 1000")
	slow := s.command("bryo", "attach", "--no-stdin", "box")
	read, write, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer read.Close()
	var said bytes.Buffer
	slow.Stdout, slow.Stderr = write, &said
	if err := slow.Start(); err != nil {
		t.Fatal(err)
	}
	_ = write.Close()
	time.Sleep(100 * time.Millisecond) // it may or may not be there yet
	quick := s.command("bryo", "attach", "box")
	quick.Stdin = strings.NewReader("go\n")
	out := s.start(quick)
	start := time.Now()
	out.await(t, "done.")
	const most = 5 * time.Second
	if took := time.Since(start); took > most {
		t.Errorf("it took %v beside a client that does not read", took)
	}
	go func() { _, _ = new(bytes.Buffer).ReadFrom(read) }()
	if code := s.wait(slow); code != 125 || !strings.Contains(said.String(), "did not take its output in time") {
		t.Errorf("the slow client ended with %d: %s", code, &said)
	}
	s.bryo("kill", "box")
	if code := s.wait(quick); code != 137 {
		t.Errorf("the other one ended with %d", code)
	}
}

// TestAttachedInTheBackground is attach as a job of a shell.
func TestAttachedInTheBackground(t *testing.T) {
	if !ordinary(t) {
		return
	}
	s := newSite(t)
	s.keeps("box", []string{"-it"}, "sh", "-c", "while read x; do echo got $x.; done")
	for _, stop := range []string{"TSTP", "STOP"} {
		c := newScreen(s)
		shell := c.shell()
		c.key("bryo attach box\n")
		holds(c.raw)
		c.types("one\r", "got one.")
		client := s.find(shell.Process.Pid, "bryo")
		now := c.since()
		_ = unix.Kill(client.pid, unix.SignalNum("SIG"+stop))
		if !holds(func() bool { return strings.Contains(now(), "prompt$ ") }) {
			t.Fatalf("%s: no prompt:\n%s", stop, c)
		}
		c.types("echo sh''ell\n", "shell")
		c.key("fg\n")
		if !holds(func() bool { return c.raw() && stateOf(client.pid) != 'T' }) {
			t.Errorf("%s: not raw after fg", stop)
		}
		c.types("two\r", "got two.")
		c.types(ctrlP+ctrlQ, "prompt$ ")
		c.types("echo code $?.\n", "code 0.")
		c.key("exit\n")
		s.wait(shell)
	}
}

// TestWindowCloses takes the terminal of somebody who is attached away: the
// container goes on, and its shell hears neither a hang-up nor an end of input.
func TestWindowCloses(t *testing.T) {
	if !ordinary(t) {
		return
	}
	s := newSite(t)
	for i, flags := range [][]string{{"-it"}, {"-i"}} {
		name := fmt.Sprintf("box%d", i)
		s.keeps(name, flags, "sh", "-c", "trap 'echo hup' HUP; while read x; do echo got $x.; done; echo end.")
		c := newScreen(s)
		cmd := s.command("bryo", "attach", name)
		c.start(cmd)
		c.key("one\n")
		c.expect("got one.")
		_ = c.slave.Close()
		_ = c.master.Close()
		if code := s.wait(cmd); code != 129 {
			t.Errorf("%q: ended with %d", flags, code)
		}
		again := s.command("bryo", "attach", name)
		again.Stdin = strings.NewReader("two\n")
		if got := s.end(again); got.code != 0 || !strings.Contains(got.out, "got two.") {
			t.Errorf("%q: later it is %+v", flags, got)
		}
		if log := s.bryo("logs", name).out; strings.Contains(log, "hup") {
			t.Errorf("%q: the command heard of it: %q", flags, log)
		}
	}
}
