package launch

import (
	"encoding/binary"
	"strings"

	"golang.org/x/sys/unix"

	"bryo/fsroot"
	"bryo/netslirp"
	"bryo/rootless"
	"bryo/rootless/confine"
	"bryo/rootless/ns"
	"bryo/rootless/program"
)

// descriptors are those that the child inherits, by number.
type descriptors struct {
	errors int    // where failures are written; it is closed when the command runs
	maps   int    // one byte comes when helpers have mapped the ids; negative without
	parent int    // bryo's pidfd
	stage  int    // the sealed stage; negative without executable memfds
	file   string // what it holds, in that case
	// The socket that the terminal's master goes through, and where its slave
	// is left.
	terminal int
	network  int // the socket that the network device goes through
	squash   int // the socket that the listener of the filter that asks goes through
	ready    int // one byte comes when the network is there
}

// compileSetup is the first half: everything up to the sealed stage.
func compileSetup(plan *rootless.Plan, fds descriptors) *program.Program {
	p := program.New()
	tie(p, fds)
	takeProcessors(p, plan)
	if plan.Offsets != "" {
		// clone3 would enter the namespace at once before Linux 6.2; then it
		// takes no offsets any more.
		p.Step("make", "a time namespace")
		p.Syscall(unix.SYS_UNSHARE, program.Num(unix.CLONE_NEWTIME))
		writeFile(p, "set clock offsets", "/proc/self/timens_offsets", plan.Offsets)
	}
	if plan.Cgroup.On() && plan.Namespaces[ns.Cgroup].Mode == ns.Own {
		// clone3 would make the parent's cgroup its root: only now is this
		// process in its own.
		p.Step("make", "a cgroup namespace")
		p.Syscall(unix.SYS_UNSHARE, program.Num(unix.CLONE_NEWCGROUP))
	}
	if !plan.IDs.Helpers {
		mapOne(p, plan)
	}
	build(p, plan, fds)
	awaitNetwork(p, plan, fds)
	p.Step("execute", "the stage")
	p.ClearCloexec(program.FD(fds.errors)) // or an error of the second half would look like success
	p.ClearCloexec(program.FD(fds.parent))
	if plan.Squash != nil {
		p.ClearCloexec(program.FD(fds.squash))
	}
	stage := program.FD(fds.stage)
	if fds.stage < 0 {
		stage = storeStage(p, fds.file)
	}
	p.ExecFD(stage, p.Strings([]string{"bryo-init"}), p.Strings(nil))
	return p
}

// storeStage keeps the stage where vm.memfd_noexec forbids executable memfds:
// in a file without a name, on a file system that is attached nowhere and
// cannot be written any more.
func storeStage(p *program.Program, file string) program.Arg {
	const name = "stage"
	fs := p.Fsopen("tmpfs")
	p.FsconfigCreate(fs)
	dir := p.Fsmount("stage", fs, unix.MOUNT_ATTR_NOSUID|unix.MOUNT_ATTR_NODEV)
	out := p.Openat("stage", dir, name, unix.O_CREAT|unix.O_EXCL|unix.O_WRONLY|unix.O_CLOEXEC, 0o500)
	p.Write(out, file)
	p.Close(out)
	stage := p.Openat("stage", dir, name, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	p.Unlinkat(dir, name)
	p.MountSetattr(dir, unix.MOUNT_ATTR_RDONLY, 0, 0, 0)
	return stage
}

// build makes the inside of the namespaces.
func build(p *program.Program, plan *rootless.Plan, fds descriptors) {
	p.Step("set", "umask")
	p.Syscall(unix.SYS_UMASK, program.Num(0))
	if plan.Network.Loopback {
		netslirp.LoopbackUp(p)
	}
	connect(p, plan, fds)
	// What is mounted here never reaches the host: a mount namespace of another
	// user namespace has slaves of the host's mounts (mount_namespaces(7)).
	root := fsroot.NewBuilder(&plan.Root, p)
	root.Prepare()
	awaitMaps(p, fds)
	becomeRoot(p, plan)
	tie(p, fds)
	setNames(p, plan)
	root.Build()
	if plan.Process.Terminal {
		compileTerminal(p, root, plan, fds)
	}
}

// tie makes the process end with bryo. A change of ids undoes it, and bryo
// may have died before it was done.
func tie(p *program.Program, fds descriptors) {
	p.Step("tie", "the container to bryo")
	p.Prctl(unix.PR_SET_PDEATHSIG, uint64(unix.SIGKILL))
	poll := binary.NativeEndian.AppendUint32(nil, uint32(fds.parent)) // struct pollfd
	poll = binary.NativeEndian.AppendUint16(poll, unix.POLLIN)
	poll = binary.NativeEndian.AppendUint16(poll, 0)
	gone := p.SyscallResult("gone", unix.SYS_PPOLL, p.Buffer("pollfd", len(poll), string(poll)).At(0), program.Num(1),
		p.Buffer("timeout", 16, "").At(0))
	p.Compare(gone, ^uint64(0), 0, program.Errno(unix.ESRCH))
}

// takeProcessors moves this process to the processors of its cgroup: kernels
// before 6.4 forget to when it is born there. Of all that are asked for, the
// kernel gives those.
func takeProcessors(p *program.Program, plan *rootless.Plan) {
	if plan.Cgroup.Limits.CPUs == "" {
		return
	}
	const size = 1024 // bytes, a bit for each
	p.Step("take", "the cgroup's processors")
	p.Syscall(unix.SYS_SCHED_SETAFFINITY, program.Num(0), program.Num(size), p.Buffer("all", size, strings.Repeat("\xff", size)).At(0))
}

func writeFile(p *program.Program, step, path, content string) {
	verb, object, _ := strings.Cut(step, " ")
	p.Step(verb, object)
	file := p.Openat("file", program.CWD(), path, unix.O_WRONLY|unix.O_CLOEXEC, 0)
	p.Write(file, content)
	p.Close(file)
}

// mapOne writes a map of one's own id, which needs no helper but gives up
// setgroups(2): user_namespaces(7).
func mapOne(p *program.Program, plan *rootless.Plan) {
	writeFile(p, "map ids", "/proc/self/setgroups", "deny")
	writeFile(p, "map ids", "/proc/self/uid_map", plan.IDs.Maps.UID.Lines())
	writeFile(p, "map ids", "/proc/self/gid_map", plan.IDs.Maps.GID.Lines())
}

// awaitMaps waits until the parent says that the ids are mapped; when it
// cannot map them it ends this process.
func awaitMaps(p *program.Program, fds descriptors) {
	if fds.maps >= 0 {
		p.Step("wait for", "the id maps")
		p.Syscall(unix.SYS_READ, program.FD(fds.maps), p.Buffer("byte", 1, "").At(0), program.Num(1))
	}
}

// becomeRoot takes on id 0 of the container, so that what is made belongs to
// it and the stage keeps its capabilities over execve.
func becomeRoot(p *program.Program, plan *rootless.Plan) {
	if !plan.RootInside() {
		confine.KeepCapsOverExec(p)
		return
	}
	setIDs(p, 0, 0, nil, plan.Process.SetGroups)
}

func setIDs(p *program.Program, uid, gid uint32, groups []uint32, setGroups bool) {
	p.Step("become", "user and group")
	p.Syscall(unix.SYS_SETRESGID, program.Num(gid), program.Num(gid), program.Num(gid))
	if setGroups {
		var list []byte
		for _, g := range groups {
			list = binary.NativeEndian.AppendUint32(list, g)
		}
		p.Syscall(unix.SYS_SETGROUPS, program.Num(len(groups)), program.Blob(string(list)))
	}
	p.Syscall(unix.SYS_SETRESUID, program.Num(uid), program.Num(uid), program.Num(uid))
}

func setNames(p *program.Program, plan *rootless.Plan) {
	if plan.Namespaces[ns.UTS].Mode != ns.Own {
		return
	}
	p.Step("set", "host name")
	p.Syscall(unix.SYS_SETHOSTNAME, program.Blob(plan.Hostname), program.Num(len(plan.Hostname)))
	if plan.Domainname != "" {
		p.Step("set", "domain name")
		p.Syscall(unix.SYS_SETDOMAINNAME, program.Blob(plan.Domainname), program.Num(len(plan.Domainname)))
	}
}

// compileUnshare is what bryo unshare runs instead of a container.
func compileUnshare(plan *rootless.Plan, fds descriptors) *program.Program {
	return compileMapped(plan, fds, func(*program.Program) {})
}

// compileHelper is the same for a program of bryo's own, which has no more of
// root's power than the plan says.
func compileHelper(plan *rootless.Plan, fds descriptors) *program.Program {
	return compileMapped(plan, fds, func(p *program.Program) {
		confine.NoNewPrivs(p)
		confine.DropBounding(p, plan.Process.Caps)
	})
}

func compileMapped(plan *rootless.Plan, fds descriptors, confined func(*program.Program)) *program.Program {
	p := program.New()
	if !plan.IDs.Helpers {
		mapOne(p, plan)
	}
	root := fsroot.NewBuilder(&plan.Root, p)
	if plan.Root.Stack != nil {
		root.PrepareStack()
	}
	awaitMaps(p, fds)
	becomeRoot(p, plan)
	tie(p, fds)
	if plan.Root.Stack != nil {
		p.Dup3(root.MountStack(), StackFD, 0)
	}
	resetSignals(p)
	confined(p)
	execute(p, &plan.Process, fds.errors)
	return p
}

// resetSignals gives the command the signal dispositions and the mask that
// programs expect. The clone has reset all handlers; what stays ignored is
// what the caller ignored and Go's runtime has no handler for.
func resetSignals(p *program.Program) {
	const setSize, actionSize = 8, 32
	p.Step("reset", "signal handlers")
	byDefault := p.Buffer("default", actionSize, "").At(0)
	for _, s := range []unix.Signal{unix.SIGHUP, unix.SIGINT, unix.SIGCONT, unix.SIGTSTP, unix.SIGTTIN, unix.SIGTTOU, 32, 33, 34} {
		p.Syscall(unix.SYS_RT_SIGACTION, program.Num(s), byDefault, program.Arg{}, program.Num(setSize))
	}
	p.Step("unblock", "signals")
	p.Syscall(unix.SYS_RT_SIGPROCMASK, program.Num(unix.SIG_SETMASK), p.Buffer("none", setSize, "").At(0), program.Num(0), program.Num(setSize))
}
