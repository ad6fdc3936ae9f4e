// Package peers runs slirp4netns and pasta, other projects' user-mode networks,
// for one container. They are children of bryo-net, and end with it, see Start.
package peers

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"bryo/netslirp"
)

// Process is a program that connects a container.
type Process struct {
	name string
	cmd  *exec.Cmd
	said *bounded
	done chan struct{}
	err  error // once done is closed

	held    *os.File // the end of a pipe that closes with this process
	stopped atomic.Bool
}

// Start executes the driver's program for the container whose PID 1 is
// config.PID, and returns once the container has its interface. What the program
// says is part of the error.
//
// The program ends with this process, however that ends: by the kernel's
// parent-death signal, and slirp4netns also because a pipe closes. The signal
// outlasts setns into a user namespace that the user owns; it would be lost with
// another uid, or with a program that has capabilities of its own as a file.
func Start(ctx context.Context, driver netslirp.Driver, config netslirp.Config) (*Process, error) {
	return start(ctx, driver, &config, netslirp.ProgramDirs())
}

func start(ctx context.Context, driver netslirp.Driver, config *netslirp.Config, dirs []string) (_ *Process, err error) {
	if len(config.HostLoopback.Ports) > 0 {
		return nil, fmt.Errorf("--net %s: it cannot open single ports of the host's loopback\nfix: say --net user, or --host-loopback for all ports", driver)
	}
	path, err := find(driver, dirs)
	if err != nil {
		return nil, err
	}
	ready, tell, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer ready.Close()
	defer tell.Close()
	exit, held, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer exit.Close()
	args := pastaArgs(config)
	if driver == netslirp.DriverSlirp4netns {
		args = slirpArgs(config)
	}
	p := &Process{name: string(driver), said: &bounded{}, done: make(chan struct{}), held: held}
	p.cmd = exec.Command(path, args...)
	p.cmd.Env, p.cmd.Stderr, p.cmd.WaitDelay = []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin"}, p.said, time.Second
	p.cmd.ExtraFiles = []*os.File{tell, exit} // descriptors 3 and 4
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Pdeathsig: syscall.SIGKILL}
	if err := p.launch(); err != nil {
		_ = held.Close()
		return nil, fmt.Errorf("--net %s: %w", driver, err)
	}
	_ = tell.Close() // or its end would never be read
	if err := p.await(ctx, driver, ready, config.PID); err != nil {
		p.Stop()
		return nil, err
	}
	p.said.begin()
	return p, nil
}

// launch executes the program from a thread that lives as long as it does: the
// death of the thread, not of the process, sends the parent-death signal, see
// PR_SET_PDEATHSIG(2const).
func (p *Process) launch() error {
	started := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		defer close(p.done)
		if p.err = p.cmd.Start(); p.err != nil {
			started <- p.err
			return
		}
		started <- nil
		p.err = p.cmd.Wait()
	}()
	return <-started
}

func find(driver netslirp.Driver, dirs []string) (string, error) {
	for _, dir := range dirs {
		path := dir + "/" + string(driver)
		if info, err := os.Stat(path); err == nil && info.Mode().IsRegular() {
			return path, nil
		}
	}
	pkg := string(driver)
	if driver == netslirp.DriverPasta {
		pkg = "passt"
	}
	return "", fmt.Errorf("--net %s: the program is missing\nfix: install it (Debian: apt-get install %s), or say --net user, which needs nothing", driver, pkg)
}

// slirpArgs is slirp4netns(1): configure the interface, write to descriptor 3
// when that is done, and end when the pipe of descriptor 4 closes.
func slirpArgs(config *netslirp.Config) []string {
	args := []string{"-c", "-r", "3", "-e", "4", "--mtu", strconv.FormatUint(uint64(config.MTU), 10), "--enable-ipv6", "--enable-seccomp"}
	if !config.HostLoopback.Open {
		args = append(args, "--disable-host-loopback")
	}
	return append(args, strconv.Itoa(config.PID), netslirp.Interface)
}

// pastaArgs is pasta(1): in the foreground, without ports of its own choice.
func pastaArgs(config *netslirp.Config) []string {
	args := []string{
		"-f", "-q", "--config-net", "-m", strconv.FormatUint(uint64(config.MTU), 10), "-I", netslirp.Interface,
		"-t", "none", "-u", "none", "-T", "none", "-U", "none", "--dns-forward", netslirp.DNS4().String(),
	}
	if !config.HostLoopback.Open {
		args = append(args, "--no-map-gw")
	}
	return append(args, strconv.Itoa(config.PID))
}

// await waits until the program has made the interface, or has ended.
func (p *Process) await(ctx context.Context, driver netslirp.Driver, ready *os.File, pid int) error {
	const patience, step = 10 * time.Second, 3 * time.Millisecond
	up := make(chan bool, 1)
	var wg sync.WaitGroup
	defer wg.Wait()
	defer ready.Close() // or a program that keeps silent would be waited for
	wg.Go(func() {
		n, _ := ready.Read(make([]byte, 1)) // nothing when it ends before
		up <- n == 1
	})
	timeout := time.NewTimer(patience)
	defer timeout.Stop()
	tick := time.NewTicker(step)
	defer tick.Stop()
	var watch routes
	for {
		select {
		case ok := <-up:
			if ok {
				return nil
			}
		case now := <-tick.C:
			if driver == netslirp.DriverPasta && watch.settled(pid, now) {
				return nil
			}
		case <-p.done:
			return fmt.Errorf("--net %s: %s ended: %s%s", p.name, p.name, outcome(p.err), p.said.tail())
		case <-timeout.C:
			return fmt.Errorf("--net %s: no interface after %s%s", p.name, patience, p.said.tail())
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

func outcome(err error) string {
	if err == nil {
		return "too early"
	}
	return err.Error()
}

// Wait waits for the program's end, which is an error unless Stop brought it.
func (p *Process) Wait() error {
	<-p.done
	if p.stopped.Load() {
		return nil
	}
	return fmt.Errorf("%s ended: %s%s", p.name, outcome(p.err), p.said.tail())
}

// Stop ends the program and waits for it.
func (p *Process) Stop() {
	select {
	case <-p.done: // by itself
	default:
		p.stopped.Store(true)
		_ = p.cmd.Process.Kill()
		<-p.done
	}
	_ = p.held.Close()
}

// bounded keeps the beginning of what a program says, for an error.
type bounded struct {
	mu   sync.Mutex
	text []byte
}

// Write implements io.Writer.
func (b *bounded) Write(data []byte) (int, error) {
	const most = 2048
	b.mu.Lock()
	defer b.mu.Unlock()
	if room := most - len(b.text); room > 0 {
		b.text = append(b.text, data[:min(room, len(data))]...)
	}
	return len(data), nil
}

// begin forgets what was said before all was well.
func (b *bounded) begin() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.text = nil
}

// tail is what was said, on one line.
func (b *bounded) tail() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	var lines []string
	for line := range strings.Lines(string(b.text)) {
		line = strings.TrimSpace(line)
		if line != "" && !strings.HasSuffix(line, "bytes to syslog") { // pasta's, where none runs
			lines = append(lines, line)
		}
	}
	if len(lines) == 0 {
		return ""
	}
	return ": " + strings.Join(lines, "; ")
}
