package ports

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/rootless-containers/rootlesskit/v3/pkg/api"
	"github.com/rootless-containers/rootlesskit/v3/pkg/port"
	"golang.org/x/sys/unix"

	"bryo/netslirp"
	"bryo/netslirp/loop"
)

// Options is what Ports are made of.
type Options struct {
	Dir string    // for the socket between both sides; nobody else may enter it
	Log io.Writer // nil for none
	// Loop has the sockets; it runs until after Close. With none, there is one for
	// these ports alone.
	Loop *loop.Loop
}

// Ports are the ports of the host that lead into one container.
type Ports struct {
	driver *driver
	loop   *loop.Loop // if it is these ports' own
	pipe   string     // that the side inside closes when it listens
	quit   chan struct{}
	ended  chan struct{} // closed when no goroutine of the driver itself is left
	ready  chan struct{} // closed when the side inside listens
	failed chan error
	once   sync.Once
}

// New makes a set of ports without any yet.
func New(options Options) (*Ports, error) {
	log := options.Log
	if log == nil {
		log = io.Discard
	}
	on := options.Loop
	var own *loop.Loop
	if on == nil {
		var err error
		if own, err = loop.New(nil); err != nil {
			return nil, err
		}
		on = own
	}
	driver, err := newDriver(log, options.Dir, on)
	if err != nil {
		return nil, err
	}
	p := &Ports{
		driver: driver, loop: own, pipe: filepath.Join(options.Dir, readyName),
		quit: make(chan struct{}), ready: make(chan struct{}), failed: make(chan error, 1), ended: make(chan struct{}),
	}
	complete := make(chan struct{}, 1)
	var wg sync.WaitGroup
	wg.Go(func() { p.failed <- driver.RunParentDriver(complete, p.quit, &port.ChildContext{}) })
	wg.Go(func() {
		select {
		case <-complete:
			close(p.ready)
		case <-p.quit:
		}
	})
	if own != nil {
		wg.Go(func() {
			_ = own.Run(-1) // it has no device to fail
			own.End()
			_ = own.Close()
		})
	}
	go func() {
		wg.Wait()
		close(p.ended)
	}()
	return p, nil
}

// Opaque is for RunChild, on the other side.
func (p *Ports) Opaque() map[string]string { return p.driver.OpaqueForChild() }

// Close ends the driver and what it listens on. It waits, but not for long, for
// what ends with the process at the latest.
func (p *Ports) Close() { p.once.Do(p.close) }

func (p *Ports) close() {
	const patience = time.Second
	close(p.quit)
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	p.driver.close()
	if p.loop != nil {
		p.loop.Stop()
	}
	enough := make(chan struct{})
	var wg sync.WaitGroup
	defer wg.Wait()
	wg.Go(func() {
		defer close(enough)
		select {
		case <-p.ended:
		case <-ctx.Done():
		}
	})
	wake(p.pipe, enough)
}

// Add publishes a port and returns it with the host's port that was chosen.
func (p *Ports) Add(ctx context.Context, publish netslirp.Publish) (netslirp.Publish, error) {
	if err := p.Ready(ctx); err != nil {
		return publish, err
	}
	const tries = 16 // until a free port is still free
	for try := 0; ; try++ {
		chosen := publish
		if chosen.HostPort == 0 {
			free, err := freePort(publish)
			if err != nil {
				return publish, fmt.Errorf("publish %s: %w", publish, err)
			}
			chosen.HostPort = free
		}
		_, err := p.driver.AddPort(ctx, spec(chosen))
		switch {
		case err == nil:
			return chosen, nil
		case publish.HostPort == 0 && errors.Is(err, unix.EADDRINUSE) && try < tries:
		default:
			return publish, explain(chosen, err)
		}
	}
}

var errClosed = errors.New("publish ports: the container has ended")

// Ready waits until the side inside listens. From then on the driver opens no
// more files: a process that gives up opening them has to wait first.
func (p *Ports) Ready(ctx context.Context) error {
	const patience = 10 * time.Second
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	select {
	case <-p.quit:
		return errClosed
	default:
	}
	select {
	case <-p.ready:
		return nil
	case <-p.quit:
		return errClosed
	case err := <-p.failed:
		p.failed <- err
		return fmt.Errorf("publish ports: %w", err)
	case <-ctx.Done():
		return errors.New("publish ports: the side in the container does not answer\nfix: try again")
	}
}

// spec is rootlesskit's word for it. The family is said, or 0.0.0.0 would take
// IPv6's ports, too; and the container's end is its loopback, whatever address
// the host's is.
func spec(publish netslirp.Publish) port.Spec {
	proto := "tcp"
	if publish.Protocol == netslirp.UDP {
		proto = "udp"
	}
	family := "4"
	if publish.HostIP.Is6() {
		family = "6"
	}
	return port.Spec{
		Proto: proto + family, ParentIP: publish.HostIP.String(), ParentPort: int(publish.HostPort),
		ChildPort: int(publish.ChildPort),
	}
}

// freePort asks the kernel for a port that nobody has, in the family alone that
// it is for.
func freePort(publish netslirp.Publish) (uint16, error) {
	network := spec(publish).Proto
	address := netip.AddrPortFrom(publish.HostIP, 0)
	if publish.Protocol == netslirp.UDP {
		conn, err := net.ListenUDP(network, net.UDPAddrFromAddrPort(address))
		if err != nil {
			return 0, err
		}
		defer conn.Close()
		return conn.LocalAddr().(*net.UDPAddr).AddrPort().Port(), nil //nolint:forcetypeassert // it is UDP's
	}
	listener, err := net.ListenTCP(network, net.TCPAddrFromAddrPort(address))
	if err != nil {
		return 0, err
	}
	defer listener.Close()
	return listener.Addr().(*net.TCPAddr).AddrPort().Port(), nil //nolint:forcetypeassert // it is TCP's
}

// explain says what keeps a port from being published, and what mends it.
func explain(publish netslirp.Publish, err error) error {
	where := netip.AddrPortFrom(publish.HostIP, publish.HostPort)
	switch {
	case errors.Is(err, unix.EADDRINUSE) || strings.HasPrefix(err.Error(), "conflict with ID"):
		return fmt.Errorf("publish %s: address already in use\nfix: choose another port, or leave it out for a free one: -p %d", where, publish.ChildPort)
	case errors.Is(err, unix.EADDRNOTAVAIL):
		return fmt.Errorf("publish %s: this machine does not have that address\nfix: take one of `ip address`, or 0.0.0.0 for all", where)
	case errors.Is(err, unix.EACCES) || errors.Is(err, unix.EPERM):
		first := unprivileged()
		if int(publish.HostPort) >= first {
			return fmt.Errorf("publish %s: permission denied", where)
		}
		return fmt.Errorf("publish %s: only root may use ports below %d here\nfix: take one from there on, as -p %d:%d, or have root set net.ipv4.ip_unprivileged_port_start=%d",
			where, first, alternative(publish.HostPort, first), publish.ChildPort, publish.HostPort)
	default:
		return fmt.Errorf("publish %s: %w", where, err)
	}
}

// unprivileged is the first port that everybody may use: ip_unprivileged_port_start.
func unprivileged() int {
	const usual = 1024
	text, err := os.ReadFile("/proc/sys/net/ipv4/ip_unprivileged_port_start")
	if err != nil {
		return usual
	}
	first, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil {
		return usual
	}
	return first
}

// alternative is a port that reminds of the one that was wanted.
func alternative(port uint16, first int) int {
	const familiar, last = 8000, 1<<16 - 1
	return min(max(first, familiar+int(port)), last)
}

// manager is the driver for rootlesskit's interface, with bryo's errors and
// bryo's idea of what is published where.
type manager struct{ ports *Ports }

// Info implements router.PortDriver.
func (m manager) Info(ctx context.Context) (*api.PortDriverInfo, error) {
	return m.ports.driver.Info(ctx)
}

// AddPort implements port.Manager. Without an address it is 127.0.0.1, as with -p.
func (m manager) AddPort(ctx context.Context, s port.Spec) (*port.Status, error) {
	if err := m.ports.Ready(ctx); err != nil {
		return nil, err
	}
	if s.ParentIP == "" {
		s.ParentIP = "127.0.0.1"
	}
	addr, err := netip.ParseAddr(s.ParentIP)
	if err != nil {
		return nil, fmt.Errorf("%q is no address", s.ParentIP)
	}
	if s.Proto == "tcp" || s.Proto == "udp" {
		s.Proto += map[bool]string{false: "4", true: "6"}[addr.Is6()]
	}
	status, err := m.ports.driver.AddPort(ctx, s)
	if err != nil && s.ParentPort > 0 && s.ParentPort < 1<<16 {
		return nil, explain(netslirp.Publish{HostIP: addr, HostPort: uint16(s.ParentPort), ChildPort: uint16(s.ChildPort)}, err)
	}
	return status, err
}

// ListPorts implements port.Manager.
func (m manager) ListPorts(ctx context.Context) ([]port.Status, error) {
	return m.ports.driver.ListPorts(ctx)
}

// RemovePort implements port.Manager.
func (m manager) RemovePort(ctx context.Context, id int) error {
	return m.ports.driver.RemovePort(ctx, id)
}
