package ports

import (
	"errors"
	"net"
	"net/netip"
	"os"
	"time"

	"github.com/rootless-containers/rootlesskit/v3/pkg/port"
	"golang.org/x/sys/unix"

	"bryo/netslirp/loop"
)

// listener is a port of the host that listens.
type listener struct {
	loop.Socket

	driver *driver
	spec   port.Spec
	at     netip.Addr
	relays map[*relay]struct{}
}

// listen makes the loop accept what comes for a port.
func (d *driver) listen(spec port.Spec) (*listener, error) {
	at, err := netip.ParseAddr(spec.ParentIP)
	if err != nil {
		return nil, err
	}
	fd, err := bind(at, spec, unix.SOCK_STREAM)
	if err != nil {
		return nil, err
	}
	const backlog = 4096 // the kernel has a limit of its own
	if err := unix.Listen(fd, backlog); err != nil {
		return nil, errors.Join(os.NewSyscallError("listen", err), unix.Close(fd))
	}
	l := &listener{driver: d, spec: spec, at: at, relays: make(map[*relay]struct{})}
	l.FD, l.Owner = fd, l
	if err := d.loop.Add(&l.Socket); err != nil {
		return nil, errors.Join(err, unix.Close(fd))
	}
	return l, nil
}

// bind makes a socket of a port of the host's.
func bind(at netip.Addr, spec port.Spec, kind int) (int, error) {
	family, address := loop.Address(netip.AddrPortFrom(at.Unmap(), uint16(spec.ParentPort)))
	fd, err := unix.Socket(family, kind|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return -1, os.NewSyscallError("socket", err)
	}
	if kind == unix.SOCK_STREAM {
		err = os.NewSyscallError("setsockopt", unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1))
	}
	if family == unix.AF_INET6 && err == nil {
		err = os.NewSyscallError("setsockopt", unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_V6ONLY, 1))
	}
	if err == nil {
		err = os.NewSyscallError("bind", unix.Bind(fd, address))
	}
	if err != nil {
		_ = unix.Close(fd)
		return -1, err
	}
	return fd, nil
}

// Turn implements loop.Owner: it accepts.
func (l *listener) Turn(loop.Wants) {
	const most = 32 // before others have their turn
	d := l.driver
	d.mu.Lock()
	defer d.mu.Unlock()
	if l.FD < 0 {
		return
	}
	for range most {
		if d.full = d.full || d.relays >= d.most; d.full {
			return
		}
		fd, from, err := unix.Accept4(l.FD, unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK)
		switch {
		case err == nil:
			l.begin(fd, from)
		case errors.Is(err, unix.EAGAIN):
			return
		case exhausted(err):
			l.driver.later(&l.Socket, loop.Readable)
			return
		default: // accept(2): what befell the one connection
		}
	}
	d.loop.Queue(&l.Socket, loop.Readable)
}

// exhausted is an error of the process or the machine, which passes.
func exhausted(err error) bool {
	return errors.Is(err, unix.EMFILE) || errors.Is(err, unix.ENFILE) || errors.Is(err, unix.ENOBUFS) || errors.Is(err, unix.ENOMEM)
}

// later has a socket looked at in a while.
func (d *driver) later(s *loop.Socket, w loop.Wants) {
	const while = 20 * time.Millisecond
	time.AfterFunc(while, func() { d.loop.Queue(s, w) })
}

// End implements loop.Owner.
func (l *listener) End() {
	l.driver.mu.Lock()
	defer l.driver.mu.Unlock()
	l.close()
}

// resume has the clients accepted that wait.
func (l *listener) resume() { l.driver.loop.Queue(&l.Socket, loop.Readable) }

// close ends the listener and its connections.
func (l *listener) close() {
	if l.FD >= 0 {
		l.driver.loop.Remove(&l.Socket)
	}
	for r := range l.relays {
		r.finish(true)
	}
}

// begin has a relay made for a client.
func (l *listener) begin(fd int, from unix.Sockaddr) {
	r := &relay{listener: l}
	r.client.FD, r.client.Owner, r.client.relay = fd, &r.client, r
	r.server.FD, r.server.Owner, r.server.relay = -1, &r.server, r
	r.asking = newAsking(l.driver, l.spec, l.at, r)
	r.up = way{from: &r.client, to: &r.server}
	r.down = way{from: &r.server, to: &r.client}
	prepare(fd, isLoopback(from))
	l.relays[r] = struct{}{}
	l.driver.relays++
	if err := l.driver.loop.Add(&r.client.Socket); err != nil {
		r.finish(true)
		return
	}
	r.begin()
}

func isLoopback(from unix.Sockaddr) bool {
	switch a := from.(type) {
	case *unix.SockaddrInet4:
		return net.IP(a.Addr[:]).IsLoopback()
	case *unix.SockaddrInet6:
		return net.IP(a.Addr[:]).IsLoopback()
	}
	return false
}

// prepare sets what a connection needs: a peer that is gone without a word is
// noticed, and what is small is not held back.
func prepare(fd int, local bool) {
	const idle, interval, probes = 15, 15, 9
	for _, o := range [][3]int{
		{unix.IPPROTO_TCP, unix.TCP_NODELAY, 1},
		{unix.SOL_SOCKET, unix.SO_KEEPALIVE, 1},
		{unix.IPPROTO_TCP, unix.TCP_KEEPIDLE, idle},
		{unix.IPPROTO_TCP, unix.TCP_KEEPINTVL, interval},
		{unix.IPPROTO_TCP, unix.TCP_KEEPCNT, probes},
	} {
		_ = unix.SetsockoptInt(fd, o[0], o[1], o[2])
	}
	if local {
		// Who has wanted so much at a time has a window for it, which can still
		// grow, as it would by itself, but slowly.
		const window = 1 << 20
		_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVLOWAT, window)
		_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVLOWAT, 1)
		_ = unix.SetsockoptString(fd, unix.IPPROTO_TCP, unix.TCP_CONGESTION, "reno") // others pace, on a wire that is memory
	}
}
