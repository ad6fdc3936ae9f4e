package tests

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// Nothing here takes long; whatever takes as long as this hangs.
const (
	longestWait    = 20 * time.Second
	longestCommand = 40 * time.Second
)

// soak says that tests are to run with their full counts.
func soak() bool { return os.Getenv("BRYO_SOAK") != "" }

// ordinary has a test run as the unprivileged user; it is false in root's
// process, which has nothing left to do then.
func ordinary(t *testing.T) bool {
	t.Helper()
	if os.Getuid() != 0 {
		return true
	}
	asUser(t, "^"+t.Name()+"$")
	return false
}

// site is where the containers of one test run: directories of its own, and an
// eye on every process, whoever started it. A process whose parent dies becomes
// a child of the test, so that none can get away.
type site struct {
	t              *testing.T
	dir, bin, root string
	tmp, run, home string // TMPDIR, XDG_RUNTIME_DIR, HOME
}

func newSite(t *testing.T) *site {
	t.Helper()
	bin, err := suite.bryo()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(busybox); err != nil {
		t.Skipf("no root file system to run: %v", err)
	}
	s := &site{t: t, dir: t.TempDir(), bin: bin}
	s.root = filepath.Join(s.dir, "root")
	for name, dir := range map[string]*string{"tmp": &s.tmp, "run": &s.run, "home": &s.home} {
		*dir = filepath.Join(s.dir, name)
		if err := os.Mkdir(*dir, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(withoutRegistries(s.home), makeBusyboxRoot(s.root)); err != nil {
		t.Fatal(err)
	}
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.leave)
	return s
}

// leave looks for what is left, and removes it.
func (s *site) leave() {
	s.nothingLeft()
	for _, p := range family(os.Getpid()) {
		p.kill()
	}
	reap()
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0); err != nil {
		s.t.Error(err)
	}
	if err := removeMapped(s.dir); err != nil {
		s.t.Error(err)
	}
}

// nothingLeft waits until no process is left of those that the test started; it
// has none of its own running.
func (s *site) nothingLeft() bool {
	s.t.Helper()
	var left []process
	ok := holds(func() bool {
		reap()
		left = family(os.Getpid())
		return len(left) == 0
	})
	if !ok {
		s.t.Errorf("left behind: %v", left)
	}
	return ok
}

// reap takes the status of adopted processes that have ended.
func reap() {
	for _, p := range family(os.Getpid()) {
		if p.state == 'Z' && p.parent == os.Getpid() {
			_, _ = unix.Wait4(p.pid, nil, unix.WNOHANG, nil)
		}
	}
}

// command is a command that finds bryo first in its PATH. It is killed when it
// does not end in time.
func (s *site) command(name string, args ...string) *exec.Cmd {
	// Not the test's own context: those that clean up run commands, too.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(s.t.Context()), longestCommand)
	s.t.Cleanup(cancel)
	if name == "bryo" {
		name = s.bin
	}
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir = s.dir
	cmd.Env = []string{
		"PATH=" + filepath.Dir(s.bin) + ":" + os.Getenv("PATH") + ":/usr/sbin:/sbin", "HOME=" + s.home,
		"TMPDIR=" + s.tmp, "XDG_RUNTIME_DIR=" + s.run, "TERM=xterm", "LC_ALL=C.UTF-8",
	}
	cmd.Cancel = func() error {
		if errors.Is(ctx.Err(), context.DeadlineExceeded) {
			s.t.Errorf("%s hung", cmd)
		}
		return cmd.Process.Kill()
	}
	cmd.WaitDelay = longestWait / 4
	return cmd
}

// outcome is how a command ended.
type outcome struct {
	code     int // 128+n for a signal
	out, err string
}

func (s *site) bryo(args ...string) outcome { return s.end(s.command("bryo", args...)) }

// sh runs a script of the host's shell.
func (s *site) sh(script string, args ...string) outcome {
	return s.end(s.command("sh", append([]string{"-c", script, "sh"}, args...)...))
}

// end runs a command to its end.
func (s *site) end(cmd *exec.Cmd) outcome {
	var out, errs bytes.Buffer
	if cmd.Stdout == nil {
		cmd.Stdout = &out
	}
	if cmd.Stderr == nil {
		cmd.Stderr = &errs
	}
	if err := cmd.Start(); err != nil {
		return outcome{code: -1, err: err.Error()}
	}
	code := s.wait(cmd)
	return outcome{code, out.String(), errs.String()}
}

// start starts a command whose output is read in the meantime.
func (s *site) start(cmd *exec.Cmd) (out *tail) {
	s.t.Helper()
	out = &tail{}
	cmd.Stdout, cmd.Stderr = out, out
	if err := cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	return out
}

// wait waits for a command that was started; its exit code is the shell's.
func (s *site) wait(cmd *exec.Cmd) int {
	err := cmd.Wait()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		s.t.Errorf("%s: %v", cmd, err)
	}
	return codeOf(cmd.ProcessState)
}

func codeOf(state *os.ProcessState) int {
	if status, ok := state.Sys().(syscall.WaitStatus); ok && status.Signaled() {
		return 128 + int(status.Signal())
	}
	return state.ExitCode()
}

// holds waits until a condition holds.
func holds(condition func() bool) bool {
	const pause = 2 * time.Millisecond
	for end := time.Now().Add(longestWait); time.Now().Before(end); time.Sleep(pause) {
		if condition() {
			return true
		}
	}
	return condition()
}

// process is a line of /proc/PID/stat: proc_pid_stat(5).
type process struct {
	pid, parent int
	state       byte
	name        string
}

func (p process) String() string { return fmt.Sprintf("%d (%s) %c", p.pid, p.name, p.state) }

// kill ends a process that family found.
func (p process) kill() { _ = unix.Kill(p.pid, unix.SIGKILL) }

func processes() []process {
	var list []process
	names, _ := filepath.Glob("/proc/[0-9]*")
	for _, dir := range names {
		text, err := os.ReadFile(dir + "/stat")
		if err != nil {
			continue // it has ended
		}
		open, end := bytes.IndexByte(text, '('), bytes.LastIndexByte(text, ')')
		fields := strings.Fields(string(text[end+1:]))
		pid, _ := strconv.Atoi(filepath.Base(dir))
		parent, _ := strconv.Atoi(fields[1])
		list = append(list, process{pid, parent, fields[0][0], string(text[open+1 : end])})
	}
	return list
}

// family is a process' children, their children and so on, oldest first, without
// itself.
func family(pid int) []process {
	all := processes()
	ancestors := []int{pid}
	var list []process
	for i := 0; i < len(ancestors); i++ {
		for _, p := range all {
			if p.parent == ancestors[i] {
				ancestors = append(ancestors, p.pid)
				list = append(list, p)
			}
		}
	}
	return list
}

// named finds a process of a family by its name.
func named(pid int, name string) (process, bool) {
	list := family(pid)
	i := slices.IndexFunc(list, func(p process) bool { return p.name == name })
	if i < 0 {
		return process{}, false
	}
	return list[i], true
}

// find waits for a process of a family.
func (s *site) find(pid int, name string) process {
	s.t.Helper()
	var p process
	if !holds(func() (ok bool) { p, ok = named(pid, name); return ok }) {
		s.t.Fatalf("no process %s among %v", name, family(pid))
	}
	return p
}
