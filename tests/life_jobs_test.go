package tests

import (
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// shell starts an interactive bash on a screen, where ROOT is the root file
// system; it is the one user of job control that everybody has.
func (c *screen) shell() *exec.Cmd {
	c.s.t.Helper()
	bash, err := exec.LookPath("bash")
	if err != nil {
		c.s.t.Skip(err)
	}
	cmd := c.s.command(bash, "--norc", "--noprofile", "-i")
	cmd.Env = append(cmd.Env, "PS1=prompt$ ", "ROOT="+c.s.root, "HISTFILE=")
	c.start(cmd)
	c.expect("prompt$ ")
	return cmd
}

// since is what the screen shows from now on.
func (c *screen) since() func() string {
	seen := len(c.String())
	return func() string { return c.String()[seen:] }
}

// types waits for each answer behind the one before. What is typed before a
// shell's prompt may still be for the program that the shell waits for.
func (c *screen) types(text string, answers ...string) {
	c.s.t.Helper()
	now := c.since()
	c.key(text)
	behind := 0
	for _, answer := range answers {
		if !holds(func() bool { return strings.Contains(now()[behind:], answer) }) {
			c.s.t.Fatalf("after %q no %q:\n%s", text, answer, c)
		}
		behind += strings.Index(now()[behind:], answer) + len(answer)
	}
}

// states are those of a container's processes, without init and what stays
// with it outside.
func states(pid int) string {
	var list []byte
	for _, p := range family(pid) {
		if p.name != "bryo-init" && !strings.HasPrefix(p.name, "memfd:") && p.name != "bryo" && p.name != netProcess && p.state != 'Z' {
			list = append(list, p.state)
		}
	}
	return string(list)
}

// TestJobControl is a user at a shell: a container that has no terminal of its
// own is a job like any other. With --as-pid-1 it is none: the kernel keeps
// ctrl-Z and ctrl-C from a PID 1 that has no handler for them.
func TestJobControl(t *testing.T) {
	if !ordinary(t) {
		return
	}
	s := newSite(t)
	for _, flags := range []string{"--tty=false", "--tty=false -u 1000", "--tty=false --status-fd 3 3>/dev/null"} {
		c := newScreen(s)
		shell := c.shell()
		pid := shell.Process.Pid
		// Redirections may stand in front of the command.
		words := strings.Split(flags, " 3>")
		line := "bryo run " + words[0] + " $ROOT sh -c 'sleep 1000 & for i in $(seq 1 20000); do echo tick $i.; sleep 0.02; done'"
		if len(words) > 1 {
			line += " 3>" + words[1]
		}
		c.types(line+"\n", "tick 3.")
		stopped := func() bool { list := states(pid); return len(list) >= 2 && strings.Trim(list, "T") == "" }
		for _, resume := range []string{"fg\n", "bg\n"} {
			c.types(ctrlZ, "Stopped")
			if !holds(stopped) {
				t.Fatalf("%s: the container's processes are %q after ctrl-Z: %v", flags, states(pid), family(pid))
			}
			now := c.since()
			const moment = 100 * time.Millisecond
			time.Sleep(moment)
			if strings.Contains(now(), "tick") {
				t.Errorf("%s: it goes on while it is stopped:\n%s", flags, now())
			}
			c.types(resume, "tick")
		}
		c.types("fg\n", "tick")
		c.types(ctrlC, "prompt$ ")
		c.types("echo code $?.\n", "code 130.")
		c.key("exit\n")
		s.wait(shell)
		s.nothingLeft()
	}
}

// TestJobControlInside is a user at a shell in a container, with a terminal of
// its own: keys are for that shell.
func TestJobControlInside(t *testing.T) {
	if !ordinary(t) {
		return
	}
	s := newSite(t)
	for _, flags := range []string{"", "--as-pid-1", "-u 1000"} {
		c := newScreen(s)
		shell := c.shell()
		c.types("bryo run -e PS1='inside> ' "+flags+" $ROOT sh -i\n", "inside> ")
		c.types("tty\r", "/dev/pts/0")
		c.types("sleep 1000\r", "sleep")
		s.find(shell.Process.Pid, "sleep")
		c.types(ctrlZ, "Stopped")
		c.types("jobs\r", "Stopped")
		c.types("fg\r", "sleep 1000") // which it says before it goes on: a ctrl-C now would be the shell's
		if !holds(func() bool { p, is := named(shell.Process.Pid, "sleep"); return is && p.state != 'T' }) {
			t.Fatalf("sleep does not go on: %v\n%s", family(shell.Process.Pid), c)
		}
		c.types(ctrlC, "inside> ")
		c.types("echo code $?.\r", "code 130.")
		c.types("exit 44\r", "prompt$ ")
		c.types("echo code $?.\n", "code 44.")
		c.key("exit\n")
		s.wait(shell)
		s.nothingLeft()
	}
}

// TestStartedInTheBackground: a job in the background that wants the terminal
// for itself stops until it is called to the front.
func TestStartedInTheBackground(t *testing.T) {
	if !ordinary(t) {
		return
	}
	s := newSite(t)
	c := newScreen(s)
	shell := c.shell()
	c.types("bryo run $ROOT sh -c 'echo run''ning.; read x; echo got $x.; exit 12' &\n", "prompt$ ")
	if !holds(func() bool {
		return slices.ContainsFunc(family(shell.Process.Pid), func(p process) bool { return p.name == "bryo" && p.state == 'T' })
	}) {
		t.Fatalf("bryo is not stopped: %v\n%s", family(shell.Process.Pid), c)
	}
	c.key("fg\n")
	c.expect("running.")
	holds(c.raw)
	c.types("word\r", "got word.", "prompt$ ")
	c.types("echo code $?.\n", "code 12.")
	c.key("exit\n")
	s.wait(shell)
}

// TestInterruptReachesTheGroup types ctrl-C at bryo's own terminal: as without
// bryo, it is for a whole group of processes, not for the first one only.
func TestInterruptReachesTheGroup(t *testing.T) {
	if !ordinary(t) {
		return
	}
	s := newSite(t)
	for _, w := range []way{
		{name: "supervisor", flags: []string{"--tty=false"}},
		{name: "another user", flags: []string{"--tty=false", "-u", "1000"}},
		{name: "status", flags: []string{"--tty=false", "--status-fd", "3"}},
		{name: "terminal", flags: []string{"--tty=true"}},
	} {
		for key, code := range map[string]int{ctrlC: 130, "\x1c": 131} {
			c := newScreen(s)
			// The shell waits for its child, and ends when that does.
			cmd := w.run(s, "sh", "-c", "trap : INT QUIT; echo ready.; sh -c 'sleep 1000; exit $?'; exit $?")
			c.start(cmd)
			c.expect("ready.")
			settle(cmd, way{stays: true})
			s.find(cmd.Process.Pid, "sleep")
			c.key(key)
			if got := s.wait(cmd); got != code {
				t.Fatalf("%s: ended with %d, want %d", w.name, got, code)
			}
			s.nothingLeft()
		}
	}
}

// TestHangup takes the terminal away. What bryo notices first, SIGHUP or that
// nothing can be written, makes no difference to anybody.
func TestHangup(t *testing.T) {
	if !ordinary(t) {
		return
	}
	s := newSite(t)
	for _, flag := range []string{"--tty=true", "--tty=false"} {
		c := newScreen(s)
		cmd := s.command("bryo", "run", flag, s.root, "sh", "-c", "echo ready.; exec sleep 1000")
		c.start(cmd)
		c.expect("ready.")
		settle(cmd, way{stays: true})
		_ = c.slave.Close()
		_ = c.master.Close()
		if code := s.wait(cmd); code != 128+int(unix.SIGHUP) && code != 125 {
			t.Errorf("%s: ended with %d", flag, code)
		}
		s.nothingLeft()
	}
}
