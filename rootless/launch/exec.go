package launch

import (
	"golang.org/x/sys/unix"

	"bryo/rootless"
	"bryo/rootless/program"
)

// A command enters a container as a container joins namespaces: the sealed stage
// comes first, outside, so that nothing of bryo is within reach of those inside.
//
//	bryo exec              stage, outside             container
//	clone3 --------------> execve the stage
//	                       undumpable; setns
//	<-- its child's pid -- clone3(CLONE_PARENT) ----> the command, confined as
//	wait for the stage     exit                       the container's own

// Exec executes one more command in a container that runs: see
// rootless.CompileExec.
func Exec(plan *rootless.Plan) (*Container, error) { return start(plan, 0, compileEnter, compileExec) }

// compileExec is all but the first step, from the stage.
func compileExec(plan *rootless.Plan, fds descriptors) *program.Program {
	p := program.New()
	tie(p, fds)
	p.Step("hide", "from processes inside")
	p.Prctl(unix.PR_SET_DUMPABLE, 0)
	p.Step("enter", "the container")
	p.Syscall(unix.SYS_SETNS, program.FD(plan.Entered), program.Num(plan.Inside()))
	p.Close(program.FD(plan.Entered))
	p.Step("clone", "the command's process")
	p.Announce(unix.CLONE_PARENT, program.FD(fds.errors))
	tie(p, fds)
	becomeRoot(p, plan)
	tie(p, fds)
	if plan.Process.Terminal {
		openTerminal(p, plan, fds)
	}
	p.Step("begin", "a session")
	p.Syscall(unix.SYS_SETSID)
	bound(p, &plan.Process)
	compileCommand(p, plan, fds)
	return p
}

// openTerminal makes a pseudo-terminal of the container's /dev/pts. What else
// might be mounted there is refused.
func openTerminal(p *program.Program, plan *rootless.Plan, fds descriptors) {
	const devpts = 0x1cd1 // statfs(2)
	const statfsSize = 120
	p.Step("make", "a terminal")
	master := p.Openat("master", program.CWD(), "/dev/pts/ptmx", unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC|unix.O_NOFOLLOW, 0)
	kind := p.Buffer("statfs", statfsSize, "")
	p.Syscall(unix.SYS_FSTATFS, master, kind.At(0))
	p.Compare(kind.Load(0), ^uint64(0), devpts, program.Errno(unix.ENOTTY))
	giveTerminal(p, plan, fds, master, func() {})
}

// SignalAll sends a signal to all processes of a container's own PID namespace
// but its PID 1, at one moment.
func SignalAll(plan *rootless.Plan, s unix.Signal) error {
	c, err := start(plan, 0, compileEnter, func(plan *rootless.Plan, fds descriptors) *program.Program {
		return compileSignalAll(plan, fds, s)
	})
	if err != nil {
		return err
	}
	_, err = c.Wait()
	return err
}

func compileSignalAll(plan *rootless.Plan, fds descriptors, s unix.Signal) *program.Program {
	p := program.New()
	tie(p, fds)
	p.Step("hide", "from processes inside")
	p.Prctl(unix.PR_SET_DUMPABLE, 0)
	p.Step("enter", "the container")
	p.Syscall(unix.SYS_SETNS, program.FD(plan.Entered), program.Num(plan.Inside()&(unix.CLONE_NEWUSER|unix.CLONE_NEWPID)))
	p.Announce(unix.CLONE_PARENT, program.FD(fds.errors))
	p.Step("signal", "all processes")
	p.Syscall(unix.SYS_KILL, program.Num(-1), program.Num(s))
	p.Tolerate(program.Errno(unix.ESRCH)) // there is none
	p.Exit(0)
	return p
}
