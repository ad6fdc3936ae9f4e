package state

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Status is what a container's record says of it.
type Status string

// What a container can be.
const (
	Created    Status = "created" // its command has not been executed yet
	Running    Status = "running"
	Paused     Status = "paused"
	Restarting Status = "restarting" // it has ended, and is to be started again in a moment
	Exited     Status = "exited"
	Dead       Status = "dead" // its supervisor was killed, or the machine stopped: no exit code is known
)

// Record is how a container is.
type Record struct {
	ID, Name      string
	Created       time.Time
	Root, Command string
	Status        Status
	Supervisor    Process // or who is about to start it
	Init          Process // its PID 1
	Entrance      Process // whose namespaces can be entered: PID 1, or the command where that one hides
	Tied          Process `json:",omitzero"` // the command, where PID 1's end need not be its own
	Boot          string  // of the machine that they run on
	Started       time.Time
	Finished      time.Time
	ExitCode      int
	Error         string        `json:",omitempty"`
	Network       uint64        `json:",omitempty"` // inode of its network namespace
	Shared        bool          `json:",omitempty"` // others have run in it, too
	Ports         []string      `json:",omitempty"`
	Restarts      int           `json:",omitempty"`
	Pause         time.Duration `json:",omitempty"` // before it was started last
	Stoppers      []Process     `json:",omitempty"` // who has it stopped, see Stop
	Keeper        Process       `json:",omitzero"`  // while that lives, it is not forgotten at its end: it will be started again
	Limited       bool          `json:",omitempty"` // it has a cgroup of its own
}

// Process tells a process from a later one of the same number.
type Process struct {
	PID   int
	Start uint64 // when, in ticks since the machine started: proc_pid_stat(5)
}

// ErrGone means that a process has ended.
var ErrGone = errors.New("the process has ended")

// ProcessOf describes a process that runs.
func ProcessOf(pid int) (Process, error) {
	start, err := startOf(pid)
	return Process{pid, start}, err
}

// FirstChild describes the oldest process that another one made; it is zero
// if there is none.
func FirstChild(of int) (Process, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", of, of))
	if err != nil {
		return Process{}, fmt.Errorf("look for the command: %w", err)
	}
	first, _, _ := strings.Cut(string(text), " ")
	pid, err := strconv.Atoi(first)
	if err != nil {
		return Process{}, nil //nolint:nilerr // an empty list
	}
	child, err := ProcessOf(pid)
	if errors.Is(err, ErrGone) {
		return Process{}, nil
	}
	return child, err
}

func startOf(pid int) (uint64, error) {
	text, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return 0, ErrGone
	}
	const state, start = 0, 19 // behind the name, which may hold anything
	end := bytes.LastIndexByte(text, ')')
	fields := strings.Fields(string(text[end+1:]))
	if end < 0 || len(fields) <= start {
		return 0, fmt.Errorf("/proc/%d/stat: %q", pid, text)
	}
	if fields[state] == "Z" || fields[state] == "X" {
		return 0, ErrGone
	}
	return strconv.ParseUint(fields[start], 10, 64)
}

// Lives says whether it still is that process.
func (p Process) Lives() bool {
	if p.PID == 0 {
		return false
	}
	start, err := startOf(p.PID)
	return err == nil && start == p.Start
}

// Open returns a pidfd of the process, which no other can take the place of.
// The caller closes it.
func (p Process) Open() (int, error) {
	if p.PID == 0 {
		return -1, ErrGone
	}
	fd, err := unix.PidfdOpen(p.PID, 0)
	if err != nil {
		return -1, ErrGone
	}
	if !p.Lives() {
		return -1, errors.Join(ErrGone, unix.Close(fd))
	}
	return fd, nil
}

// BootID tells one run of the machine from another: random(4).
func BootID() (string, error) {
	text, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	return strings.TrimSpace(string(text)), err
}

// Stop has the container not started, at first or again, while the caller lives:
// a stop that is killed on the way is none.
func (r *Record) Stop() error {
	self, err := ProcessOf(os.Getpid())
	if err == nil {
		r.Stoppers = append(slices.DeleteFunc(r.Stoppers, func(p Process) bool { return p == self || !p.Lives() }), self)
	}
	return err
}

// Stopping says whether somebody has it stopped.
func (r *Record) Stopping() bool { return slices.ContainsFunc(r.Stoppers, Process.Lives) }

// truth is the status as the kernel has it: what is recorded as running may
// have been killed.
func (r *Record) truth() Status {
	if r.Status == Exited || r.Supervisor.Lives() {
		return r.Status
	}
	return Dead
}
