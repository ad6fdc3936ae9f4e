package stack

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"bryo/netslirp"
	"bryo/rootless/program"
)

// insideVariable says that the process is the test again, in a network
// namespace of its own that plays the host.
const insideVariable = "BRYO_STACK_INSIDE"

// again runs the test in a namespace; true is there.
func again(t *testing.T, device bool) bool {
	t.Helper()
	if os.Getenv(insideVariable) != "" {
		if err := up("lo"); err != nil {
			t.Fatal(err)
		}
		return true
	}
	if err := netslirp.ProbeTun(); device && err != nil {
		t.Skip(err)
	}
	c := exec.Command("/proc/self/exe", "-test.run=^"+t.Name()+"$", "-test.v", "-test.timeout=30s")
	c.Env = append(os.Environ(), insideVariable+"=1")
	c.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  syscall.CLONE_NEWUSER | syscall.CLONE_NEWNET,
		UidMappings: []syscall.SysProcIDMap{{HostID: os.Getuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{HostID: os.Getgid(), Size: 1}},
		Pdeathsig:   syscall.SIGKILL,
	}
	out, err := c.CombinedOutput()
	if errors.Is(err, unix.EPERM) || errors.Is(err, unix.ENOSPC) {
		t.Skip("no user namespaces: ", err)
	}
	if strings.Contains(string(out), "--- SKIP: "+t.Name()) {
		t.Skip(string(out))
	}
	if err != nil || !strings.Contains(string(out), "--- PASS: "+t.Name()) {
		t.Errorf("%v\n%s", err, out)
	}
	return false
}

func up(name string) error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	r, err := unix.NewIfreq(name)
	if err != nil {
		return err
	}
	r.SetUint16(unix.IFF_UP | unix.IFF_RUNNING)
	return unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, r)
}

func tun(mtu uint32) func(*program.Program) program.Arg {
	return func(p *program.Program) program.Arg { return netslirp.Tun(p, mtu) }
}

// world runs a stack, and inside on a thread in the container's namespace.
func world(t *testing.T, o Options, build func(*program.Program) program.Arg, inside func(*Stack)) {
	t.Helper()
	device, running := make(chan int), make(chan *Stack)
	finished := make(chan struct{})
	go func() {
		defer close(finished)
		defer close(device)
		runtime.LockOSThread() // for good: the thread's namespace is the container's
		fd, err := container(build)
		if err != nil {
			t.Error(err)
			return
		}
		device <- fd
		if s := <-running; s != nil {
			inside(s)
		}
	}()
	fd, ok := <-device
	if !ok {
		return
	}
	o.FD = fd
	run(t, o, func(s *Stack) {
		running <- s
		<-finished
	})
	close(running)
}

// run runs a stack as long as others do what they do.
func run(t *testing.T, o Options, others func(*Stack)) {
	t.Helper()
	s, err := New(o)
	if err != nil {
		t.Error(err)
		return
	}
	ctx, cancel := context.WithCancel(t.Context())
	ran := make(chan error)
	go func() { ran <- s.Run(ctx) }()
	others(s)
	cancel()
	if err := <-ran; err != nil {
		t.Errorf("Run: %v", err)
	}
	s.Close()
}

// container moves the thread to a new network namespace with a device, which a
// child makes as it does for a container.
func container(build func(*program.Program) program.Arg) (int, error) {
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		return 0, err
	}
	report, hold := [2]int{}, [2]int{}
	if err := errors.Join(unix.Pipe2(report[:], unix.O_CLOEXEC), unix.Pipe2(hold[:], unix.O_CLOEXEC)); err != nil {
		return 0, err
	}
	const kept = 200
	p := program.New()
	p.Dup3(build(p), kept, 0)
	p.Close(program.FD(hold[1]))
	p.Close(program.FD(report[1]))
	p.Read(program.FD(hold[0]), p.Buffer("held", 8, ""), 0, 1)
	p.Exit(0)
	child, err := program.Start(p, 0, report[1])
	if err != nil {
		return 0, err
	}
	defer func() {
		_ = unix.Close(hold[1])
		_, _ = unix.Wait4(child.PID, nil, 0, nil)
		_ = errors.Join(unix.Close(hold[0]), unix.Close(child.PIDFD), child.Release())
	}()
	_ = unix.Close(report[1])
	said, err := child.ReadReport(program.Pipe(report[0]), nil)
	_ = unix.Close(report[0])
	if err != nil {
		return 0, err
	}
	if failure, failed := said.Failed(); failed {
		return 0, errors.Join(errors.New(failure.Step), unix.Errno(failure.Errno))
	}
	return unix.PidfdGetfd(child.PIDFD, kept, 0)
}

// hearAll makes a socket hear also what may pass, as that there is no route.
func hearAll(network, _ string, raw syscall.RawConn) error {
	level, option := unix.IPPROTO_IP, unix.IP_RECVERR
	if strings.HasSuffix(network, "6") {
		level, option = unix.IPPROTO_IPV6, unix.IPV6_RECVERR
	}
	var failed error
	err := raw.Control(func(fd uintptr) { failed = unix.SetsockoptInt(int(fd), level, option, 1) })
	return errors.Join(err, failed)
}

// six says whether the container has IPv6. The kernel adds the route to an
// address a little after the address: until then what comes for it is lost.
func six() bool {
	address := netslirp.Address6().As16()
	for range 100 {
		routes, err := os.ReadFile("/proc/thread-self/net/ipv6_route")
		if err != nil {
			return false
		}
		if strings.Contains(string(routes), fmt.Sprintf("%x 80 ", address)) {
			return true
		}
		time.Sleep(10 * time.Millisecond)
	}
	return false
}
