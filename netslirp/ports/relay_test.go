package ports

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/rootless-containers/rootlesskit/v3/pkg/port"
	"golang.org/x/sys/unix"

	"bryo/netslirp"
	"bryo/netslirp/loop"
)

// publishedAt publishes a port of the container on loopback.
func publishedAt(t *testing.T, p *Ports, host netip.Addr, child uint16) netip.AddrPort {
	t.Helper()
	got, err := p.Add(t.Context(), netslirp.Publish{Protocol: netslirp.TCP, HostIP: host, ChildPort: child})
	if err != nil {
		t.Fatal(err)
	}
	return netip.AddrPortFrom(host, got.HostPort)
}

func dial(t *testing.T, to netip.AddrPort) *net.TCPConn {
	t.Helper()
	conn, err := net.DialTCP("tcp", nil, net.TCPAddrFromAddrPort(to))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	_ = conn.SetDeadline(time.Now().Add(10 * time.Second))
	return conn
}

// answers says whether a byte comes back in time.
func answers(conn net.Conn, limit time.Duration) error {
	_ = conn.SetDeadline(time.Now().Add(limit))
	if _, err := conn.Write([]byte{'x'}); err != nil {
		return err
	}
	_, err := io.ReadFull(conn, make([]byte, 1))
	return err
}

func TestWhereServersListen(t *testing.T) {
	p, at := container(t)
	for name, child := range map[string]uint16{"127.0.0.1": at.TCP, "0.0.0.0": at.Any4, "[::]": at.Any6, "[::1]": at.Only6} {
		for _, host := range []netip.Addr{loopback(), netip.IPv6Loopback()} {
			t.Run(fmt.Sprintf("%s from %s", name, host), func(t *testing.T) {
				echoTCP(t, publishedAt(t, p, host, child))
			})
		}
	}
}

func TestNobodyListens(t *testing.T) {
	p, _ := container(t)
	isReset(t, publishedAt(t, p, loopback(), 9))
}

// isReset connects, and hears of a reset: at once, or when it reads.
func isReset(t *testing.T, to netip.AddrPort) {
	t.Helper()
	conn, err := net.DialTCP("tcp", nil, net.TCPAddrFromAddrPort(to))
	if err == nil {
		defer conn.Close()
		_ = conn.SetDeadline(time.Now().Add(10 * time.Second))
		_, err = conn.Read(make([]byte, 1))
	}
	if !errors.Is(err, unix.ECONNRESET) {
		t.Fatal(err)
	}
}

func TestResets(t *testing.T) {
	p, at := container(t)
	t.Run("of the server", func(t *testing.T) {
		conn := dial(t, publishedAt(t, p, loopback(), at.Rude))
		if err := answers(conn, 10*time.Second); !errors.Is(err, unix.ECONNRESET) {
			t.Error(err)
		}
	})
	to := publishedAt(t, p, loopback(), at.Witness)
	for name, end := range map[string]struct {
		close func(*net.TCPConn)
		want  string
	}{
		"of the client":      {func(c *net.TCPConn) { _ = c.SetLinger(0) }, "connection reset by peer"},
		"none of an orderly": {func(*net.TCPConn) {}, "<nil>"},
	} {
		t.Run(name, func(t *testing.T) {
			conn := dial(t, to)
			_, _ = conn.Write([]byte("hello"))
			time.Sleep(50 * time.Millisecond) // it has arrived
			end.close(conn)
			_ = conn.Close()
			told := ""
			for range 50 {
				ask := dial(t, to)
				_, _ = ask.Write([]byte{'q'})
				text, _ := io.ReadAll(ask)
				if told = string(text); strings.Contains(told, end.want) {
					return
				}
				time.Sleep(20 * time.Millisecond)
			}
			t.Errorf("the server heard %q", told)
		})
	}
}

// A few bytes and the end behind them, of which the kernel tells at once.
func TestShortAndOver(t *testing.T) {
	for name, count := range map[string]int{"pipes": 0, "copies": mostPipes} {
		t.Run(name, func(t *testing.T) {
			p, at := container(t)
			p.driver.mu.Lock()
			p.driver.pipes.count = count
			p.driver.mu.Unlock()
			to := publishedAt(t, p, loopback(), at.TCP)
			const times = 100
			for range times {
				conn := dial(t, to)
				_, err := conn.Write([]byte("few"))
				if err = errors.Join(err, conn.CloseWrite()); err != nil {
					t.Fatal(err)
				}
				if got, err := io.ReadAll(conn); string(got) != "few" || err != nil {
					t.Fatalf("%q, %v", got, err)
				}
				_ = conn.Close()
			}
		})
	}
}

// Nothing is lost or left waiting where both sides stop reading in turn, with
// pipes and without.
func TestBackPressure(t *testing.T) {
	const size = 24 << 20 // more than all buffers of the way
	for name, count := range map[string]int{"pipes": 0, "copies": mostPipes} {
		t.Run(name, func(t *testing.T) {
			p, at := container(t)
			p.driver.mu.Lock()
			p.driver.pipes.count = count
			p.driver.mu.Unlock()
			conn := dial(t, publishedAt(t, p, loopback(), at.TCP))
			sent := make(chan error, 1)
			go func() {
				for i := range size >> 20 {
					if _, err := conn.Write(bytes.Repeat([]byte{byte(i)}, 1<<20)); err != nil {
						sent <- err
						return
					}
				}
				sent <- conn.CloseWrite()
			}()
			time.Sleep(200 * time.Millisecond) // everything is full
			for i := range size >> 20 {
				got := make([]byte, 1<<20)
				if _, err := io.ReadFull(conn, got); err != nil || !bytes.Equal(got, bytes.Repeat([]byte{byte(i)}, 1<<20)) {
					t.Fatalf("the %dth part: %v, or others", i, err)
				}
			}
			if n, err := conn.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
				t.Errorf("after the end: %d, %v", n, err)
			}
			if err := <-sent; err != nil {
				t.Error(err)
			}
		})
	}
}

// What is idle keeps no pipe, and what is full no more than there may be.
func TestPipes(t *testing.T) {
	p, at := container(t)
	to := publishedAt(t, p, loopback(), at.TCP)
	var conns []*net.TCPConn
	for range 2 * mostPipes {
		conn := dial(t, to)
		conns = append(conns, conn)
		if err := answers(conn, 10*time.Second); err != nil {
			t.Fatal(err)
		}
	}
	count := func() int {
		p.driver.mu.Lock()
		defer p.driver.mu.Unlock()
		return p.driver.pipes.count
	}
	if n := count(); n > mostSpare {
		t.Errorf("%d pipes are kept for nothing", n)
	}
	data := make([]byte, 1<<20)
	for _, conn := range conns[1:] { // nobody reads what comes back
		_ = conn.SetWriteDeadline(time.Now().Add(30 * time.Millisecond))
		for range 64 {
			if _, err := conn.Write(data); err != nil {
				break
			}
		}
	}
	if n := count(); n > mostPipes {
		t.Errorf("there are %d pipes", n)
	}
	if err := answers(conns[0], 5*time.Second); err != nil {
		t.Errorf("others wait: %v", err)
	}
	for _, conn := range conns {
		_ = conn.SetLinger(0)
		_ = conn.Close()
	}
	for range 100 {
		if count() <= mostSpare {
			return
		}
		time.Sleep(20 * time.Millisecond)
	}
	t.Errorf("%d pipes are left", count())
}

// When there is no descriptor left, clients wait; afterwards they are served.
func TestDescriptorsRunOut(t *testing.T) {
	p, at := container(t)
	to := publishedAt(t, p, loopback(), at.TCP)
	echoTCP(t, to)
	var fds []int
	for range 8 {
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		fds = append(fds, fd)
	}
	highest, err := unix.FcntlInt(uintptr(fds[0]), unix.F_DUPFD_CLOEXEC, 0) // all numbers below are taken
	if err != nil {
		t.Fatal(err)
	}
	var before unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &before); err != nil {
		t.Fatal(err)
	}
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: uint64(highest) + 1, Max: before.Max}); err != nil {
		t.Fatal(err)
	}
	var failed error
	for _, fd := range fds {
		failed = errors.Join(failed, unix.Connect(fd, &unix.SockaddrInet4{Port: int(to.Port()), Addr: to.Addr().As4()}))
	}
	time.Sleep(100 * time.Millisecond)
	if err := errors.Join(failed, unix.Setrlimit(unix.RLIMIT_NOFILE, &before), unix.Close(highest)); err != nil {
		t.Fatal(err)
	}
	for _, fd := range fds {
		file := os.NewFile(uintptr(fd), "client")
		conn, err := net.FileConn(file)
		_ = file.Close()
		if err != nil {
			t.Fatal(err)
		}
		if err := answers(conn, 5*time.Second); err != nil {
			t.Errorf("one that had waited: %v", err)
		}
		_ = conn.Close()
	}
	echoTCP(t, to)
}

func TestMostRelays(t *testing.T) {
	p, at := container(t)
	p.driver.mu.Lock()
	p.driver.most = 1
	p.driver.mu.Unlock()
	to := publishedAt(t, p, loopback(), at.TCP)
	first, second := dial(t, to), dial(t, to)
	if err := answers(first, 5*time.Second); err != nil {
		t.Fatal(err)
	}
	if err := answers(second, 100*time.Millisecond); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatalf("there are two at a time: %v", err)
	}
	_ = first.Close()
	if err := answers(second, 5*time.Second); err != nil {
		t.Errorf("the second one's turn does not come: %v", err)
	}
}

func TestRemoveEndsConnections(t *testing.T) {
	p, at := container(t)
	conn := dial(t, publishedAt(t, p, loopback(), at.TCP))
	if err := answers(conn, 5*time.Second); err != nil {
		t.Fatal(err)
	}
	list, err := p.driver.ListPorts(t.Context())
	if err != nil || len(list) != 1 {
		t.Fatal(list, err)
	}
	if err := p.driver.RemovePort(t.Context(), list[0].ID); err != nil {
		t.Fatal(err)
	}
	if err := answers(conn, 5*time.Second); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("the connection goes on: %v", err)
	}
}

// A side inside that answers with something else than a connection gets nothing
// done, and leaves nothing.
func TestHostileInside(t *testing.T) {
	udp, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	defer udp.Close()
	socket, err := udp.File()
	if err != nil {
		t.Fatal(err)
	}
	defer socket.Close()
	file, err := os.Open("/dev/null")
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	for name, fds := range map[string][]int{
		"nothing": nil, "a file": {int(file.Fd())}, "a socket of UDP": {int(socket.Fd())}, "two": {int(file.Fd()), int(socket.Fd())},
	} {
		t.Run(name, func(t *testing.T) {
			to := fakeInside(t, fds)
			before := descriptors(t)
			for range 20 {
				isReset(t, to)
			}
			for range 50 {
				if descriptors(t) <= before {
					return
				}
				time.Sleep(20 * time.Millisecond)
			}
			t.Errorf("%d descriptors became %d", before, descriptors(t))
		})
	}
}

// fakeInside is a driver whose side inside sends these with every answer.
func fakeInside(t *testing.T, fds []int) netip.AddrPort {
	t.Helper()
	dir := t.TempDir()
	l, err := loop.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	d, err := newDriver(io.Discard, dir, l)
	if err != nil {
		t.Fatal(err)
	}
	inside, err := net.ListenUnix("unix", &net.UnixAddr{Name: filepath.Join(dir, socketName), Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	ran := make(chan error, 1)
	go func() { ran <- l.Run(-1) }()
	t.Cleanup(func() {
		_ = inside.Close()
		d.close()
		l.Stop()
		if err := errors.Join(<-ran, l.Close()); err != nil {
			t.Error(err)
		}
	})
	go func() {
		for {
			conn, err := inside.AcceptUnix()
			if err != nil {
				return
			}
			_, _, _ = conn.WriteMsgUnix([]byte("dummy"), unix.UnixRights(fds...), nil)
			_ = conn.Close()
		}
	}()
	free := freeTCP(t)
	if _, err := d.AddPort(t.Context(), port.Spec{Proto: "tcp4", ParentIP: "127.0.0.1", ParentPort: int(free), ChildPort: 80}); err != nil {
		t.Fatal(err)
	}
	return netip.AddrPortFrom(loopback(), free)
}

func descriptors(t *testing.T) int {
	t.Helper()
	list, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(list)
}
