package ports

import (
	"errors"
	"net/netip"
	"strconv"
	"time"

	"github.com/rootless-containers/rootlesskit/v3/pkg/port"
	"golang.org/x/sys/unix"

	"bryo/netslirp/loop"
)

const (
	mostFlows     = 1024 // of datagrams; whose is idle for longest makes room
	mostHeld      = 4 << 20
	mostHeldEach  = 16
	mostDatagrams = 64 // of one socket, before others have their turn
	receiveUDP    = 1 << 20
	flowIdle      = 90 * time.Second
	settling      = time.Second // until a server is there, or looked for again
)

// wantsRest has a flow looked at that may be idle.
const wantsRest = loop.Own

// receiver is a port of the host that takes datagrams.
type receiver struct {
	loop.Socket

	driver *driver
	spec   port.Spec
	at     netip.Addr
	flows  map[netip.AddrPort]*flow
}

// flow is the datagrams of one client, and a socket in the container for them.
type flow struct {
	loop.Socket // -1 until the side inside has made it

	receiver *receiver
	from     netip.AddrPort
	client   unix.Sockaddr
	asking   asking
	held     [][]byte // until it is settled
	settled  bool     // a server has answered, or nobody has refused
	deaf     bool     // nobody listens
	used     time.Time
	rest     *time.Timer
}

// receive makes the loop take the datagrams that come for a port.
func (d *driver) receive(spec port.Spec) (*receiver, error) {
	at, err := netip.ParseAddr(spec.ParentIP)
	if err != nil {
		return nil, err
	}
	fd, err := bind(at, spec, unix.SOCK_DGRAM)
	if err != nil {
		return nil, err
	}
	_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, receiveUDP)
	u := &receiver{driver: d, spec: spec, at: at, flows: make(map[netip.AddrPort]*flow)}
	u.FD, u.Owner = fd, u
	if err := d.loop.Add(&u.Socket); err != nil {
		return nil, errors.Join(err, unix.Close(fd))
	}
	return u, nil
}

// Turn implements loop.Owner.
func (u *receiver) Turn(loop.Wants) {
	u.driver.mu.Lock()
	defer u.driver.mu.Unlock()
	if u.FD < 0 {
		return
	}
	buffer := u.driver.room()
	for range mostDatagrams {
		n, client, err := unix.Recvfrom(u.FD, buffer, unix.MSG_DONTWAIT)
		if errors.Is(err, unix.EAGAIN) {
			return
		}
		if err != nil {
			continue // of one that was sent
		}
		if f := u.flow(client); f != nil {
			f.sendUp(buffer[:n])
		}
	}
	u.driver.loop.Queue(&u.Socket, loop.Readable)
}

// End implements loop.Owner.
func (u *receiver) End() {
	u.driver.mu.Lock()
	defer u.driver.mu.Unlock()
	u.close()
}

func (u *receiver) resume() {}

func (u *receiver) close() {
	if u.FD >= 0 {
		u.driver.loop.Remove(&u.Socket)
	}
	for _, f := range u.flows {
		f.close()
	}
}

// flow is that of a client, which may be new.
func (u *receiver) flow(client unix.Sockaddr) *flow {
	from, known := addrPort(client)
	if !known {
		return nil
	}
	if f := u.flows[from]; f != nil {
		return f
	}
	if u.driver.flows >= min(mostFlows, u.driver.most) {
		u.driver.makeRoom()
	}
	f := &flow{receiver: u, from: from, client: client, used: time.Now()}
	f.FD, f.Owner = -1, f
	f.asking = newAsking(u.driver, u.spec, u.at, f)
	f.rest = time.AfterFunc(settling, func() { u.driver.loop.Queue(&f.Socket, wantsRest) })
	u.flows[from] = f
	u.driver.flows++
	f.refused()
	return f
}

func addrPort(of unix.Sockaddr) (netip.AddrPort, bool) {
	switch a := of.(type) {
	case *unix.SockaddrInet4:
		return netip.AddrPortFrom(netip.AddrFrom4(a.Addr), uint16(a.Port)), true
	case *unix.SockaddrInet6:
		// Of link-local addresses, the device is part.
		return netip.AddrPortFrom(netip.AddrFrom16(a.Addr).WithZone(zone(a.ZoneId)), uint16(a.Port)), true
	}
	return netip.AddrPort{}, false
}

func zone(id uint32) string {
	if id == 0 {
		return ""
	}
	return strconv.Itoa(int(id))
}

// makeRoom ends the flow that has been idle for longest.
func (d *driver) makeRoom() {
	var oldest *flow
	for _, p := range d.ports {
		u, is := p.open.(*receiver)
		if !is {
			continue
		}
		for _, f := range u.flows {
			if oldest == nil || f.used.Before(oldest.used) {
				oldest = f
			}
		}
	}
	if oldest != nil {
		oldest.close()
	}
}

// refused asks where a server may still be.
func (f *flow) refused() {
	if f.asking.ask() != nil {
		f.hush()
	}
}

// hush drops what comes until a server is looked for again.
func (f *flow) hush() {
	f.deaf = true
	f.letGo()
	f.rest.Reset(settling)
}

// connected sends what has waited.
func (f *flow) connected(fd int) {
	_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, receiveUDP)
	f.FD = fd
	if err := f.receiver.driver.loop.Add(&f.Socket); err != nil {
		f.FD = -1
		_ = unix.Close(fd)
		f.close()
		return
	}
	for _, data := range f.held {
		if !f.send(data) {
			return
		}
	}
}

// send is false where nobody listens, and something is done about it.
func (f *flow) send(data []byte) bool {
	_, err := unix.SendmsgN(f.FD, data, nil, nil, unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL)
	if errors.Is(err, unix.ECONNREFUSED) {
		f.elsewhere()
		return false
	}
	return true // or lost, as on a wire
}

// sendUp passes a datagram on. It is kept until it is clear that somebody
// listens: the kernel says only afterwards that nobody does.
func (f *flow) sendUp(data []byte) {
	f.used = time.Now()
	if f.deaf {
		return
	}
	d := f.receiver.driver
	if !f.settled && len(f.held) < mostHeldEach && d.held+len(data) <= mostHeld {
		f.held = append(f.held, append([]byte(nil), data...))
		d.held += len(data)
	}
	if f.FD >= 0 {
		f.send(data)
	}
}

// elsewhere looks for another server, as nobody listens where it was sought.
func (f *flow) elsewhere() {
	if f.settled {
		f.hush()
		return
	}
	f.receiver.driver.loop.Remove(&f.Socket)
	f.refused()
}

// letGo forgets what was kept.
func (f *flow) letGo() {
	for _, data := range f.held {
		f.receiver.driver.held -= len(data)
	}
	f.held = nil
}

// Turn implements loop.Owner: it passes on what the server says.
func (f *flow) Turn(w loop.Wants) {
	d := f.receiver.driver
	d.mu.Lock()
	defer d.mu.Unlock()
	if w&wantsRest != 0 && f.rests() || f.FD < 0 {
		return
	}
	buffer := d.room()
	for range mostDatagrams {
		n, _, err := unix.Recvfrom(f.FD, buffer, unix.MSG_DONTWAIT)
		switch {
		case errors.Is(err, unix.EAGAIN):
			return
		case errors.Is(err, unix.ECONNREFUSED):
			f.elsewhere()
			return
		case err == nil:
			f.settled, f.used = true, time.Now()
			f.letGo()
			_ = unix.Sendto(f.receiver.FD, buffer[:n], unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL, f.client)
		}
	}
	d.loop.Queue(&f.Socket, loop.Readable)
}

// rests ends a flow that is idle, and looks again later at one that is not.
func (f *flow) rests() bool {
	if f.receiver.flows[f.from] != f {
		return true
	}
	if f.FD >= 0 {
		f.settled = true
		f.letGo()
	}
	quiet := time.Since(f.used)
	if f.deaf || quiet >= flowIdle {
		f.close()
		return true
	}
	f.rest.Reset(flowIdle - quiet)
	return false
}

// End implements loop.Owner.
func (f *flow) End() {
	f.receiver.driver.mu.Lock()
	defer f.receiver.driver.mu.Unlock()
	f.close()
}

// close ends the flow.
func (f *flow) close() {
	if f.receiver.flows[f.from] != f {
		return
	}
	delete(f.receiver.flows, f.from)
	f.receiver.driver.flows--
	f.rest.Stop()
	f.letGo()
	for _, s := range []*loop.Socket{&f.Socket, &f.asking.Socket} {
		if s.FD >= 0 {
			f.receiver.driver.loop.Remove(s)
		}
	}
}
