package stack

import (
	"bytes"
	"errors"
	"net"
	"net/netip"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"bryo/netslirp"
)

// place is another network namespace, which a thread is in for good.
type place struct {
	thread int
	work   chan func()
}

func newPlace(t *testing.T) *place {
	t.Helper()
	p := &place{work: make(chan func())}
	begun := make(chan error)
	go func() {
		runtime.LockOSThread()
		p.thread = unix.Gettid()
		begun <- errors.Join(unix.Unshare(unix.CLONE_NEWNET), up("lo"))
		for f := range p.work {
			f()
		}
	}()
	t.Cleanup(func() { close(p.work) })
	if err := <-begun; err != nil {
		t.Fatal(err)
	}
	return p
}

// do does something there. What it starts begins there, too.
func (p *place) do(f func()) {
	done := make(chan struct{})
	p.work <- func() {
		defer close(done)
		f()
	}
	<-done
}

func ip(t *testing.T, lines ...string) {
	t.Helper()
	for _, line := range lines {
		if out, err := exec.Command("ip", strings.Fields(line)...).CombinedOutput(); err != nil {
			t.Fatalf("ip %s: %v\n%s", line, err, out)
		}
	}
}

const (
	narrowMTU = 1300
	server4   = "198.51.100.2"
	server6   = "2001:db8:2::2"
)

// narrowPath is a server's ports, and the way there: a router, behind which
// packets are smaller than before it.
func narrowPath(t *testing.T) (tcpPort, udpPort string) {
	t.Helper()
	router, server := newPlace(t), newPlace(t)
	mtu := strconv.Itoa(narrowMTU)
	ip(t, "link add a0 type veth peer name a1 netns "+strconv.Itoa(router.thread),
		"addr add 192.0.2.1/24 dev a0", "addr add 2001:db8:1::1/64 dev a0 nodad", "link set a0 up")
	router.do(func() {
		ip(t, "link add b0 type veth peer name b1 netns "+strconv.Itoa(server.thread),
			"addr add 192.0.2.2/24 dev a1", "addr add 2001:db8:1::2/64 dev a1 nodad", "link set a1 up",
			"addr add 198.51.100.1/24 dev b0", "addr add 2001:db8:2::1/64 dev b0 nodad", "link set b0 mtu "+mtu+" up")
		for _, name := range []string{"net/ipv4/ip_forward", "net/ipv6/conf/all/forwarding"} {
			if out, err := exec.Command("sh", "-c", "echo 1 > /proc/sys/"+name).CombinedOutput(); err != nil {
				t.Skipf("no router: %v: %s", err, out)
			}
		}
	})
	server.do(func() {
		ip(t, "addr add 198.51.100.2/24 dev b1", "addr add "+server6+"/64 dev b1 nodad", "link set b1 mtu "+mtu+" up",
			"route add default via 198.51.100.1", "route add default via 2001:db8:2::1")
		l, err := net.Listen("tcp", ":0")
		if err != nil {
			t.Fatal(err)
		}
		u, err := net.ListenPacket("udp", ":0")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = errors.Join(l.Close(), u.Close()) })
		_, tcpPort, _ = net.SplitHostPort(l.Addr().String())
		_, udpPort, _ = net.SplitHostPort(u.LocalAddr().String())
		go echoStreams(l)
		go echoDatagrams(u)
	})
	ip(t, "route add default via 192.0.2.2", "route add default via 2001:db8:1::2")
	return tcpPort, udpPort
}

// Where the path is narrower than the device, what is larger arrives all the
// same, and a container that wants to know how large packets may be is told.
func TestNarrowPath(t *testing.T) {
	if _, err := exec.LookPath("ip"); err != nil {
		t.Skip("no ip of iproute2 here")
	}
	if !again(t, true) {
		return
	}
	tcpPort, udpPort := narrowPath(t)
	direct := func(f Flow) Decision { return Decision{Verdict: netslirp.Allow, Dial: f.Destination} }
	world(t, Options{MTU: 1500, Decide: direct}, tun(1500), func(*Stack) {
		hosts := []string{server4}
		if six() {
			hosts = append(hosts, server6)
		}
		big := bytes.Repeat([]byte("0123456789abcdef"), 1<<14)
		for _, host := range hosts {
			checkStream(t, net.JoinHostPort(host, tcpPort), big)
			checkTold(t, net.JoinHostPort(host, udpPort))
			for _, size := range []int{narrowMTU, 1400, 9000, 65507} {
				checkArrives(t, net.JoinHostPort(host, udpPort), big[:size])
			}
		}
	})
}

// checkArrives sends a datagram until it is echoed, which the first need not be.
func checkArrives(t *testing.T, to string, data []byte) {
	t.Helper()
	const tries = 3
	var got []byte
	var err error
	for range tries {
		if got, err = exchange(to, data); err == nil {
			break
		}
	}
	if err != nil || !bytes.Equal(got, data) {
		t.Errorf("datagram of %d to %s: %d came back, %v", len(data), to, len(got), err)
	}
}

// checkTold sends datagrams that nobody may cut, until the kernel knows that
// they are too large.
func checkTold(t *testing.T, to string) {
	t.Helper()
	level, discover, option, do := unix.IPPROTO_IP, unix.IP_MTU_DISCOVER, unix.IP_MTU, unix.IP_PMTUDISC_DO
	if netip.MustParseAddrPort(to).Addr().Is6() {
		level, discover, option, do = unix.IPPROTO_IPV6, unix.IPV6_MTU_DISCOVER, unix.IPV6_MTU, unix.IPV6_PMTUDISC_DO
	}
	c, err := net.Dial("udp", to)
	if err != nil {
		t.Error(err)
		return
	}
	defer c.Close()
	raw, err := c.(syscall.Conn).SyscallConn()
	if err != nil {
		t.Error(err)
		return
	}
	mtu := 0
	ask := func(fd uintptr) { mtu, err = unix.GetsockoptInt(int(fd), level, option) }
	if failed := raw.Control(func(fd uintptr) { err = unix.SetsockoptInt(int(fd), level, discover, do) }); failed != nil || err != nil {
		t.Error(failed, err)
		return
	}
	for range 50 {
		_, sent := c.Write(make([]byte, 1400))
		if failed := raw.Control(ask); failed != nil || err != nil {
			t.Error(failed, err)
			return
		}
		if errors.Is(sent, unix.EMSGSIZE) && mtu == narrowMTU {
			return
		}
		time.Sleep(20 * time.Millisecond)
	}
	t.Errorf("to %s: packets of %d are thought to fit", to, mtu)
}
