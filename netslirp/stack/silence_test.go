package stack

import (
	"errors"
	"io"
	"net"
	"os"
	"runtime"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"bryo/netslirp"
)

// dead makes a connection's end one that the network has lost: whatever comes
// for it is dropped, and it says nothing.
func dead(t *testing.T, c net.Conn) {
	t.Helper()
	raw, err := c.(syscall.Conn).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	drop := []unix.SockFilter{{Code: unix.BPF_RET | unix.BPF_K, K: 0}}
	var failed error
	err = raw.Control(func(fd uintptr) {
		failed = errors.Join(
			unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_KEEPALIVE, 0),
			unix.SetsockoptSockFprog(int(fd), unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &unix.SockFprog{Len: uint16(len(drop)), Filter: &drop[0]}),
		)
	})
	if err := errors.Join(err, failed); err != nil {
		t.Fatal(err)
	}
}

// An end that is gone without a word is noticed, and the other one hears of it.
func TestDeadPeer(t *testing.T) {
	t.Parallel()
	if !again(t, true) {
		return
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	_, port, _ := net.SplitHostPort(l.Addr().String())
	world(t, Options{MTU: 1500, Decide: decide, KeepAlive: time.Second}, tun(1500), func(*Stack) {
		for name, pick := range map[string]func(host, inside net.Conn) (gone, left net.Conn){
			"on the host": func(host, inside net.Conn) (gone, left net.Conn) { return host, inside },
			"inside":      func(host, inside net.Conn) (gone, left net.Conn) { return inside, host },
		} {
			inside, err := net.DialTimeout("tcp", net.JoinHostPort(netslirp.Gateway4().String(), port), 5*time.Second)
			if err != nil {
				t.Error(err)
				return
			}
			host, err := l.Accept()
			if err != nil {
				t.Error(err)
				return
			}
			gone, left := pick(host, inside)
			_, _ = gone.Write([]byte("x"))
			_ = left.SetDeadline(time.Now().Add(15 * time.Second))
			if _, err := io.ReadFull(left, make([]byte, 1)); err != nil {
				t.Error(err)
			}
			dead(t, gone)
			if n, err := left.Read(make([]byte, 1)); n != 0 || errors.Is(err, os.ErrDeadlineExceeded) || errors.Is(err, io.EOF) {
				t.Errorf("dead %s: the other end hears %v", name, err)
			}
			_ = inside.Close()
			_ = host.Close()
		}
	})
}

// What is silent and alive stays, longer than one that is dead does.
func TestSilentPeer(t *testing.T) {
	t.Parallel()
	if !again(t, true) {
		return
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	_, port, _ := net.SplitHostPort(l.Addr().String())
	world(t, Options{MTU: 1500, Decide: decide, KeepAlive: time.Second}, tun(1500), func(*Stack) {
		inside, err := net.DialTimeout("tcp", net.JoinHostPort(netslirp.Gateway4().String(), port), 5*time.Second)
		if err != nil {
			t.Error(err)
			return
		}
		defer inside.Close()
		host, err := l.Accept()
		if err != nil {
			t.Error(err)
			return
		}
		defer host.Close()
		time.Sleep(6 * time.Second)
		_ = inside.SetDeadline(time.Now().Add(5 * time.Second))
		_, _ = host.Write([]byte("x"))
		if _, err := io.ReadFull(inside, make([]byte, 1)); err != nil {
			t.Error(err)
		}
	})
}

// What a container sends before there is a network waits in the device.
func TestBeforeTheStack(t *testing.T) {
	if !again(t, true) {
		return
	}
	streams, datagrams := serve(t)
	gateway := netslirp.Gateway4().String()
	sent, made, finished := make(chan struct{}), make(chan int), make(chan struct{})
	go func() {
		defer close(finished)
		defer close(made)
		runtime.LockOSThread() // for good: the thread's namespace is the container's
		fd, err := container(tun(1500))
		if err != nil {
			t.Error(err)
			return
		}
		const count = 100
		udp, err := net.Dial("udp", net.JoinHostPort(gateway, datagrams))
		if err != nil {
			t.Error(err)
			return
		}
		defer udp.Close()
		for range count {
			if _, err := udp.Write([]byte("early")); err != nil {
				t.Error(err)
			}
		}
		time.AfterFunc(50*time.Millisecond, func() { close(sent) }) // in which the SYN is sent
		made <- fd
		tcp, err := net.DialTimeout("tcp", net.JoinHostPort(gateway, streams), 900*time.Millisecond) // before another SYN
		if err != nil {
			t.Error("the first SYN is lost:", err)
			return
		}
		_ = tcp.Close()
		_ = udp.SetDeadline(time.Now().Add(5 * time.Second))
		for i := range count {
			if _, err := udp.Read(make([]byte, 8)); err != nil {
				t.Errorf("after %d of %d: %v", i, count, err)
				return
			}
		}
	}()
	fd, ok := <-made
	if !ok {
		return
	}
	<-sent
	run(t, Options{FD: fd, MTU: 1500, Decide: decide}, func(*Stack) { <-finished })
}
