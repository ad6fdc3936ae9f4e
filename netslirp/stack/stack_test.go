package stack

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/buffer"

	"bryo/netslirp"
)

// insideVariable says that the process is the test again, in a network
// namespace of its own that plays the host.
const insideVariable = "BRYO_STACK_INSIDE"

type echoDNS struct{}

func (echoDNS) Answer(_ context.Context, query []byte, _ bool) []byte {
	return append([]byte("answer to "), query...)
}

func TestStack(t *testing.T) {
	if os.Getenv(insideVariable) == "" {
		again(t)
		return
	}
	setUp(t, "lo", func(*unix.Ifreq) error { return nil })
	tcpPort, udpPort := serve(t)
	fd := make(chan int)
	finished := make(chan struct{})
	go func() {
		defer close(finished)
		runtime.LockOSThread() // for good: the thread's namespace is the container's
		device, err := container()
		if err != nil {
			t.Error(err)
			close(fd)
			return
		}
		fd <- device
		check(t, tcpPort, udpPort)
	}()
	device, ok := <-fd
	if !ok {
		return
	}
	s, err := New(Options{FDs: []int{device}, MTU: 65520, DNS: echoDNS{}, Decide: decide})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ran := make(chan error)
	go func() { ran <- s.Run(ctx) }()
	<-finished
	cancel()
	if err := <-ran; err != nil {
		t.Errorf("Run: %v", err)
	}
	s.Close()
}

// decide denies port 9 and takes the rest to the loopback address.
func decide(f Flow) Decision {
	if f.Destination.Port() == 9 {
		return Decision{Verdict: netslirp.Deny}
	}
	return Decision{Verdict: netslirp.Allow, Dial: netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), f.Destination.Port())}
}

func again(t *testing.T) {
	t.Helper()
	probe, err := os.OpenFile("/dev/net/tun", os.O_RDWR, 0)
	if err != nil {
		t.Skip(err)
	}
	_ = probe.Close()
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
	if err != nil || !strings.Contains(string(out), "--- PASS: "+t.Name()) {
		t.Errorf("%v\n%s", err, out)
	}
}

// serve echoes streams once they end, and datagrams.
func serve(t *testing.T) (streams, datagrams string) {
	t.Helper()
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			all, _ := io.ReadAll(c)
			_, _ = c.Write(all)
			_ = c.Close()
		}
	}()
	u, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		buf := make([]byte, largestUDP)
		for {
			n, from, err := u.ReadFrom(buf)
			if err != nil {
				return
			}
			_, _ = u.WriteTo(buf[:n], from)
		}
	}()
	t.Cleanup(func() { _, _ = l.Close(), u.Close() })
	_, streams, _ = net.SplitHostPort(l.Addr().String())
	_, datagrams, _ = net.SplitHostPort(u.LocalAddr().String())
	return streams, datagrams
}

func setUp(t *testing.T, name string, more func(*unix.Ifreq) error) {
	t.Helper()
	if err := up(name, more); err != nil {
		t.Fatal(err)
	}
}

func up(name string, more func(*unix.Ifreq) error) error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	r, err := unix.NewIfreq(name)
	if err != nil {
		return err
	}
	if err := more(r); err != nil {
		return err
	}
	r.SetUint16(unix.IFF_UP | unix.IFF_RUNNING)
	return unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, r)
}

// container moves the thread to a new network namespace with a device.
func container() (int, error) {
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		return 0, err
	}
	device, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		return 0, err
	}
	r, err := unix.NewIfreq("eth0")
	if err != nil {
		return 0, err
	}
	r.SetUint16(unix.IFF_TUN | unix.IFF_NO_PI | unix.IFF_VNET_HDR)
	if err := unix.IoctlIfreq(device, unix.TUNSETIFF, r); err != nil {
		return 0, err
	}
	return device, up("eth0", func(*unix.Ifreq) error {
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		for _, set := range []struct {
			call uint
			addr []byte
		}{{unix.SIOCSIFADDR, netslirp.Address4().AsSlice()}, {unix.SIOCSIFNETMASK, []byte{255, 255, 255, 0}}} {
			r, _ := unix.NewIfreq("eth0")
			if err := r.SetInet4Addr(set.addr); err != nil {
				return err
			}
			if err := unix.IoctlIfreq(fd, set.call, r); err != nil {
				return err
			}
		}
		return nil
	})
}

func check(t *testing.T, tcpPort, udpPort string) {
	t.Helper()
	gateway, dns := netslirp.Gateway4().String(), netslirp.DNS4().String()
	big := bytes.Repeat([]byte("0123456789abcdef"), 1<<16)
	c, err := net.DialTimeout("tcp4", net.JoinHostPort(gateway, tcpPort), 5*time.Second)
	if err != nil {
		t.Error(err)
		return
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(10 * time.Second))
	if _, err := c.Write(big); err != nil {
		t.Error(err)
	}
	_ = c.(*net.TCPConn).CloseWrite()
	if got, err := io.ReadAll(c); err != nil || !bytes.Equal(got, big) {
		t.Errorf("half closed: %d bytes of %d, %v", len(got), len(big), err)
	}
	checkRefused(t, gateway)
	checkDatagrams(t, gateway+":"+udpPort, dns+":53", big)
}

func checkRefused(t *testing.T, gateway string) {
	t.Helper()
	for _, port := range []string{"9", "1"} { // denied, refused
		begin := time.Now()
		if _, err := net.DialTimeout("tcp4", net.JoinHostPort(gateway, port), 5*time.Second); !errors.Is(err, unix.ECONNREFUSED) || time.Since(begin) > time.Second {
			t.Errorf("port %s: %v after %v", port, err, time.Since(begin))
		}
		want := unix.EHOSTUNREACH
		if port == "1" {
			want = unix.ECONNREFUSED
		}
		if got, err := exchange(gateway+":"+port, []byte("x")); !errors.Is(err, want) {
			t.Errorf("datagram to port %s: %q, %v", port, got, err)
		}
	}
}

func checkDatagrams(t *testing.T, to, dns string, big []byte) {
	t.Helper()
	for _, size := range []int{1, 1400, 65507} {
		if got, err := exchange(to, big[:size]); err != nil || !bytes.Equal(got, big[:size]) {
			t.Errorf("datagram of %d: %d, %v", size, len(got), err)
		}
	}
	if got, err := exchange(dns, []byte("q")); err != nil || string(got) != "answer to q" {
		t.Errorf("question: %q, %v", got, err)
	}
}

func exchange(to string, data []byte) ([]byte, error) {
	c, err := net.Dial("udp4", to)
	if err != nil {
		return nil, err
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(2 * time.Second))
	if _, err := c.Write(data); err != nil {
		return nil, err
	}
	buf := make([]byte, largestUDP)
	n, err := c.Read(buf)
	return buf[:n], err
}

// Nothing that comes from a device makes the stack panic.
func FuzzFrame(f *testing.F) {
	four := make([]byte, 28)
	four[0], four[9], four[20] = 0x45, 1, 8
	binary.BigEndian.PutUint16(four[2:], 28)
	f.Add(byte(0), four)
	f.Add(byte(1), []byte{0x60})
	f.Add(byte(255), []byte{0x4f, 0, 0xff, 0xff})
	var pipe [2]int
	if err := unix.Pipe2(pipe[:], unix.O_NONBLOCK|unix.O_CLOEXEC); err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { _ = unix.Close(pipe[0]) })
	deny := func(Flow) Decision { return Decision{Verdict: netslirp.Deny} }
	s, err := New(Options{FDs: []int{pipe[1]}, MTU: 1500, Decide: deny, DNS: echoDNS{}})
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(s.Close)
	f.Fuzz(func(_ *testing.T, flags byte, frame []byte) {
		if len(frame) == 0 {
			return
		}
		s.link.deliver(append([]byte{flags}, make([]byte, vnetSize+ethernetSize)...), frame, buffer.MakeWithData(frame))
	})
}
