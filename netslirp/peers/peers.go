// Package peers runs slirp4netns and pasta, other projects' user-mode networks,
// for one container. They are children of bryo-net, which sees to it that they
// end: a kernel's parent-death signal would be lost when they enter the
// container's user namespace.
package peers

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
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
}

// Start executes the driver's program for the container whose PID 1 is
// config.PID, and returns once the container has its interface. What the program
// says is part of the error.
func Start(ctx context.Context, driver netslirp.Driver, config netslirp.Config) (*Process, error) {
	path, err := find(driver)
	if err != nil {
		return nil, err
	}
	ready, tell, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer ready.Close()
	args := pastaArgs(&config)
	if driver == netslirp.DriverSlirp4netns {
		args = slirpArgs(&config)
	}
	p := &Process{name: string(driver), said: &bounded{}, done: make(chan struct{})}
	p.cmd = exec.Command(path, args...)
	p.cmd.Env, p.cmd.Stderr = []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin"}, p.said
	p.cmd.ExtraFiles = []*os.File{tell} // descriptor 3
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	err = p.cmd.Start()
	_ = tell.Close()
	if err != nil {
		return nil, fmt.Errorf("--net %s: %w", driver, err)
	}
	go func() {
		p.err = p.cmd.Wait()
		close(p.done)
	}()
	if err := p.await(ctx, driver, ready, config.PID); err != nil {
		p.Stop()
		return nil, err
	}
	p.said.begin()
	return p, nil
}

// find looks for a program where administrators put it.
func find(driver netslirp.Driver) (string, error) {
	for _, dir := range []string{"/usr/local/bin", "/usr/bin", "/bin", "/usr/sbin"} {
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

// slirpArgs is slirp4netns(1): configure the interface, and write to descriptor
// 3 when that is done.
func slirpArgs(config *netslirp.Config) []string {
	args := []string{"-c", "-r", "3", "--mtu", strconv.FormatUint(uint64(config.MTU), 10), "--enable-ipv6", "--enable-seccomp"}
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
	if driver == netslirp.DriverSlirp4netns {
		go func() {
			n, _ := ready.Read(make([]byte, 1)) // nothing when it ends before
			up <- n == 1
		}()
	}
	timeout := time.NewTimer(patience)
	defer timeout.Stop()
	tick := time.NewTicker(step)
	defer tick.Stop()
	for {
		select {
		case ok := <-up:
			if ok {
				return nil
			}
			<-p.done
		case <-tick.C:
			if driver == netslirp.DriverPasta && routed(pid) {
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

// routed says whether the container has a route by now: pasta adds it last.
func routed(pid int) bool {
	for _, file := range []string{"route", "ipv6_route"} {
		text, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/net/" + file)
		if err == nil && bytes.Contains(text, []byte(netslirp.Interface)) {
			return true
		}
	}
	return false
}

// Wait waits for the program's end, which is an error unless Stop brought it.
func (p *Process) Wait() error {
	<-p.done
	var exit *exec.ExitError
	if errors.As(p.err, &exit) && exit.ExitCode() < 0 {
		return nil // by a signal
	}
	return fmt.Errorf("%s ended: %s%s", p.name, outcome(p.err), p.said.tail())
}

// Stop ends the program and waits for it.
func (p *Process) Stop() {
	_ = p.cmd.Process.Kill()
	<-p.done
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
