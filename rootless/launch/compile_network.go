package launch

import (
	"golang.org/x/sys/unix"

	"bryo/netslirp"
	"bryo/rootless"
	"bryo/rootless/confine"
	"bryo/rootless/program"
)

// A container with a user-mode network has a process beside it, in the user's
// own namespaces. The command does not wait for it: what it sends is queued in
// the device. Only where ports are published, or another program makes the
// device, the child waits before it becomes the stage.
//
//	child, in the new network namespace        bryo-net, outside
//	make and configure eth0
//	its descriptor, over a socket -----------> netstack on the device
//	                       bryo: "ready" <---- ports are bound
//	wait <---------------- one byte
//	go on                                      until the pidfd says that PID 1 ended

// connect makes the device and hands it over.
func connect(p *program.Program, plan *rootless.Plan, fds descriptors) {
	n := &plan.Network
	if n.Config.Driver != netslirp.DriverUser {
		return
	}
	build := netslirp.Tun
	if n.Config.Link == netslirp.Veth {
		build = netslirp.VethPair
	}
	device := build(p, n.Config.MTU)
	p.Step("hand over", "the network device")
	sendDescriptor(p, fds.network, device)
	p.Close(device)
}

// awaitNetwork waits until bryo says that the network is ready.
func awaitNetwork(p *program.Program, plan *rootless.Plan, fds descriptors) {
	if plan.Network.Config.Waits() {
		p.Step("wait for", "the network")
		p.Syscall(unix.SYS_READ, program.FD(fds.ready), p.Buffer("byte", 1, "").At(0), program.Num(1))
	}
}

// place is a descriptor of bryo's and the number that a program has it at.
type place struct{ from, to int }

// arrange gives a program its descriptors and no others behind standard error,
// but for keep, which is above all their numbers. Sources and numbers may overlap.
func arrange(p *program.Program, places []place, keep int) {
	const above = 64
	p.Step("arrange", "descriptors")
	copies := make([]program.Arg, len(places))
	for i, at := range places {
		copies[i] = p.SyscallResult("copy", unix.SYS_FCNTL, program.FD(at.from), program.Num(unix.F_DUPFD_CLOEXEC), program.Num(above))
	}
	kept := []int{keep}
	for i, at := range places {
		p.Dup3(copies[i], at.to, 0)
		kept = append(kept, at.to)
	}
	closeOthers(p, kept...)
}

// silence takes the user's input and output from a program that only has
// errors to tell.
func silence(p *program.Program) {
	null := p.Openat("null", program.CWD(), "/dev/null", unix.O_RDWR|unix.O_CLOEXEC, 0)
	p.Dup3(null, 0, 0)
	p.Dup3(null, 1, 0)
	p.Close(null)
}

// compileNet executes bryo-net, in a session of its own that no key of the
// terminal reaches. errors is above all its numbers.
func compileNet(path string, places []place, errors int) *program.Program {
	p := program.New()
	p.Step("begin", "a session")
	p.Syscall(unix.SYS_SETSID)
	confine.NoNewPrivs(p)
	arrange(p, places, errors)
	silence(p)
	resetSignals(p)
	p.Step("execute", path)
	p.Execve(path, p.Strings([]string{"bryo-net"}), p.Strings(nil))
	return p
}

// compileInsidePorts is the stage that enters the container's user and network
// namespaces and executes bryo-net's other side there. It keeps the host's
// mount and PID namespaces: nobody in the container sees it.
func compileInsidePorts(path string, user, net, lifeline, errors int) *program.Program {
	p := program.New()
	p.Step("hide", "from processes inside")
	p.Prctl(unix.PR_SET_DUMPABLE, 0)
	p.Step("begin", "a session")
	p.Syscall(unix.SYS_SETSID)
	p.Step("join", "user namespace")
	p.Syscall(unix.SYS_SETNS, program.FD(user), program.Num(unix.CLONE_NEWUSER))
	p.Step("join", "net namespace")
	p.Syscall(unix.SYS_SETNS, program.FD(net), program.Num(unix.CLONE_NEWNET))
	confine.NoNewPrivs(p)
	arrange(p, []place{{lifeline, netslirp.InsideLifelineFD}}, errors)
	silence(p)
	p.SetCloexec(program.FD(errors))
	resetSignals(p)
	p.Step("execute", path)
	p.Execve(path, p.Strings([]string{"bryo-net", "inside"}), p.Strings(nil))
	return p
}

// compileEnterPorts only executes that stage.
func compileEnterPorts(stage int, keep ...int) *program.Program {
	p := program.New()
	p.Step("execute", "the stage")
	for _, fd := range keep {
		p.ClearCloexec(program.FD(fd))
	}
	p.ExecFD(program.FD(stage), p.Strings([]string{"bryo-init"}), p.Strings(nil))
	return p
}
