package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// upstream is the router that the fake host's routes name and that does not
// exist: 192.0.2.0/24 is for documentation, RFC 5737.
const upstream = "192.0.2.1"

// fakeHost has a network stage of its own done in new user, mount and network
// namespaces: a host of this bench's making, in which ports are free, loopback
// is not the machine's, and TCP's algorithm is a known one.
func fakeHost(ctx context.Context, p plan, errs io.Writer, out *os.File) error {
	if missing := netMissing(); missing != "" {
		return json.NewEncoder(out).Encode(report{Sections: []section{{
			Title: "network", Unit: "-", Rows: []row{{Tool: "all", Missing: missing}},
		}}})
	}
	attr := &syscall.SysProcAttr{
		Pdeathsig:   syscall.SIGKILL,
		Cloneflags:  syscall.CLONE_NEWUSER | syscall.CLONE_NEWNET | syscall.CLONE_NEWNS,
		UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}},
	}
	cmd, err := again("network", p, attr, errs, out)
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start network: %w", err)
	}
	undo := context.AfterFunc(ctx, func() { _ = cmd.Process.Signal(syscall.SIGTERM) })
	defer undo()
	return cmd.Wait()
}

func netMissing() string {
	if _, missing := lookup("ip"); missing != "" {
		return "ip of iproute2, to make a network with: " + missing
	}
	return ""
}

// network is the bench in its fake host.
type network struct {
	*bench
	plan   plan
	server *station
	client *station // on the host, of what is published
	ways   []*way
	notes  []string
}

// way is a path that is up, or why it is not.
type way struct {
	netPath
	station *station
	extra   *os.Process // of netPath.attached
	relays  []int       // pids of what moves the data
	missing string
}

// networkStage measures and reports.
func networkStage(ctx context.Context, p plan, errs io.Writer) error {
	out := json.NewEncoder(os.NewFile(reportFD, "report"))
	if err := outfit(); err != nil {
		return out.Encode(report{Sections: []section{{
			Title: "network", Unit: "-", Rows: []row{{Tool: "all", Missing: err.Error()}},
		}}})
	}
	self := filepath.Join(filepath.Dir(p.Dir), "bin", "bench")
	if err := equip(site{p.Dir}.root(), self); err != nil {
		return err
	}
	b, err := newBench(ctx, site{p.Dir}, errs)
	if err != nil {
		return err
	}
	n := &network{bench: b, plan: p}
	err = out.Encode(report{Versions: netVersions(ctx, b.site)})
	for _, part := range []func() []section{n.traffic, n.netStarts, n.netMemory} {
		if err != nil || ctx.Err() != nil {
			break
		}
		if done := part(); ctx.Err() == nil {
			err = out.Encode(report{Sections: done})
		}
	}
	n.closeAll()
	if left := b.end(); left > 0 {
		n.notes = append(n.notes, fmt.Sprintf("network: %d processes could not be ended", left))
	}
	if err := errors.Join(err, ctx.Err()); err != nil {
		return err
	}
	return out.Encode(report{Notes: append(netConditions(), n.notes...)})
}

// equip puts the agent into a root file system, and what iperf3 in /usr needs.
func equip(root, self string) error {
	for _, name := range []string{"lib", "lib64"} {
		if err := os.Symlink("usr/"+name, filepath.Join(root, name)); err != nil && !errors.Is(err, os.ErrExist) {
			return err
		}
	}
	return copyFile(self, filepath.Join(root, "bin", "bench"))
}

// outfit makes the namespaces a host: loopback, a route that leads nowhere, and
// reno on all that follows.
func outfit() error {
	ip, _ := lookup("ip")
	for _, line := range []string{
		"link set lo up",
		"link add up0 type veth peer name up1",
		"address add 192.0.2.2/24 dev up0",
		"link set up0 up",
		"link set up1 up",
		"route add default via " + upstream,
		"address add 2001:db8::2/64 dev up0 nodad",
		"route add default via 2001:db8::1",
	} {
		if text, err := exec.Command(ip, strings.Fields(line)...).CombinedOutput(); err != nil {
			return told(fmt.Errorf("ip %s: %w", line, err), string(text))
		}
	}
	if got := congestion(); got != "reno" {
		return fmt.Errorf("TCP's algorithm stays %s instead of reno: /proc/sys is closed", got)
	}
	return nil
}

func netVersions(ctx context.Context, s site) []version {
	list := []version{}
	for _, name := range []string{"pasta", "slirp4netns"} {
		path, missing := lookup(name)
		if missing == "" {
			missing = says(ctx, s, path)
		}
		list = append(list, version{name, missing})
	}
	return list
}

func netConditions() []string {
	return []string{
		"network: one fake host, namespaces of this bench's own, reno on every leg; clients and servers are this bench, all paths in turn in every round",
		"network: each agent and each tool is a session of its own, among which the scheduler shares a loaded machine, sched(7)",
		"network: where more is better the ratio is still bryo's figure through the row's: above 1, bryo does more",
		"network: pasta, splice: -T PORT and 127.0.0.1; pasta, tap: the gateway's address, which leads to the host's loopback; " +
			"processor time is that of client, server and relay together, user and system",
	}
}

// open brings up the server, the host's client and all paths.
func (n *network) open(paths []netPath) error {
	var err error
	beside := []string{filepath.Join(filepath.Dir(n.plan.Dir), "bin", "bench"), "agent"}
	if n.server, err = n.place(beside, 0); err != nil {
		return err
	}
	for _, address := range []string{"127.0.0.1", "[::1]"} {
		if _, err := n.server.ask(order{Do: "serve", Address: fmt.Sprintf("%s:%d", address, servedPort)}); err != nil {
			return err
		}
	}
	if _, err := n.server.ask(order{Do: "iperf3-server", Address: fmt.Sprintf("127.0.0.1:%d", iperf3Port)}); err != nil {
		n.notes = append(n.notes, fmt.Sprintf("network: iperf3: %v", err)) // its tables tell, too
	}
	if n.client, err = n.place(beside, 0); err != nil {
		return err
	}
	for _, p := range paths {
		n.say("network: start %s", p.name)
		w := n.bring(p)
		if w.missing != "" {
			n.shut(w)
		}
		n.ways = append(n.ways, w)
	}
	return nil
}

// bring starts what a path needs and tries it.
func (n *network) bring(p netPath) *way {
	w := &way{netPath: p}
	before := below(os.Getpid(), table())
	if err := n.launch(w); err != nil {
		w.missing = err.Error()
		if w.station != nil {
			w.missing = told(err, w.station.words()).Error()
		}
	}
	w.relays = relays(p.relay, before)
	return w
}

func (n *network) launch(w *way) error {
	argv := []string{w.inside, "agent"}
	if w.is != "" {
		path, missing := lookup(w.is)
		if missing != "" {
			return errors.New(missing)
		}
		argv = slices.Concat([]string{path}, w.argv, argv)
	}
	var err error
	if w.station, err = n.place(argv, w.cloning); err != nil {
		return err
	}
	hello, err := w.station.ask(order{Do: "hello"})
	if err != nil {
		return err
	}
	n.calm(w, hello.Congestion)
	if len(w.attached) > 0 {
		if err := n.attach(w); err != nil {
			return err
		}
	}
	if w.port > 0 {
		if _, err := w.station.ask(order{Do: "serve", Address: fmt.Sprintf("0.0.0.0:%d", w.port)}); err != nil {
			return err
		}
	}
	_, err = n.client1(w).ask(order{Do: "ready", Address: w.address})
	return err
}

// calm has the path use reno inside, if it does not, or tells that it does not.
// What bryo's containers use is bryo's affair.
func (n *network) calm(w *way, is string) {
	var err error
	if is != "reno" && w.relay != bryoRelay {
		is, err = renoBelow(w.station.process.Pid)
	}
	if is != "reno" {
		n.notes = append(n.notes, told(fmt.Errorf("network: %s: TCP's algorithm inside is %q", w.name, is), words(err)).Error())
	}
}

func words(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

// renoBelow sets TCP's algorithm in the network namespace that a tool made, and
// whose agent it left without the capability to. This process has it: a user
// namespace obeys whoever made it from the one above, user_namespaces(7).
func renoBelow(tool int) (string, error) {
	own, err := os.Readlink("/proc/self/ns/net")
	if err != nil {
		return "", err
	}
	for _, p := range below(tool, table()) {
		name := fmt.Sprintf("/proc/%d/ns/net", p.pid)
		if link, err := os.Readlink(name); err != nil || link == own {
			continue
		}
		return renoIn(name)
	}
	return "", errors.New("no network namespace of its own")
}

func renoIn(name string) (is string, err error) {
	file, err := os.Open(name)
	if err != nil {
		return "", err
	}
	defer file.Close()
	joined := sync.WaitGroup{}
	joined.Go(func() {
		runtime.LockOSThread() // and never back: the thread ends in the other namespace
		if err = unix.Setns(int(file.Fd()), unix.CLONE_NEWNET); err == nil {
			is = congestion()
		}
	})
	joined.Wait()
	return is, err
}

// client1 is the agent that makes a path's connections.
func (n *network) client1(w *way) *station {
	if w.port > 0 {
		return n.client
	}
	return w.station
}

// attach starts the process that joins the namespace of the agent.
func (n *network) attach(w *way) error {
	path, missing := lookup(w.attached[0])
	if missing != "" {
		return errors.New(missing)
	}
	argv := slices.Concat([]string{path}, w.attached[1:], []string{strconv.Itoa(w.station.process.Pid), "tap0"})
	var err error
	n.starters[0].do(func() { w.extra, err = n.start(argv, n.null, w.station.errs) })
	return err
}

// shut ends a path: the agent by the end of its orders, the rest by their own
// pid.
func (n *network) shut(w *way) {
	if w.station != nil {
		n.dismiss(w.station)
		w.station = nil
	}
	if w.extra != nil {
		_ = w.extra.Kill()
		_ = n.wait(w.extra)
		w.extra = nil
	}
}

func (n *network) closeAll() {
	for _, w := range n.ways {
		n.shut(w)
	}
	for _, s := range []*station{n.client, n.server} {
		if s != nil {
			n.dismiss(s)
		}
	}
	n.ways, n.client, n.server = nil, nil, nil
	n.sweep(2 * time.Second)
}
