package netslirp

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"bryo/rootless/program"
)

func TestTunListing(t *testing.T) {
	p := program.New()
	Tun(p, DefaultMTU)
	var b strings.Builder
	if err := p.List(&b); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"# make network device eth0\n", "# configure network device eth0\n",
		"# configure IPv6 of eth0\n", "# set net/ipv4/tcp_congestion_control\n",
	} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("no %q in\n%s", want, b.String())
		}
	}
	if got := strings.Count(b.String(), "/dev/net/tun"); got != 1 {
		t.Errorf("/dev/net/tun is opened %d times", got)
	}
}

// The device has its addresses and routes, and what is sent comes out of it.
func TestTun(t *testing.T) {
	if err := ProbeTun(); err != nil {
		t.Skip(err)
	}
	if os.Getenv(insideVariable) == "" {
		inside(t)
		return
	}
	fd := carryOut(t, func(p *program.Program) program.Arg { return Tun(p, DefaultMTU) })
	checkDevice(t)
	checkFrames(t, fd, 0)
}

// A step that cannot be done ends the program with its name.
func TestTunReportsFailure(t *testing.T) {
	if err := ProbeTun(); err != nil {
		t.Skip(err)
	}
	if os.Getenv(insideVariable) == "" {
		inside(t)
		return
	}
	_, err := start(t, func(p *program.Program) program.Arg { return Tun(p, 1) }) // less than any MTU may be
	if err == nil || !strings.Contains(err.Error(), "configure network device eth0") {
		t.Errorf("got %v", err)
	}
}

// carryOut makes the device in a child and takes its descriptor over.
func carryOut(t *testing.T, build func(*program.Program) program.Arg) int {
	t.Helper()
	child, err := start(t, build)
	if err != nil {
		t.Fatal(err)
	}
	fd, err := unix.PidfdGetfd(child.PIDFD, kept, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Close(fd) })
	return fd
}

// kept is the number that the child has the device at.
const kept = 200

// start carries the calls out in a child, which then keeps the result open at
// a number, until the test's end. Its failure is the error.
func start(t *testing.T, build func(*program.Program) program.Arg) (child *program.Child, err error) {
	t.Helper()
	pipe, hold := [2]int{}, [2]int{}
	if err := errors.Join(unix.Pipe2(pipe[:], unix.O_CLOEXEC), unix.Pipe2(hold[:], unix.O_CLOEXEC)); err != nil {
		t.Fatal(err)
	}
	p := program.New()
	p.Dup3(build(p), kept, 0)
	p.Close(program.FD(hold[1]))
	p.Close(program.FD(pipe[1]))
	p.Read(program.FD(hold[0]), p.Buffer("held", 8, ""), 0, 1)
	p.Exit(0)
	child, err = program.Start(p, 0, pipe[1])
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = unix.Close(hold[1])
		_, _ = unix.Wait4(child.PID, nil, 0, nil)
		_ = errors.Join(unix.Close(hold[0]), unix.Close(child.PIDFD), child.Release())
	})
	_ = unix.Close(pipe[1])
	report, err := child.ReadReport(program.Pipe(pipe[0]), nil)
	_ = unix.Close(pipe[0])
	if err != nil {
		t.Fatal(err)
	}
	if failure, failed := report.Failed(); failed {
		return child, fmt.Errorf("%s: %w", failure.Step, unix.Errno(failure.Errno))
	}
	return child, nil
}

// checkDevice looks at what the kernel says of eth0.
func checkDevice(t *testing.T) {
	t.Helper()
	eth, err := net.InterfaceByName(Interface)
	if err != nil {
		t.Fatal(err)
	}
	if eth.Index != deviceIndex || eth.MTU != DefaultMTU || eth.Flags&net.FlagUp == 0 {
		t.Errorf("%+v", eth)
	}
	addrs, err := eth.Addrs()
	if err != nil {
		t.Fatal(err)
	}
	has := func(want string) bool {
		return slices.ContainsFunc(addrs, func(a net.Addr) bool { return a.String() == want })
	}
	if !has("10.0.2.100/24") || (ipv6() && !has("fd00::100/64")) {
		t.Errorf("addresses %v", addrs)
	}
	checkAddress6(t)
	checkRoutes(t)
	checkSettings(t)
}

// checkAddress6 finds the address permanent and never tentative.
func checkAddress6(t *testing.T) {
	t.Helper()
	if tentative, err := os.ReadFile("/proc/thread-self/net/if_inet6"); err == nil && ipv6() &&
		!bytes.Contains(tentative, []byte("fd000000000000000000000000000100 3e8 40 00 82")) {
		t.Errorf("IPv6 addresses\n%s", tentative)
	}
}

func checkRoutes(t *testing.T) {
	t.Helper()
	routes, err := os.ReadFile("/proc/thread-self/net/route")
	if err != nil || !bytes.Contains(routes, []byte("eth0\t00000000\t0202000A\t0003")) {
		t.Errorf("routes %s, %v", routes, err)
	}
	routes, err = os.ReadFile("/proc/thread-self/net/ipv6_route")
	want := strings.Repeat("0", 32) + " 00 " + strings.Repeat("0", 32) + " 00 fd000000000000000000000000000002"
	if ipv6() && (err != nil || !bytes.Contains(routes, []byte(want))) {
		t.Errorf("IPv6 routes %s, %v", routes, err)
	}
}

// checkSettings knows that one group is mapped here.
func checkSettings(t *testing.T) {
	t.Helper()
	for file, want := range map[string]string{
		"/proc/sys/net/ipv4/tcp_congestion_control": "reno\n",
	} {
		if got, err := os.ReadFile(file); err == nil && string(got) != want {
			t.Errorf("%s: %q", file, got)
		}
	}
}

func ipv6() bool {
	off, err := os.ReadFile("/proc/sys/net/ipv6/conf/default/disable_ipv6")
	return err == nil && string(off) == "0\n"
}

// checkFrames sends datagrams and finds them in what comes out, behind a
// struct virtio_net_hdr and an Ethernet header of so many bytes.
func checkFrames(t *testing.T, fd, ethernet int) {
	t.Helper()
	targets := []string{"192.0.2.1:9"}
	if ipv6() {
		targets = append(targets, "[2001:db8::1]:9")
	}
	for _, to := range targets {
		payload := "to " + to
		send(t, to, payload)
		frame := await(t, fd, payload)
		const header = 10
		version := byte(4)
		if netip.MustParseAddrPort(to).Addr().Is6() {
			version = 6
		}
		if got := frame[header+ethernet] >> 4; got != version {
			t.Errorf("%s: version %d in %x", to, got, frame)
		}
		mac := VethMAC()
		if ethernet > 0 && !bytes.Equal(frame[header:header+12], slices.Concat(mac[:], mac[:])) {
			t.Errorf("%s: addresses in %x", to, frame)
		}
	}
}

func send(t *testing.T, to, payload string) {
	t.Helper()
	var d net.Dialer
	c, err := d.DialContext(t.Context(), "udp", to)
	if err != nil {
		t.Fatal(err)
	}
	_, err = c.Write([]byte(payload))
	if err := errors.Join(err, c.Close()); err != nil {
		t.Fatal(err)
	}
}

// await reads frames until one ends with the payload.
func await(t *testing.T, fd int, payload string) []byte {
	t.Helper()
	buf := make([]byte, 1<<16)
	for end := time.Now().Add(2 * time.Second); time.Now().Before(end); {
		n, err := unix.Read(fd, buf)
		if err != nil {
			if !errors.Is(err, unix.EAGAIN) {
				t.Fatal(err)
			}
			time.Sleep(time.Millisecond)
			continue
		}
		if bytes.HasSuffix(buf[:n], []byte(payload)) {
			return buf[:n]
		}
	}
	t.Fatalf("no frame with %q", payload)
	return nil
}
