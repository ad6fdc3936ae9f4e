package tests

import (
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// window is a tmux(1) server with one window: a real terminal's idea of what is
// on the screen.
type window struct {
	s      *site
	socket string
}

func newWindow(s *site, columns, rows int, command ...string) *window {
	s.t.Helper()
	if _, err := exec.LookPath("tmux"); err != nil {
		s.t.Skip(err)
	}
	dir, err := os.MkdirTemp(s.dir, "") // the one before may not be gone yet
	if err != nil {
		s.t.Fatal(err)
	}
	w := &window{s, dir + "/tmux"}
	s.t.Cleanup(func() { w.tmux("kill-server") })
	args := append([]string{"new-session", "-d", "-x", strconv.Itoa(columns), "-y", strconv.Itoa(rows)}, command...)
	if got := w.tmux(args...); got.code != 0 {
		s.t.Skipf("no tmux here: %+v", got)
	}
	w.tmux("set-option", "-g", "status", "off")
	w.size(columns, rows)
	return w
}

func (w *window) tmux(args ...string) outcome {
	return w.s.end(w.s.command("tmux", append([]string{"-S", w.socket, "-f", "/dev/null"}, args...)...))
}

func (w *window) size(columns, rows int) {
	w.tmux("resize-window", "-x", strconv.Itoa(columns), "-y", strconv.Itoa(rows))
}

func (w *window) types(keys ...string) { w.tmux(append([]string{"send-keys"}, keys...)...) }

func (w *window) shows() string { return w.tmux("capture-pane", "-p").out }

func (w *window) expect(word string) {
	w.s.t.Helper()
	if !holds(func() bool { return strings.Contains(w.shows(), word) }) {
		w.s.t.Fatalf("no %q on the screen:\n%s", word, w.shows())
	}
}

// escape is how long a key has to be alone to be Escape, and not the beginning of
// another key.
const escape = time.Second

// TestInTmux is a user before a real terminal: a shell in a container by run, exec
// and attach, whose window is made larger, in which vi draws, and which is as
// before at the end.
func TestInTmux(t *testing.T) {
	if !ordinary(t) {
		return
	}
	s := newSite(t)
	s.keeps("box", []string{"-it", "-e", "PS1=inside> "}, "sh", "-i")
	for _, c := range []struct{ name, enter, leave, code string }{
		{"run", "bryo run --net none -e 'PS1=inside> ' " + s.root + " sh -i", "exit 3", "3"},
		{"exec", "bryo exec box sh -i", "exit 4", "4"},
		{"attach", "bryo attach box", "", "0"},
		{"attach again", "bryo attach box", "exit 6", "6"},
	} {
		w := newWindow(s, 91, 31, "env", "PS1=prompt$ ", "bash", "--norc", "--noprofile", "-i")
		w.expect("prompt$")
		w.types("stty -a > before", "Enter", c.enter, "Enter")
		if strings.HasPrefix(c.name, "attach") {
			w.types("Enter") // before, the shell has nothing to draw
		}
		w.expect("inside>")
		w.types("stty size", "Enter")
		w.expect("31 91")
		w.size(100, 40)
		w.types("clear; stty size", "Enter")
		w.expect("40 100")
		w.types("sleep 2468", "Enter")
		if !holds(func() bool { return strings.Contains(s.sh("ps -e -o stat,args").out, "S+   sleep 2468") }) {
			t.Errorf("%s: nothing sleeps:\n%s", c.name, w.shows())
		}
		w.types("C-c")
		w.types("echo in''terrupted $?", "Enter")
		w.expect("interrupted 130")
		w.types("vi /tmp/text", "Enter")
		w.expect("~")
		w.types("i", "words")
		w.expect("words")
		w.types("Escape")
		time.Sleep(escape)
		w.types(":wq", "Enter")
		w.types("cat /tmp/text; rm /tmp/text; echo do''ne", "Enter")
		w.expect("words\ndone")
		if c.leave == "" {
			w.types("C-p", "C-q")
		} else {
			w.types(c.leave, "Enter")
		}
		w.expect("prompt$") // what is typed before is still the container's
		w.types("code=$?; clear; echo co''de $code.", "Enter")
		w.expect("code " + c.code + ".")
		w.types("stty -a > after; stty rows 1 columns 1; sed 's/rows.*line/line/' before > b; sed 's/rows.*line/line/' after | cmp - b && echo sa''me.", "Enter")
		w.expect("same.")
		w.tmux("kill-server")
		if !strings.Contains(c.name, "again") && s.inspect("box").Status != "running" {
			t.Errorf("%s: the container has ended", c.name)
		}
	}
}

// TestTmuxDies has the terminal itself killed under run, exec and attach.
func TestTmuxDies(t *testing.T) {
	if !ordinary(t) {
		return
	}
	s := newSite(t)
	s.keeps("box", []string{"-it"}, "sh", "-c", "echo box.; while read x; do echo got $x.; done")
	for _, enter := range []string{
		"bryo run --net none " + s.root + " sh -c 'echo ready.; exec sleep 3000'",
		"bryo exec box sh -c 'echo ready.; exec sleep 3000'",
		"bryo attach box",
	} {
		w := newWindow(s, 80, 24, "sh", "-c", enter)
		if strings.Contains(enter, "attach") {
			w.types("word", "Enter")
			w.expect("got word.")
		} else {
			w.expect("ready.")
		}
		pid, err := strconv.Atoi(strings.TrimSpace(w.tmux("display-message", "-p", "#{pid}").out))
		if err != nil {
			t.Fatal(err)
		}
		_ = unix.Kill(pid, unix.SIGKILL)
		if !holds(func() bool {
			reap()
			return !strings.Contains(s.sh("ps -e -o args").out, "sleep 3000") && len(s.clients()) == 0
		}) {
			t.Errorf("%s goes on: %v", enter, s.clients())
		}
		if s.inspect("box").Status != "running" {
			t.Errorf("after %s the container has ended", enter)
		}
	}
}

// clients are the test's processes that are bryo itself: not what looks after
// containers.
func (s *site) clients() []process {
	var list []process
	for _, p := range family(os.Getpid()) {
		if p.name == "bryo" && p.state != 'Z' {
			list = append(list, p)
		}
	}
	return list
}
