package tests

import (
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// way is a way to run a container: who supervises it, and who is its PID 1.
type way struct {
	name  string
	flags []string
	stays bool // bryo's own process stays with it
}

// ways are all of them. Where bryo stays, its runtime keeps some signals for
// itself.
func ways() []way {
	return []way{
		{name: "supervisor"},
		{name: "one id", flags: []string{"--userns", "single"}},
		{name: "command is PID 1", flags: []string{"--as-pid-1"}},
		{name: "terminal", flags: []string{"-t"}, stays: true},
		{name: "status", flags: []string{"--status-fd", "3"}, stays: true},
	}
}

// run is the command line of a container that is started this way.
func (w way) run(s *site, command ...string) *exec.Cmd {
	args := append(append([]string{"run"}, w.flags...), s.root)
	cmd := s.command("bryo", append(args, command...)...)
	if slices.Contains(w.flags, "--status-fd") {
		null, err := os.OpenFile(os.DevNull, os.O_WRONLY, 0)
		if err != nil {
			s.t.Fatal(err)
		}
		s.t.Cleanup(func() { _ = null.Close() })
		cmd.ExtraFiles = []*os.File{null}
	}
	return cmd
}

// inParallel does n jobs, a few at a time.
func inParallel(n, width int, job func(i int)) {
	next := make(chan int)
	var workers sync.WaitGroup
	for range width {
		workers.Go(func() {
			for i := range next {
				job(i)
			}
		})
	}
	for i := range n {
		next <- i
	}
	close(next)
	workers.Wait()
}

const width = 4

func TestExitCodes(t *testing.T) {
	if !ordinary(t) {
		return
	}
	s := newSite(t)
	for _, w := range ways() {
		const codes = 256
		inParallel(codes, width, func(code int) {
			got := s.end(w.run(s, "sh", "-c", "exit "+strconv.Itoa(code)))
			if got.code != code || got.err != "" {
				t.Errorf("%s: exit %d is %+v", w.name, code, got)
			}
		})
	}
}

// deadly are the signals that end a process without a handler: signal(7).
func deadly() []unix.Signal {
	harmless := []unix.Signal{
		unix.SIGCHLD, unix.SIGCONT, unix.SIGSTOP, unix.SIGTSTP, unix.SIGTTIN, unix.SIGTTOU, unix.SIGURG, unix.SIGWINCH,
	}
	return slices.DeleteFunc(signals(), func(n unix.Signal) bool { return slices.Contains(harmless, n) })
}

// signals are all there are.
func signals() []unix.Signal {
	var list []unix.Signal
	for n := unix.Signal(1); n <= 64; n++ {
		list = append(list, n)
	}
	return list
}

// TestDeathBySignal has commands kill themselves. One that is PID 1 cannot. Of
// SIGQUIT busybox' shell does not die; TestSignalsWithoutHandlers has it.
func TestDeathBySignal(t *testing.T) {
	if !ordinary(t) {
		return
	}
	s := newSite(t)
	for _, w := range ways() {
		if slices.Contains(w.flags, "--as-pid-1") {
			continue
		}
		list := deadly()
		inParallel(len(list), width, func(i int) {
			n := int(list[i])
			if n == int(unix.SIGQUIT) {
				return
			}
			got := s.end(w.run(s, "sh", "-c", fmt.Sprintf("kill -%d $$; exit 99", n)))
			if got.code != 128+n {
				t.Errorf("%s: death by signal %d is %+v", w.name, n, got)
			}
		})
	}
}

func TestWrappers(t *testing.T) {
	if !ordinary(t) {
		return
	}
	s := newSite(t)
	for _, c := range []struct {
		name, script string
		code         int
		out          string
	}{
		{"exec", `exec bryo run "$1" sh -c 'echo out; exit 42'`, 42, "out\n"},
		{"exec, a signal", `exec bryo run "$1" sh -c 'kill -SEGV $$'`, 139, ""},
		{"a child of the shell", `bryo run "$1" sh -c 'exit 200'; echo $?`, 0, "200\n"},
		{"in the background", `bryo run "$1" sh -c 'echo out; exit 9' & wait $!`, 9, "out\n"},
		{"a subshell", `(bryo run "$1" sh -c 'exit 8')`, 8, ""},
		{"a command substitution", `x=$(bryo run "$1" sh -c 'echo out; exit 8'); echo $? $x`, 0, "8 out\n"},
		{"a pipe", `echo in | bryo run "$1" cat | bryo run "$1" tr a-z A-Z`, 0, "IN\n"},
		{"a reader that ends", `bryo run "$1" yes | head -n 1`, 0, "y\n"},
		{"timeout, in time", `timeout 60 bryo run "$1" sh -c 'exit 17'`, 17, ""},
		{"timeout, too late", `timeout 0.5 bryo run "$1" sleep 1000`, 124, ""},
		{"timeout, by kill", `timeout -s KILL 0.5 bryo run "$1" sleep 1000; echo $?`, 0, "137\n"},
		{"timeout, terminal", `timeout 0.5 bryo run -t "$1" sleep 1000`, 124, ""},
		{"timeout, trapped", `timeout --preserve-status 0.5 bryo run "$1" sh -c 'trap "exit 5" TERM; sleep 1000 & wait'`, 5, ""},
		{"make", `printf 'all:\n\t@bryo run %s sh -c "exit 7"\n' "$1" | make -s -f - 2>&1 | grep -o 'Error.*'`, 0, "Error 7\n"},
		{"make, fine", `printf 'all:\n\t@bryo run %s echo made\n' "$1" | make -s -f -`, 0, "made\n"},
		{"xargs", `echo 1 2 3 | xargs -n 1 bryo run "$1" echo`, 0, "1\n2\n3\n"},
		{"xargs, failing", `echo 5 | xargs bryo run "$1" sh -c 'exit $0'`, 123, ""},
		{"xargs, 255 stops it", `echo 255 0 | xargs -n 1 bryo run "$1" sh -c 'echo $0; exit $0' 2>/dev/null`, 124, "255\n"},
		{"env", `env -i "$(command -v bryo)" run "$1" sh -c 'exit 3'`, 3, ""},
		{"setsid", `setsid -w bryo run "$1" sh -c 'exit 3'`, 3, ""},
		{"nice", `nice bryo run "$1" sh -c 'exit 3'`, 3, ""},
	} {
		tool := strings.Fields(c.script)[0]
		if _, err := exec.LookPath(tool); err != nil && slices.Contains([]string{"timeout", "nice", "setsid", "env"}, tool) {
			t.Logf("%s: %v", c.name, err)
			continue
		}
		if got := s.sh(c.script, s.root); got.code != c.code || got.out != c.out {
			t.Errorf("%s: got %+v, want code %d and %q", c.name, got, c.code, c.out)
		}
	}
}

// trapAll prints each signal that comes. Busybox, or the C library in it, has no
// handlers for 32 and 33.
const trapAll = `
for n in $(seq 1 64); do
	case $n in 9|17|19|20|21|22|32|33) ;; *) trap "echo got $n." $n ;; esac
done
sleep 1000 &
echo ready.
while :; do wait $!; done`

// TestSignalsReachTheCommand sends every signal that can be passed on.
func TestSignalsReachTheCommand(t *testing.T) {
	if !ordinary(t) {
		return
	}
	s := newSite(t)
	for _, w := range ways() {
		cmd := w.run(s, "sh", "-c", trapAll)
		out := s.start(cmd)
		out.await(t, "ready.")
		settle(cmd, w)
		for _, n := range signals() {
			if !passable(n, w) {
				continue
			}
			if err := cmd.Process.Signal(n); err != nil {
				t.Fatalf("%s: signal %d: %v", w.name, n, err)
			}
			if !holds(func() bool { return strings.Contains(out.String(), fmt.Sprintf("got %d.", n)) }) {
				t.Fatalf("%s: signal %d did not reach the command:\n%s", w.name, n, out)
			}
		}
		_ = cmd.Process.Kill()
		if code := s.wait(cmd); code != 137 {
			t.Errorf("%s: killed, it ended with %d", w.name, code)
		}
		s.nothingLeft()
	}
}

// settle waits until the supervisor is in place: the command may run a moment
// before it.
func settle(cmd *exec.Cmd, w way) {
	if w.stays {
		const moment = 100 * time.Millisecond
		time.Sleep(moment) // nothing shows that the runtime's handlers are there
		return
	}
	holds(func() bool {
		exe, err := os.Readlink(fmt.Sprintf("/proc/%d/exe", cmd.Process.Pid))
		return err != nil || strings.HasPrefix(exe, "/memfd:")
	})
}

// passable leaves out what ends or stops bryo itself, and what trapAll cannot
// tell. Go's runtime, where it is, keeps some for itself; a changed window goes
// to the terminal.
func passable(n unix.Signal, w way) bool {
	never := []unix.Signal{unix.SIGKILL, unix.SIGCHLD, unix.SIGSTOP, unix.SIGTSTP, unix.SIGTTIN, unix.SIGTTOU, 32, 33}
	if w.stays {
		never = append(never, unix.SIGURG, unix.SIGPIPE, unix.SIGPROF, 34)
	}
	if w.name == "terminal" {
		never = append(never, unix.SIGWINCH)
	}
	return !slices.Contains(never, n)
}

// TestSignalsWithoutHandlers has signals end plain commands, which PID 1 is
// safe from.
func TestSignalsWithoutHandlers(t *testing.T) {
	if !ordinary(t) {
		return
	}
	s := newSite(t)
	for _, w := range ways() {
		if slices.Contains(w.flags, "--as-pid-1") {
			continue
		}
		for _, n := range []unix.Signal{unix.SIGTERM, unix.SIGINT, unix.SIGHUP, unix.SIGQUIT, unix.SIGUSR1, unix.SIGALRM, 37, 64} {
			cmd := w.run(s, "sh", "-c", "echo ready.; exec sleep 1000")
			s.start(cmd).await(t, "ready.")
			settle(cmd, w)
			s.find(cmd.Process.Pid, "sleep")
			_ = cmd.Process.Signal(n)
			if code := s.wait(cmd); code != 128+int(n) {
				t.Errorf("%s: sleep, sent signal %d, ended with %d", w.name, n, code)
			}
		}
	}
}

// TestSignalsDuringTheLaunch sends signals at any moment: they end everything,
// or they reach the command.
func TestSignalsDuringTheLaunch(t *testing.T) {
	if !ordinary(t) {
		return
	}
	s := newSite(t)
	runs := 200
	if soak() {
		runs = 5000
	}
	some := []unix.Signal{unix.SIGTERM, unix.SIGINT, unix.SIGHUP, unix.SIGQUIT, unix.SIGUSR1, 40}
	inParallel(runs, 2, func(i int) {
		const most = 25 * time.Millisecond
		w, n, moment := ways()[i%len(ways())], some[rand.N(len(some))], rand.N(most)
		cmd := w.run(s, "sh", "-c", fmt.Sprintf("trap 'exit 77' %d; echo up.; sleep 1000 & wait", n))
		out := s.start(cmd)
		time.Sleep(moment)
		_ = cmd.Process.Signal(n)
		const short = 300 * time.Millisecond
		ended := time.AfterFunc(short, func() {
			// As PID 1 the command loses what comes before its handler is set.
			if strings.Contains(out.String(), "up.") || w.name == "command is PID 1" {
				_ = cmd.Process.Signal(n)
			}
		})
		code := s.wait(cmd)
		ended.Stop()
		// Of SIGQUIT Go's runtime ends in its own way until it has come to main.
		if code != 77 && code != 128+int(n) && (code != 2 || n != unix.SIGQUIT) {
			t.Errorf("%s: signal %d after %v: ended with %d\n%s", w.name, n, moment, code, out)
		}
	})
}

// TestStopsDuringTheLaunch stops bryo at any moment and lets it go on.
func TestStopsDuringTheLaunch(t *testing.T) {
	if !ordinary(t) {
		return
	}
	s := newSite(t)
	inParallel(50, 2, func(i int) {
		const most, pause = 25 * time.Millisecond, 5 * time.Millisecond
		w, moment := ways()[i%len(ways())], rand.N(most)
		cmd := w.run(s, "sh", "-c", "exit 33")
		out := s.start(cmd)
		time.Sleep(moment)
		_ = cmd.Process.Signal(unix.SIGSTOP)
		time.Sleep(pause)
		_ = cmd.Process.Signal(unix.SIGCONT)
		if code := s.wait(cmd); code != 33 {
			t.Errorf("%s: stopped after %v: ended with %d\n%s", w.name, moment, code, out)
		}
	})
}

// TestMemory bounds what supervising costs: it is a few KB, and this only finds
// out when it becomes something else.
func TestMemory(t *testing.T) {
	if !ordinary(t) {
		return
	}
	s := newSite(t)
	cmd := ways()[0].run(s, "sh", "-c", "echo ready.; exec sleep 1000")
	s.start(cmd).await(t, "ready.")
	settle(cmd, ways()[0])
	s.find(cmd.Process.Pid, "sleep")
	init := s.find(cmd.Process.Pid, "bryo-init")
	total := 0
	for _, pid := range []int{cmd.Process.Pid, init.pid} {
		kib, err := proportion(pid)
		if err != nil {
			t.Log(err)
		}
		total += kib
	}
	_ = cmd.Process.Kill()
	_ = s.wait(cmd)
	const bound = 60
	switch {
	case total == 0:
		t.Skip("no process of bryo shows its memory to the user")
	case total > bound:
		t.Errorf("supervisor and init take %d KiB, at most %d are fine", total, bound)
	default:
		t.Logf("supervisor and init take %d KiB", total)
	}
}

// proportion is a process' proportional set size in KiB: proc_pid_smaps(5).
func proportion(pid int) (int, error) {
	text, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "smaps_rollup"))
	if err != nil {
		return 0, err
	}
	_, rest, _ := strings.Cut(string(text), "\nPss:")
	return strconv.Atoi(strings.Fields(rest)[0])
}
