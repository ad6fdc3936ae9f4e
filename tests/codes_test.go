package tests

import (
	"fmt"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestCodesOfContainersThatStay has every exit code come back by every way: wait,
// attach, exec, and exec with a terminal.
func TestCodesOfContainersThatStay(t *testing.T) {
	if !ordinary(t) {
		return
	}
	s := newSite(t)
	s.keeps("host", nil, "sleep", "1000")
	const all = 256
	step := 15 // which meets 0, 15, ..., 255
	if soak() {
		step = 1
	}
	inParallel(all/step+1, width, func(i int) {
		code := min(i*step, all-1)
		exit := "exit " + strconv.Itoa(code)
		if got := s.bryo("exec", "host", "sh", "-c", exit); got.code != code || got.err != "" {
			t.Errorf("exec: %d is %+v", code, got)
		}
		if got := s.bryo("exec", "-t", "host", "sh", "-c", exit); got.code != code || got.err != "" {
			t.Errorf("exec -t: %d is %+v", code, got)
		}
		name := fmt.Sprintf("box%d", i)
		got := s.bryo("run", "-di", "--net", "none", "--name", name, s.root, "sh", "-c", "read x; "+exit)
		if got.code != 0 {
			t.Errorf("run: %+v", got)
			return
		}
		waits := s.command("bryo", "wait", name)
		out := s.start(waits)
		attach := s.command("bryo", "attach", name)
		attach.Stdin = strings.NewReader("\n")
		if got := s.end(attach); got.code != code {
			t.Errorf("attach: %d is %+v", code, got)
		}
		if c := s.wait(waits); c != 0 || out.String() != strconv.Itoa(code)+"\n" {
			t.Errorf("wait: %d is %d, %s", code, c, out)
		}
		if got := s.bryo("rm", name); got.code != 0 {
			t.Errorf("rm: %+v", got)
		}
	})
}

// TestDeathsOfContainersThatStay is that of commands that signals end.
func TestDeathsOfContainersThatStay(t *testing.T) {
	if !ordinary(t) {
		return
	}
	s := newSite(t)
	s.keeps("host", nil, "sleep", "1000")
	list := deadly()
	inParallel(len(list), width, func(i int) {
		n := int(list[i])
		if n == int(unix.SIGQUIT) {
			return // busybox' shell does not die of it
		}
		name := fmt.Sprintf("box%d", i)
		kill := fmt.Sprintf("kill -%d $$; exit 99", n)
		if got := s.bryo("exec", "host", "sh", "-c", kill); got.code != 128+n {
			t.Errorf("exec: death by signal %d is %+v", n, got)
		}
		if got := s.bryo("run", "-d", "--net", "none", "--name", name, s.root, "sh", "-c", kill); got.code != 0 {
			t.Errorf("run: %+v", got)
			return
		}
		if got := s.bryo("wait", name); got.out != strconv.Itoa(128+n)+"\n" {
			t.Errorf("wait: death by signal %d is %+v", n, got)
		}
		if got := s.bryo("rm", name); got.code != 0 {
			t.Errorf("rm: %+v", got)
		}
	})
	if got := s.bryo("ps", "-qa"); strings.Count(got.out, "\n") != 1 {
		t.Errorf("left: %+v", got)
	}
}

// TestCodesOfStop tells how containers ended that were asked to.
func TestCodesOfStop(t *testing.T) {
	if !ordinary(t) {
		return
	}
	s := newSite(t)
	const patient = "echo ready.; while :; do sleep 0.02; done"
	for i, c := range []struct {
		name   string
		flags  []string
		script string
		stop   []string
		code   string
	}{
		{"it does not listen", nil, "echo ready.; exec sleep 1000", []string{"stop"}, "143"},
		{"it ends well", nil, "trap 'exit 0' TERM; " + patient, []string{"stop"}, "0"},
		{"it ends otherwise", nil, "trap 'exit 7' TERM; " + patient, []string{"stop"}, "7"},
		{"it refuses", nil, "trap '' TERM; " + patient, []string{"stop", "-t", "1"}, "137"},
		{"no time", nil, "trap 'exit 0' TERM; " + patient, []string{"stop", "-t", "0"}, "137"},
		{"its own signal", []string{"--stop-signal", "USR1"}, "trap 'exit 8' USR1; " + patient, []string{"stop"}, "8"},
		{"it is PID 1", []string{"--as-pid-1"}, "trap 'exit 6' TERM; " + patient, []string{"stop"}, "6"},
		{"kill", nil, patient, []string{"kill"}, "137"},
		{"another signal", nil, "trap 'exit 5' HUP; " + patient, []string{"kill", "-s", "HUP"}, "5"},
		{"a terminal", []string{"-t"}, "trap 'exit 4' TERM; " + patient, []string{"stop"}, "4"},
	} {
		name := fmt.Sprintf("box%d", i)
		s.keeps(name, c.flags, "sh", "-c", c.script)
		s.says(name, "ready.")
		start := time.Now()
		if got := s.bryo(append(c.stop, name)...); got.code != 0 || got.out != name+"\n" {
			t.Errorf("%s: %+v", c.name, got)
		}
		const most = 5 * time.Second
		if took := time.Since(start); took > most {
			t.Errorf("%s: took %v", c.name, took)
		}
		if got := s.bryo("wait", name); got.out != c.code+"\n" {
			t.Errorf("%s: the code is %+v, want %s", c.name, got, c.code)
		}
	}
}

// TestCodesInScripts uses bryo as scripts and other programs do.
func TestCodesInScripts(t *testing.T) {
	if !ordinary(t) {
		return
	}
	s := newSite(t)
	s.keeps("box", nil, "sleep", "1000")
	for _, c := range []struct {
		name, script string
		code         int
	}{
		{"timeout around run", `timeout 0.5 bryo run --net none $1 sleep 1000`, 124},
		{"timeout around exec", `timeout 0.5 bryo exec box sleep 1000`, 124},
		{"timeout around exec -t", `timeout 0.5 bryo exec -t box sleep 1000`, 124},
		{"timeout around wait", `timeout 0.5 bryo wait box`, 124},
		{"timeout around attach", `timeout 0.5 bryo attach box`, 124},
		{"timeout -s KILL", `timeout -s KILL 0.5 bryo exec box sleep 1000`, 137},
		{"timeout of a command that answers", `timeout --preserve-status 0.5 bryo run --net none $1 sh -c 'trap "exit 9" TERM; while :; do sleep 0.02; done'`, 9},
		{"in front of a pipe", `bryo exec box sh -c 'yes; exit 0' | head -n 1 > /dev/null`, 0},
		{"at the end of a pipe", `echo x | bryo exec box sh -c 'cat > /dev/null; exit 6'`, 6},
		{"not found", `bryo exec box frobnicate 2> /dev/null`, 127},
		{"not found, with a path", `bryo exec box /bin/frobnicate 2> /dev/null`, 127},
		{"not executable", `bryo exec box /etc/motd 2> /dev/null`, 126},
		{"a directory", `bryo exec box /etc 2> /dev/null`, 126},
		{"not found, detached", `bryo run -d --name gone --net none $1 frobnicate 2> /dev/null`, 127},
		{"not executable, detached", `bryo run -d --name gone --net none $1 /etc/motd 2> /dev/null`, 126},
		{"detached, and nothing stays", `bryo inspect gone 2> /dev/null`, 125},
		{"a wrapper", `sh -c 'exec bryo exec box sh -c "exit 11"'`, 11},
		{"a condition", `if bryo exec box false; then exit 1; elif bryo exec box true; then exit 12; fi`, 12},
		{"make", `printf 'all:\n\t@exec bryo run --net none "$(ROOT)" sh -c "exit 3"\n' | ROOT=$1 make -s -f - 2> said; code=$?; grep -q 'Error 3$' said || exit 99; exit $code`, 2},
		{"closed streams", `bryo exec box sh -c 'exit 13' <&- >&- 2>&-`, 13},
	} {
		if got := s.sh(c.script, s.root); got.code != c.code {
			t.Errorf("%s: %+v, want %d", c.name, got, c.code)
		}
		reap() // a container does not end before whoever adopted a process of it has
	}
	if got := s.bryo("top", "box"); strings.Count(got.out, "sleep 1000") != 1 {
		t.Errorf("what exec began is not over:\n%s", got.out)
	}
}

// TestInterruptInAPipeline types ctrl-C at a pipeline of a shell.
func TestInterruptInAPipeline(t *testing.T) {
	if !ordinary(t) {
		return
	}
	s := newSite(t)
	s.keeps("box", nil, "sleep", "1000")
	c := newScreen(s)
	shell := c.shell()
	for _, line := range []string{
		"bryo exec box sh -c 'echo rea''dy.; exec sleep 3000' | cat",
		"bryo run --net none $ROOT sh -c 'echo rea''dy.; exec sleep 3000' | cat",
		"cat /dev/zero | bryo exec box sh -c 'echo rea''dy.; exec sleep 3000'",
	} {
		c.types(line+"; echo code ${PIPESTATUS[*]}.\n", "ready.")
		s.find(shell.Process.Pid, "sleep")
		now := c.since()
		c.key(ctrlC)
		// The shell gives the rest of the line up as well.
		if !holds(func() bool { return strings.Contains(now(), "prompt$ ") }) {
			t.Fatalf("%s goes on after ctrl-C:\n%s", line, c)
		}
		if !holds(func() bool { _, there := named(shell.Process.Pid, "sleep"); return !there }) {
			t.Errorf("%s: the command goes on: %v", line, family(shell.Process.Pid))
		}
	}
	c.key("exit\n")
	s.wait(shell)
}

// TestUnderSupervision is bryo as the run script of a supervisor like runsv(8):
// it starts a script that execs bryo, hears how that ends, starts it again, and
// stops it with TERM and CONT.
func TestUnderSupervision(t *testing.T) {
	if !ordinary(t) {
		return
	}
	s := newSite(t)
	service := func(script string) *exec.Cmd {
		return s.command("sh", "-c", `exec 2>&1; exec bryo run --net none "$1" sh -c "$2"`, "run", s.root, script)
	}
	for i, want := range []int{0, 1, 100, 111, 255} {
		if got := s.end(service(fmt.Sprintf("echo start %d; exit %d", i, want))); got.code != want || got.out != fmt.Sprintf("start %d\n", i) {
			t.Errorf("exit %d is %+v", want, got)
		}
	}
	for _, signal := range []unix.Signal{unix.SIGTERM, unix.SIGINT, unix.SIGHUP, unix.SIGKILL} {
		cmd := service("trap 'exit 20' TERM; trap 'exit 21' INT; trap 'exit 22' HUP; echo ready.; while :; do sleep 0.02; done")
		out := s.start(cmd)
		out.await(t, "ready.")
		_ = cmd.Process.Signal(signal)
		_ = cmd.Process.Signal(unix.SIGCONT)
		want := map[unix.Signal]int{unix.SIGTERM: 20, unix.SIGINT: 21, unix.SIGHUP: 22, unix.SIGKILL: 137}[signal]
		if code := s.wait(cmd); code != want {
			t.Errorf("%v: ended with %d, want %d", signal, code, want)
		}
		s.nothingLeft()
	}
}

// TestRunit is the real thing.
func TestRunit(t *testing.T) {
	if !ordinary(t) {
		return
	}
	runsv, err := exec.LookPath("runsv")
	if err != nil {
		t.Skip(err)
	}
	s := newSite(t)
	dir := filepath.Join(s.dir, "service")
	script := `mkdir "$1" && cat > "$1/run" <<'END'
#!/bin/sh
exec bryo run --net none ` + s.root + ` sh -c 'echo begun >> /tmp/log; trap "exit 7" TERM; while :; do sleep 0.02; done'
END
cat > "$1/finish" <<'END'
#!/bin/sh
echo "$1 $2" >> ` + s.dir + `/ends
END
chmod 755 "$1/run" "$1/finish"`
	if got := s.sh(script, dir); got.code != 0 {
		t.Fatalf("%+v", got)
	}
	cmd := s.command(runsv, dir)
	s.start(cmd)
	begun := func(times int) bool {
		return holds(func() bool {
			got := s.sh(`grep -c begun "$1/tmp/log"`, s.root)
			return got.out == strconv.Itoa(times)+"\n"
		})
	}
	if !begun(1) {
		t.Fatal("it does not begin")
	}
	s.sh(`sv -w 5 term "$1"`, dir) // runsv begins anew
	if !begun(2) {
		t.Error("it does not begin again")
	}
	if got := s.sh(`sv -w 10 exit "$1"; cat ends`, dir); !strings.Contains(got.out, "7 0\n7 0\n") {
		t.Errorf("the ends are %+v", got)
	}
	if code := s.wait(cmd); code != 0 {
		t.Errorf("runsv ended with %d", code)
	}
}
