package ports

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"bryo/netslirp"
)

// role makes this program the side in a container of its own.
const role = "BRYO_PORTS_TEST"

func TestMain(m *testing.M) {
	var err error
	switch os.Getenv(role) {
	case "container":
		err = contain()
	case "low":
		err = low()
	default:
		os.Exit(m.Run())
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// servers are the ports of the container that answer.
type servers struct {
	TCP, UDP          uint16 // on 127.0.0.1
	Any6UDP, Only6UDP uint16 // on [::] and [::1]
	Any4, Any6, Only6 uint16 // on 0.0.0.0, [::] and [::1]
	Rude              uint16 // resets after the first byte
	Witness           uint16 // tells who sends a q what the connection before ended with
}

// contain is a container: it says where its servers listen, is told what
// RunChild needs, and ends when nobody can tell it more.
func contain() error {
	if err := loopbackUp(); err != nil {
		return err
	}
	at, err := serveEcho()
	if err != nil {
		return err
	}
	if err := json.NewEncoder(os.Stdout).Encode(at); err != nil {
		return err
	}
	in := bufio.NewReader(os.Stdin)
	line, err := in.ReadBytes('\n')
	if err != nil {
		return nil //nolint:nilerr // the test needs it no longer
	}
	var opaque map[string]string
	if err := json.Unmarshal(line, &opaque); err != nil {
		return err
	}
	stop := make(chan struct{})
	go func() {
		_, _ = io.Copy(io.Discard, in)
		close(stop)
	}()
	return RunChild(opaque, stop)
}

func loopbackUp() error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	request, err := unix.NewIfreq("lo")
	if err != nil {
		return err
	}
	request.SetUint16(unix.IFF_UP | unix.IFF_LOOPBACK | unix.IFF_RUNNING)
	return unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, request)
}

// serveEcho answers with what it got: TCP until its end, UDP each datagram.
func serveEcho() (at servers, err error) {
	echo := func(conn net.Conn) { _, _ = io.Copy(conn, conn) }
	for _, s := range []struct {
		address string
		port    *uint16
		serve   func(net.Conn)
	}{
		{"127.0.0.1", &at.TCP, echo},
		{"0.0.0.0", &at.Any4, echo},
		{"[::]", &at.Any6, echo},
		{"[::1]", &at.Only6, echo},
		{"127.0.0.1", &at.Rude, rude},
		{"127.0.0.1", &at.Witness, new(witness).serve},
	} {
		if *s.port, err = serve(s.address, s.serve); err != nil {
			return at, err
		}
	}
	for address, port := range map[string]*uint16{"127.0.0.1": &at.UDP, "[::]": &at.Any6UDP, "[::1]": &at.Only6UDP} {
		udp, err := net.ListenPacket("udp", address+":0")
		if err != nil {
			return at, err
		}
		go func() {
			buffer := make([]byte, 1<<16)
			for {
				n, from, err := udp.ReadFrom(buffer)
				if err != nil {
					return
				}
				_, _ = udp.WriteTo(buffer[:n], from)
			}
		}()
		*port = netip.MustParseAddrPort(udp.LocalAddr().String()).Port()
	}
	return at, nil
}

// serve has each connection served on a port of its choice.
func serve(address string, each func(net.Conn)) (uint16, error) {
	listener, err := net.Listen("tcp", address+":0")
	if err != nil {
		return 0, err
	}
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go func() {
				each(conn)
				_ = conn.Close()
			}()
		}
	}()
	return netip.MustParseAddrPort(listener.Addr().String()).Port(), nil
}

func rude(conn net.Conn) {
	_, _ = conn.Read(make([]byte, 1))
	_ = conn.(*net.TCPConn).SetLinger(0) //nolint:forcetypeassert // it is TCP's
}

// witness remembers how a connection ended.
type witness struct {
	mu   sync.Mutex
	last string
}

func (w *witness) serve(conn net.Conn) {
	var first [1]byte
	_, _ = io.ReadFull(conn, first[:])
	if first[0] == 'q' {
		w.mu.Lock()
		defer w.mu.Unlock()
		_, _ = io.WriteString(conn, w.last)
		return
	}
	_, err := io.Copy(io.Discard, conn)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.last = fmt.Sprint(err)
}

// low publishes a port that only root may use, without being root, in a network
// namespace whose limit nobody moved.
func low() error {
	dir, err := os.MkdirTemp("", "")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	p, err := New(Options{Dir: dir})
	if err != nil {
		return err
	}
	defer p.Close()
	stop := make(chan struct{})
	defer close(stop)
	go func() { _ = RunChild(p.Opaque(), stop) }()
	for _, port := range []uint16{80, 1023} {
		_, err = p.Add(context.Background(), netslirp.Publish{Protocol: netslirp.TCP, HostIP: netip.IPv4Unspecified(), HostPort: port, ChildPort: 80})
		fmt.Fprintln(os.Stdout, err)
	}
	return nil
}

// namespaced is this program in user and network namespaces of its own, where
// it is the user uid.
func namespaced(t *testing.T, as string, uid int) *exec.Cmd {
	t.Helper()
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), role+"="+as)
	cmd.Stderr = os.Stderr
	cmd.WaitDelay = time.Second
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  unix.CLONE_NEWUSER | unix.CLONE_NEWNET,
		UidMappings: []syscall.SysProcIDMap{{ContainerID: uid, HostID: os.Geteuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{ContainerID: uid, HostID: os.Getegid(), Size: 1}},
	}
	return cmd
}

// container starts one, with ports of the host that can lead into it.
func container(t *testing.T) (*Ports, servers) {
	t.Helper()
	cmd := namespaced(t, "container", 0)
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Skipf("no user and network namespaces here: %v", err)
	}
	dir := t.TempDir()
	t.Cleanup(func() {
		_ = in.Close()
		kill := time.AfterFunc(5*time.Second, func() { _ = cmd.Process.Kill() })
		defer kill.Stop()
		if err := cmd.Wait(); err != nil {
			t.Errorf("the side inside: %v", err)
		}
	})
	var at servers
	if err := json.NewDecoder(out).Decode(&at); err != nil {
		t.Fatalf("the container did not begin: %v", err)
	}
	p, err := New(Options{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Close)
	if err := json.NewEncoder(in).Encode(p.Opaque()); err != nil {
		t.Fatal(err)
	}
	return p, at
}
