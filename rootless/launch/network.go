package launch

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"bryo/netslirp"
	"bryo/rootless"
	"bryo/rootless/program"
)

// network is bryo-net as the launch sees it.
type network struct {
	link   pipe // a socket: the child writes, bryo-net reads
	ready  pipe // one byte tells the child to go on
	report pipe // what bryo-net says
	inside pipe // from bryo-net to its side in the container
	config descriptor
	spaces [2]descriptor // the container's user and network namespaces
	log    descriptor
	pcap   descriptor

	pid   int // of bryo-net, 0 before it runs
	pidfd descriptor
}

// newNetwork makes what child and bryo-net share, and opens the user's files
// before anything is made. On an error, too, the caller closes what it returns.
func newNetwork(plan *rootless.Plan) (n *network, err error) {
	n = &network{}
	spec := &plan.Network
	if spec.Config.Driver == netslirp.DriverNone {
		return n, nil
	}
	if n.link, err = newSocket(); err != nil {
		return n, err
	}
	if spec.Config.Waits() {
		if n.ready, err = newPipe(); err != nil {
			return n, err
		}
	}
	if n.log, err = create("--net-log", spec.LogFile, unix.O_APPEND); err != nil {
		return n, err
	}
	n.pcap, err = create("--pcap", spec.PcapFile, unix.O_TRUNC)
	return n, err
}

// create opens a file to write to. A pipe that nobody reads from would hold up
// the launch until somebody does (fifo(7)): it is refused.
func create(flag, path string, how int) (descriptor, error) {
	if path == "" {
		return descriptor{}, nil
	}
	const mode = 0o600
	fd, err := unix.Open(path, unix.O_WRONLY|unix.O_CREAT|unix.O_CLOEXEC|unix.O_NOCTTY|unix.O_NONBLOCK|how, mode)
	var st unix.Stat_t
	switch {
	case errors.Is(err, unix.ENXIO) && unix.Stat(path, &st) == nil && st.Mode&unix.S_IFMT == unix.S_IFIFO:
		return descriptor{}, fmt.Errorf("%s %s: nobody reads from this pipe\nfix: start its reader first, as: cat %s &", flag, path, path)
	case err != nil:
		return descriptor{}, fmt.Errorf("%s %s: %w", flag, path, err)
	}
	if err := unix.SetNonblock(fd, false); err != nil {
		return descriptor{}, errors.Join(os.NewSyscallError("fcntl", err), unix.Close(fd))
	}
	return descriptor{fd + 1}, nil
}

func (n *network) close() {
	for _, p := range []*pipe{&n.link, &n.ready, &n.report, &n.inside} {
		p.close()
	}
	for _, d := range []*descriptor{&n.config, &n.log, &n.pcap, &n.spaces[0], &n.spaces[1]} {
		d.close()
	}
}

// start executes bryo-net for the container whose PID 1, or first child, is
// pid, and its side in the container where ports are published. Its pipes are
// made here, because the child must not hold their ends.
func (n *network) start(plan *rootless.Plan, pid, pidfd int) (err error) {
	spec := &plan.Network
	if n.report, err = newPipe(); err != nil {
		return err
	}
	config := spec.Config
	config.PID = pid
	if err := n.writeConfig(&config); err != nil {
		return err
	}
	if spec.Config.Ports() {
		if n.inside, err = newPipe(); err != nil {
			return err
		}
		if err := n.startInside(spec.Program); err != nil {
			return err
		}
	}
	places := []place{
		{n.link.read.fd(), netslirp.LinkFD},
		{n.config.fd(), netslirp.ConfigFD},
		{pidfd, netslirp.ContainerFD},
		{n.report.write.fd(), netslirp.ReportFD},
	}
	for _, p := range []struct {
		d  descriptor
		to int
	}{{n.inside.write, netslirp.InsideFD}, {n.log, netslirp.LogFD}, {n.pcap, netslirp.PcapFD}} {
		if p.d.number != 0 {
			places = append(places, place{p.d.fd(), p.to})
		}
	}
	child, err := executed(func(errorFD int) (*program.Program, *program.Program) {
		return compileNet(spec.Program, places, errorFD), nil
	})
	if err != nil {
		return fmt.Errorf("network: %w", err)
	}
	n.pid, n.pidfd = child.PID, descriptor{child.PIDFD + 1}
	n.report.write.close()
	n.inside.close()
	return nil
}

func (n *network) writeConfig(config *netslirp.Config) error {
	text, err := json.Marshal(config)
	if err != nil {
		return err
	}
	fd, err := unix.MemfdCreate("bryo-net", unix.MFD_CLOEXEC)
	if err != nil {
		return os.NewSyscallError("memfd_create", err)
	}
	n.config = descriptor{fd + 1}
	if _, err := unix.Pwrite(fd, text, 0); err != nil {
		return os.NewSyscallError("write memfd", err)
	}
	return nil
}

// openSpaces opens the child's namespaces as long as it is bryo's to look at: a
// change of ids would hide them (proc_pid_ns(5), ptrace(2)), and so would the
// stage; for those it waits until bryo goes on. While it makes a veth pair it is
// in another network namespace than the container's.
func (n *network) openSpaces(plan *rootless.Plan, pid, pidfd int) error {
	if plan.Network.Config.Link == netslirp.Veth {
		if err := n.awaitDevice(pidfd); err != nil {
			return err
		}
	}
	for i, kind := range []string{"user", "net"} {
		fd, err := unix.Open("/proc/"+strconv.Itoa(pid)+"/ns/"+kind, unix.O_RDONLY|unix.O_CLOEXEC, 0)
		if err != nil {
			return fmt.Errorf("open the container's %s namespace: %w", kind, err)
		}
		n.spaces[i] = descriptor{fd + 1}
	}
	return nil
}

// awaitDevice waits until the child has handed the device over, or has ended.
func (n *network) awaitDevice(pidfd int) error {
	poll := []unix.PollFd{{Fd: int32(n.link.read.fd()), Events: unix.POLLIN}, {Fd: int32(pidfd), Events: unix.POLLIN}}
	for {
		if _, err := unix.Poll(poll, -1); !errors.Is(err, unix.EINTR) {
			return os.NewSyscallError("poll", err)
		}
	}
}

// startInside executes bryo-net's other side in the container's namespaces.
func (n *network) startInside(path string) error {
	user, net := n.spaces[0].fd(), n.spaces[1].fd()
	var image descriptor
	defer image.close()
	var failed error
	child, err := executed(func(errorFD int) (*program.Program, *program.Program) {
		lifeline := n.inside.read.fd()
		stage := compileInsidePorts(path, user, net, lifeline, errorFD)
		fd, err := program.Image(stage, errorFD)
		if err != nil {
			failed = err
			return nil, nil
		}
		image = descriptor{fd + 1}
		return compileEnterPorts(fd, user, net, lifeline, errorFD), stage
	})
	if err = errors.Join(failed, err); err != nil {
		return fmt.Errorf("publish ports: %w", err)
	}
	n.inside.read.close()
	return unix.Close(child.PIDFD)
}

// executed starts a program that ends in execve and returns when that has
// succeeded. compile gives it, and the program of the stage that it executes,
// if any, for the descriptor that errors go to.
func executed(compile func(errorFD int) (p, stage *program.Program)) (*program.Child, error) {
	said, err := newPipe()
	if err != nil {
		return nil, err
	}
	defer said.close()
	const above = 32 // all numbers that a program is given
	high, err := unix.FcntlInt(uintptr(said.write.fd()), unix.F_DUPFD_CLOEXEC, above)
	if err != nil {
		return nil, os.NewSyscallError("dup", err)
	}
	errorFD := descriptor{high + 1}
	defer errorFD.close()
	said.write.close()
	p, stage := compile(high)
	if p == nil {
		return nil, nil
	}
	child, err := program.Start(p, 0, high)
	if err != nil {
		return nil, err
	}
	errorFD.close()
	report, err := child.ReadReport(program.Pipe(said.read.fd()), stage)
	err = errors.Join(err, child.Release())
	if failed, is := report.Failed(); is && err == nil {
		err = &StepError{failed, meaning(&failed)}
	}
	if err != nil {
		_ = unix.PidfdSendSignal(child.PIDFD, unix.SIGKILL, nil, 0)
		_ = unix.Close(child.PIDFD)
		_, _ = wait(child.PID)
		return nil, err
	}
	return child, nil
}

// startAndAwait is start for a child that waits.
func (n *network) startAndAwait(plan *rootless.Plan, pid, pidfd int, held *program.Held) error {
	if err := n.start(plan, pid, pidfd); err != nil {
		return err
	}
	if err := n.unlessEnded(held); err != nil {
		return err
	}
	return n.await()
}

// unlessEnded waits until bryo-net says something, and not on when a signal
// asks for bryo's end: the command does not run yet, which would hear of it.
func (n *network) unlessEnded(held *program.Held) error {
	watched, err := held.Watch(unix.SIGINT, unix.SIGTERM, unix.SIGHUP, unix.SIGQUIT)
	if err != nil {
		return err
	}
	signals := descriptor{watched + 1}
	defer signals.close()
	for {
		asked, err := program.Pipe(n.report.read.fd()).Await(watched)
		if err != nil || !asked {
			return err
		}
		if s, taken := program.Take(watched); taken {
			return &EndedError{s}
		}
	}
}

// await waits for bryo-net's word and lets the child go on.
func (n *network) await() error {
	const most = 4096
	text, err := io.ReadAll(io.LimitReader(program.Pipe(n.report.read.fd()), most))
	if err != nil {
		return err
	}
	switch word := string(text); word {
	case netslirp.Ready:
		_, err := unix.Write(n.ready.write.fd(), []byte{1})
		return os.NewSyscallError("write", err)
	case "":
		return errors.New("the network process ended without a word\nfix: try again; run the container without --publish to see whether it can start at all")
	default:
		return errors.New(strings.TrimSuffix(word, "\n"))
	}
}

// ended waits for bryo-net, which ends with the container; one that does not
// is ended.
func (n *network) ended() {
	if n.pid == 0 {
		return
	}
	const patience = 3 * time.Second
	poll := []unix.PollFd{{Fd: int32(n.pidfd.fd()), Events: unix.POLLIN}}
	deadline := time.Now().Add(patience)
	for {
		ready, err := unix.Poll(poll, int(time.Until(deadline).Milliseconds()))
		if ready > 0 || (err != nil && !errors.Is(err, unix.EINTR)) {
			break
		}
		if time.Now().After(deadline) {
			_ = unix.PidfdSendSignal(n.pidfd.fd(), unix.SIGKILL, nil, 0)
			break
		}
	}
	_, _ = wait(n.pid)
	n.pid = 0
	n.pidfd.close()
}
