package program

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// This keeps the main goroutine, and with it the helpers, on the main
// thread: package variables are set there.
var _ = func() bool { runtime.LockOSThread(); return true }()

// helperVariable says which helper this process is.
const helperVariable = "BRYO_PROGRAM_TEST"

func TestMain(m *testing.M) {
	if name := os.Getenv(helperVariable); name != "" {
		os.Exit(helper(name))
	}
	os.Exit(m.Run())
}

// helper is what the test binary does in a container.
func helper(name string) int {
	switch name {
	case "args":
		fmt.Printf("%q %q\n", os.Args[1:], os.Environ())
	case "signals":
		return helpSignals()
	case "group":
		return helpGroup()
	case "sleep":
		fmt.Println("ready")
		time.Sleep(time.Minute)
	case "become":
		fmt.Fprintln(os.Stderr, helpBecome())
		return 99
	default:
		return 98
	}
	return 0
}

// helpSignals prints the signals that it gets and ends at SIGTERM.
func helpSignals() int {
	got := make(chan os.Signal, 16)
	signal.Notify(got, unix.SIGHUP, unix.SIGTERM, unix.SIGUSR1, unix.SIGUSR2, unix.SIGCONT, unix.SIGWINCH)
	fmt.Println("ready")
	for s := range got {
		fmt.Println(unix.SignalName(s.(syscall.Signal)))
		if s == unix.SIGTERM {
			return 42
		}
	}
	return 1
}

// helpGroup is helpSignals twice in one process group.
func helpGroup() int {
	if err := unix.Setpgid(0, 0); err != nil {
		fmt.Println(err)
		return 1
	}
	second := exec.Command(executable())
	second.Env = []string{helperVariable + "=signals"}
	second.Stdout = os.Stdout
	if err := second.Start(); err != nil {
		fmt.Println(err)
		return 1
	}
	code := helpSignals()
	_ = second.Wait()
	return code
}

func executable() string {
	path, err := os.Executable()
	if err != nil {
		panic(err)
	}
	return path
}

// pipes is what a program's process writes to.
type pipes struct {
	errors, output *os.File
	errorFD, outFD int // close-on-exec
}

func newPipes(t *testing.T) *pipes {
	t.Helper()
	var e, o [2]int
	if err := errors.Join(unix.Pipe2(e[:], unix.O_CLOEXEC), unix.Pipe2(o[:], unix.O_CLOEXEC)); err != nil {
		t.Fatal(err)
	}
	x := &pipes{errors: os.NewFile(uintptr(e[0]), "errors"), output: os.NewFile(uintptr(o[0]), "output"), errorFD: e[1], outFD: o[1]}
	t.Cleanup(func() {
		x.closeWriters()
		_ = errors.Join(x.errors.Close(), x.output.Close())
	})
	return x
}

func (x *pipes) closeWriters() {
	for _, fd := range []*int{&x.errorFD, &x.outFD} {
		if *fd >= 0 {
			_ = unix.Close(*fd)
		}
		*fd = -1
	}
}

// outcome is what became of a program.
type outcome struct {
	status unix.WaitStatus
	report Report
	output string
}

// start starts p and leaves its end to finish.
func (x *pipes) start(t *testing.T, p *Program, flags uint64) *Child {
	t.Helper()
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	c, err := Start(p, flags, x.errorFD)
	return x.started(t, c, err, flags)
}

// started takes over what became of Start.
func (x *pipes) started(t *testing.T, c *Child, err error, flags uint64) *Child {
	t.Helper()
	if errors.Is(err, unix.ENOSYS) {
		t.Skip("no clone3 on this machine")
	}
	if refused := (*CloneError)(nil); flags != 0 && errors.As(err, &refused) {
		t.Skipf("no new namespaces on this machine: %v", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	x.closeWriters()
	t.Cleanup(func() {
		_ = unix.PidfdSendSignal(c.PIDFD, unix.SIGKILL, nil, 0)
		_, _ = unix.Wait4(c.PID, nil, 0, nil)
		_ = errors.Join(c.Release(), unix.Close(c.PIDFD))
	})
	return c
}

func (x *pipes) finish(t *testing.T, c *Child, image *Program) outcome {
	t.Helper()
	var o outcome
	report, err := c.ReadReport(x.errors, image)
	if err != nil {
		t.Fatal(err)
	}
	o.report = report
	output, err := io.ReadAll(x.output)
	if err != nil {
		t.Fatal(err)
	}
	o.output = string(output)
	o.status = wait(t, c.PID)
	return o
}

func wait(t *testing.T, pid int) (status unix.WaitStatus) {
	t.Helper()
	for {
		switch _, err := unix.Wait4(pid, &status, 0, nil); {
		case errors.Is(err, unix.EINTR):
		case err != nil:
			t.Fatal(err)
		default:
			return status
		}
	}
}

// run carries out what build adds to an empty program.
func run(t *testing.T, flags uint64, build func(p *Program, x *pipes)) outcome {
	t.Helper()
	x := newPipes(t)
	p := New()
	build(p, x)
	return x.finish(t, x.start(t, p, flags), nil)
}

// runImage does the same in the sealed ELF.
func runImage(t *testing.T, flags uint64, build func(p *Program, x *pipes)) outcome {
	t.Helper()
	return runFile(imageBytes)(t, flags, build)
}

// runFile does so in an image of another make.
func runFile(file maker) func(*testing.T, uint64, func(*Program, *pipes)) outcome {
	return func(t *testing.T, flags uint64, build func(p *Program, x *pipes)) outcome {
		t.Helper()
		x := newPipes(t)
		p := New()
		build(p, x)
		c := x.startFile(t, file, p, flags)
		return x.finish(t, c, p)
	}
}

type maker func(p *Program, errorFD int) ([]byte, error)

// startInit starts an image as PID 1.
func (x *pipes) startInit(t *testing.T, image *Program) *Child {
	t.Helper()
	return x.startFile(t, imageBytes, image, ownPIDs)
}

func (x *pipes) startFile(t *testing.T, file maker, image *Program, flags uint64) *Child {
	t.Helper()
	content, err := file(image, x.errorFD)
	if err != nil {
		t.Fatal(err)
	}
	fd, err := sealed(content)
	_ = unix.Munmap(content)
	if errors.Is(err, ErrNoExec) {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	p := New()
	p.Step("enter", "stage")
	for _, survivor := range []int{x.errorFD, x.outFD} {
		p.Syscall(unix.SYS_FCNTL, FD(survivor), Num(unix.F_SETFD), Num(0))
	}
	p.ExecFD(FD(fd), p.Strings([]string{"stage"}), p.Strings(nil))
	return x.start(t, p, flags)
}

func (o outcome) want(t *testing.T, code int, output string) {
	t.Helper()
	if !o.status.Exited() || o.status.ExitStatus() != code || o.output != output {
		t.Errorf("status %#x, output %q, failures %+v; want exit code %d, output %q", uint32(o.status), o.output, o.report.Failures, code, output)
	}
}

func (o outcome) wantFailures(t *testing.T, want ...Failure) {
	t.Helper()
	var got []Failure
	for _, f := range o.report.Failures {
		f.Object, f.Data = "", nil
		got = append(got, f)
	}
	if g, w := fmt.Sprintf("%+v", got), fmt.Sprintf("%+v", want); g != w {
		t.Errorf("failures %s, want %s", g, w)
	}
}

// helperEnv makes the executed test binary a helper.
func helperEnv(p *Program, name string) Arg {
	return p.Strings([]string{helperVariable + "=" + name})
}

// unblock lets the process get signals again.
func unblock(p *Program) {
	none := p.Buffer("no signals", 8, "")
	p.Syscall(unix.SYS_RT_SIGPROCMASK, Num(unix.SIG_SETMASK), none.At(0), Num(0), Num(8))
}

// processState is the letter that ps shows for a process, 0 when it is gone.
func processState(pid int) byte {
	if f := processStat(pid); f != nil {
		return f[0][0]
	}
	return 0
}

// processStat is /proc/PID/stat from the state on: proc_pid_stat(5).
func processStat(pid int) []string {
	data, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "stat"))
	if err != nil {
		return nil
	}
	return strings.Fields(string(data[strings.LastIndexByte(string(data), ')')+1:]))
}

// children are the processes whose parent pid is, in the order of their ids.
func children(t *testing.T, pid int) (found []int) {
	t.Helper()
	entries, err := os.ReadDir("/proc")
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		child, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		if f := processStat(child); f != nil && f[1] == strconv.Itoa(pid) {
			found = append(found, child)
		}
	}
	return found
}

// eventually waits up to ten seconds for a condition.
func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); !holds(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("never: %s", what)
		}
	}
}

// lines reads a process's output line by line.
type lines struct {
	t *testing.T
	r *bufio.Reader
}

func (l lines) want(want ...string) {
	l.t.Helper()
	for _, w := range want {
		got, err := l.r.ReadString('\n')
		if got != w+"\n" {
			l.t.Fatalf("the command wrote %q (%v), want %q", got, err, w)
		}
	}
}
