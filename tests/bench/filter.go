package main

import (
	"bytes"
	"context"
	_ "embed" // a script
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"bryo/rootless/confine"
)

// What a filter itself costs is measured by this executable, which makes one
// system call many times under a filter that bubblewrap loads (it takes any, so
// that nothing but the filter differs), and once more without.

// filtered is a system call to measure.
type filtered struct {
	name   string
	call   func()
	does   confine.Action // the answer of both filters
	runs   bool           // have the kernel run the filter, see always
	target float64
	note   string
}

func filteredCalls() []filtered {
	getppid := func() { unix.Getppid() }
	const unassigned = 400
	late := func() { _, _, _ = unix.RawSyscall(unix.SYS_CLOSE_RANGE, 1, 0, 0) } // from 1 to 0: EINVAL
	refused := func() { _, _, _ = unix.RawSyscall(unassigned, 0, 0, 0) }
	const goal = 0.5
	return []filtered{
		{"getppid", getppid, confine.ActAllow, false, 0, "the kernel remembers that both filters always allow it, and runs none"},
		{"getppid, filter run", getppid, confine.ActAllow, true, goal, "as on kernels before 5.11, which remember nothing"},
		{"a late call, filter run", late, confine.ActAllow, true, goal, "close_range: the linear filter goes by number"},
		{"a refused call", refused, confine.ActErrno(unix.EPERM), false, goal, "one in no list, which the linear filter compares with all"},
	}
}

const (
	linearRules = 200
	callsEach   = 1_000_000
)

// calls is what the process under a filter does: it prints nanoseconds a call.
func calls(args []string, out io.Writer) error {
	all := filteredCalls()
	if len(args) != 1 {
		return errors.New("usage: bench calls INDEX")
	}
	i, err := strconv.Atoi(args[0])
	if err != nil || i < 0 || i >= len(all) {
		return fmt.Errorf("no call %q", args[0])
	}
	runtime.LockOSThread()
	begin := threadTime()
	for range callsEach {
		all[i].call()
	}
	_, err = fmt.Fprintln(out, float64(threadTime()-begin)/callsEach)
	return err
}

// threadTime is what this thread has had, so that others do not count.
func threadTime() int64 {
	now := unix.Timespec{}
	_ = unix.ClockGettime(unix.CLOCK_THREAD_CPUTIME_ID, &now)
	return now.Nano()
}

//go:embed libseccomp.py
var libseccompScript string

// linear is a filter of libseccomp's own making: a list of calls that bryo's
// default allows, one compared after the other.
func linear(ctx context.Context) ([]byte, error) {
	type rule struct {
		Name   string   `json:"name"`
		Action uint32   `json:"action"`
		Args   []string `json:"args"`
	}
	rules := []rule{}
	add := func(name string) {
		if len(rules) < linearRules {
			rules = append(rules, rule{name, uint32(confine.ActAllow), []string{}})
		}
	}
	needed := strings.Fields(`getppid close close_range execve exit_group mmap munmap mprotect madvise futex write read openat fcntl clone nanosleep
		rt_sigaction rt_sigprocmask rt_sigreturn sigaltstack gettid getpid tgkill arch_prctl prlimit64 sched_getaffinity sched_yield
		epoll_create1 epoll_ctl epoll_pwait eventfd2 pipe2 readlinkat newfstatat fstatat64 clock_gettime uname wait4`)
	for _, name := range needed {
		add(name)
	}
	profile := confine.DefaultProfile()
	for i := range profile.Syscalls {
		r := &profile.Syscalls[i]
		if r.Action != "SCMP_ACT_ALLOW" || len(r.Args)+len(r.Includes.Caps)+len(r.Includes.Arches) > 0 {
			continue
		}
		for _, name := range r.Names {
			if !slices.Contains(needed, name) {
				add(name)
			}
		}
	}
	asked, err := json.Marshal([]any{map[string]any{"default": confine.ActErrno(unix.EPERM), "abis": []string{"X86_64"}, "rules": rules}})
	if err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(ctx, "/usr/bin/python3", "-c", libseccompScript)
	cmd.Stdin = bytes.NewReader(asked)
	out, err := cmd.Output()
	if err != nil {
		return nil, errors.New("python3-seccomp is not installed")
	}
	answer := struct {
		Programs []string `json:"programs"`
	}{}
	if err := json.Unmarshal(out, &answer); err != nil || len(answer.Programs) != 1 {
		return nil, fmt.Errorf("libseccomp's program: %d, %w", len(answer.Programs), err)
	}
	return hex.DecodeString(answer.Programs[0])
}

// always is a filter that the kernel runs for every call. It remembers calls
// that a filter allows by their numbers alone, so this first loads the low half
// of the address that the call comes from. Jumps count from where they stand.
func always(filter []byte) []byte {
	const addressAt = 8 // struct seccomp_data
	load := binary.LittleEndian.AppendUint16(nil, unix.BPF_LD|unix.BPF_W|unix.BPF_ABS)
	load = append(load, 0, 0)
	load = binary.LittleEndian.AppendUint32(load, addressAt)
	return append(load, filter...)
}

// filters measures a call under bryo's filter, libseccomp's and one that gives
// the same answer at once, which is what the kernel needs for any filter.
func (b *bench) filters(f filtered, index, rounds int) section {
	const ours = "bryo, the default profile"
	s := section{Title: "a filter's own cost: " + f.name, Unit: "ns", Notes: []string{
		f.note, "more than under a filter that answers at once; that one costs as much as the last row says more than none",
	}}
	s.Rows = []row{
		{Tool: ours},
		{Tool: "libseccomp, " + strconv.Itoa(linearRules) + " rules", Base: ours, Target: f.target},
		{Tool: "any filter"},
	}
	commands, err := b.underEach(f, index)
	if err != nil {
		for i := range s.Rows {
			s.Rows[i].Missing = err.Error()
		}
		return s
	}
	b.say("%s: %d rounds", s.Title, rounds)
	for range rounds {
		took := make([]float64, len(commands))
		for _, i := range b.shuffled(len(commands)) {
			text, err := b.output(commands[i], time.Minute)
			if err == nil {
				took[i], err = strconv.ParseFloat(strings.TrimSpace(string(text)), 64)
			}
			if err != nil {
				s.Rows[min(i, len(s.Rows)-1)].Missing = err.Error()
				return s
			}
		}
		least, none := took[2], took[3]
		for i, own := range []float64{took[0] - least, took[1] - least, least - none} {
			s.Rows[i].Samples = append(s.Rows[i].Samples, own)
		}
	}
	return s
}

// underEach has the commands that make a call: under the filters of bryo, of
// libseccomp, one that answers at once, and none.
func (b *bench) underEach(f filtered, index int) ([][]string, error) {
	wrapper, missing := lookup("bwrap")
	if missing != "" || runtime.GOARCH != "amd64" {
		return nil, errors.New("measured with bubblewrap, on amd64")
	}
	theirs, err := linear(b.ctx)
	if err != nil {
		return nil, err
	}
	var commands [][]string
	for i, program := range [][]byte{confine.Prebuilt(), theirs, atOnce(f.does), nil} {
		if f.runs && program != nil {
			program = always(program)
		}
		command, err := b.under(wrapper, program, fmt.Sprintf("filter-%d-%d", index, i), index)
		if err != nil {
			return nil, err
		}
		commands = append(commands, command)
	}
	return commands, nil
}

// atOnce is a filter of one comparison: all that has a number is allowed.
func atOnce(does confine.Action) []byte {
	const numberAt, unassigned = 0, 400
	var filter []byte
	for _, i := range []unix.SockFilter{
		{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: numberAt},
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: unassigned, Jt: 1},
		{Code: unix.BPF_RET | unix.BPF_K, K: uint32(confine.ActAllow)},
		{Code: unix.BPF_RET | unix.BPF_K, K: uint32(does)},
	} {
		filter = binary.LittleEndian.AppendUint16(filter, i.Code)
		filter = binary.LittleEndian.AppendUint32(append(filter, i.Jt, i.Jf), i.K)
	}
	return filter
}

// under is the command that makes calls under a filter.
func (b *bench) under(wrapper string, program []byte, name string, index int) ([]string, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	argv := []string{wrapper, "--ro-bind", "/", "/", "--dev", "/dev", self, "calls", strconv.Itoa(index)}
	if program == nil {
		return argv, nil
	}
	file := filepath.Join(b.site.files(), name)
	if err := os.WriteFile(file, program, 0o600); err != nil {
		return nil, err
	}
	script := `exec "$1" --seccomp 9 "${@:3}" 9< "$2"`
	return append([]string{"/bin/bash", "-c", script, "bash", wrapper, file}, argv[1:]...), nil
}
