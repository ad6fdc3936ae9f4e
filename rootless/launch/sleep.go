package launch

import (
	"encoding/binary"
	"errors"
	"os"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"

	"bryo/rootless/cgroup"
	"bryo/rootless/program"
)

// A process that looks after a container mostly has nothing to do. Sleep
// replaces it by a program of a few KB, and that by the process again, with the
// same descriptors and children, once there is something:
//
//	bryo supervise --> ppoll(container, output, ...) --> bryo supervise --resume HANDLE
//
// The container is tied to the process and its main thread, which stay.

// Handle is a container as numbers, which Resume makes one of again.
type Handle struct {
	PID, PIDFD       int
	Master           int // 0 for none
	NetPID, NetPIDFD int // 0 for none
	Group            cgroup.Group
}

// Handle is what Resume needs.
func (c *Container) Handle() Handle {
	h := Handle{PID: c.PID, PIDFD: c.PIDFD, NetPID: c.net.pid, Group: cgroup.Group{FD: -1, Base: -1}}
	if c.group != nil {
		h.Group = *c.group
	}
	if c.master.number != 0 {
		h.Master = c.master.fd()
	}
	if c.net.pid != 0 {
		h.NetPIDFD = c.net.pidfd.fd()
	}
	return h
}

func (h Handle) descriptors() []int {
	list := []int{h.PIDFD}
	for _, fd := range []int{h.Master, h.NetPIDFD} {
		if fd != 0 {
			list = append(list, fd)
		}
	}
	if h.Group.Base >= 0 {
		list = append(list, h.Group.Base)
	}
	return list
}

// Resume is the container that this process had before it slept.
func Resume(h Handle) *Container {
	c := &Container{PID: h.PID, PIDFD: h.PIDFD, net: &network{pid: h.NetPID}}
	if h.Master != 0 {
		c.master = descriptor{h.Master + 1}
	}
	if h.NetPID != 0 {
		c.net.pidfd = descriptor{h.NetPIDFD + 1}
	}
	if h.Group.Base >= 0 {
		c.group = &h.Group
	}
	for _, fd := range h.descriptors() {
		unix.CloseOnExec(fd)
	}
	return c
}

// Master is the container's terminal, or -1.
func (c *Container) Master() int { return c.master.fd() }

// sleeper waits until something can be read from one of the descriptors of wake, and
// executes exe.
func sleeper(wake []int, exe int, argv, env []string) *program.Program {
	p := program.New()
	p.Step("wait for", "the container")
	var polls []byte
	for _, fd := range wake {
		polls = binary.NativeEndian.AppendUint32(polls, uint32(fd)) // struct pollfd
		polls = binary.NativeEndian.AppendUint16(polls, unix.POLLIN)
		polls = binary.NativeEndian.AppendUint16(polls, 0)
	}
	p.Syscall(unix.SYS_PPOLL, p.Buffer("pollfds", len(polls), string(polls)).At(0), program.Num(len(wake)), program.Num(0), program.Num(0))
	p.Tolerate(program.Errno(unix.EINTR))
	p.Step("execute", "bryo")
	p.SetCloexec(program.FD(exe))
	p.ExecFD(program.FD(exe), p.Strings(argv), p.Strings(env))
	return p
}

// After has bryo begin once more with argv when the container has ended, whatever
// has become of this process: another one of a few KB waits for that, in a session
// of its own. It has the descriptors in keep, as FirstKept and those that follow.
func (c *Container) After(keep []int, argv, env []string) error {
	const pidfd, exe = 3, 4
	image, err := program.Image(sleeper([]int{pidfd}, exe, argv, env), -1)
	if err != nil {
		return err
	}
	defer unix.Close(image)
	null, err := unix.Open("/dev/null", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return &os.PathError{Op: "open", Path: "/dev/null", Err: err}
	}
	defer unix.Close(null)
	self, err := unix.Open("/proc/self/exe", unix.O_PATH|unix.O_CLOEXEC, 0)
	if err != nil {
		return &os.PathError{Op: "open", Path: "/proc/self/exe", Err: err}
	}
	defer unix.Close(self)
	files := []uintptr{uintptr(null), uintptr(null), uintptr(null), uintptr(c.PIDFD), uintptr(self)}
	for _, fd := range keep {
		files = append(files, uintptr(fd))
	}
	attributes := &syscall.ProcAttr{Dir: "/", Files: files, Sys: &syscall.SysProcAttr{Setsid: true}}
	// Its number must be none of those that the child gets, before it is executed.
	high, err := unix.FcntlInt(uintptr(image), unix.F_DUPFD_CLOEXEC, len(files))
	if err != nil {
		return os.NewSyscallError("dup", err)
	}
	defer unix.Close(high)
	_, err = syscall.ForkExec("/proc/self/fd/"+strconv.Itoa(high), []string{"bryo"}, attributes)
	return os.NewSyscallError("execve", err)
}

// FirstKept is the first descriptor that After was given.
const FirstKept = 5

// Sleep replaces this process until something can be read from one of the
// descriptors of wake, and then by exe. wake and keep stay open. It returns
// only if that was not possible, and the caller goes on.
func (c *Container) Sleep(wake, keep []int, exe int, argv, env []string) error {
	image, err := program.Image(sleeper(wake, exe, argv, env), -1)
	if err != nil {
		return err
	}
	kept := append(append(append([]int{exe}, wake...), keep...), c.Handle().descriptors()...)
	for _, fd := range kept {
		if _, err := unix.FcntlInt(uintptr(fd), unix.F_SETFD, 0); err != nil {
			return errors.Join(err, unix.Close(image))
		}
	}
	err = program.Replace(image, argv)
	for _, fd := range kept {
		unix.CloseOnExec(fd)
	}
	return errors.Join(err, unix.Close(image))
}
