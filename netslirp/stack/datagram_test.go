package stack

import (
	"bytes"
	"encoding/binary"
	"net"
	"net/netip"
	"os"
	"runtime"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/buffer"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/header"

	"bryo/netslirp"
)

// The host's kernel answers pings of every size, and the gateway does itself.
func TestPing(t *testing.T) {
	if !again(t, true) {
		return
	}
	if err := os.WriteFile("/proc/sys/net/ipv4/ping_group_range", []byte("0 0"), 0); err != nil {
		t.Skip(err)
	}
	const mtu = 1500
	records := make(chan Record, 64)
	o := Options{MTU: mtu, Decide: decide, Log: func(r Record) { records <- r }}
	addresses := []string{netslirp.Gateway4().String(), "198.51.100.1"}
	world(t, o, tun(mtu), func(*Stack) {
		// In the container's namespace the launch does so, by the plan.
		if err := os.WriteFile("/proc/sys/net/ipv4/ping_group_range", []byte("0 0"), 0); err != nil {
			t.Fatal(err)
		}
		if six() {
			addresses = append(addresses, netslirp.Gateway6().String(), "2001:db8::1")
		}
		for _, to := range addresses {
			for _, size := range []int{8, 56, 4000, 60000} {
				ping(t, netip.MustParseAddr(to), bytes.Repeat([]byte{0xa5}, size))
			}
		}
	})
	close(records)
	var sent, received uint64
	for r := range records {
		sent += r.Sent
		received += r.Received
	}
	want := uint64(len(addresses)/2) * (4*8 + 8 + 56 + 4000 + 60000)
	if sent != want || received != want {
		t.Errorf("recorded %d sent and %d received, not %d", sent, received, want)
	}
}

func ping(t *testing.T, to netip.Addr, data []byte) {
	t.Helper()
	fd, err := dialPing(to)
	if err != nil {
		t.Error(err)
		return
	}
	host := os.NewFile(uintptr(fd), "ping")
	defer host.Close()
	_ = host.SetDeadline(time.Now().Add(2 * time.Second))
	message := append([]byte{8, 0, 0, 0, 0, 0, 0, 1}, data...)
	if to.Is6() {
		message[0] = byte(header.ICMPv6EchoRequest)
	}
	if _, err := host.Write(message); err != nil {
		t.Error(err)
		return
	}
	answer := make([]byte, largestUDP)
	if n, err := host.Read(answer); err != nil || n != len(message) || !bytes.Equal(answer[8:n], data) {
		t.Errorf("ping of %d to %v: %d, %v", len(data), to, n, err)
	}
}

// A flow that is idle ends with its record, and the next datagram begins one.
func TestIdle(t *testing.T) {
	if !again(t, true) {
		return
	}
	_, port := serve(t)
	records := make(chan Record, 8)
	o := Options{MTU: 1500, Decide: decide, UDPIdle: 200 * time.Millisecond, Log: func(r Record) { records <- r }}
	world(t, o, tun(1500), func(*Stack) {
		c, err := net.Dial("udp", net.JoinHostPort(netslirp.Gateway4().String(), port))
		if err != nil {
			t.Error(err)
			return
		}
		defer c.Close()
		for range 2 {
			fourThrice(t, c)
			select {
			case r := <-records:
				if r.Sent != 12 || r.Received != 12 || r.Error != "" {
					t.Errorf("%+v", r)
				}
			case <-time.After(2 * time.Second):
				t.Error("it goes on")
			}
		}
	})
}

// A flow whose socket in the container is gone ends with the next answer.
func TestGone(t *testing.T) {
	if !again(t, true) {
		return
	}
	peer, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer peer.Close()
	records := make(chan Record, 1)
	o := Options{MTU: 1500, Decide: decide, Log: func(r Record) { records <- r }}
	world(t, o, tun(1500), func(*Stack) {
		_, port, _ := net.SplitHostPort(peer.LocalAddr().String())
		c, err := net.Dial("udp", net.JoinHostPort(netslirp.Gateway4().String(), port))
		if err != nil {
			t.Error(err)
			return
		}
		_, err = c.Write([]byte("x"))
		_ = c.Close()
		buf := make([]byte, 1)
		_ = peer.SetReadDeadline(time.Now().Add(2 * time.Second))
		_, from, failed := peer.ReadFrom(buf)
		if err != nil || failed != nil {
			t.Error(err, failed)
			return
		}
		_, _ = peer.WriteTo(buf, from)
		select {
		case <-records:
		case <-time.After(2 * time.Second):
			t.Error("it goes on")
		}
	})
}

func fourThrice(t *testing.T, c net.Conn) {
	t.Helper()
	_ = c.SetDeadline(time.Now().Add(2 * time.Second))
	buf := make([]byte, 8)
	for range 3 {
		time.Sleep(100 * time.Millisecond) // less than idle
		if _, err := c.Write([]byte("four")); err != nil {
			t.Error(err)
		}
		if n, err := c.Read(buf); err != nil || n != 4 {
			t.Error(n, err)
		}
	}
}

// Floods have bounds.
func TestFlood(t *testing.T) {
	const packets, others = 3000, 64
	sink, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer sink.Close()
	release := make(chan struct{})
	var deciding atomic.Int32
	s := deaf(t, func(f Flow) Decision {
		if f.Protocol == netslirp.TCP {
			deciding.Add(1)
			<-release
			return Decision{Verdict: netslirp.Deny}
		}
		return Decision{Verdict: netslirp.Allow, Dial: netip.MustParseAddrPort(sink.LocalAddr().String())}
	})
	before := runtime.NumGoroutine()
	for i := range packets {
		inject(s, packet4(header.TCPProtocolNumber, uint16(1+i)))
	}
	if got := runtime.NumGoroutine() - before; got > mostPending+others {
		t.Errorf("%d goroutines of %d SYNs", got, packets)
	}
	close(release)
	for i := range packets {
		inject(s, packet4(header.UDPProtocolNumber, uint16(1+i)))
	}
	s.udp.mu.Lock()
	got := len(s.udp.flows)
	s.udp.mu.Unlock()
	var m runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&m)
	t.Logf("%d flows: %d KiB of heap, %d KiB of stacks", got, m.HeapAlloc>>10, m.StackInuse>>10)
	if got > mostFlows || got == 0 {
		t.Errorf("%d flows of %d datagrams", got, packets)
	}
	for i := range packets { // the last fragments of messages
		packet := packet4(header.ICMPv4ProtocolNumber, uint16(1+i))
		header.IPv4(packet).SetFlagsFragmentOffset(0, 65000)
		binary.BigEndian.PutUint16(packet[4:], uint16(i))
		inject(s, packet)
	}
	if got := len(s.pings.fragments.pending); got != mostAssemblies {
		t.Errorf("%d assemblies", got)
	}
}

// deaf is a stack whose device takes all and gives nothing.
func deaf(t testing.TB, decide func(Flow) Decision) *Stack {
	t.Helper()
	null, err := unix.Open("/dev/null", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	s, err := New(Options{FD: null, MTU: 1500, Decide: decide})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

// inject delivers a packet whose checksum the kernel is yet to make.
func inject(s *Stack, packet []byte) {
	head := make([]byte, vnetSize)
	head[0] = unix.VIRTIO_NET_HDR_F_NEEDS_CSUM
	s.link.deliver(head, packet, buffer.MakeWithData(packet))
}

// packet4 begins a conversation, and has a byte of data unless it is a SYN.
func packet4(protocol tcpip.TransportProtocolNumber, port uint16) []byte {
	packet := make([]byte, header.IPv4MinimumSize+header.TCPMinimumSize)
	ip := header.IPv4(packet)
	ip.Encode(&header.IPv4Fields{
		TotalLength: uint16(len(packet)), TTL: 64, Protocol: uint8(protocol),
		SrcAddr: tcpip.AddrFrom4(netslirp.Address4().As4()), DstAddr: tcpip.AddrFrom4([4]byte{198, 51, 100, 1}),
	})
	ip.SetChecksum(^ip.CalculateChecksum())
	if protocol == header.TCPProtocolNumber {
		header.TCP(ip.Payload()).Encode(&header.TCPFields{
			SrcPort: port, DstPort: 80, SeqNum: 1, DataOffset: header.TCPMinimumSize, Flags: header.TCPFlagSyn, WindowSize: 65535,
		})
		return packet
	}
	header.UDP(ip.Payload()).Encode(&header.UDPFields{SrcPort: port, DstPort: 80, Length: uint16(len(ip.Payload()))})
	return packet
}

func TestAssembly(t *testing.T) {
	message := make([]byte, 4000)
	for i := range message {
		message[i] = byte(i * 7)
	}
	message[0] = byte(header.ICMPv4Echo)
	part := func(id uint32, at, end int) fragment {
		return fragment{
			fragmentKey: fragmentKey{netslirp.Address4(), netslirp.Gateway4(), id},
			at:          at, more: end < len(message), payload: message[at:end], packet: message[at:end],
		}
	}
	for name, test := range map[string]struct {
		parts [][2]int
		whole bool
	}{
		"in order":   {[][2]int{{0, 1480}, {1480, 2960}, {2960, 4000}}, true},
		"reversed":   {[][2]int{{2960, 4000}, {1480, 2960}, {0, 1480}}, true},
		"a hole":     {[][2]int{{0, 1480}, {2960, 4000}}, false},
		"an overlap": {[][2]int{{0, 1480}, {1472, 2960}, {2960, 4000}}, false},
		"two ends":   {[][2]int{{2960, 4000}, {3992, 4000}, {0, 1480}, {1480, 2960}}, false},
	} {
		t.Run(name, func(t *testing.T) {
			var table fragmentTable
			var got []byte
			for _, p := range test.parts {
				if e, is := table.add(part(1, p[0], p[1]), time.Now()); is {
					got = e.message
				}
			}
			if bytes.Equal(got, message) != test.whole {
				t.Errorf("%d bytes", len(got))
			}
		})
	}
	var table fragmentTable
	now := time.Now()
	table.add(part(1, 0, 1480), now)
	table.add(part(2, 0, 1480), now.Add(assemblyPatience+time.Second))
	if len(table.pending) != 1 {
		t.Errorf("%d assemblies: the first has not expired", len(table.pending))
	}
}

// What is quoted is what the container sent.
func TestQuote(t *testing.T) {
	f := Flow{netslirp.TCP, netip.MustParseAddrPort("10.0.2.100:1234"), netip.MustParseAddrPort("198.51.100.1:80")}
	ip := header.IPv4(quote(f, 0xfeedbeef))
	if tcp := header.TCP(ip.Payload()); !ip.IsChecksumValid() || tcp.SourcePort() != 1234 || tcp.DestinationPort() != 80 || tcp.SequenceNumber() != 0xfeedbeef {
		t.Errorf("% x", ip)
	}
	f = Flow{netslirp.UDP, netip.MustParseAddrPort("[fd00::1]:1234"), netip.MustParseAddrPort("[2001:db8::1]:53")}
	six := header.IPv6(quote(f, 0))
	if u := header.UDP(six.Payload()); six.TransportProtocol() != header.UDPProtocolNumber || u.SourcePort() != 1234 || u.DestinationPort() != 53 {
		t.Errorf("% x", six)
	}
}

// Whatever is taken for a request, or for a part of one, lies in the packet.
func FuzzEcho(f *testing.F) {
	whole := packet4(header.ICMPv4ProtocolNumber, 1)
	whole[header.IPv4MinimumSize] = byte(header.ICMPv4Echo)
	f.Add(whole)
	part := append([]byte(nil), whole...)
	header.IPv4(part).SetFlagsFragmentOffset(header.IPv4FlagMoreFragments, 8)
	f.Add(part[:len(part)-4])
	six := make([]byte, header.IPv6MinimumSize+header.IPv6FragmentHeaderSize+8)
	six[0], six[5], six[6], six[40] = 0x60, 16, header.IPv6FragmentHeader, byte(header.ICMPv6ProtocolNumber)
	f.Add(six)
	f.Add([]byte{0x4f})
	f.Fuzz(func(t *testing.T, packet []byte) {
		if len(packet) == 0 {
			return
		}
		if e, is := parseEcho(packet); is && (len(e.message) < header.ICMPv4MinimumSize || len(e.message) > len(packet)) {
			t.Errorf("%d bytes of %d", len(e.message), len(packet))
		}
		part, is := parseFragment(packet)
		if !is {
			return
		}
		var table fragmentTable
		part.packet = packet
		now := time.Now()
		table.add(part, now)
		part.at, part.more = 0, true
		if e, is := table.add(part, now); is && len(e.message) > mostMessage {
			t.Errorf("%d bytes", len(e.message))
		}
	})
}

// BenchmarkDatagrams sends datagrams out of the container.
func BenchmarkDatagrams(b *testing.B) {
	for _, size := range []int{64, 1400} {
		b.Run(strconv.Itoa(size), func(b *testing.B) {
			sink, err := net.ListenPacket("udp4", "127.0.0.1:0")
			if err != nil {
				b.Fatal(err)
			}
			defer sink.Close()
			s := deaf(b, func(Flow) Decision {
				return Decision{Verdict: netslirp.Allow, Dial: netip.MustParseAddrPort(sink.LocalAddr().String())}
			})
			packet := packet4(header.UDPProtocolNumber, 1000)
			packet = append(packet, make([]byte, size)...)
			ip := header.IPv4(packet)
			ip.SetTotalLength(uint16(len(packet)))
			ip.SetChecksum(0)
			ip.SetChecksum(^ip.CalculateChecksum())
			header.UDP(ip.Payload()).SetLength(uint16(len(ip.Payload())))
			b.SetBytes(int64(size))
			for b.Loop() {
				inject(s, packet)
			}
		})
	}
}

// Datagrams that a program has the kernel cut arrive as it wants them.
func TestCutByTheKernel(t *testing.T) {
	if !again(t, false) {
		return
	}
	_, udpPort := serve(t)
	world(t, ethernet(), pair, func(s *Stack) {
		segments(t, udpPort)
		if haveRing(t, s) {
			segments(t, udpPort)
		}
	})
}

func segments(t *testing.T, udpPort string) {
	t.Helper()
	c, err := net.Dial("udp", "10.0.2.2:"+udpPort)
	if err != nil {
		t.Error(err)
		return
	}
	defer c.Close()
	raw, err := c.(*net.UDPConn).SyscallConn()
	if err != nil {
		t.Error(err)
		return
	}
	const size, count = 1000, 20
	var errno unix.Errno
	if err := raw.Write(func(fd uintptr) bool {
		errno = sendSegments(int(fd), bytes.Repeat([]byte("s"), size*count), size)
		return true
	}); err != nil || errno != 0 {
		t.Errorf("%v, %v", err, errno)
	}
	_ = c.SetDeadline(time.Now().Add(2 * time.Second))
	buf := make([]byte, largestUDP)
	for i := range count {
		if n, err := c.Read(buf); n != size || err != nil {
			t.Errorf("datagram %d: %d bytes, %v", i, n, err)
			return
		}
	}
}
