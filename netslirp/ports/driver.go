package ports

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"

	"github.com/rootless-containers/rootlesskit/v3/pkg/port"
	"github.com/rootless-containers/rootlesskit/v3/pkg/port/builtin"
	"github.com/rootless-containers/rootlesskit/v3/pkg/port/portutil"
	"golang.org/x/sys/unix"

	"bryo/netslirp/loop"
)

// driver is rootlesskit's builtin driver, the side outside, with all sockets on
// a loop: the builtin's own goroutines take three threads to move what one can,
// end when once there is no descriptor left, and know no limit.
type driver struct {
	port.ParentDriver // speaks to the side inside first

	socket string // where the side inside listens
	loop   *loop.Loop

	mu     sync.Mutex // held by those who add and remove ports, and for each turn
	ports  map[int]*published
	next   int // id
	relays int
	most   int  // relays that there may be
	full   bool // somebody waits for one to end
	closed bool
	flows  int // of datagrams
	held   int // bytes of datagrams that wait
	pipes  pipes
	buffer []byte
}

// published is a port of the driver's.
type published struct {
	port.Status

	open opened
}

// opened is what comes for a port.
type opened interface {
	// resume is told that there is room again.
	resume()
	close()
}

// newDriver makes a driver whose sockets are on the loop.
func newDriver(log io.Writer, dir string, l *loop.Loop) (*driver, error) {
	inner, err := builtin.NewParentDriver(log, dir, false, "")
	if err != nil {
		return nil, err
	}
	return &driver{ParentDriver: inner, socket: dir + "/" + socketName, loop: l, ports: make(map[int]*published), next: 1, most: mostRelays()}, nil
}

// mostRelays leaves half of the descriptors that there may be to others.
func mostRelays() int {
	const each, half, least, most = 2, 2, 16, 1 << 16
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		return least
	}
	return int(min(max(limit.Cur/(half*each), least), most))
}

// AddPort implements port.Manager.
func (d *driver) AddPort(_ context.Context, spec port.Spec) (*port.Status, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		return nil, errClosed
	}
	has := make(map[int]*port.Status, len(d.ports))
	for id, p := range d.ports {
		has[id] = &p.Status
	}
	if err := portutil.ValidatePortSpec(spec, has); err != nil {
		return nil, err
	}
	p := &published{Status: port.Status{ID: d.next, Spec: spec}}
	var err error
	if p.open, err = d.open(spec); err != nil {
		return nil, err
	}
	d.next++
	d.ports[p.ID] = p
	return &p.Status, nil
}

func isUDP(spec port.Spec) bool { return strings.HasPrefix(spec.Proto, "udp") }

// open has what comes for a port passed on.
func (d *driver) open(spec port.Spec) (opened, error) {
	switch {
	case isUDP(spec):
		return d.receive(spec)
	case strings.HasPrefix(spec.Proto, "tcp"):
		return d.listen(spec)
	default:
		return nil, fmt.Errorf("unsupported port protocol %s", spec.Proto)
	}
}

// ListPorts implements port.Manager.
func (d *driver) ListPorts(context.Context) ([]port.Status, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	var list []port.Status
	for _, p := range d.ports {
		list = append(list, p.Status)
	}
	slices.SortFunc(list, func(a, b port.Status) int { return a.ID - b.ID })
	return list, nil
}

// RemovePort implements port.Manager. It ends the port's connections, too.
func (d *driver) RemovePort(_ context.Context, id int) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	p := d.ports[id]
	if p == nil {
		return fmt.Errorf("unknown id: %d", id)
	}
	delete(d.ports, id)
	p.open.close()
	return nil
}

// close ends all ports; there will be no more.
func (d *driver) close() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.closed = true
	for id, p := range d.ports {
		delete(d.ports, id)
		p.open.close()
	}
	d.pipes.close()
}
