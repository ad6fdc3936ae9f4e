package stack

import (
	"bytes"
	"encoding/binary"
	"errors"
	"net"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// frameIn is a frame as the kernel writes it.
func frameIn(status, length, kept uint32, mac uint16, packet []byte) []byte {
	f := make([]byte, frameSize)
	ne := binary.NativeEndian
	ne.PutUint32(f, status)
	ne.PutUint32(f[lengthAt:], length)
	ne.PutUint32(f[keptAt:], kept)
	ne.PutUint16(f[macAt:], mac)
	if int(mac) < len(f) {
		copy(f[mac:], packet)
	}
	return f
}

func TestFirst(t *testing.T) {
	const user, mac = unix.TP_STATUS_USER, 76
	data := bytes.Repeat([]byte("x"), frameSize)
	for name, row := range map[string]struct {
		frame []byte
		want  arrival
		size  int
		err   error
	}{
		"the kernel's":              {frameIn(0, 100, 100, mac, data), none, 0, nil},
		"a packet":                  {frameIn(user, 100, 100, mac, data), framed, 100, nil},
		"one without a checksum":    {frameIn(user|unix.TP_STATUS_CSUMNOTREADY|unix.TP_STATUS_LOSING, 60, 60, mac, data), framed, 60, nil},
		"nothing":                   {frameIn(user, 0, 0, mac, nil), framed, 0, nil},
		"up to the end":             {frameIn(user, frameSize-mac, frameSize-mac, mac, data), framed, frameSize - mac, nil},
		"a long one":                {frameIn(user|unix.TP_STATUS_COPY, 65000, frameSize-mac, mac, data), queued, 0, nil},
		"a long one, no room":       {frameIn(user, 65000, frameSize-mac, mac, data), lost, 0, nil},
		"beyond the end":            {frameIn(user, frameSize-mac+1, frameSize-mac+1, mac, data), none, 0, errRing},
		"a length that wraps":       {frameIn(user, 1<<32-1, 1<<32-1, mac, data), none, 0, errRing},
		"within its header":         {frameIn(user, 100, 100, unix.SizeofTpacket2Hdr+vnetSize-1, data), none, 0, errRing},
		"an offset beyond the end":  {frameIn(user, 0, 0, frameSize+1, data), none, 0, errRing},
		"an offset of 0":            {frameIn(user, 0, 0, 0, nil), none, 0, errRing},
		"the largest of everything": {frameIn(user, 1<<32-1, 1<<32-1, 1<<16-1, data), none, 0, errRing},
	} {
		r := &ring{memory: row.frame}
		packet, got, err := r.first()
		if got != row.want || !errors.Is(err, row.err) {
			t.Errorf("%s: %d, %v, want %d, %v", name, got, err, row.want, row.err)
		}
		if got == framed && (len(packet) != vnetSize+row.size || !bytes.Equal(packet[vnetSize:], data[:row.size])) {
			t.Errorf("%s: a packet of %d", name, len(packet))
		}
	}
}

func TestRingGoesRound(t *testing.T) {
	r := &ring{memory: make([]byte, 3*frameSize)}
	for i := range 7 {
		copy(r.memory[r.at:], frameIn(unix.TP_STATUS_USER, 1, 1, 76, []byte{byte(i)}))
		if packet, got, err := r.first(); got != framed || err != nil || packet[vnetSize] != byte(i) {
			t.Fatalf("%d: %v, %d, %v", i, packet, got, err)
		}
		r.pass()
		if r.at != (i+1)%3*frameSize || binary.NativeEndian.Uint32(r.memory[i%3*frameSize:]) != unix.TP_STATUS_KERNEL {
			t.Fatalf("%d: the next is at %d", i, r.at)
		}
	}
}

// No frame, whatever is in it, makes the link read outside of it or panic.
func FuzzRing(f *testing.F) {
	f.Add(frameIn(unix.TP_STATUS_USER, 60, 60, 76, []byte{0x45}))
	f.Add(frameIn(unix.TP_STATUS_USER, 1<<31, 1<<31, 1<<15, nil))
	f.Fuzz(func(_ *testing.T, frame []byte) {
		memory := make([]byte, frameSize)
		copy(memory, frame)
		l := &link{fd: -1, ethernet: true, head: make([]byte, vnetSize+ethernetSize), ring: &ring{memory: memory}}
		if memory[0]&unix.TP_STATUS_COPY != 0 {
			return // there is no socket
		}
		_, _, _ = l.next()
	})
}

// All that works by calls works by the ring.
func TestRing(t *testing.T) {
	if !again(t, false) {
		return
	}
	tcpPort, udpPort := serve(t)
	world(t, ethernet(), pair, func(s *Stack) {
		if !haveRing(t, s) {
			return
		}
		check(t, tcpPort, udpPort)
		for range 3 * ringSize / frameSize {
			if got, err := exchange("10.0.2.2:"+udpPort, []byte("round")); err != nil || string(got) != "round" {
				t.Errorf("%q, %v", got, err)
				return
			}
		}
	})
}

// haveRing gives the link a ring as if packets had been lost.
func haveRing(t *testing.T, s *Stack) bool {
	t.Helper()
	s.link.reading.Lock()
	defer s.link.reading.Unlock()
	var err error
	if s.link.ring, err = newRing(s.link.fd); err != nil || s.link.ring == nil {
		t.Errorf("no ring: %v", err)
		return false
	}
	return true
}

// There is no ring before packets are lost, and one afterwards.
func TestHurry(t *testing.T) {
	if !again(t, false) {
		return
	}
	tcpPort, udpPort := serve(t)
	world(t, ethernet(), pair, func(s *Stack) {
		ringed := func() bool {
			s.link.reading.Lock()
			defer s.link.reading.Unlock()
			return s.link.ring != nil
		}
		check(t, tcpPort, udpPort)
		if ringed() {
			t.Error("a ring without need")
		}
		s.link.reading.Lock()
		flood(t)
		s.link.reading.Unlock()
		for range 500 {
			if ringed() {
				break
			}
			time.Sleep(10 * time.Millisecond)
		}
		if !ringed() {
			t.Error("packets were lost, and there is no ring")
		}
		check(t, tcpPort, udpPort)
	})
}

// flood sends more than a socket's queue takes.
func flood(t *testing.T) {
	t.Helper()
	c, err := net.Dial("udp", "198.51.100.1:9")
	if err != nil {
		t.Error(err)
		return
	}
	defer c.Close()
	for range 30000 {
		_, _ = c.Write(make([]byte, 1000)) // refusals come, too
	}
}

// What cannot have a ring does without.
func TestNoRing(t *testing.T) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	if r, err := newRing(fd); r != nil || err == nil || errors.Is(err, errRing) {
		t.Errorf("%v, %v", r, err)
	}
	l := &link{}
	l.fd = fd
	if err := l.hurry(); l.ring != nil || !l.refused || err != nil {
		t.Errorf("%+v, %v", l.ring, err)
	}
}
