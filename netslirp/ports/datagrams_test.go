package ports

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"testing"
	"time"

	"bryo/netslirp"
)

// clients send datagrams to a port of the container that is published.
func clients(t *testing.T, p *Ports, host netip.Addr, child uint16) func() *net.UDPConn {
	t.Helper()
	got, err := p.Add(t.Context(), netslirp.Publish{Protocol: netslirp.UDP, HostIP: host, ChildPort: child})
	if err != nil {
		t.Fatal(err)
	}
	return func() *net.UDPConn {
		conn, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(netip.AddrPortFrom(host, got.HostPort)))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = conn.Close() })
		return conn
	}
}

// echoUDP sends a datagram and gets it back.
func echoUDP(conn net.Conn, sent []byte, limit time.Duration) error {
	_ = conn.SetDeadline(time.Now().Add(limit))
	if _, err := conn.Write(sent); err != nil {
		return err
	}
	back := make([]byte, 1<<16)
	n, err := conn.Read(back)
	if err == nil && !bytes.Equal(back[:n], sent) {
		err = fmt.Errorf("%d bytes came back of %d, or others", n, len(sent))
	}
	return err
}

func TestUDPBothWays(t *testing.T) {
	p, at := container(t)
	for name, child := range map[string]uint16{"127.0.0.1": at.UDP, "[::]": at.Any6UDP, "[::1]": at.Only6UDP} {
		for _, host := range []netip.Addr{loopback(), netip.IPv6Loopback()} {
			t.Run(fmt.Sprintf("%s from %s", name, host), func(t *testing.T) {
				next := clients(t, p, host, child)
				for i := range 3 {
					conn := next()
					for _, size := range []int{1, 0, 1400, 9000, 65507} {
						if err := echoUDP(conn, bytes.Repeat([]byte{byte(i)}, size), 5*time.Second); err != nil {
							t.Fatalf("client %d, %d bytes: %v", i, size, err)
						}
					}
				}
			})
		}
	}
}

// All that comes before a server is found arrives.
func TestUDPAtOnce(t *testing.T) {
	p, at := container(t)
	conn := clients(t, p, loopback(), at.Only6UDP)()
	for i := range mostHeldEach {
		if _, err := conn.Write([]byte{byte(i)}); err != nil {
			t.Fatal(err)
		}
	}
	_ = conn.SetDeadline(time.Now().Add(5 * time.Second))
	for i := range mostHeldEach {
		if _, err := conn.Read(make([]byte, 1)); err != nil {
			t.Fatalf("after %d: %v", i, err)
		}
	}
}

// Clients have bounds, and so has what waits for nobody.
func TestUDPFlood(t *testing.T) {
	p, at := container(t)
	const few = 4
	p.driver.mu.Lock()
	p.driver.most = few
	p.driver.mu.Unlock()
	answered, silent := clients(t, p, loopback(), at.UDP), clients(t, p, loopback(), 9)
	for i := range 3 * few {
		if err := echoUDP(answered(), []byte("x"), 5*time.Second); err != nil {
			t.Errorf("client %d: %v", i, err)
		}
		if err := echoUDP(silent(), make([]byte, 1<<10), time.Millisecond); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("nobody answers with %v", err)
		}
	}
	state := func() (flows, held int) {
		p.driver.mu.Lock()
		defer p.driver.mu.Unlock()
		return p.driver.flows, p.driver.held
	}
	if flows, _ := state(); flows > few {
		t.Errorf("there are %d flows", flows)
	}
	for range 150 {
		if _, held := state(); held == 0 {
			p.Close()
			if flows, held := state(); flows != 0 || held != 0 {
				t.Errorf("after the end: %d flows, %d bytes", flows, held)
			}
			return
		}
		time.Sleep(20 * time.Millisecond)
	}
	_, held := state()
	t.Errorf("%d bytes are held", held)
}
