package tests

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

// Servers in containers are reached from where it was said.
func TestNetPorts(t *testing.T) {
	if !inWorld(t) {
		return
	}
	w := newWorld(t, veth)
	w.step("http", publishHTTP)
	w.step("everywhere", publishEverywhere)
	w.step("datagrams", publishDatagrams)
	w.step("ranges", publishRanges)
	w.step("large", publishLarge)
	w.step("taken or low", publishRefused)
	w.step("while it runs", livePorts)
	w.step("rootlessctl", rootlessctl)
}

// container is one that runs while the test looks at it.
type container struct {
	w   *world
	cmd *exec.Cmd
	out *tail
}

// publish starts a container that serves.
func (w *world) publish(flags []string, command ...string) *container {
	w.t.Helper()
	c := &container{w: w, cmd: w.boxed(flags, w.root, command...)}
	c.out = w.start(c.cmd)
	return c
}

// end kills it, and sees that it is gone.
func (c *container) end() {
	c.w.t.Helper()
	_ = c.cmd.Process.Kill()
	_ = c.cmd.Wait()
	c.w.nothingLeft()
}

// dialHere connects from the host.
func dialHere(network, addr string) (net.Conn, error) {
	return net.DialTimeout(network, addr, longestWait)
}

// speaks waits until a server echoes what is said to it.
func (c *container) speaks(network, addr string, dial func(network, addr string) (net.Conn, error)) {
	c.w.t.Helper()
	var fault error
	if !holds(func() bool { fault = echoes(network, addr, dial); return fault == nil }) {
		c.w.t.Errorf("%s %s: %v\n%s", network, addr, fault, c.out)
	}
}

func echoes(network, addr string, dial func(network, addr string) (net.Conn, error)) error {
	conn, err := dial(network, addr)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()
	_ = conn.SetDeadline(time.Now().Add(time.Second))
	if _, err := io.WriteString(conn, "moss"); err != nil {
		return err
	}
	answer := make([]byte, 4)
	if _, err := io.ReadFull(conn, answer); err != nil {
		return err
	}
	if string(answer) != "moss" {
		return fmt.Errorf("echoed %q", answer)
	}
	return nil
}

// mirrored sends much to an echo server, and reads it back.
func mirrored(t *testing.T, conn net.Conn, n int64) {
	t.Helper()
	defer func() { _ = conn.Close() }()
	_ = conn.SetDeadline(time.Now().Add(longestCommand))
	sent := make(chan error)
	go func() {
		_, err := io.Copy(conn, stream(n))
		if tcp, ok := conn.(*net.TCPConn); ok && err == nil {
			err = tcp.CloseWrite()
		}
		sent <- err
	}()
	got, want := sha256.New(), sha256.New()
	received, err := io.Copy(got, conn)
	if sendErr := <-sent; sendErr != nil {
		t.Errorf("send: %v", sendErr)
	}
	_, _ = io.Copy(want, stream(n))
	if err != nil || received != n || !bytes.Equal(got.Sum(nil), want.Sum(nil)) {
		t.Errorf("%d bytes of %d came back, or others: %v", received, n, err)
	}
}

func get(url string) (string, error) {
	client := http.Client{Timeout: longestWait / 4, Transport: &http.Transport{DisableKeepAlives: true}}
	response, err := client.Get(url)
	if err != nil {
		return "", err
	}
	defer func() { _ = response.Body.Close() }()
	text, err := io.ReadAll(response.Body)
	return string(text), err
}

func publishHTTP(t *testing.T, w *world) {
	if err := os.WriteFile(filepath.Join(w.root, "srv/index.html"), []byte("hello from inside\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	c := w.publish([]string{"-p", "8090:80"}, "httpd", "-f", "-p", "80", "-h", "/srv")
	defer c.end()
	var text string
	var err error
	holds(func() bool { text, err = get("http://127.0.0.1:8090/"); return err == nil })
	if text != "hello from inside\n" {
		t.Errorf("got %q, %v\n%s", text, err, c.out)
	}
	// Nobody else is let in.
	for _, addr := range []string{"[::1]:8090", hostAddr4 + ":8090"} {
		if conn, err := net.DialTimeout("tcp", addr, longestWait); err == nil {
			_ = conn.Close()
			t.Errorf("%s is open", addr)
		}
	}
	if conn, err := w.outside.dial("tcp", hostAddr4+":8090"); err == nil {
		_ = conn.Close()
		t.Error("it is open to the outside")
	}
	c.end()
	listener, err := net.Listen("tcp", "127.0.0.1:8090")
	if err != nil {
		t.Fatal("the port stays taken: ", err)
	}
	_ = listener.Close()
}

func publishEverywhere(_ *testing.T, w *world) {
	c := w.publish([]string{"-p", "0.0.0.0:8091:7", "-p", "[::]:8092:7", "-p", "[::1]:8093:7", "-p", hostAddr4 + ":8094:7/tcp"}, "netsite", "echo", "0.0.0.0:7")
	defer c.end()
	c.speaks("tcp", "127.0.0.1:8091", dialHere)
	c.speaks("tcp", hostAddr4+":8091", w.outside.dial)
	c.speaks("tcp", "["+hostAddr6+"]:8092", w.outside.dial)
	c.speaks("tcp", "[::1]:8093", dialHere)
	c.speaks("tcp", hostAddr4+":8094", w.outside.dial)
}

// publishDatagrams reaches servers wherever in the container they listen.
func publishDatagrams(_ *testing.T, w *world) {
	for _, where := range []string{"0.0.0.0:7", "127.0.0.1:7", "[::]:7", "[::1]:7"} {
		c := w.publish([]string{"-p", "8095:7/udp", "-p", "0.0.0.0:8096:7/udp", "-p", "[::1]:8097:7/udp", "-p", "8095:7/tcp"}, "netsite", "echo", where)
		c.speaks("udp", "127.0.0.1:8095", dialHere)
		c.speaks("tcp", "127.0.0.1:8095", dialHere)
		c.speaks("udp", hostAddr4+":8096", w.outside.dial)
		c.speaks("udp", "[::1]:8097", dialHere)
		c.end()
	}
}

func publishRanges(_ *testing.T, w *world) {
	c := w.publish([]string{"-p", "8100-8102:9000-9002", "-p", "127.0.0.1:8103-8104:9003-9004/udp"}, "netsite", "echo",
		"0.0.0.0:9000", "0.0.0.0:9001", "0.0.0.0:9002", "0.0.0.0:9003", "0.0.0.0:9004")
	defer c.end()
	for _, port := range []string{"8100", "8101", "8102"} {
		c.speaks("tcp", "127.0.0.1:"+port, dialHere)
	}
	for _, port := range []string{"8103", "8104"} {
		c.speaks("udp", "127.0.0.1:"+port, dialHere)
	}
}

func publishLarge(t *testing.T, w *world) {
	c := w.publish([]string{"-p", "8105:7"}, "netsite", "echo", "127.0.0.1:7")
	defer c.end()
	c.speaks("tcp", "127.0.0.1:8105", dialHere)
	conn, err := dialHere("tcp", "127.0.0.1:8105")
	if err != nil {
		t.Fatal(err)
	}
	mirrored(t, conn, megabytes)
}

// publishRefused sees that the command does not start.
func publishRefused(t *testing.T, w *world) {
	taken, err := net.Listen("tcp", "127.0.0.1:8106")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = taken.Close() }()
	takenPacket, err := net.ListenPacket("udp", "127.0.0.1:8107")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = takenPacket.Close() }()
	for _, row := range []struct{ port, want string }{
		{"8106:80", "in use"},
		{"8107:80/udp", "in use"},
		{"8104-8106:80-82", "8106"},
		{"81:80", "ip_unprivileged_port_start"},
		{"203.0.113.250:8108:80", "203.0.113.250"},
	} {
		got := w.box([]string{"-p", row.port}, "echo", "it ran")
		if got.code != 125 || got.out != "" || !strings.Contains(got.err, row.want) || !strings.Contains(got.err, "fix:") || strings.Count(got.err, "\n") > 3 {
			t.Errorf("-p %s: %+v, want a refusal that has %q and a fix", row.port, got, row.want)
		}
	}
	w.nothingLeft()
}

// answers says whether somebody listens: a socket has its name a moment before.
func answers(socket string) bool {
	conn, err := net.Dial("unix", socket)
	if err == nil {
		_ = conn.Close()
	}
	return err == nil
}

// livePorts are listed, with those that nobody chose, over a socket that is the
// user's alone.
func livePorts(t *testing.T, w *world) {
	socket := filepath.Join(w.dir, "ports.sock")
	c := w.publish([]string{"--port-socket", socket, "-p", "7", "-p", "127.0.0.1::7/udp"}, "netsite", "echo", "0.0.0.0:7")
	defer c.end()
	if !holds(func() bool { return answers(socket) }) {
		t.Fatalf("no %s: %s", socket, c.out)
	}
	if info, err := os.Stat(socket); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the socket's mode: %v, %v", info.Mode(), err)
	}
	client := http.Client{Timeout: longestWait, Transport: &http.Transport{DialContext: func(context.Context, string, string) (net.Conn, error) { return net.Dial("unix", socket) }}}
	response, err := client.Get("http://rootlesskit/v1/ports")
	if err != nil {
		t.Fatal(err)
	}
	text, _ := io.ReadAll(response.Body)
	_ = response.Body.Close()
	found := regexp.MustCompile(`"proto":"(tcp|udp)4?".*?"parentPort":(\d+)`).FindAllStringSubmatch(string(text), -1)
	if len(found) != 2 {
		t.Fatalf("ports: %s", text)
	}
	for _, match := range found {
		c.speaks(match[1], "127.0.0.1:"+match[2], dialHere)
	}
	c.end()
	if _, err := os.Stat(socket); err == nil {
		t.Error("the socket is left behind")
	}
}

// rootlessctl is rootlesskit's own.
func rootlessctl(t *testing.T, w *world) {
	if _, err := exec.LookPath("rootlessctl"); err != nil {
		t.Skip("no rootlessctl here")
	}
	socket := filepath.Join(w.dir, "ctl.sock")
	c := w.publish([]string{"--port-socket", socket}, "netsite", "echo", "0.0.0.0:7")
	defer c.end()
	c.out.await(t, "listening")
	ctl := func(args ...string) outcome {
		return w.end(w.ordinary("rootlessctl", append([]string{"--socket", socket}, args...)...))
	}
	added := ctl("add-ports", "127.0.0.1:8110:7/tcp", "127.0.0.1:8111:7/udp")
	if added.code != 0 {
		t.Fatalf("%+v", added)
	}
	c.speaks("tcp", "127.0.0.1:8110", dialHere)
	c.speaks("udp", "127.0.0.1:8111", dialHere)
	w.finds(ctl("list-ports"), "8110", "8111", "tcp", "udp")
	w.finds(ctl("list-ports", "--json"), "8110")
	w.finds(ctl("info"), "")
	if again := ctl("add-ports", "127.0.0.1:8110:7/tcp"); again.code == 0 {
		t.Errorf("a port that is taken: %+v", again)
	}
	if bad := ctl("add-ports", "127.0.0.1:82:7/tcp"); bad.code == 0 {
		t.Errorf("a port that is too low: %+v", bad)
	}
	id := strings.Fields(added.out)[0]
	w.finds(ctl("remove-ports", id), "")
	if conn, err := dialHere("tcp", "127.0.0.1:8110"); err == nil {
		_ = conn.Close()
		t.Error("a port that was removed is open")
	}
	if gone := ctl("remove-ports", id); gone.code == 0 {
		t.Errorf("a port that is gone: %+v", gone)
	}
	c.speaks("udp", "127.0.0.1:8111", dialHere)
}
