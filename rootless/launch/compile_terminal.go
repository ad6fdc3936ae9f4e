package launch

import (
	"encoding/binary"

	"golang.org/x/sys/unix"

	"bryo/fsroot"
	"bryo/rootless"
	"bryo/rootless/program"
)

// compileTerminal makes a pseudo-terminal of the container's own /dev/pts,
// sends its master to bryo and leaves its slave at the socket's number.
func compileTerminal(p *program.Program, root *fsroot.Builder, plan *rootless.Plan, fds descriptors) {
	p.Step("make", "a terminal")
	master := p.Openat("master", root.Pts(), "ptmx", unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC, 0)
	giveTerminal(p, plan, fds, master, root.Console)
}

// giveTerminal prepares the slave of a terminal, shows it where show does, and
// hands the master over.
func giveTerminal(p *program.Program, plan *rootless.Plan, fds descriptors, master program.Arg, show func()) {
	p.Syscall(unix.SYS_IOCTL, master, program.Num(unix.TIOCSPTLCK), p.Buffer("unlocked", 4, "").At(0))
	slave := p.SyscallResult("slave", unix.SYS_IOCTL, master, program.Num(unix.TIOCGPTPEER),
		program.Num(unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC))
	t := plan.Terminal
	size := binary.NativeEndian.AppendUint16(nil, t.Rows) // struct winsize
	size = binary.NativeEndian.AppendUint16(size, t.Columns)
	size = append(size, 0, 0, 0, 0)
	p.Syscall(unix.SYS_IOCTL, slave, program.Num(unix.TIOCSWINSZ), program.Blob(string(size)))
	if plan.Process.UID != 0 {
		p.Syscall(unix.SYS_FCHOWN, slave, program.Num(plan.Process.UID), program.Num(^uint32(0)))
	}
	show()
	p.Step("hand over", "the terminal")
	sendDescriptor(p, fds.terminal, master)
	p.Dup3(slave, fds.terminal, 0)
	p.Close(master)
}

// sendDescriptor sends an open file over a socket: unix(7), SCM_RIGHTS.
func sendDescriptor(p *program.Program, socket int, fd program.Arg) {
	const headerSize, controlSize = 16, 24 // struct cmsghdr; with one descriptor, aligned
	control := binary.NativeEndian.AppendUint64(nil, headerSize+4)
	control = binary.NativeEndian.AppendUint32(control, unix.SOL_SOCKET)
	control = binary.NativeEndian.AppendUint32(control, unix.SCM_RIGHTS)
	rights := p.Buffer("rights", controlSize, string(control))
	p.Syscall(unix.SYS_FCNTL, fd, program.Num(unix.F_DUPFD_CLOEXEC), program.Num(0))
	p.Into(rights.At(headerSize))
	one := p.Vector(program.Blob("t"), program.Num(1)) // struct iovec
	message := p.Vector(program.Arg{}, program.Arg{}, one, program.Num(1), rights.At(0), program.Num(controlSize), program.Arg{})
	p.Syscall(unix.SYS_SENDMSG, program.FD(socket), message, program.Num(unix.MSG_NOSIGNAL))
}

// useTerminal makes the terminal the session's, and standard input, output
// and error.
func useTerminal(p *program.Program, fds descriptors) {
	p.Step("use", "the terminal")
	p.Syscall(unix.SYS_IOCTL, program.FD(fds.terminal), program.Num(unix.TIOCSCTTY), program.Num(0))
	for standard := range 3 {
		p.Dup3(program.FD(fds.terminal), standard, 0)
	}
}
