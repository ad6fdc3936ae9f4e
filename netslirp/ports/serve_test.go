package ports

import (
	"context"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/rootless-containers/rootlesskit/v3/pkg/api/client"
	"github.com/rootless-containers/rootlesskit/v3/pkg/port"

	"bryo/netslirp"
)

// served has ports whose interface answers at a path, until the test ends.
func served(t *testing.T) (at servers, path string) {
	t.Helper()
	p, at := container(t)
	path = filepath.Join(t.TempDir(), "ports.sock")
	listener, err := Listen(path)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- p.Serve(ctx, listener) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Serve: %v", err)
		}
		if _, err := os.Lstat(path); err == nil {
			t.Error("the socket is left")
		}
	})
	return at, path
}

func TestInterface(t *testing.T) {
	at, path := served(t)
	c, err := client.New(path)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	manager, free := c.PortManager(), freeTCP(t)
	status, err := manager.AddPort(t.Context(), port.Spec{Proto: "tcp", ParentPort: int(free), ChildPort: int(at.TCP)})
	if err != nil {
		t.Fatal(err)
	}
	if status.Spec.ParentIP != "127.0.0.1" || status.Spec.Proto != "tcp4" {
		t.Errorf("added %+v", status.Spec)
	}
	echoTCP(t, netip.AddrPortFrom(loopback(), free))
	_, err = manager.AddPort(t.Context(), port.Spec{Proto: "tcp", ParentPort: int(free), ChildPort: int(at.TCP)})
	wants(t, err, "address already in use")
	list, err := manager.ListPorts(t.Context())
	if err != nil || len(list) != 1 || list[0].ID != status.ID {
		t.Errorf("listed %+v, %v", list, err)
	}
	if err := manager.RemovePort(t.Context(), status.ID); err != nil {
		t.Fatal(err)
	}
	if conn, err := net.Dial("tcp4", netip.AddrPortFrom(loopback(), free).String()); err == nil {
		_ = conn.Close()
		t.Error("the port is still open")
	}
	if list, err := manager.ListPorts(t.Context()); err != nil || len(list) != 0 {
		t.Errorf("listed %+v, %v", list, err)
	}
	wants(t, manager.RemovePort(t.Context(), status.ID), "unknown id")
}

func TestInterfaceRefuses(t *testing.T) {
	_, path := served(t)
	c, err := client.New(path)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	for _, row := range []struct {
		name string
		spec port.Spec
		want string
	}{
		{"no protocol", port.Spec{Proto: "ip", ParentPort: 18082, ChildPort: 80}, "unknown proto"},
		{"no address", port.Spec{Proto: "tcp", ParentIP: "localhost", ParentPort: 18082, ChildPort: 80}, "is no address"},
		{"no port", port.Spec{Proto: "tcp", ChildPort: 80}, "invalid ParentPort"},
		{"a port beyond all", port.Spec{Proto: "tcp", ParentPort: 1 << 16, ChildPort: 80}, "invalid ParentPort"},
		{"no port inside", port.Spec{Proto: "udp", ParentPort: 18082}, "invalid ChildPort"},
	} {
		t.Run(row.name, func(t *testing.T) {
			_, err := c.PortManager().AddPort(t.Context(), row.spec)
			wants(t, err, row.want)
		})
	}
}

func freeTCP(t *testing.T) uint16 {
	t.Helper()
	free, err := freePort(netslirp.Publish{Protocol: netslirp.TCP, HostIP: loopback()})
	if err != nil {
		t.Fatal(err)
	}
	return free
}

func TestListen(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	listener, err := Listen(path)
	if err != nil {
		t.Fatal(err)
	}
	info, err := os.Lstat(path)
	if err != nil {
		t.Fatal(err)
	}
	if mode := info.Mode(); mode != fs.ModeSocket|0o600 {
		t.Errorf("the socket's mode is %v", mode)
	}
	_, err = Listen(path)
	wants(t, err, "there is a file of that name\nfix: ")
	_ = listener.Close()
	if _, err := os.Lstat(path); err == nil {
		t.Error("Close left the socket")
	}
	touch(t, path)
	_, err = Listen(path)
	wants(t, err, "there is a file of that name\nfix: ")
	_, err = Listen(filepath.Join(t.TempDir(), "none", "s"))
	wants(t, err, "no such file or directory")
}

// Close and Remove leave what has the name by then.
func TestAnothersSocket(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	first, err := Listen(path)
	if err != nil {
		t.Fatal(err)
	}
	pinned, err := Pin(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	second, err := Listen(path)
	if err != nil {
		t.Fatal(err)
	}
	defer second.Close()
	_ = first.Close()
	pinned.Remove()
	if _, err := os.Lstat(path); err != nil {
		t.Errorf("another's socket was removed: %v", err)
	}
	file := filepath.Join(t.TempDir(), "file")
	touch(t, file)
	if _, err := Pin(file); err == nil {
		t.Error("a file was taken for a socket")
	}
}

func TestLimit(t *testing.T) {
	inner, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	listener := limit(inner, 1)
	for range 2 {
		conn, err := net.Dial("tcp4", inner.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
	}
	first, err := listener.Accept()
	if err != nil {
		t.Fatal(err)
	}
	accepted := make(chan error, 2)
	accept := func() {
		_, err := listener.Accept()
		accepted <- err
	}
	go accept()
	select {
	case err := <-accepted:
		t.Fatalf("there are two at a time: %v", err)
	case <-time.After(50 * time.Millisecond):
	}
	_ = first.Close()
	_ = first.Close()
	if err := <-accepted; err != nil {
		t.Fatal(err)
	}
	go accept() // waits for room
	_ = listener.Close()
	if err := <-accepted; err == nil {
		t.Error("Accept went on after Close")
	}
}
