package tests

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestTerminalInside(t *testing.T) {
	if !ordinary(t) {
		return
	}
	s := newSite(t)
	c := newScreen(s)
	c.resize(33, 101)
	cmd := s.command("bryo", "run", s.root, "sh", "-c", `
		tty; stty size; ls -l /dev/pts/0 | cut -c1; ls -l /dev/console | cut -c1
		echo to-console > /dev/console; echo to-tty > /dev/tty
		test -t 0 && test -t 1 && test -t 2 && echo terminals
		trap 'echo now $(stty size).; exit 6' WINCH
		echo ready.; while :; do sleep 0.1; done`)
	c.start(cmd)
	c.expect("ready.")
	want := []string{"/dev/pts/0", "33 101", "c", "c", "to-console", "to-tty", "terminals", "ready."}
	if got := strings.Fields(strings.ReplaceAll(c.String(), "33 101", "33_101")); strings.ReplaceAll(strings.Join(got, "\n"), "_", " ") != strings.Join(want, "\n") {
		t.Errorf("the terminal inside shows %q, want %q", got, want)
	}
	c.resize(44, 132)
	c.expect("now 44 132.")
	if code := s.wait(cmd); code != 6 {
		t.Errorf("ended with %d", code)
	}
}

// TestModeComesBack: however bryo ends, the terminal is as it was. Nobody can
// put it back after bryo is killed with SIGKILL: reset(1).
func TestModeComesBack(t *testing.T) {
	if !ordinary(t) {
		return
	}
	s := newSite(t)
	for _, c := range []struct {
		name   string
		script string
		flags  []string
		signal unix.Signal
		keys   string
		code   int
	}{
		{name: "it ends", script: "sleep 0.2; exit 3", code: 3},
		{name: "it dies", script: "sleep 0.2; kill -KILL $$", code: 137},
		{name: "another mode inside", script: "stty -echo; sleep 0.2; exit 4", code: 4},
		{name: "as PID 1", flags: []string{"--as-pid-1"}, script: "sleep 0.2; exit 5", code: 5},
		{name: "not found", script: "", code: 127},
		{name: "refused", flags: []string{"-v", "/missing:/mnt"}, script: "true", code: 125},
		{name: "TERM", script: "exec sleep 1000", signal: unix.SIGTERM, code: 143},
		{name: "INT", script: "exec sleep 1000", signal: unix.SIGINT, code: 130},
		{name: "HUP", script: "exec sleep 1000", signal: unix.SIGHUP, code: 129},
		{name: "QUIT", script: "exec sleep 1000", signal: unix.SIGQUIT, code: 131},
		{name: "ctrl-C", script: "exec sleep 1000", keys: ctrlC, code: 130},
		{name: "ctrl-\\", script: "exec sleep 1000", keys: "\x1c", code: 131},
		{name: "ctrl-D", script: "cat; exit 8", keys: "text\r" + ctrlD, code: 8},
	} {
		screen := newScreen(s)
		before := screen.mode()
		command := []string{"sh", "-c", "echo ready.; " + c.script}
		if c.script == "" {
			command = []string{"frobnicate"}
		}
		cmd := s.command("bryo", append(append(append([]string{"run", "-t"}, c.flags...), s.root), command...)...)
		screen.start(cmd)
		if c.code < 125 || c.code > 127 {
			screen.expect("ready.")
			if !holds(screen.raw) {
				t.Errorf("%s: no raw mode", c.name)
			}
		}
		if strings.HasPrefix(c.script, "exec sleep") {
			s.find(cmd.Process.Pid, "sleep")
		}
		if c.signal != 0 {
			_ = cmd.Process.Signal(c.signal)
		}
		screen.key(c.keys)
		if code := s.wait(cmd); code != c.code {
			t.Errorf("%s: ended with %d, want %d\n%s", c.name, code, c.code, screen)
		}
		if after := screen.mode(); after != before {
			t.Errorf("%s: the mode is %+v, was %+v", c.name, after, before)
		}
	}
}

// TestStoppedWithATerminal stops bryo itself, which has a terminal to put back
// for as long.
func TestStoppedWithATerminal(t *testing.T) {
	if !ordinary(t) {
		return
	}
	s := newSite(t)
	c := newScreen(s)
	before := c.mode()
	cmd := s.command("bryo", "run", s.root, "sh", "-c", "echo ready.; read x; echo got $x.; exit 9")
	c.start(cmd)
	c.expect("ready.")
	holds(c.raw)
	stopped := func() bool { return stateOf(cmd.Process.Pid) == 'T' }
	_ = cmd.Process.Signal(unix.SIGTSTP)
	if !holds(stopped) {
		t.Fatalf("bryo does not stop:\n%s", c)
	}
	if now := c.mode(); now != before {
		t.Errorf("while bryo is stopped the terminal has the mode %+v, not %+v", now, before)
	}
	_ = cmd.Process.Signal(unix.SIGCONT)
	if !holds(func() bool { return !stopped() && c.raw() }) {
		t.Error("no raw mode after bryo goes on")
	}
	c.key("word\r")
	c.expect("got word.")
	if code := s.wait(cmd); code != 9 {
		t.Errorf("ended with %d", code)
	}
	if c.mode() != before {
		t.Error("the terminal stays raw")
	}
}

func stateOf(pid int) byte {
	for _, p := range processes() {
		if p.pid == pid {
			return p.state
		}
	}
	return 0
}

func TestBinaryBytes(t *testing.T) {
	if !ordinary(t) {
		return
	}
	s := newSite(t)
	c := newScreen(s)
	const times = 16
	var all []byte
	for i := range 256 * times {
		all = append(all, byte(i))
	}
	cmd := s.command("bryo", "run", s.root, "sh", "-c", fmt.Sprintf(`stty raw -echo; echo ready.; head -c %d > /tmp/in; sha256sum /tmp/in; printf '<'; cat /tmp/in; printf '>end'`, len(all)))
	c.start(cmd)
	c.expect("ready.")
	holds(c.raw)
	for i := range times {
		c.key(string(all[i*256 : (i+1)*256]))
	}
	c.expect(">end")
	if code := s.wait(cmd); code != 0 {
		t.Errorf("ended with %d", code)
	}
	if sum := fmt.Sprintf("%x", sha256.Sum256(all)); !strings.Contains(c.String(), sum) {
		t.Errorf("the input has another sum than %s", sum)
	}
	if !strings.Contains(c.String(), "<"+string(all)+">end") {
		t.Error("the output differs")
	}
}

// TestWholeOutput: a command may end right after it has written much.
func TestWholeOutput(t *testing.T) {
	if !ordinary(t) {
		return
	}
	s := newSite(t)
	const size = 1 << 20
	for _, c := range []struct {
		name, script string
	}{
		{"terminal", `bryo run -t "$1" sh -c "stty -opost; head -c $2 /dev/zero | tr '\0' x"`},
		{"terminal, slow reader", `bryo run -t "$1" sh -c "stty -opost; head -c $2 /dev/zero | tr '\0' x" | (sleep 0.3; cat)`},
		{"terminal, as PID 1", `bryo run -t --as-pid-1 "$1" sh -c "stty -opost; head -c $2 /dev/zero | tr '\0' x"`},
		{"terminal, killed itself", `bryo run -t "$1" sh -c "stty -opost; head -c $2 /dev/zero | tr '\0' x; kill -9 \$\$"`},
		{"pipe", `bryo run "$1" sh -c "head -c $2 /dev/zero | tr '\0' x"`},
	} {
		for range 5 {
			got := s.sh(c.script, s.root, strconv.Itoa(size))
			if n := strings.Count(got.out, "x"); n != size || len(got.out) != size {
				t.Errorf("%s: %d bytes came, %d of them right, of %d: %s", c.name, len(got.out), n, size, got.err)
			}
		}
	}
}

// TestTerminalWithoutOne gives a command a terminal while bryo's own input or
// output is none. Podman 4 hangs in such cases.
func TestTerminalWithoutOne(t *testing.T) {
	if !ordinary(t) {
		return
	}
	s := newSite(t)
	for _, c := range []struct {
		name, script string
		code         int
		has          string
	}{
		{"a pipe", `echo word | bryo run -t "$1" cat`, 0, "word\r\nword\r\n"},
		{"a pipe of many lines", `seq 1 20000 | bryo run -t "$1" sh -c 'stty -echo; cat' | tail -n 1`, 0, "20000\r\n"},
		{"an empty pipe", `: | bryo run -t "$1" sh -c 'cat; exit 4'`, 4, ""},
		{"a pipe that stays open", `{ sleep 1000 & echo $! > pid; wait; } | { bryo run -t "$1" echo word; kill $(cat pid); }`, 0, "word\r\n"},
		{"nobody reads the pipe", `head -c 1000000 /dev/zero | bryo run -t "$1" sh -c 'sleep 0.2; exit 5'`, 5, ""},
		{"both directions are full", `yes | bryo run -t "$1" sh -c 'stty raw -echo; seq 1 100000' | tail -n 1`, 0, "100000\n"},
		{"input never ends", `yes | bryo run -t "$1" sh -c 'head -n 1 >/dev/null; exit 6' >/dev/null`, 6, ""},
		{"no input", `bryo run -t "$1" tty < /dev/null`, 0, "/dev/pts/0\r\n"},
		{"closed input", `bryo run -t "$1" tty <&-`, 0, "/dev/pts/0\r\n"},
		{"a file", `bryo run -t "$1" sh -c 'stty -echo; cat' < "$1/etc/motd"`, 0, "a root file system of busybox\r\n"},
		{"a directory", `bryo run -t "$1" tty < /`, 0, "/dev/pts/0\r\n"},
		{"output that ends", `bryo run -t "$1" yes | head -n 1; echo end`, 0, "y\r\nend\n"},
		{"size of no window", `bryo run -t "$1" stty size < /dev/null`, 0, "\r\n"},
		{"full output", `bryo run -t "$1" echo word > /dev/full`, 125, ""},
	} {
		start := time.Now()
		got := s.sh(c.script, s.root)
		if got.code != c.code || !strings.Contains(got.out, c.has) {
			t.Errorf("%s: got %+v, want code %d and %q", c.name, got, c.code, c.has)
		}
		if c.code == 125 && !strings.Contains(got.err, "no space left on device") {
			t.Errorf("%s: says %q", c.name, got.err)
		}
		if took := time.Since(start); took > longestWait {
			t.Errorf("%s: took %v", c.name, took)
		}
		if !s.nothingLeft() {
			return
		}
	}
}

// TestTwoTerminals: what is typed at one does not show at the other.
func TestTwoTerminals(t *testing.T) {
	if !ordinary(t) {
		return
	}
	s := newSite(t)
	screens := []*screen{newScreen(s), newScreen(s)}
	for i, c := range screens {
		cmd := s.command("bryo", "run", s.root, "sh", "-c", "tty; stty size; ls -1 /dev/pts; echo ready.; read x; echo got $x.")
		c.resize(uint16(30+i), 90)
		c.start(cmd)
		defer func() {
			if code := s.wait(cmd); code != 0 {
				t.Errorf("terminal %d: ended with %d\n%s", i, code, c)
			}
		}()
	}
	for i, c := range screens {
		c.expect("ready.")
		holds(c.raw)
		if want := fmt.Sprintf("/dev/pts/0\r\n%d 90\r\n0\r\nptmx\r\n", 30+i); !strings.HasPrefix(c.String(), want) {
			t.Errorf("terminal %d: shows %q, want %q", i, c, want)
		}
	}
	screens[0].key("left\r")
	screens[1].key("right\r")
	screens[0].expect("got left.")
	screens[1].expect("got right.")
}

// TestNoTerminal: with --tty=false the command has bryo's, which is not its
// controlling terminal, so that it cannot type into it.
func TestNoTerminal(t *testing.T) {
	if !ordinary(t) {
		return
	}
	s := newSite(t)
	c := newScreen(s)
	cmd := s.command("bryo", "run", "--tty=false", s.root, "sh", "-c", "test -t 0 && echo terminal.; (echo > /dev/tty) 2>/dev/null || echo no tty.; cat")
	before := c.mode()
	c.start(cmd)
	c.expect("terminal.")
	c.expect("no tty.")
	if c.mode() != before {
		t.Error("the mode has changed")
	}
	c.key("word\r")
	c.expect("word\r\nword\r\n")
	c.key(ctrlD)
	if code := s.wait(cmd); code != 0 {
		t.Errorf("ended with %d", code)
	}
	// Without both it is a pipe's business: nothing is added to lines.
	pipe := s.command("bryo", "run", s.root, "cat")
	pipe.Stdin = bytes.NewReader([]byte("a\nb\n"))
	if got := s.end(pipe); got.out != "a\nb\n" {
		t.Errorf("a pipe gives %+v", got)
	}
	mixed := s.command("bryo", "run", s.root, "sh", "-c", "test -t 1 || echo no")
	mixed.Stdin = c.slave
	if got := s.end(mixed); got.out != "no\n" {
		t.Errorf("a terminal on standard input only gives %+v", got)
	}
}
