package ports

import (
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/rootless-containers/rootlesskit/v3/pkg/port"

	"bryo/netslirp"
)

func TestClient(t *testing.T) {
	at, path := served(t)
	c, ctx := Dial(path), t.Context()
	free := freeTCP(t)
	fixed, err := c.Add(ctx, netslirp.Publish{Protocol: netslirp.TCP, HostIP: loopback(), HostPort: free, ChildPort: at.TCP})
	if err != nil || fixed.HostPort != free {
		t.Fatalf("%v, %v", fixed, err)
	}
	echoTCP(t, netip.AddrPortFrom(loopback(), free))
	chosen, err := c.Add(ctx, netslirp.Publish{Protocol: netslirp.TCP, HostIP: loopback(), ChildPort: at.TCP})
	if err != nil || chosen.HostPort == 0 || chosen.ID <= fixed.ID {
		t.Fatalf("%v, %v", chosen, err)
	}
	echoTCP(t, netip.AddrPortFrom(loopback(), chosen.HostPort))
	if list, err := c.List(ctx); err != nil || len(list) != 2 || list[0] != fixed || list[1] != chosen {
		t.Errorf("%v, %v", list, err)
	}
	_, err = c.Add(ctx, fixed.Publish)
	wants(t, err, "address already in use\nfix: ")
	removes(t, c, fixed)
	if list, err := c.List(ctx); err != nil || len(list) != 1 {
		t.Errorf("%v, %v", list, err)
	}
}

func removes(t *testing.T, c *Client, p netslirp.Published) {
	t.Helper()
	if err := c.Remove(t.Context(), p.ID); err != nil {
		t.Fatal(err)
	}
	wants(t, c.Remove(t.Context(), p.ID), "unknown id")
}

func TestNobodyAnswers(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	_, err := Dial(path).List(t.Context())
	wants(t, err, "the container's network has ended\nfix: ")
	listener, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	listener.SetUnlinkOnClose(false)
	_ = listener.Close()
	_, err = Dial(path).List(t.Context())
	wants(t, err, "the container's network has ended\nfix: ")
}

// A network that the container has taken over says what it likes.
func TestHostileAnswer(t *testing.T) {
	for name, answer := range map[string]string{
		"no JSON":     "moss",
		"an escape":   `[{"id":1,"spec":{"proto":"tcp","parentIP":"\u001b[2J","parentPort":1,"childPort":1}}]`,
		"a zone":      `[{"id":1,"spec":{"proto":"tcp","parentIP":"fe80::1%x","parentPort":1,"childPort":1}}]`,
		"no protocol": `[{"id":1,"spec":{"proto":"\u001b","parentIP":"::1","parentPort":1,"childPort":1}}]`,
		"a port":      `[{"id":1,"spec":{"proto":"tcp","parentIP":"::1","parentPort":65537,"childPort":1}}]`,
		"endless":     "[" + strings.Repeat(" ", 5<<20),
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "s")
			listener, err := net.Listen("unix", path)
			if err != nil {
				t.Fatal(err)
			}
			server := &http.Server{ReadTimeout: time.Second, Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, answer) })}
			go func() { _ = server.Serve(listener) }()
			defer server.Close()
			if list, err := Dial(path).List(t.Context()); err == nil || strings.Contains(err.Error(), "\x1b") {
				t.Errorf("%v, %v", list, err)
			}
		})
	}
}

func TestPublished(t *testing.T) {
	for _, text := range []string{"127.0.0.1:8080:80/tcp", "[::1]:8053:53/udp"} {
		list, err := netslirp.ParsePublish(text)
		if err != nil {
			t.Fatal(err)
		}
		got, err := parseStatus(&port.Status{ID: 7, Spec: spec(list[0])})
		if err != nil || got.ID != 7 || got.Publish != list[0] {
			t.Errorf("%s: %v, %v", text, got, err)
		}
	}
}

// A socket's address is short; the path of a directory need not be.
func TestLongPath(t *testing.T) {
	dir := filepath.Join(t.TempDir(), strings.Repeat("d", 100), strings.Repeat("e", 100))
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "s")
	listener, err := Listen(path)
	if err != nil {
		t.Fatal(err)
	}
	p, _ := container(t)
	done := make(chan error, 1)
	go func() { done <- p.Serve(t.Context(), listener) }()
	if list, err := Dial(path).List(t.Context()); err != nil || len(list) != 0 {
		t.Errorf("%v, %v", list, err)
	}
	_ = listener.Close()
	if err := <-done; err == nil {
		t.Error("Serve ended without a reason")
	}
	if _, err := os.Lstat(path); err == nil {
		t.Error("the socket is left")
	}
}
