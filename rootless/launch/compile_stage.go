package launch

import (
	"slices"

	"golang.org/x/sys/unix"

	"bryo/rootless"
	"bryo/rootless/confine"
	"bryo/rootless/ns"
	"bryo/rootless/program"
)

// compileStage is the second half, which runs from the sealed stage inside
// the container: PID 1 and the command.
func compileStage(plan *rootless.Plan, fds descriptors) *program.Program {
	p := program.New()
	compileInside(p, plan, fds)
	return p
}

// compileInside is PID 1's part of it.
func compileInside(p *program.Program, plan *rootless.Plan, fds descriptors) {
	tie(p, fds)
	p.Step("hide", "from processes inside")
	p.Prctl(unix.PR_SET_DUMPABLE, 0)
	p.PrctlName("bryo-init")
	p.Step("begin", "a session")
	p.Syscall(unix.SYS_SETSID)
	p.Tolerate(program.Errno(unix.EPERM)) // leads one already
	bound(p, &plan.Process)
	if !plan.Process.Init {
		compileCommand(p, plan, fds)
		return
	}
	// Init waits with what it has until the command is executed: let that be
	// nothing of the host's but what the command has, too.
	keep := []int{fds.errors}
	if plan.Process.Terminal {
		keep = append(keep, fds.terminal)
	}
	if plan.Squash != nil {
		keep = append(keep, fds.squash)
	}
	closeOthers(p, keep...)
	p.Step("clone", "the command's process")
	child := p.Fork(forkFlags(plan), uint64(unix.SIGCHLD))
	p.Compare(child, ^uint64(0), 0, program.Errno(unix.ECHILD))
	parent := p.SkipOn(program.Errno(unix.ECHILD))
	p.Step("begin", "a session")
	p.Syscall(unix.SYS_SETSID)
	compileCommand(p, plan, fds)
	p.Land(parent)
	compileInit(p, plan, child)
}

// bound limits what the process and its children can ever have.
func bound(p *program.Program, c *rootless.Process) {
	if !c.NewPrivs {
		confine.NoNewPrivs(p)
	}
	confine.DropBounding(p, c.Caps)
}

// forkFlags make the command's process like vfork(2) does: nothing is copied,
// and the stage waits. A time namespace that is waiting for children takes
// none that share memory (before Linux 6.2).
func forkFlags(plan *rootless.Plan) uint64 {
	if plan.Offsets != "" || len(plan.Joined) > 0 {
		return 0
	}
	return unix.CLONE_VM | unix.CLONE_VFORK
}

// compileInit is the rest of PID 1's life. It holds no descriptor and the one
// capability that forwarding signals to other users' processes needs, and can
// make no call but those that it lives by.
func compileInit(p *program.Program, plan *rootless.Plan, child program.Arg) {
	confine.SetCaps(p, 1<<unix.CAP_KILL)
	confine.NoNewPrivs(p) // also where the command has none
	p.Step("be", "init")
	p.Prctl(unix.PR_SET_DUMPABLE, 0) // the command's change of ids may have set it: it shared this memory
	// A machine that has none has none for the command either.
	if filter, err := confine.InitFilter(); err == nil && plan.Process.Seccomp.Instructions() > 0 {
		control(p, plan, func() { confine.LoadFilter(p, &filter) })
	}
	p.CloseRange(0, maxFD, 0)
	p.Reap(child)
}

// maxFD is close_range(2)'s "all above".
const maxFD = ^uint64(0) >> 32

// compileCommand ends in execve. Its order: what needs capabilities or the
// user's rights first; ids; capabilities; descriptors; signals last.
func compileCommand(p *program.Program, plan *rootless.Plan, fds descriptors) {
	c := &plan.Process
	if c.Terminal {
		useTerminal(p, fds)
	}
	control(p, plan, func() { confine.JoinKeyring(p) })
	control(p, plan, func() { confine.SetLimits(p, c.Limits) })
	p.Step("set", "umask")
	p.Syscall(unix.SYS_UMASK, program.Num(c.Umask))
	enterDir(p, c.Dir)
	ruleset := confine.MakeLandlock(p, &c.Landlock)
	becomeUser(p, plan)
	confine.RestrictSelf(p, &c.Landlock, ruleset)
	if plan.Namespaces[ns.PID].Mode != ns.Own || plan.Entered != 0 {
		// Elsewhere the end of PID 1 takes the command down.
		p.Step("tie", "the command to init")
		p.Prctl(unix.PR_SET_PDEATHSIG, uint64(unix.SIGKILL))
	}
	if plan.Squash != nil {
		closeOthers(p, fds.errors, fds.squash)
	} else {
		closeOthers(p, fds.errors)
	}
	p.SetCloexec(program.FD(fds.errors))
	resetSignals(p)
	loadSquash(p, plan, fds)
	control(p, plan, func() { confine.LoadFilter(p, &c.Seccomp) }) // after all that it forbids
	execute(p, c, fds.errors)
}

// control adds a control, which is gone without on a kernel that refuses it if
// the plan says so.
func control(p *program.Program, plan *rootless.Plan, add func()) {
	if plan.BestEffort {
		p.BestEffort(add)
	} else {
		add()
	}
}

// closeOthers closes all descriptors but standard input, output and error, and
// those to be kept.
func closeOthers(p *program.Program, keep ...int) {
	p.Step("close", "descriptors")
	slices.Sort(keep)
	const standard = 3
	first := uint64(standard)
	for _, fd := range keep {
		if uint64(fd) > first {
			p.CloseRange(first, uint64(fd)-1, 0)
		}
		first = uint64(fd) + 1
	}
	p.CloseRange(first, maxFD, 0)
}

// enterDir changes to the working directory and makes sure that it lies in
// the root: one outside shows as a path that does not begin with a slash.
func enterDir(p *program.Program, dir string) {
	p.Step("enter working directory", dir)
	p.Chdir(dir)
	cwd := p.Getcwd()
	p.Compare(cwd.Load(0), 0xff, '/', program.Errno(unix.EXDEV))
}

// becomeUser leaves root behind, and every capability that is not granted.
func becomeUser(p *program.Program, plan *rootless.Plan) {
	c := &plan.Process
	if uid, gid := plan.Builder(); c.UID != uid || c.GID != gid || len(c.Groups) > 0 {
		if c.Ambient != 0 || c.NewPrivs {
			p.Step("keep", "capabilities of another user")
			p.Prctl(unix.PR_SET_KEEPCAPS, 1)
		}
		setIDs(p, c.UID, c.GID, c.Groups, c.SetGroups)
	}
	switch {
	case c.UID != 0:
		confine.SetAmbient(p, c.Ambient, c.NewPrivs)
	case c.NewPrivs:
		confine.SetCapsToFilter(p, c.Caps)
	default:
		confine.SetCaps(p, c.Caps)
	}
}

// execute tries the command's paths in turn. What is found but cannot be
// executed is sent along, so that the error can say what is missing.
func execute(p *program.Program, c *rootless.Process, errorFD int) {
	argv, env := p.Strings(c.Argv), p.Strings(c.Env)
	head := p.Sendable()
	for _, path := range c.Paths {
		p.Step("execute", path)
		p.Execve(path, argv, env)
		p.Tolerate()
		p.Report()
		file := p.Openat("command", program.CWD(), path, unix.O_RDONLY|unix.O_NONBLOCK|unix.O_NOCTTY|unix.O_CLOEXEC, 0)
		absent := p.SkipOn()
		p.Read(file, head, program.SendableData, program.SendableSize)
		p.Into(head.At(program.SendableLength))
		unreadable := p.SkipOn(program.Errno(unix.EISDIR), program.Errno(unix.EAGAIN), program.Errno(unix.EINVAL))
		p.Send(program.FD(errorFD), head)
		p.Compare(program.Num(0), 1, 1, program.Errno(unix.EEXIST))
		sent := p.SkipOn(program.Errno(unix.EEXIST))
		p.Land(absent)
		// What is there but cannot be read is told from a directory of the path
		// that cannot be searched.
		p.Syscall(unix.SYS_FACCESSAT, program.CWD(), program.Text(path), program.Num(unix.F_OK))
		gone := p.SkipOn()
		p.Send(program.FD(errorFD), head)
		p.Land(sent)
		p.Land(gone)
		p.Land(unreadable)
	}
	p.Step("execute", c.Argv[0])
	p.Compare(program.Num(0), 1, 1, program.Errno(unix.ENOENT))
}
