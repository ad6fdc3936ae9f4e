package stack

import (
	"bytes"
	"io"
	"net"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/buffer"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/stack"

	"bryo/netslirp"
)

// A server that says something and goes at once is heard, and its end, too,
// though both came before the container's side was there.
func TestGreeting(t *testing.T) {
	if !again(t, true) {
		return
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			_, _ = c.Write([]byte("hello"))
			_ = c.Close()
		}
	}()
	_, port, _ := net.SplitHostPort(l.Addr().String())
	world(t, Options{MTU: 1500, Decide: decide}, tun(1500), func(*Stack) {
		for range 200 {
			c, err := net.DialTimeout("tcp", net.JoinHostPort(netslirp.Gateway4().String(), port), 5*time.Second)
			if err != nil {
				t.Error(err)
				return
			}
			_ = c.SetDeadline(time.Now().Add(5 * time.Second))
			got, err := io.ReadAll(c)
			_ = c.Close()
			if err != nil || string(got) != "hello" {
				t.Errorf("%q, %v", got, err)
				return
			}
		}
	})
}

// Both sides stop reading in turn, and nothing is lost or left waiting.
func TestBackPressure(t *testing.T) {
	if !again(t, true) {
		return
	}
	const size = 24 << 20 // more than all buffers of the way
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	sums := make(chan int64, 1)
	go func() {
		c, err := l.Accept()
		if err != nil {
			return
		}
		defer c.Close()
		time.Sleep(300 * time.Millisecond) // the container fills everything meanwhile
		n, _ := io.Copy(io.Discard, io.LimitReader(c, size))
		sums <- n
		_, _ = io.Copy(c, io.LimitReader(zeros{}, size))
	}()
	_, port, _ := net.SplitHostPort(l.Addr().String())
	world(t, Options{MTU: 1500, Decide: decide}, tun(1500), func(*Stack) {
		c, err := net.DialTimeout("tcp", net.JoinHostPort(netslirp.Gateway4().String(), port), 5*time.Second)
		if err != nil {
			t.Error(err)
			return
		}
		defer c.Close()
		_ = c.SetDeadline(time.Now().Add(20 * time.Second))
		if _, err := io.Copy(c, io.LimitReader(zeros{}, size)); err != nil {
			t.Error(err)
			return
		}
		if got := <-sums; got != size {
			t.Errorf("%d bytes of %d arrived", got, size)
		}
		time.Sleep(300 * time.Millisecond)
		if n, err := io.Copy(io.Discard, c); n != size || err != nil {
			t.Errorf("%d bytes of %d came back, %v", n, size, err)
		}
	})
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { return len(p), nil }

// Datagrams of one size travel together, the last may be smaller.
func TestBatch(t *testing.T) {
	for name, c := range map[string]struct{ sizes, batches []int }{
		"one":          {[]int{100}, []int{1}},
		"of a size":    {[]int{100, 100, 100}, []int{3}},
		"last smaller": {[]int{100, 100, 7}, []int{3}},
		"after it":     {[]int{100, 7, 100}, []int{2, 1}},
		"larger":       {[]int{7, 100}, []int{1, 1}},
		"empty":        {[]int{0, 0, 5, 0}, []int{1, 1, 1, 1}},
		"too many":     {slices.Repeat([]int{9}, mostSegments+1), []int{mostSegments, 1}},
		"too long":     {slices.Repeat([]int{30000}, 3), []int{2, 1}},
	} {
		var b batch
		var got []int
		var sent, want []byte
		flush := func() {
			got = append(got, b.count)
			for data := range b.each {
				sent = append(sent, data...)
			}
			b.clear()
		}
		for i, size := range c.sizes {
			data := bytes.Repeat([]byte{byte(i)}, size)
			want = append(want, data...)
			if !b.takes(size) {
				flush()
			}
			copy(b.room(), data)
			b.take(size)
		}
		flush()
		if !slices.Equal(got, c.batches) || !bytes.Equal(sent, want) {
			t.Errorf("%s: batches of %v, not %v", name, got, c.batches)
		}
	}
}

// The kernel cuts what is sent as one, and puts together what is of a size.
func TestSegments(t *testing.T) {
	peer, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer peer.Close()
	to, _ := peer.LocalAddr().(*net.UDPAddr)
	fd, err := dialUDP(to.AddrPort())
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	data := bytes.Repeat([]byte("0123456789"), 25)
	if errno := sendSegments(fd, data, 100); errno != 0 {
		t.Skip("UDP_SEGMENT: ", errno)
	}
	_ = peer.SetReadDeadline(time.Now().Add(2 * time.Second))
	buf := make([]byte, largestUDP)
	var from net.Addr
	for _, want := range []int{100, 100, 50} {
		var n int
		if n, from, err = peer.ReadFrom(buf); n != want || err != nil {
			t.Fatalf("%d bytes, not %d: %v", n, want, err)
		}
	}
	if _, err := peer.WriteTo(data, from); err != nil {
		t.Fatal(err)
	}
	time.Sleep(10 * time.Millisecond)
	if n, size, errno := receiveSegments(fd, buf); n != len(data) || size != 0 || errno != 0 {
		t.Errorf("%d bytes in parts of %d, %v", n, size, errno)
	}
}

// Of acknowledgements of a connection the last one is sent, and none after data.
func TestAcks(t *testing.T) {
	var a acks
	var sent []byte // window sizes, to tell them by
	send := func(_ [vnetSize]byte, packet []byte) {
		sent = append(sent, byte(header.TCP(packet[header.IPv4MinimumSize:]).WindowSize()))
	}
	if a.take(segment(1, header.TCPFlagAck, 1, 0), [vnetSize]byte{}) {
		t.Error("held though nobody releases")
	}
	a.hold()
	for i, c := range []struct {
		port  uint16
		flags header.TCPFlags
		data  int
		held  bool
	}{
		{1, header.TCPFlagAck, 0, true},                        // 2, superseded
		{1, header.TCPFlagAck, 0, true},                        // 3
		{2, header.TCPFlagAck, 0, true},                        // 4, superseded by data
		{2, header.TCPFlagAck | header.TCPFlagPsh, 5, false},   //
		{3, header.TCPFlagAck | header.TCPFlagFin, 0, false},   //
		{3, header.TCPFlagAck | header.TCPFlagRst, 0, false},   //
		{3, header.TCPFlagAck | header.TCPFlagSyn, 0, false},   //
		{3, header.TCPFlagAck | header.TCPFlagUrg, 100, false}, //
		{4, header.TCPFlagAck, 0, true},                        // 10
	} {
		if got := a.take(segment(c.port, c.flags, uint16(i+2), c.data), [vnetSize]byte{}); got != c.held {
			t.Errorf("packet %d: %v", i, got)
		}
	}
	a.release(false, send)
	if len(sent) > 0 {
		t.Errorf("sent at once: %v", sent)
	}
	a.take(segment(5, header.TCPFlagAck, 11, 0), [vnetSize]byte{})
	a.release(false, send)
	slices.Sort(sent)
	if !slices.Equal(sent, []byte{3, 10}) {
		t.Errorf("sent after a turn: %v", sent)
	}
	a.release(true, send)
	if !slices.Equal(sent, []byte{3, 10, 11}) || a.take(segment(1, header.TCPFlagAck, 1, 0), [vnetSize]byte{}) {
		t.Errorf("sent at the end: %v", sent)
	}
}

func segment(port uint16, flags header.TCPFlags, window uint16, data int) *stack.PacketBuffer {
	packet := stack.NewPacketBuffer(stack.PacketBufferOptions{
		ReserveHeaderBytes: header.IPv4MinimumSize + header.TCPMinimumSize, Payload: buffer.MakeWithData(make([]byte, data)),
	})
	header.TCP(packet.TransportHeader().Push(header.TCPMinimumSize)).Encode(&header.TCPFields{
		SrcPort: port, DstPort: 80, DataOffset: header.TCPMinimumSize, Flags: flags, WindowSize: window,
	})
	header.IPv4(packet.NetworkHeader().Push(header.IPv4MinimumSize)).Encode(&header.IPv4Fields{
		TotalLength: uint16(packet.Size()), Protocol: uint8(header.TCPProtocolNumber),
		SrcAddr: tcpip.AddrFrom4([4]byte{10, 0, 0, 1}), DstAddr: tcpip.AddrFrom4([4]byte{10, 0, 0, 2}),
	})
	packet.NetworkProtocolNumber, packet.TransportProtocolNumber = header.IPv4ProtocolNumber, header.TCPProtocolNumber
	return packet
}
