package stack

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/netip"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/buffer"

	"bryo/netslirp"
	"bryo/rootless/program"
)

type echoDNS struct{}

func (echoDNS) Answer(_ context.Context, query []byte, _ bool) []byte {
	return append([]byte("answer to "), query...)
}

func TestTun(t *testing.T) {
	if !again(t, true) {
		return
	}
	tcpPort, udpPort := serve(t)
	for _, mtu := range []uint32{576, 1280, 1500, 9000, 65520} { // the first has no room for IPv6
		world(t, Options{MTU: mtu, DNS: echoDNS{}, Decide: decide}, tun(mtu), func(*Stack) { check(t, tcpPort, udpPort) })
	}
}

func TestEthernet(t *testing.T) {
	if !again(t, false) {
		return
	}
	tcpPort, udpPort := serve(t)
	world(t, ethernet(), pair, func(*Stack) { check(t, tcpPort, udpPort) })
}

func pair(p *program.Program) program.Arg { return netslirp.VethPair(p, netslirp.DefaultMTU) }

func ethernet() Options {
	return Options{MTU: netslirp.DefaultMTU, Ethernet: true, DNS: echoDNS{}, Decide: decide}
}

// decide denies port 9, sends port 7 to where there is no route, and takes the
// rest to the loopback address.
func decide(f Flow) Decision {
	to := netip.AddrFrom4([4]byte{127, 0, 0, 1})
	if f.Destination.Addr().Is6() {
		to = netip.IPv6Loopback()
	}
	switch f.Destination.Port() {
	case 9:
		return Decision{Verdict: netslirp.Deny}
	case 7:
		to = netip.AddrFrom4([4]byte{192, 0, 2, 1})
	}
	return Decision{Verdict: netslirp.Allow, Dial: netip.AddrPortFrom(to, f.Destination.Port())}
}

// serve echoes streams once they end, and datagrams.
func serve(t *testing.T) (streams, datagrams string) {
	t.Helper()
	streams, datagrams = "0", "0"
	for _, address := range []string{"127.0.0.1", "::1"} {
		l, err := net.Listen("tcp", net.JoinHostPort(address, streams))
		if address == "::1" && err != nil {
			t.Log(err)
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		u, err := net.ListenPacket("udp", net.JoinHostPort(address, datagrams))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _, _ = l.Close(), u.Close() })
		go echoStreams(l)
		go echoDatagrams(u)
		_, streams, _ = net.SplitHostPort(l.Addr().String())
		_, datagrams, _ = net.SplitHostPort(u.LocalAddr().String())
	}
	return streams, datagrams
}

func echoStreams(l net.Listener) {
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		all, _ := io.ReadAll(c)
		_, _ = c.Write(all)
		_ = c.Close()
	}
}

func echoDatagrams(u net.PacketConn) {
	buf := make([]byte, largestUDP)
	for {
		n, from, err := u.ReadFrom(buf)
		if err != nil {
			return
		}
		_, _ = u.WriteTo(buf[:n], from)
	}
}

func check(t *testing.T, tcpPort, udpPort string) {
	t.Helper()
	big := bytes.Repeat([]byte("0123456789abcdef"), 1<<16)
	for _, to := range []struct {
		gateway, dns, world netip.Addr
	}{
		{netslirp.Gateway4(), netslirp.DNS4(), netip.AddrFrom4([4]byte{198, 51, 100, 1})},
		{netslirp.Gateway6(), netslirp.DNS6(), netip.MustParseAddr("2001:db8::1")},
	} {
		if to.gateway.Is6() && !six() {
			continue
		}
		for _, address := range []netip.Addr{to.gateway, to.world} {
			checkStream(t, net.JoinHostPort(address.String(), tcpPort), big)
			checkRefused(t, address)
			checkDatagrams(t, net.JoinHostPort(address.String(), udpPort), net.JoinHostPort(to.dns.String(), "53"), big)
		}
	}
}

func checkStream(t *testing.T, to string, big []byte) {
	t.Helper()
	c, err := net.DialTimeout("tcp", to, 5*time.Second)
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
}

// checkRefused is of what is denied, refused and without a route.
func checkRefused(t *testing.T, to netip.Addr) {
	t.Helper()
	filtered := unix.EHOSTUNREACH
	if to.Is6() {
		filtered = unix.EACCES
	}
	for port, want := range map[string]error{"9": filtered, "1": unix.ECONNREFUSED, "7": unix.ENETUNREACH} {
		address := net.JoinHostPort(to.String(), port)
		if got, err := exchange(address, []byte("x")); !errors.Is(err, want) {
			t.Errorf("datagram to %s: %q, %v", address, got, err)
		}
		if port == "9" {
			want = unix.ECONNREFUSED
		}
		begin := time.Now()
		if _, err := net.DialTimeout("tcp", address, 5*time.Second); !errors.Is(err, want) || time.Since(begin) > time.Second {
			t.Errorf("%s: %v after %v", address, err, time.Since(begin))
		}
	}
}

func checkDatagrams(t *testing.T, to, dns string, big []byte) {
	t.Helper()
	for _, size := range []int{0, 1, 1400, 65507} {
		if got, err := exchange(to, big[:size]); err != nil || !bytes.Equal(got, big[:size]) {
			t.Errorf("datagram of %d: %d, %v", size, len(got), err)
		}
	}
	if got, err := exchange(dns, []byte("q")); err != nil || string(got) != "answer to q" {
		t.Errorf("question: %q, %v", got, err)
	}
}

func exchange(to string, data []byte) ([]byte, error) {
	c, err := (&net.Dialer{Control: hearAll}).Dial("udp", to)
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
	s, err := New(Options{FD: pipe[1], MTU: 1500, Decide: deny, DNS: echoDNS{}})
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
