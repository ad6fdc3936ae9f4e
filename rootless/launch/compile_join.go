package launch

import (
	"golang.org/x/sys/unix"

	"bryo/netslirp"
	"bryo/rootless"
	"bryo/rootless/ns"
	"bryo/rootless/program"
)

// A container that joins namespaces of another is made the other way round:
// the sealed stage comes first. A process that enters an existing user or PID
// namespace while it shares bryo's memory, or can be traced, would lay bryo
// open to the root of that namespace.
//
//	bryo                   stage, outside             container
//	clone3 --------------> execve the stage
//	                       undumpable; setns
//	<-- its child's pid -- clone3(CLONE_PARENT) ----> mounts, and on as PID 1
//	wait for the stage     exit                       does

// compileEnter is the first half of a joining launch: it only executes the
// stage.
func compileEnter(plan *rootless.Plan, fds descriptors) *program.Program {
	p := program.New()
	tie(p, fds)
	takeProcessors(p, plan)
	p.Step("execute", "the stage")
	keep := []int{fds.errors, fds.parent}
	if plan.Process.Terminal {
		keep = append(keep, fds.terminal)
	}
	if plan.Network.Config.Driver != netslirp.DriverNone {
		keep = append(keep, fds.network)
	}
	if plan.Squash != nil {
		keep = append(keep, fds.squash)
	}
	for _, j := range plan.Joined {
		keep = append(keep, j.FD)
	}
	if plan.Entered != 0 {
		keep = append(keep, plan.Entered)
	}
	for _, fd := range keep {
		p.ClearCloexec(program.FD(fd))
	}
	p.ExecFD(program.FD(fds.stage), p.Strings([]string{"bryo-init"}), p.Strings(nil))
	return p
}

// compileJoined is all the rest, from the stage.
func compileJoined(plan *rootless.Plan, fds descriptors) *program.Program {
	p := program.New()
	tie(p, fds)
	p.Step("hide", "from processes inside")
	p.Prctl(unix.PR_SET_DUMPABLE, 0)
	for _, j := range plan.Joined {
		p.Step("join", j.Kind.File()+" namespace")
		p.Syscall(unix.SYS_SETNS, program.FD(j.FD), program.Num(j.Kind.CloneFlag()))
		p.Close(program.FD(j.FD))
	}
	flags := plan.Namespaces.CloneFlags()
	if flags&ns.Time.CloneFlag() != 0 {
		// clone3 without shared memory would enter it at once.
		flags &^= ns.Time.CloneFlag()
		p.Step("make", "a time namespace")
		p.Syscall(unix.SYS_UNSHARE, program.Num(ns.Time.CloneFlag()))
	}
	p.Step("make", "namespaces")
	p.Announce(flags|unix.CLONE_PARENT, program.FD(fds.errors))
	tie(p, fds)
	build(p, plan, fds)
	compileInside(p, plan, fds)
	return p
}
