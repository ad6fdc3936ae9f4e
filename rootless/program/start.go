package program

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Child is a process that carries out a program.
type Child struct {
	PID   int
	PIDFD int // close-on-exec

	program *Program
	arena   []byte
}

// cloneArgs is struct clone_args of clone3(2), with room for one result.
type cloneArgs struct {
	flags, pidfd, childTID, parentTID, exitSignal, stack, stackSize, tls, setTID, setTIDSize, cgroup uint64

	pidfdResult int32
}

// Start makes a child in new namespaces (flags: CLONE_NEW*) that carries the
// program out. The child shares this process's memory until it executes
// something, has all signals blocked and every handler reset, and a copy of
// the descriptor table. Its failure is written to errorFD: see ReadReport.
//
// The caller has locked the main thread: parent-death signals follow the
// thread that made the child. Release gives the arena back once the child has
// executed something or ended.
func Start(p *Program, flags uint64, errorFD int) (*Child, error) {
	return StartIn(p, flags, errorFD, -1)
}

// StartIn is Start for a child that is born into a cgroup, of which cgroup is
// the directory; -1 is this process's own.
func StartIn(p *Program, flags uint64, errorFD, cgroup int) (*Child, error) {
	if p.reaps() {
		return nil, errReap
	}
	p, flags = startable(p, flags)
	size := p.size()
	arena, err := room(size + int(unsafe.Sizeof(cloneArgs{})))
	if err != nil {
		return nil, err
	}
	base := uintptr(unsafe.Pointer(&arena[0]))
	p.assemble(arena[:size], uint64(base), errorFD)
	args := (*cloneArgs)(unsafe.Pointer(&arena[size]))
	args.flags = flags | sharing | unix.CLONE_PIDFD | unix.CLONE_CLEAR_SIGHAND
	args.pidfd = uint64(uintptr(unsafe.Pointer(&args.pidfdResult)))
	args.exitSignal = uint64(unix.SIGCHLD)
	if cgroup >= 0 {
		args.flags |= unix.CLONE_INTO_CGROUP
		args.cgroup = uint64(cgroup)
	}
	var old unix.Sigset_t
	all := allSignals()
	if err := unix.PthreadSigmask(unix.SIG_SETMASK, &all, &old); err != nil {
		return nil, errors.Join(os.NewSyscallError("sigprocmask", err), unix.Munmap(arena))
	}
	pid, errno := clone(uintptr(unsafe.Pointer(args)), unsafe.Offsetof(args.pidfdResult), base)
	_ = unix.PthreadSigmask(unix.SIG_SETMASK, &old, nil)
	if errno != 0 {
		return nil, errors.Join(&CloneError{unix.Errno(errno)}, unix.Munmap(arena))
	}
	return &Child{PID: int(pid), PIDFD: int(args.pidfdResult), program: p, arena: arena}, nil
}

// CloneError is clone3's refusal to make the child or its namespaces.
type CloneError struct{ Errno unix.Errno }

func (e *CloneError) Error() string { return "clone3: " + e.Errno.Error() }

// Unwrap gives the errno.
func (e *CloneError) Unwrap() error { return e.Errno }

// errReap means that a program would run the init of a PID namespace on a
// stack that is not its own.
var errReap = errors.New("only the program of an image can reap")

// Release gives the program's memory back.
func (c *Child) Release() error {
	if c.arena == nil {
		return nil
	}
	arena := c.arena
	c.arena = nil
	return unix.Munmap(arena)
}

func allSignals() (set unix.Sigset_t) {
	for i := range set.Val {
		set.Val[i] = ^uint64(0)
	}
	return set
}

// Report is what came through the error pipe until its last writer was gone.
type Report struct {
	Failures []Failure // in the order they happened
	Fork     int       // the process that Announce told of; 0 for none
}

// Failed is the operation that ended the program, if one did.
func (r *Report) Failed() (f Failure, failed bool) {
	if len(r.Failures) == 0 {
		return Failure{}, false
	}
	f = r.Failures[len(r.Failures)-1]
	return f, !f.Tolerated
}

// dataSize is how much Send carries: with its record as much as a pipe takes
// whole, whoever else writes (PIPE_BUF).
const dataSize = 4096 - recordSize

// Send writes the whole of a Sendable to the error pipe, whose descriptor in
// the child is fd.
func (p *Program) Send(fd Arg, from Buffer) {
	p.WriteFrom(fd, from, 0, recordSize+dataSize)
}

// Sendable is a buffer for Send: bytes go to offset SendableData, and their
// number to offset SendableLength.
func (p *Program) Sendable() Buffer {
	return p.Buffer("report", recordSize+dataSize, "\xff\xff\xff\xff\xff\xff\xff\xff")
}

// Where the parts of a Sendable are.
const (
	SendableLength = 8
	SendableData   = recordSize
	SendableSize   = dataSize
)

// Pipe is the reading end of an error pipe. Read blocks the thread without
// telling the scheduler, which would wake a second thread to take over work
// that there is none of: it would only run against the child.
type Pipe int

func (fd Pipe) Read(b []byte) (int, error) {
	if len(b) == 0 {
		return 0, nil
	}
	for {
		n, _, errno := unix.RawSyscall(unix.SYS_READ, uintptr(fd), uintptr(unsafe.Pointer(&b[0])), uintptr(len(b)))
		switch {
		case errno == unix.EINTR:
		case errno != 0:
			return 0, os.NewSyscallError("read", errno)
		case n == 0:
			return 0, io.EOF
		default:
			return int(n), nil
		}
	}
}

// Await waits in the same way until the pipe can be read, or the other
// descriptor, of which -1 is none.
func (fd Pipe) Await(other int) (otherReady bool, err error) {
	poll := [2]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}, {Fd: int32(other), Events: unix.POLLIN}}
	for {
		_, _, errno := unix.RawSyscall6(unix.SYS_PPOLL, uintptr(unsafe.Pointer(&poll[0])), uintptr(len(poll)), 0, 0, 0, 0)
		switch {
		case errno == unix.EINTR:
		case errno != 0:
			return false, os.NewSyscallError("ppoll", errno)
		default:
			return poll[1].Revents != 0, nil
		}
	}
}

// ReadReport reads the error pipe to its end. image is the program of the
// sealed ELF, which may be nil.
func (c *Child) ReadReport(pipe io.Reader, image *Program) (Report, error) {
	var report Report
	var record [recordSize]byte
	for {
		switch _, err := io.ReadFull(pipe, record[:]); {
		case errors.Is(err, io.EOF):
			return report, nil
		case err != nil:
			return report, fmt.Errorf("read the launch's report: %w", err)
		}
		at := binary.LittleEndian.Uint64(record[:])
		value := binary.LittleEndian.Uint64(record[8:])
		switch at {
		case dataFollows:
			data := make([]byte, dataSize)
			if _, err := io.ReadFull(pipe, data); err != nil {
				return report, fmt.Errorf("read the launch's report: %w", err)
			}
			if n := len(report.Failures); n > 0 {
				report.Failures[n-1].Data = data[:min(value, dataSize)]
			}
		case forked:
			report.Fork = int(value)
		default:
			failure, ok := c.locate(image, at, value)
			if !ok {
				return report, fmt.Errorf("no operation at %#x (errno %d)", at, value)
			}
			report.Failures = append(report.Failures, failure)
		}
	}
}

// Announce is Fork for a child that the parent is to know of: the process
// that stays tells it through the error pipe, fd, and ends. The child, which
// is the parent's own with CLONE_PARENT, goes on.
func (p *Program) Announce(flags uint64, fd Arg) {
	record := p.Buffer("forked", recordSize, "\xfe\xff\xff\xff\xff\xff\xff\xff")
	p.Fork(flags, 0) // CLONE_PARENT takes the exit signal over
	p.Into(record.At(8))
	p.Compare(record.Load(8), ^uint64(0), 0, uint64(unix.ECHILD))
	stays := p.SkipOn(uint64(unix.ECHILD))
	p.Compare(Num(0), 1, 1, uint64(unix.ECHILD))
	goes := p.SkipOn(uint64(unix.ECHILD))
	p.Land(stays)
	p.WriteFrom(fd, record, 0, recordSize)
	p.Exit(0)
	p.Land(goes)
}

func (c *Child) locate(image *Program, at uint64, errno Errno) (Failure, bool) {
	if c.arena != nil {
		if f, ok := c.program.failure(uint64(uintptr(unsafe.Pointer(&c.arena[0]))), at, errno); ok {
			return f, true
		}
	}
	if image == nil {
		return Failure{}, false
	}
	return image.failure(arenaBase, at, errno)
}

// Become replaces this process by the supervisor in image: it forwards
// signals to the process behind pidfd, a child of this process, and exits with
// its status. When it is killed, the parent-death signal that the child asked
// for takes the child down. Become returns only errors. The caller runs on the
// main thread, which also made the child.
func Become(image, pidfd int) error {
	if unix.Gettid() != unix.Getpid() {
		return errors.New("become the supervisor: not on the main thread")
	}
	inherited, err := unix.FcntlInt(uintptr(pidfd), unix.F_DUPFD, 3)
	if err != nil {
		return os.NewSyscallError("dup", err)
	}
	argv, err := syscall.SlicePtrFromStrings([]string{"bryo", "run"})
	if err != nil {
		return err
	}
	file, environment, err := supervisor(image, inherited)
	if err != nil {
		return err
	}
	env, err := syscall.SlicePtrFromStrings(environment)
	if err != nil {
		return err
	}
	// A blocked signal waits for the supervisor even if the caller ignores it
	// (nohup(1), a shell's background jobs): those stay unblocked, and away.
	blocked := unignored()
	var old unix.Sigset_t
	if err := unix.PthreadSigmask(unix.SIG_SETMASK, &blocked, &old); err != nil {
		return os.NewSyscallError("sigprocmask", err)
	}
	empty := new(byte)
	_, _, errno := unix.RawSyscall6(unix.SYS_EXECVEAT, uintptr(file), uintptr(unsafe.Pointer(empty)),
		uintptr(unsafe.Pointer(&argv[0])), uintptr(unsafe.Pointer(&env[0])), unix.AT_EMPTY_PATH, 0)
	_ = unix.PthreadSigmask(unix.SIG_SETMASK, &old, nil)
	_ = unix.Close(inherited)
	return os.NewSyscallError("execveat", errno)
}

// Replace replaces this process by the program of an image. The caller runs on
// the main thread. argv has any length but two.
func Replace(image int, argv []string) error {
	if unix.Gettid() != unix.Getpid() {
		return errors.New("replace the process: not on the main thread")
	}
	list, err := syscall.SlicePtrFromStrings(argv)
	if err != nil {
		return err
	}
	none := [1]*byte{}
	empty := new(byte)
	_, _, errno := unix.RawSyscall6(unix.SYS_EXECVEAT, uintptr(image), uintptr(unsafe.Pointer(empty)),
		uintptr(unsafe.Pointer(&list[0])), uintptr(unsafe.Pointer(&none)), unix.AT_EMPTY_PATH, 0)
	return os.NewSyscallError("execveat", errno)
}

// Ignored lists the signals that this process was told to ignore when it
// began; Go's runtime leaves these as they were.
func Ignored() []unix.Signal {
	const ignore = 1 // SIG_IGN
	var list []unix.Signal
	for _, s := range []unix.Signal{unix.SIGHUP, unix.SIGINT, unix.SIGTSTP, unix.SIGTTIN, unix.SIGTTOU} {
		var action [4]uintptr // struct sigaction; the handler is first
		_, _, errno := unix.RawSyscall6(unix.SYS_RT_SIGACTION, uintptr(s), 0, uintptr(unsafe.Pointer(&action)), 8, 0, 0)
		if errno == 0 && action[0] == ignore {
			list = append(list, s)
		}
	}
	return list
}

// unignored is every signal that the caller does not ignore.
func unignored() unix.Sigset_t {
	set := allSignals()
	for _, s := range Ignored() {
		set.Val[0] &^= 1 << (s - 1)
	}
	return set
}

// SignalGroup sends a signal to the init behind pidfd for the process group of
// its command, as a terminal sends it to the group in its foreground.
func SignalGroup(pidfd int, s unix.Signal) error {
	const queued = -1 // SI_QUEUE
	info := struct {
		number, errno, code, _ int32
		pid, uid               int32
		value                  uint64
		_                      [96]byte
	}{number: int32(s), code: queued, value: 1}
	_, _, errno := unix.Syscall6(unix.SYS_PIDFD_SEND_SIGNAL, uintptr(pidfd), uintptr(s), uintptr(unsafe.Pointer(&info)), 0, 0, 0)
	if errno != 0 {
		return os.NewSyscallError("pidfd_send_signal", errno)
	}
	return nil
}
