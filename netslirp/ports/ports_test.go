package ports

import (
	"bytes"
	"context"
	"crypto/rand"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"bryo/netslirp"
)

func loopback() netip.Addr { return netip.AddrFrom4([4]byte{127, 0, 0, 1}) }

func TestTCPBothWays(t *testing.T) {
	p, at := container(t)
	for _, host := range []netip.Addr{loopback(), netip.IPv6Loopback()} {
		got, err := p.Add(t.Context(), netslirp.Publish{Protocol: netslirp.TCP, HostIP: host, ChildPort: at.TCP})
		if host.Is6() && err != nil {
			t.Logf("no IPv6 here: %v", err)
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		if got.HostPort == 0 {
			t.Fatal("no port was chosen")
		}
		echoTCP(t, netip.AddrPortFrom(host, got.HostPort))
	}
}

// echoTCP sends more than buffers hold and gets it back, to the end.
func echoTCP(t *testing.T, to netip.AddrPort) {
	t.Helper()
	conn, err := net.DialTCP("tcp", nil, net.TCPAddrFromAddrPort(to))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(5 * time.Second))
	sent := make([]byte, 4<<20)
	_, _ = rand.Read(sent)
	failed := make(chan error, 1)
	go func() {
		_, err := conn.Write(sent)
		if err == nil {
			err = conn.CloseWrite()
		}
		failed <- err
	}()
	got, err := io.ReadAll(conn)
	if err != nil {
		t.Fatal(err)
	}
	if err := <-failed; err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, sent) {
		t.Fatalf("%d bytes came back of %d, or others", len(got), len(sent))
	}
}

func TestAddressInUse(t *testing.T) {
	p, at := container(t)
	taken, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	port := netip.MustParseAddrPort(taken.Addr().String()).Port()
	publish := netslirp.Publish{Protocol: netslirp.TCP, HostIP: loopback(), HostPort: port, ChildPort: at.TCP}
	_, err = p.Add(t.Context(), publish)
	wants(t, err, fmt.Sprintf("publish 127.0.0.1:%d: address already in use\nfix: ", port))

	publish.HostPort = 0
	got, err := p.Add(t.Context(), publish)
	if err != nil {
		t.Fatal(err)
	}
	_, err = p.Add(t.Context(), got)
	wants(t, err, "address already in use\nfix: ")
}

func TestReady(t *testing.T) {
	p, _ := container(t)
	if err := p.Ready(t.Context()); err != nil {
		t.Error(err)
	}
	alone, err := New(Options{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	defer alone.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	wants(t, alone.Ready(ctx), "the side in the container does not answer\nfix: ")
}

func TestForeignAddress(t *testing.T) {
	p, at := container(t)
	_, err := p.Add(t.Context(), netslirp.Publish{
		Protocol: netslirp.TCP, HostIP: netip.MustParseAddr("192.0.2.1"), HostPort: 18080, ChildPort: at.TCP,
	})
	wants(t, err, "this machine does not have that address\nfix: ")
}

func TestLowPort(t *testing.T) {
	const somebody = 1000
	cmd := namespaced(t, "low", somebody)
	out, err := cmd.Output()
	if err != nil {
		t.Skipf("no user and network namespaces here: %v", err)
	}
	for _, want := range []string{
		"publish 0.0.0.0:80: only root may use ports below 1024 here\nfix: take one from there on, as -p 8080:80, ",
		"ip_unprivileged_port_start=80\n",
		"-p 9023:80, ",
	} {
		if !strings.Contains(string(out), want) {
			t.Errorf("%q is missing in\n%s", want, out)
		}
	}
}

func TestExplain(t *testing.T) {
	at := func(port uint16) netslirp.Publish {
		return netslirp.Publish{HostIP: loopback(), HostPort: port, ChildPort: 80}
	}
	wants(t, explain(at(65535), unix.EACCES), "publish 127.0.0.1:65535: permission denied")
	wants(t, explain(at(8080), unix.EIO), "publish 127.0.0.1:8080: input/output error")
	for _, row := range []struct {
		port  uint16
		first int
		want  int
	}{{80, 1024, 8080}, {443, 1024, 8443}, {80, 9000, 9000}, {60000, 65000, 65535}, {65534, 65535, 65535}} {
		if got := alternative(row.port, row.first); got != row.want {
			t.Errorf("%+v: %d", row, got)
		}
	}
}

// A side inside that never came keeps nothing: neither Add nor Close hang.
func TestNobodyInside(t *testing.T) {
	p, err := New(Options{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	begin := time.Now()
	p.Close()
	p.Close()
	select {
	case <-p.ended:
	default:
		t.Error("goroutines are left")
	}
	if took := time.Since(begin); took > 900*time.Millisecond {
		t.Errorf("Close took %s", took)
	}
	_, err = p.Add(t.Context(), netslirp.Publish{Protocol: netslirp.TCP, HostIP: loopback(), HostPort: 18081, ChildPort: 80})
	wants(t, err, "the container has ended")
}

// Nor does the side inside hang when nobody is outside any more.
func TestNobodyOutside(t *testing.T) {
	dir := t.TempDir()
	p, err := New(Options{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	p.Close()
	stop, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		_ = RunChild(p.Opaque(), stop)
	}()
	time.Sleep(20 * time.Millisecond) // in open(2) by now
	close(stop)
	select {
	case <-ended:
	case <-time.After(3 * time.Second):
		t.Fatal("RunChild hangs")
	}
}

func TestCloseStopsListening(t *testing.T) {
	p, at := container(t)
	got, err := p.Add(t.Context(), netslirp.Publish{Protocol: netslirp.TCP, HostIP: loopback(), ChildPort: at.TCP})
	if err != nil {
		t.Fatal(err)
	}
	p.Close()
	if conn, err := net.Dial("tcp4", netip.AddrPortFrom(loopback(), got.HostPort).String()); err == nil {
		_ = conn.Close()
		t.Error("the port is still open")
	}
}

func TestRemoveDir(t *testing.T) {
	for _, row := range []struct {
		name, extra string
		left        []string
	}{
		{"its own files", "", nil},
		{"another's file, too", "other", []string{"other"}},
	} {
		t.Run(row.name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "d")
			if err := os.Mkdir(dir, 0o700); err != nil {
				t.Fatal(err)
			}
			for _, name := range []string{socketName, readyName, row.extra} {
				if name != "" {
					touch(t, filepath.Join(dir, name))
				}
			}
			RemoveDir(dir)
			entries, _ := os.ReadDir(dir)
			var left []string
			for _, entry := range entries {
				left = append(left, entry.Name())
			}
			if !slices.Equal(left, row.left) {
				t.Errorf("left: %v", left)
			}
		})
	}
}

func touch(t *testing.T, path string) {
	t.Helper()
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
}

func wants(t *testing.T, err error, text string) {
	t.Helper()
	if err == nil || !strings.Contains(err.Error(), text) {
		t.Errorf("%q is missing in: %v", text, err)
	}
}
