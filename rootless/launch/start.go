package launch

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"bryo/netslirp"
	"bryo/rootless"
	"bryo/rootless/cgroup"
	"bryo/rootless/ns"
	"bryo/rootless/program"
)

// Container is a container whose command runs.
type Container struct {
	PID   int // of its PID 1, in bryo's PID namespace
	PIDFD int

	// Namespaces are the inodes of its namespaces, by ns.Kind, if Plan.Describe
	// asks for them; they are taken before the command can end.
	Namespaces [ns.Count]uint64

	// GivenUp are the controls that the kernel refused and the plan goes without,
	// besides those in it.
	GivenUp []string

	held   *program.Held // signals that came meanwhile
	image  descriptor    // the sealed stage, which can supervise, too
	master descriptor    // of the container's terminal, if it has one
	net    *network
	group  *cgroup.Group // that is to be removed; nil without
}

// A StepError is a system call of the launch that the kernel refused.
type StepError struct {
	program.Failure

	Why string // what the errno means here, and the fix; "" if it speaks for itself
}

func (e *StepError) Error() string {
	if e.Why != "" {
		return e.Step + ": " + e.Why
	}
	return e.Step + ": " + e.Unwrap().Error()
}

// Unwrap gives the errno.
func (e *StepError) Unwrap() error { return unix.Errno(e.Errno) }

// An EndedError is a signal that ended the launch before the command ran.
type EndedError struct{ Signal unix.Signal }

func (e *EndedError) Error() string { return "the launch was ended by " + unix.SignalName(e.Signal) }

// launch is what a start holds while it works.
type launch struct {
	plan     *rootless.Plan
	errors   pipe
	maps     pipe
	terminal pipe // a socket
	squash   pipe // the same
	net      *network
	parent   descriptor
	image    descriptor
	setup    *program.Program
	stage    *program.Program
	child    *program.Child
	pid      int // of the container's PID 1, or of the child that will make it
	pidfd    descriptor
	master   descriptor
	held     *program.Held
	givenUp  []string
	group    *cgroup.Group // nil without
}

// Start makes the container and returns once its command has been executed.
// The caller has locked the main thread. On an error nothing is left. Signals
// to bryo wait from then on: for the supervisor (Become), or for Deliver. Only
// while the command's start waits for bryo-net, which can take many seconds,
// those that ask for an end get it at once: an EndedError.
func Start(plan *rootless.Plan) (*Container, error) {
	if len(plan.Joined) > 0 {
		return start(plan, 0, compileEnter, compileJoined)
	}
	flags := plan.Namespaces.CloneFlags()
	if plan.Offsets != "" {
		flags &^= unix.CLONE_NEWTIME // see compileSetup
	}
	if plan.Cgroup.On() {
		flags &^= unix.CLONE_NEWCGROUP // see compileSetup
	}
	return start(plan, flags, compileSetup, compileStage)
}

// half makes one half of a launch: the one before, or in, the sealed stage.
type half func(plan *rootless.Plan, fds descriptors) *program.Program

func start(plan *rootless.Plan, namespaces uint64, setup, stage half) (*Container, error) {
	held, err := program.Hold()
	if err != nil {
		return nil, err
	}
	return startHeld(plan, namespaces, setup, stage, held)
}

func startHeld(plan *rootless.Plan, namespaces uint64, setup, stage half, held *program.Held) (*Container, error) {
	l := &launch{plan: plan}
	defer l.close()
	if err := l.prepare(setup, stage); err != nil {
		return nil, err
	}
	if err := l.limit(); err != nil {
		return nil, err
	}
	if err := adjust(plan.OOMScore); err != nil {
		return nil, err
	}
	child, err := l.clone(namespaces)
	if err != nil {
		return nil, err
	}
	l.child, l.pid, l.held = child, child.PID, held
	l.pidfd = descriptor{child.PIDFD + 1}
	c := &Container{held: held}
	if plan.Describe {
		c.describe(child.PID, plan.Cgroup.On() && plan.Namespaces[ns.Cgroup].Mode == ns.Own)
	}
	if plan.Network.Config.Ports() {
		err = l.net.openSpaces(plan, child.PID, child.PIDFD)
	}
	if err == nil {
		err = l.finish()
	}
	if err != nil {
		l.abort()
		return nil, err
	}
	c.PID, c.PIDFD, c.image, c.master = l.pid, l.pidfd.fd(), l.image, l.master
	c.net, c.GivenUp, c.group = l.net, l.givenUp, l.keepGroup()
	l.pidfd, l.image, l.master = descriptor{}, descriptor{}, descriptor{}
	return c, nil
}

// adjust raises this process's oom_score_adj, which the container inherits: they
// share memory until the stage, and the kernel keeps both alike.
func adjust(score int) error {
	if score == 0 {
		return nil
	}
	const mode = 0 // it is there
	if err := os.WriteFile("/proc/self/oom_score_adj", []byte(strconv.Itoa(score)), mode); err != nil {
		return fmt.Errorf("raise oom_score_adj: %w", err)
	}
	return nil
}

// describe takes the inodes of the namespaces; later says that the cgroup
// namespace is not clone3's.
func (c *Container) describe(pid int, later bool) {
	for _, k := range ns.All() {
		file := k.File()
		if k == ns.Time {
			file = "time_for_children" // it enters with the stage: see compileSetup
		}
		c.Namespaces[k] = inode(pid, file)
	}
	if !later {
		return
	}
	// The child makes its cgroup namespace itself, as one of the first things.
	const tries, pause = 500, time.Millisecond
	bryos := inode(os.Getpid(), ns.Cgroup.File())
	for i := 0; i < tries && c.Namespaces[ns.Cgroup] == bryos; i++ {
		time.Sleep(pause)
		c.Namespaces[ns.Cgroup] = inode(pid, ns.Cgroup.File())
	}
}

// inode is a namespace's, 0 once the process has ended.
func inode(pid int, file string) uint64 {
	var st unix.Stat_t
	if unix.Stat("/proc/"+strconv.Itoa(pid)+"/ns/"+file, &st) != nil {
		return 0
	}
	return st.Ino
}

// inherit makes what the child inherits.
func (l *launch) inherit() (err error) {
	if l.errors, err = newPipe(); err != nil {
		return err
	}
	if l.plan.IDs.Helpers {
		if l.maps, err = newPipe(); err != nil {
			return err
		}
	}
	if l.plan.Process.Terminal {
		if l.terminal, err = newSocket(); err != nil {
			return err
		}
	}
	if l.plan.Squash != nil {
		if l.squash, err = newSocket(); err != nil {
			return err
		}
	}
	if l.net, err = newNetwork(l.plan); err != nil {
		return err
	}
	parent, err := unix.PidfdOpen(os.Getpid(), 0)
	if err != nil {
		return os.NewSyscallError("pidfd_open", err)
	}
	l.parent = descriptor{parent + 1}
	return nil
}

// prepare makes that, and the programs.
func (l *launch) prepare(setup, stage half) (err error) {
	if err := l.inherit(); err != nil {
		return err
	}
	fds := descriptors{
		errors: l.errors.write.fd(), parent: l.parent.fd(), maps: l.maps.read.fd(), terminal: l.terminal.write.fd(),
		network: l.net.link.write.fd(), ready: l.net.ready.read.fd(),
		squash: l.squash.write.fd(),
	}
	l.stage = stage(l.plan, fds)
	fds.stage, err = program.Image(l.stage, fds.errors)
	switch {
	case errors.Is(err, program.ErrNoExec) && len(l.plan.Joined) == 0 && l.plan.Entered == 0:
		if fds.file, err = program.File(l.stage, fds.errors); err != nil {
			return err
		}
	case err != nil:
		return err
	default:
		l.image = descriptor{fds.stage + 1}
	}
	l.setup = setup(l.plan, fds)
	return nil
}

// finish is the parent's part until the command runs.
func (l *launch) finish() error {
	l.errors.write.close()
	if err := l.mapIDs(); err != nil {
		return l.explain(err)
	}
	if l.plan.Network.Config.Waits() {
		if err := l.net.startAndAwait(l.plan, l.pid, l.pidfd.fd(), l.held); err != nil {
			return l.explain(err)
		}
	}
	report, err := l.child.ReadReport(program.Pipe(l.errors.read.fd()), l.stage)
	if err != nil {
		return err
	}
	if err := l.child.Release(); err != nil {
		return err
	}
	if err := l.follow(report.Fork); err != nil {
		return err
	}
	where := "the container"
	if l.plan.Root.Root.Path == "" && l.plan.Entered == 0 {
		where = "the host" // bryo unshare
	}
	l.givenUp = givenUp(&report)
	if err := outcome(&report, where, l.plan.Process.Landlock.Files != 0); err != nil {
		return err
	}
	return l.settle()
}

// mapIDs has the ids mapped and tells the child.
func (l *launch) mapIDs() error {
	if !l.plan.IDs.Helpers {
		return nil
	}
	if err := mapIDs(l.plan, l.child.PID); err != nil {
		return err
	}
	if _, err := unix.Write(l.maps.write.fd(), []byte{1}); err != nil {
		return fmt.Errorf("tell that ids are mapped: %w", err)
	}
	return nil
}

// settle is what is left to do once the command runs.
func (l *launch) settle() error {
	if l.plan.Process.Terminal {
		master, err := program.Receive(l.terminal.read.fd())
		if err != nil {
			return err
		}
		l.master = descriptor{master + 1}
	}
	if n := &l.plan.Network; n.Config.Driver != netslirp.DriverNone && !n.Config.Waits() {
		if err := l.net.start(l.plan, l.pid, l.pidfd.fd()); err != nil {
			return err
		}
	}
	if err := l.startSquash(); err != nil {
		return err
	}
	// The child's change of ids made this process undumpable, with which it
	// shared memory: prctl(2).
	return os.NewSyscallError("prctl", unix.Prctl(unix.PR_SET_DUMPABLE, 1, 0, 0, 0))
}

// explain looks for what went wrong before the ids could be mapped: helpers do
// not map the ids of a child that has ended.
func (l *launch) explain(err error) error {
	_ = unix.PidfdSendSignal(l.pidfd.fd(), unix.SIGKILL, nil, 0)
	report, readErr := l.child.ReadReport(program.Pipe(l.errors.read.fd()), l.stage)
	if failed, is := report.Failed(); readErr == nil && is {
		return &StepError{failed, meaning(&failed)}
	}
	return err
}

// outcome is nil when the report ends with the command running. rules says that
// Landlock has some for files.
func outcome(report *program.Report, where string, rules bool) error {
	failed, is := report.Failed()
	if !is {
		return nil
	}
	if failed.Call == program.CompareName && failed.Errno == program.Errno(unix.ENOENT) {
		tries := slices.DeleteFunc(slices.Clone(report.Failures), refused)
		return notExecuted(tries, failed.Object, where, rules)
	}
	return &StepError{failed, meaning(&failed)}
}

// givenUp are the refusals that the launch went on after.
func givenUp(report *program.Report) (list []string) {
	for _, f := range report.Failures {
		if refused(f) {
			list = append(list, f.Step+": "+unix.Errno(f.Errno).Error())
		}
	}
	return list
}

// refused tells a control that was refused from a path that the command could
// not be executed by.
func refused(f program.Failure) bool {
	return f.Tolerated && f.Call != "execve" && f.Call != "faccessat"
}

// follow turns from the child that joined namespaces to the one it made in
// them, which is bryo's child, too.
func (l *launch) follow(fork int) error {
	if fork == 0 {
		return nil
	}
	if _, err := wait(l.pid); err != nil {
		return err
	}
	pidfd, err := unix.PidfdOpen(fork, 0) // not reaped: the number is still its own
	if err != nil {
		return os.NewSyscallError("pidfd_open", err)
	}
	l.pidfd.close()
	l.pid, l.pidfd = fork, descriptor{pidfd + 1}
	return nil
}

// abort ends the child and waits for it.
func (l *launch) abort() {
	_ = unix.PidfdSendSignal(l.pidfd.fd(), unix.SIGKILL, nil, 0)
	_, _ = wait(l.pid)
	_ = l.child.Release()
	l.net.ended()
	_ = l.ungroup()
}

// wait waits for a child to end.
func wait(pid int) (unix.WaitStatus, error) {
	var status unix.WaitStatus
	for {
		_, err := unix.Wait4(pid, &status, 0, nil)
		if !errors.Is(err, unix.EINTR) {
			return status, os.NewSyscallError("wait4", err)
		}
	}
}

func (l *launch) close() {
	if l.net != nil {
		l.net.close()
	}
	if l.group != nil {
		l.group.Close()
	}
	for _, p := range []*pipe{&l.errors, &l.maps, &l.terminal, &l.squash} {
		p.close()
	}
	for _, d := range []*descriptor{&l.parent, &l.pidfd, &l.image, &l.master} {
		d.close()
	}
}
