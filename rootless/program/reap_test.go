package program

import (
	"bufio"
	"errors"
	"fmt"
	"math"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

func itoa(n int) string { return strconv.Itoa(n) }

// underInit adds an init and the command that build describes.
func underInit(p *Program, build func(p *Program)) {
	child := p.Fork(0, uint64(unix.SIGCHLD))
	p.Compare(child, math.MaxUint64, 0, einval)
	parent := p.SkipOn()
	unblock(p)
	build(p)
	p.Land(parent)
	p.Reap(child)
}

// helperUnderInit adds an init whose command is a helper.
func helperUnderInit(p *Program, x *pipes, name string) {
	underInit(p, func(p *Program) {
		p.Dup3(FD(x.outFD), 1, 0)
		p.Execve(executable(), p.Strings([]string{name}), helperEnv(p, name))
	})
}

func TestReapGivesTheStatus(t *testing.T) {
	for _, code := range []int{0, 1, 2, 3, 42, 124, 125, 126, 127, 128, 129, 137, 192, 254, 255} {
		o := runImage(t, ownPIDs, func(p *Program, _ *pipes) {
			underInit(p, func(p *Program) { p.Exit(code) })
		})
		o.want(t, code, "")
	}
	for _, s := range []unix.Signal{unix.SIGHUP, unix.SIGABRT, unix.SIGKILL, unix.SIGSEGV, unix.SIGPIPE, unix.SIGTERM, unix.SIGSYS, 35, 64} {
		o := runImage(t, ownPIDs, func(p *Program, _ *pipes) {
			underInit(p, func(p *Program) {
				p.Syscall(unix.SYS_PRLIMIT64, Num(0), Num(unix.RLIMIT_CORE), p.Vector(Arg{}, Arg{}), Num(0))
				p.Syscall(unix.SYS_KILL, p.SyscallResult("me", unix.SYS_GETPID), Num(s))
				p.Exit(1)
			})
		})
		o.want(t, 128+int(s), "")
	}
}

// The command makes a child that makes a grandchild and ends; then it looks
// for up to three seconds whether the grandchild, process 4, is gone.
func TestReapCollectsOrphans(t *testing.T) {
	o := runImage(t, ownPIDs, func(p *Program, _ *pipes) {
		underInit(p, func(p *Program) {
			child := p.Fork(0, uint64(unix.SIGCHLD))
			p.Compare(child, math.MaxUint64, 0, einval)
			parent := p.SkipOn()
			p.Compare(p.Fork(0, uint64(unix.SIGCHLD)), math.MaxUint64, 4, einval)
			p.Tolerate()
			p.Exit(0)
			p.Land(parent)
			p.Syscall(unix.SYS_WAIT4, child, Num(0), Num(0), Num(0))
			pause := p.Vector(Num(0), Num(10_000_000))
			for range 300 {
				p.Syscall(unix.SYS_KILL, Num(4), Num(0))
				gone := p.SkipOn(Errno(unix.ESRCH))
				p.Syscall(unix.SYS_PPOLL, Num(0), Num(0), pause, Num(0))
				p.Land(gone)
			}
			p.Syscall(unix.SYS_KILL, Num(4), Num(0))
			there := p.SkipOn(Errno(unix.ESRCH))
			p.Exit(1)
			p.Land(there)
			p.Exit(5)
		})
	})
	o.want(t, 5, "")
}

// The command's child leaves dead children, processes 4 and up, behind: PID 1
// hears of all at once. The command looks whether they are gone.
func TestReapCollectsManyAtOnce(t *testing.T) {
	const many = 8
	o := runImage(t, ownPIDs, func(p *Program, _ *pipes) {
		underInit(p, func(p *Program) {
			pause := p.Vector(Num(0), Num(50_000_000))
			child := p.Fork(0, uint64(unix.SIGCHLD))
			p.Compare(child, math.MaxUint64, 0, einval)
			command := p.SkipOn()
			for range many {
				p.Compare(p.Fork(0, uint64(unix.SIGCHLD)), math.MaxUint64, 0, einval)
				parent := p.SkipOn()
				p.Exit(0)
				p.Land(parent)
			}
			p.Syscall(unix.SYS_PPOLL, Num(0), Num(0), pause, Num(0))
			p.Exit(0)
			p.Land(command)
			p.Syscall(unix.SYS_WAIT4, child, Num(0), Num(0), Num(0))
			p.Syscall(unix.SYS_PPOLL, Num(0), Num(0), pause, Num(0))
			for i := range many {
				p.Syscall(unix.SYS_KILL, Num(4+i), Num(0))
				gone := p.SkipOn(Errno(unix.ESRCH))
				p.Exit(100 + i)
				p.Land(gone)
			}
			p.Exit(7)
		})
	})
	o.want(t, 7, "")
}

func TestReapForwardsSignals(t *testing.T) {
	x := newPipes(t)
	p := New()
	helperUnderInit(p, x, "signals")
	c := x.startInit(t, p)
	out := lines{t, bufio.NewReader(x.output)}
	out.want("ready")
	for _, s := range []unix.Signal{unix.SIGHUP, unix.SIGUSR1, unix.SIGUSR2, unix.SIGWINCH, unix.SIGCONT, unix.SIGTERM} {
		send(t, c.PID, s)
		out.want(unix.SignalName(s))
	}
	x.finish(t, c, p).want(t, 42, "")
}

func send(t *testing.T, pid int, s unix.Signal) {
	t.Helper()
	if err := unix.Kill(pid, s); err != nil {
		t.Fatal(err)
	}
}

// queue sends a signal with a value, as the supervisor does.
func queue(t *testing.T, pid int, s unix.Signal, value uint64) {
	t.Helper()
	info := [16]uint64{uint64(s), 0xffff_ffff, 0, value} // si_code SI_QUEUE
	_, _, errno := unix.RawSyscall(unix.SYS_RT_SIGQUEUEINFO, uintptr(pid), uintptr(s), uintptr(unsafe.Pointer(&info)))
	if errno != 0 {
		t.Fatal(errno)
	}
}

func TestReapForwardsToTheGroup(t *testing.T) {
	x := newPipes(t)
	p := New()
	helperUnderInit(p, x, "group")
	c := x.startInit(t, p)
	out := lines{t, bufio.NewReader(x.output)}
	out.want("ready", "ready")
	queue(t, c.PID, unix.SIGUSR1, 1)
	out.want("SIGUSR1", "SIGUSR1")
	queue(t, c.PID, unix.SIGUSR2, 2)
	out.want("SIGUSR2")
	send(t, c.PID, unix.SIGHUP)
	out.want("SIGHUP")
	queue(t, c.PID, unix.SIGTERM, 1)
	out.want("SIGTERM", "SIGTERM")
	x.finish(t, c, p).want(t, 42, "")
}

func TestReapStopsAndContinuesTheGroup(t *testing.T) {
	x := newPipes(t)
	p := New()
	helperUnderInit(p, x, "group")
	c := x.startInit(t, p)
	out := lines{t, bufio.NewReader(x.output)}
	out.want("ready", "ready")
	command := children(t, c.PID)
	if len(command) != 1 {
		t.Fatalf("the init's children: %v", command)
	}
	group := slices.Concat(command, children(t, command[0]))
	if len(group) != 2 {
		t.Fatalf("the group: %v", group)
	}
	for _, s := range []unix.Signal{unix.SIGTSTP, unix.SIGTTIN, unix.SIGTTOU} {
		send(t, c.PID, s)
		for _, pid := range group {
			eventually(t, "process stops", func() bool { return processState(pid) == 'T' })
		}
		send(t, c.PID, unix.SIGCONT)
		out.want("SIGCONT", "SIGCONT")
		for _, pid := range group {
			eventually(t, "process continues", func() bool { return processState(pid) != 'T' })
		}
	}
	queue(t, c.PID, unix.SIGTERM, 1)
	out.want("SIGTERM", "SIGTERM")
	x.finish(t, c, p).want(t, 42, "")
}

func TestReapEndsWithItsChildrenGone(t *testing.T) {
	x := newPipes(t)
	p := New()
	helperUnderInit(p, x, "sleep")
	c := x.startInit(t, p)
	out := lines{t, bufio.NewReader(x.output)}
	out.want("ready")
	command := children(t, c.PID)
	send(t, c.PID, unix.SIGKILL)
	o := x.finish(t, c, p)
	if !o.status.Signaled() || processState(command[0]) != 0 {
		t.Errorf("status %#x, command's state %q", uint32(o.status), processState(command[0]))
	}
}

// helpBecome is bryo in little: it starts a container, which dies with it,
// and becomes its supervisor. The command is the helper that the environment
// names, or exits with a code.
func helpBecome() error {
	image, stage := New(), New()
	image.Step("begin", "a session")
	image.Syscall(unix.SYS_SETSID)
	image.Tolerate()
	image.Write(FD(-1), strings.Repeat("much to give back ", 1<<15))
	image.Tolerate()
	image.Step("reap", "")
	if code, err := strconv.Atoi(os.Getenv("COMMAND")); err == nil {
		underInit(image, func(p *Program) { p.Exit(code) })
	} else {
		underInit(image, func(p *Program) {
			p.Execve(executable(), p.Strings([]string{"command"}), helperEnv(p, os.Getenv("COMMAND")))
		})
	}
	fd, err := Image(image, 2)
	if err != nil {
		return err
	}
	stage.Prctl(unix.PR_SET_PDEATHSIG, uint64(unix.SIGKILL))
	stage.ExecFD(FD(fd), stage.Strings([]string{"init"}), stage.Strings(nil))
	var c *Child
	if c, err = Start(stage, ownPIDs, 2); err != nil {
		return err
	}
	if err := crowd(); err != nil {
		return err
	}
	return Become(fd, c.PIDFD)
}

// crowd opens descriptors that survive execve around the one that Become will
// choose.
func crowd() error {
	const hole, last = 57, 130
	for {
		fd, err := unix.FcntlInt(2, unix.F_DUPFD, 3)
		if err != nil {
			return err
		}
		if fd > last {
			return unix.Close(hole)
		}
	}
}

// supervised is a supervisor whose command is a helper or exits with a code.
func supervised(t *testing.T, command string) (*exec.Cmd, lines) {
	t.Helper()
	return supervisedOn(t, command, nil)
}

// supervisedOn is one whose controlling terminal is the one given.
func supervisedOn(t *testing.T, command string, terminal *os.File) (*exec.Cmd, lines) {
	t.Helper()
	probe := run(t, ownPIDs, func(p *Program, _ *pipes) { p.Exit(0) })
	probe.want(t, 0, "")
	cmd := exec.Command(executable())
	cmd.Env = append(os.Environ(), helperVariable+"=become", "COMMAND="+command)
	cmd.Stderr = os.Stderr
	if terminal != nil {
		cmd.Stdin = terminal
		cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	return cmd, lines{t, bufio.NewReader(out)}
}

func wantExit(t *testing.T, cmd *exec.Cmd, code int) {
	t.Helper()
	_ = cmd.Wait()
	if cmd.ProcessState.ExitCode() != code {
		t.Errorf("the supervisor ended with %v, want exit status %d", cmd.ProcessState, code)
	}
}

func TestSupervisorGivesTheStatus(t *testing.T) {
	for _, code := range []int{0, 1, 42, 125, 137, 255} {
		cmd, _ := supervised(t, strconv.Itoa(code))
		wantExit(t, cmd, code)
	}
}

// wantReady waits until the command runs and its supervisor is in place.
func wantReady(t *testing.T, cmd *exec.Cmd, out lines) {
	t.Helper()
	out.want("ready")
	eventually(t, "the supervisor is in place", func() bool {
		exe, _ := os.Readlink(fmt.Sprintf("/proc/%d/exe", cmd.Process.Pid))
		return exe == "/memfd:bryo-init (deleted)"
	})
}

// container is the init and the command of a supervisor.
func container(t *testing.T, cmd *exec.Cmd) (pid1, command int) {
	t.Helper()
	inits := children(t, cmd.Process.Pid)
	if len(inits) != 1 {
		t.Fatalf("the supervisor's children: %v", inits)
	}
	commands := children(t, inits[0])
	if len(commands) != 1 {
		t.Fatalf("the init's children: %v", commands)
	}
	return inits[0], commands[0]
}

func TestSupervisorForwardsSignals(t *testing.T) {
	cmd, out := supervised(t, "signals")
	wantReady(t, cmd, out)
	for _, s := range []unix.Signal{unix.SIGHUP, unix.SIGUSR1, unix.SIGUSR2, unix.SIGWINCH, unix.SIGTERM} {
		send(t, cmd.Process.Pid, s)
		out.want(unix.SignalName(s))
	}
	wantExit(t, cmd, 42)
}

// The Go runtime signals its own threads; such a signal may still be there
// when the supervisor takes over.
func TestSupervisorKeepsSignalsOfThreads(t *testing.T) {
	cmd, out := supervised(t, "signals")
	wantReady(t, cmd, out)
	if err := unix.Tgkill(cmd.Process.Pid, cmd.Process.Pid, unix.SIGUSR1); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the signal is taken", func() bool {
		status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", cmd.Process.Pid))
		return err == nil && strings.Contains(string(status), "SigPnd:\t0000000000000000")
	})
	send(t, cmd.Process.Pid, unix.SIGTERM)
	out.want("SIGTERM")
	wantExit(t, cmd, 42)
}

func TestSupervisorForwardsTheTerminalsSignalsToTheGroup(t *testing.T) {
	master, slave := terminal(t)
	cmd, out := supervisedOn(t, "group", slave)
	out.want("ready")
	wantReady(t, cmd, out)
	if err := unix.IoctlSetWinsize(int(master.Fd()), unix.TIOCSWINSZ, &unix.Winsize{Row: 11, Col: 22}); err != nil {
		t.Fatal(err)
	}
	out.want("SIGWINCH", "SIGWINCH")
	send(t, cmd.Process.Pid, unix.SIGWINCH)
	out.want("SIGWINCH")
}

func terminal(t *testing.T) (master, slave *os.File) {
	t.Helper()
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Skipf("no terminals on this machine: %v", err)
	}
	number, err := unix.IoctlGetInt(int(master.Fd()), unix.TIOCGPTN)
	if err := errors.Join(err, unix.IoctlSetPointerInt(int(master.Fd()), unix.TIOCSPTLCK, 0)); err != nil {
		t.Fatal(err)
	}
	slave, err = os.OpenFile("/dev/pts/"+itoa(number), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = errors.Join(slave.Close(), master.Close()) })
	return master, slave
}

func TestSupervisorStopsAndContinues(t *testing.T) {
	cmd, out := supervised(t, "signals")
	wantReady(t, cmd, out)
	_, command := container(t, cmd)
	for _, s := range []unix.Signal{unix.SIGTSTP, unix.SIGTTIN} {
		send(t, cmd.Process.Pid, s)
		eventually(t, "the command stops", func() bool { return processState(command) == 'T' })
		eventually(t, "the supervisor stops", func() bool { return processState(cmd.Process.Pid) == 'T' })
		send(t, cmd.Process.Pid, unix.SIGCONT)
		out.want("SIGCONT")
		eventually(t, "the command continues", func() bool { return processState(command) != 'T' })
	}
	send(t, cmd.Process.Pid, unix.SIGTERM)
	out.want("SIGTERM")
	wantExit(t, cmd, 42)
}

func TestSupervisorTakesTheContainerDown(t *testing.T) {
	cmd, out := supervised(t, "sleep")
	wantReady(t, cmd, out)
	pid1, command := container(t, cmd)
	send(t, cmd.Process.Pid, unix.SIGKILL)
	_ = cmd.Wait()
	for _, pid := range []int{pid1, command} {
		eventually(t, "process ends", func() bool { s := processState(pid); return s == 0 || s == 'Z' })
	}
}

func TestSupervisorSeesTheInitKilled(t *testing.T) {
	cmd, out := supervised(t, "sleep")
	wantReady(t, cmd, out)
	pid1, _ := container(t, cmd)
	send(t, pid1, unix.SIGKILL)
	wantExit(t, cmd, 128+9)
}

func TestSupervisorIsSmall(t *testing.T) {
	cmd, out := supervised(t, "sleep")
	wantReady(t, cmd, out)
	pid1, _ := container(t, cmd)
	eventually(t, "the supervisor is there", func() bool { // the command may be ready before
		exe, err := os.Readlink(fmt.Sprintf("/proc/%d/exe", cmd.Process.Pid))
		return err == nil && strings.HasPrefix(exe, "/memfd:")
	})
	eventually(t, "the supervisor holds the pidfd alone", func() bool {
		entries, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", cmd.Process.Pid))
		return err == nil && len(entries) == 1
	})
	for _, pid := range []int{cmd.Process.Pid, pid1} {
		exe, err := os.Readlink(fmt.Sprintf("/proc/%d/exe", pid))
		if err != nil || exe != "/memfd:bryo-init (deleted)" {
			t.Errorf("process executes %q (%v)", exe, err)
		}
		rollup, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", pid))
		if n := kilobytes(string(rollup), "Anonymous:"); err != nil || n > 64 {
			t.Errorf("process has %d KiB of its own (%v)", n, err)
		}
	}
	if size := arenaSize(t, pid1); size > pageAlign {
		t.Errorf("the init still has %d bytes of arena", size)
	}
}

// arenaSize is how much of an image's arena a process has mapped.
func arenaSize(t *testing.T, pid int) (size uint64) {
	t.Helper()
	maps, err := os.ReadFile(fmt.Sprintf("/proc/%d/maps", pid))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(maps)) {
		var from, to uint64
		if _, err := fmt.Sscanf(line, "%x-%x", &from, &to); err == nil && from >= arenaGap && from < 2*arenaGap {
			size += to - from
		}
	}
	return size
}

func kilobytes(text, field string) int {
	_, rest, _ := strings.Cut(text, field)
	var n int
	_, _ = fmt.Sscan(rest, &n)
	return n
}

func TestBecomeRefusesOtherThreads(t *testing.T) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if unix.Gettid() == unix.Getpid() {
		t.Skip("this test runs on the main thread")
	}
	if err := Become(-1, -1); err == nil || errors.Is(err, unix.EBADF) {
		t.Errorf("Become off the main thread: %v", err)
	}
}
