package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// starter is an OS thread that starts processes. They get SIGKILL when the
// thread that started them ends, PR_SET_PDEATHSIG(2const), so it stays until
// all of them are gone.
type starter struct {
	jobs chan func()
	done chan struct{}
}

func newStarter() *starter {
	s := &starter{make(chan func()), make(chan struct{})}
	go func() {
		defer close(s.done)
		runtime.LockOSThread()
		for job := range s.jobs {
			job()
		}
	}()
	return s
}

// do returns when the thread has done the job.
func (s *starter) do(job func()) {
	finished := make(chan struct{})
	s.jobs <- func() {
		defer close(finished)
		job()
	}
	<-finished
}

func (s *starter) stop() {
	close(s.jobs)
	<-s.done
}

// start starts a process that dies with the calling thread. files are its
// standard input, output and error.
func start(argv, env []string, dir string, files [3]*os.File) (*os.Process, error) {
	return os.StartProcess(argv[0], argv, &os.ProcAttr{
		Dir: dir, Env: env, Files: files[:],
		Sys: &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true},
	})
}

// adopt makes this process the parent of what its descendants leave behind.
func adopt() error {
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("become subreaper: %w", err)
	}
	return nil
}

// process is a line of the process table.
type process struct {
	pid, parent int
	state       byte
}

// table returns all processes, see proc_pid_stat(5). What ends meanwhile is left
// out.
func table() []process {
	stats, _ := filepath.Glob("/proc/[0-9]*/stat")
	all := make([]process, 0, len(stats))
	for _, stat := range stats {
		text, err := os.ReadFile(stat)
		if err != nil {
			continue
		}
		if p, err := parseStat(string(text)); err == nil {
			all = append(all, p)
		}
	}
	return all
}

// parseStat reads the beginning of PID/stat. The name in it is the process's own
// choice, so the last parenthesis counts.
func parseStat(text string) (process, error) {
	before, _, ok1 := strings.Cut(text, " ")
	after := strings.Fields(text[strings.LastIndexByte(text, ')')+1:])
	pid, err1 := strconv.Atoi(before)
	if !ok1 || err1 != nil || len(after) < 2 {
		return process{}, errors.New("no line of PID/stat")
	}
	parent, err := strconv.Atoi(after[1])
	return process{pid, parent, after[0][0]}, err
}

// below returns the descendants of a process, parents before their children.
func below(pid int, all []process) []process {
	children := map[int][]process{}
	for _, p := range all {
		children[p.parent] = append(children[p.parent], p)
	}
	found := children[pid]
	for i := 0; i < len(found); i++ {
		found = append(found, children[found[i].pid]...)
	}
	return found
}

// descendants returns those of this process that are no zombies. Zombies that
// it inherited are reaped; started are those that somebody waits for.
func descendants(started func(pid int) bool) []process {
	self := os.Getpid()
	alive := []process{}
	for _, p := range below(self, table()) {
		if p.state != 'Z' {
			alive = append(alive, p)
		} else if p.parent == self && !started(p.pid) {
			_, _ = unix.Wait4(p.pid, nil, unix.WNOHANG, nil)
		}
	}
	return alive
}

// kill ends descendants; they are this process's own, so that no pid can be
// somebody else's by now unless it was reaped by a tool a moment ago.
func kill(processes []process) {
	for _, p := range processes {
		_ = unix.Kill(p.pid, unix.SIGKILL)
	}
}

func cmdline(pid int) string {
	text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	return string(text)
}

// await calls a condition until it holds or the time is over.
func await(limit time.Duration, condition func() bool) bool {
	for end := time.Now().Add(limit); ; time.Sleep(2 * time.Millisecond) {
		if condition() {
			return true
		}
		if time.Now().After(end) {
			return false
		}
	}
}

// settle waits until the machine is rather idle, as kernels take namespaces
// apart after their last process has gone.
func settle(limit time.Duration) {
	for end := time.Now().Add(limit); time.Now().Before(end); {
		busy, idle := ticks()
		time.Sleep(200 * time.Millisecond)
		busyNow, idleNow := ticks()
		if busyNow-busy <= (idleNow-idle)/4 {
			return
		}
	}
}

// ticks returns what all processors did since the start, proc_stat(5).
func ticks() (busy, idle int) {
	text, _ := os.ReadFile("/proc/stat")
	fields := strings.Fields(firstLine(string(text)))
	for i, field := range fields {
		n, err := strconv.Atoi(field)
		switch {
		case err != nil || i > 8: // the word cpu; guests, which are in user already
		case i == 4 || i == 5:
			idle += n
		default:
			busy += n
		}
	}
	return busy, idle
}

// available returns the bytes that programs can still take, proc_meminfo(5).
func available() uint64 {
	text, _ := os.ReadFile("/proc/meminfo")
	_, rest, _ := strings.Cut(string(text), "MemAvailable:")
	fields := strings.Fields(rest)
	if len(fields) == 0 {
		return 0
	}
	kib, _ := strconv.ParseUint(fields[0], 10, 64)
	return kib << 10
}
