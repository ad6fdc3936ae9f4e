package main

import (
	"errors"
	"os"
	"slices"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"bryo/netslirp"
	"bryo/rootless"
	"bryo/rootless/monitor"
	"bryo/rootless/ns"
	"bryo/rootless/state"
)

// supervisor looks after a detached container: run -d starts one.
type supervisor struct {
	entry   *state.Entry
	config  *state.Config
	monitor *monitor.Monitor
	argv    []string // to begin anew
}

// runSupervise is not for people.
//
//	bryo supervise ID            start the container, and say so
//	bryo supervise ID again      start it once more
//	bryo supervise ID HANDLE     go on after sleeping
//	bryo supervise exec ID       carry out what exec --detach read, as JSON
func runSupervise(args []string, s streams) int {
	const most = 2
	if len(args) == 0 || len(args) > most {
		return usage(s, "bryo run --detach starts the supervisor; there is nothing to do by hand")
	}
	if args[0] == superviseExec {
		return runExecDetached(args[1:], s)
	}
	v, err := openSupervisor(args[0])
	if err != nil {
		return report(s, err)
	}
	switch {
	case len(args) < most:
		err = announced(s, v.begin)
	case args[1] == again:
		err = v.begin(s)
	default:
		v.monitor, err = monitor.Resume(v.entry, v.config, args[1])
	}
	if err != nil {
		return v.failed(err)
	}
	if err := v.run(); err != nil {
		return exitFailed // nobody hears; the record tells
	}
	return exitOK
}

func openSupervisor(id string) (*supervisor, error) {
	store, err := state.Open()
	if err != nil {
		return nil, err
	}
	entry, err := store.Find(id)
	if err != nil {
		return nil, err
	}
	config, err := entry.Config()
	return &supervisor{entry: entry, config: config, argv: []string{"bryo", "supervise", entry.ID}}, err
}

// again is in the place of a handle.
const again = "again"

// announced begins, and tells whoever started this process so. Errors go to where
// his go.
func announced(s streams, begin func(streams) error) error {
	unix.CloseOnExec(outcomeFD)
	errs, err := unix.FcntlInt(s.err.Fd(), unix.F_DUPFD_CLOEXEC, outcomeFD+1)
	if err != nil {
		return os.NewSyscallError("dup", err)
	}
	s.err = os.NewFile(uintptr(errs), "stderr")
	defer s.err.Close()
	tell := func(word string) error {
		_, err := unix.Write(outcomeFD, []byte(word))
		return errors.Join(err, unix.Close(outcomeFD))
	}
	if err := begin(s); err != nil {
		return errors.Join(err, tell(strconv.Itoa(report(s, err))))
	}
	return tell(started) // if nobody waits any more, neither does the container
}

// failed notes that a container could not be started again. Of one that never
// ran whoever asked for it hears.
func (v *supervisor) failed(why error) int {
	v.untie()
	r, err := v.entry.Record()
	switch {
	case err != nil || r.Started.IsZero():
	case errors.Is(why, errStopped):
		_ = v.ended(r.ExitCode, "")
	default:
		_ = v.ended(exitFailed, why.Error())
	}
	return exitFailed
}

// What keeps a supervisor from starting its container.
var (
	errStopped = errors.New("the container was stopped before its command ran")
	errTaken   = errors.New("whoever started the container is gone, or somebody else has started it\nfix: bryo ps -a shows how it is; try again")
)

// mine says that the supervisor may change the record: it has signed, or whoever
// started it did and still waits for it.
func mine(r *state.Record) error {
	self, err := state.ProcessOf(os.Getpid())
	if err == nil && r.Supervisor != self && r.Supervisor.PID != os.Getppid() {
		err = errTaken
	}
	return err
}

// sign says who looks after the container.
func (v *supervisor) sign() error {
	self, err := state.ProcessOf(os.Getpid())
	if err != nil {
		return err
	}
	return v.entry.Change(func(r *state.Record) error {
		if err := mine(r); err != nil {
			return err
		}
		if r.Stopping() {
			return errStopped
		}
		r.Supervisor = self
		return nil
	})
}

// complete adds to what was asked for what later commands go by.
func (v *supervisor) complete(spec *rootless.Spec) {
	if spec.Hostname == "" && spec.Namespaces[ns.UTS].Mode == ns.Own {
		spec.Hostname = v.config.ID
	}
	if len(spec.Net.Publish) > 0 && spec.Net.PortSocket == "" {
		spec.Net.PortSocket = v.entry.Path(portSocket)
		_ = os.Remove(v.entry.Path(portSocket))
	}
}

// begin makes the container once.
func (v *supervisor) begin(s streams) (err error) {
	if err := v.sign(); err != nil {
		return err
	}
	v.complete(&v.config.Spec)
	if err := os.Chdir(v.config.Options.Dir); err != nil {
		return err
	}
	plan, err := plan(&v.config.Spec)
	if err != nil {
		return err
	}
	warn(s, plan.Warnings)
	if v.monitor, err = monitor.Start(v.entry, v.config, plan); err != nil {
		return err
	}
	defer func() {
		if err != nil {
			abandon(v.monitor.PID(), plan)
		}
	}()
	plan.GivenUp = append(plan.GivenUp, v.monitor.GivenUp()...)
	warnGivenUp(s, plan.GivenUp)
	plan.ID = v.config.ID
	if err := v.entry.SavePlan(plan); err != nil {
		return err
	}
	if err := os.Chdir("/"); err != nil { // nobody's directory is kept busy
		return err
	}
	network, err := v.runs(plan)
	if err == nil {
		err = v.writePID()
	}
	if err == nil && plan.Namespaces[ns.Net].Mode == ns.Join {
		if err := tellNeighbours(network); err != nil {
			warn(s, []string{err.Error()})
		}
	}
	return err
}

// runs notes that the container runs, and in which network.
func (v *supervisor) runs(plan *rootless.Plan) (network uint64, err error) {
	init, entrance, err := processes(v.monitor.PID(), plan)
	if err != nil {
		return 0, err
	}
	tied, err := tiedTo(init.PID, plan)
	if err != nil {
		return 0, err
	}
	network = networkOf(ns.Source{PID: entrance.PID})
	ports := v.ports(plan)
	return network, v.entry.Change(func(r *state.Record) error {
		r.Network, r.Shared, r.Tied = network, false, tied
		r.Limited = plan.Cgroup.On()
		return began(r, init, entrance, ports)
	})
}

// writePID writes the pid file, which goes with the container.
func (v *supervisor) writePID() error {
	if v.config.Options.PIDFile == "" {
		return nil
	}
	return writePID(v.config.Options.PIDFile, v.pidLine())
}

func (v *supervisor) removePID() {
	file := v.config.Options.PIDFile
	if file == "" {
		return
	}
	if text, err := os.ReadFile(file); err == nil && string(text) == v.pidLine() {
		_ = os.Remove(file)
	}
}

func (v *supervisor) pidLine() string { return strconv.Itoa(v.monitor.PID()) + "\n" }

// processes are a container's PID 1, and the one through which it is entered.
func processes(pid int, plan *rootless.Plan) (init, entrance state.Process, err error) {
	init, err = state.ProcessOf(pid)
	if err != nil && !errors.Is(err, state.ErrGone) { // it may have ended
		return init, entrance, err
	}
	init.PID = pid
	if len(plan.Joined) == 0 || !plan.Process.Init {
		return init, init, nil
	}
	// That init was executed outside, and hides from the user, too: ptrace(2).
	entrance, err = state.FirstChild(pid)
	return init, entrance, err
}

// began notes that the command runs. If it is not to any more, this process
// ends, and with it the container.
func began(r *state.Record, init, entrance state.Process, ports []string) error {
	if r.Stopping() {
		return errStopped
	}
	r.Status, r.Init, r.Entrance, r.Started, r.Error, r.Ports = state.Running, init, entrance, time.Now(), "", ports
	return nil
}

// ports are those that are published. Which ones were chosen, where that was
// left open, only the network knows.
func (v *supervisor) ports(plan *rootless.Plan) (texts []string) {
	asked := plan.Network.Config.Publish
	if slices.ContainsFunc(asked, func(p netslirp.Publish) bool { return p.HostPort == 0 }) {
		list, err := networkIn(v.entry, plan, v.config.Options.Dir).ask("ls")
		if err == nil {
			return portTexts(list)
		}
	}
	for _, p := range asked {
		texts = append(texts, p.String())
	}
	return texts
}

// left tells those that the container shared its network with.
func (v *supervisor) left() {
	if r, err := v.entry.Record(); err == nil && r.Shared {
		_ = tellNeighbours(r.Network) // nobody hears
	}
}

// run waits for the container's end, notes it, and starts it again if that is
// the policy.
func (v *supervisor) run() error {
	code, err := v.monitor.Wait(v.argv)
	v.untie()
	v.left()
	v.removePID()
	if err != nil {
		return errors.Join(err, v.ended(exitFailed, err.Error()))
	}
	again, pause, err := v.restarts(code)
	if err != nil || !again {
		return errors.Join(err, v.ended(code, ""))
	}
	v.rest(pause)
	return v.restart(code)
}

// ended notes the end, or forgets the container, at one moment.
func (v *supervisor) ended(code int, why string) error {
	if err := v.entry.Lock(); err != nil {
		return err
	}
	defer v.entry.Unlock()
	r, err := v.entry.Record()
	if err == nil {
		err = mine(r)
	}
	if err != nil {
		return err
	}
	if v.config.Options.Remove && !r.Keeper.Lives() {
		if root := v.config.Spec.Root.Image; root != nil {
			_ = dropOwn(root, v.entry.ID, false, streams{}) // what it cannot remove, prune can
		}
		return v.entry.Leave(code)
	}
	r.Status, r.ExitCode, r.Error, r.Finished, r.Ports = state.Exited, code, why, time.Now(), nil
	return v.entry.Save(r)
}

const (
	firstPause = 100 * time.Millisecond // before a container is started again; it doubles
	mostPause  = time.Minute
	steady     = 10 * time.Second // a container that ran for longer begins anew with it
)

// restarts says whether the container is to be started again, and after what.
func (v *supervisor) restarts(code int) (again bool, pause time.Duration, err error) {
	policy := v.config.Options.Restart
	err = v.entry.Change(func(r *state.Record) error {
		again = !r.Stopping() && (policy.Policy == "always" || policy.Policy == "on-failure" && code != exitOK)
		if again && policy.Most > 0 && r.Restarts >= policy.Most {
			again = false
		}
		if !again {
			return nil
		}
		if time.Since(r.Started) > steady {
			r.Pause = 0
		}
		pause = min(max(firstPause, 2*r.Pause), mostPause)
		r.Restarts, r.Pause, r.ExitCode = r.Restarts+1, pause, code
		r.Status, r.Init, r.Ports = state.Restarting, state.Process{}, nil
		return nil
	})
	return again, pause, err
}

// rest waits before the container is started again, unless it is stopped or
// removed meanwhile.
func (v *supervisor) rest(pause time.Duration) {
	const look = 50 * time.Millisecond
	for end := time.Now().Add(pause); ; {
		left := time.Until(end)
		if r, err := v.entry.Record(); left <= 0 || err != nil || r.Stopping() {
			return
		}
		time.Sleep(min(left, look))
	}
}

// restart begins anew, as a process that remembers nothing.
func (v *supervisor) restart(code int) error {
	r, err := v.entry.Record()
	if err != nil || r.Stopping() {
		return errors.Join(err, v.ended(code, ""))
	}
	err = unix.Exec("/proc/self/exe", append(v.argv, again), os.Environ())
	return errors.Join(err, v.ended(code, "start again: "+err.Error()))
}
