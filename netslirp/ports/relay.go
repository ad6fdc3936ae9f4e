package ports

import (
	"errors"
	"time"

	"golang.org/x/sys/unix"

	"bryo/netslirp/loop"
)

// wantsAsk has the side inside asked, wantsGiveUp the connection given up unless
// it has answered.
const (
	wantsAsk = loop.Own << iota
	wantsGiveUp
)

// relay is a client's connection and one in the container.
type relay struct {
	listener       *listener
	client, server end
	asking         asking
	patience       *time.Timer
	up, down       way
	ended          bool
}

// end is one of a relay's two.
type end struct {
	loop.Socket

	relay *relay
}

// begin asks the side inside for a connection.
func (r *relay) begin() {
	const patience = 30 * time.Second
	r.patience = time.AfterFunc(patience, func() { r.listener.driver.loop.Queue(&r.client.Socket, wantsGiveUp) })
	r.refused()
}

// refused asks where a server may still be.
func (r *relay) refused() {
	err := r.asking.ask()
	switch {
	case err == nil:
	case exhausted(err), errors.Is(err, unix.EAGAIN): // the queue of the side inside is full
		r.listener.driver.later(&r.client.Socket, wantsAsk)
	default:
		r.finish(true)
	}
}

// connected is told that the other end is there.
func (r *relay) connected(fd int) {
	r.patience.Stop()
	prepare(fd, true)
	r.server.FD = fd
	if err := r.listener.driver.loop.Add(&r.server.Socket); err != nil {
		_ = unix.Close(fd)
		r.server.FD = -1
		r.finish(true)
		return
	}
	r.move()
}

// Turn implements loop.Owner.
func (e *end) Turn(w loop.Wants) {
	r := e.relay
	r.listener.driver.mu.Lock()
	defer r.listener.driver.mu.Unlock()
	switch {
	case r.ended:
		return
	case w&loop.Ends != 0 && r.listener.driver.loop.Outcome(&e.Socket) != nil:
		r.finish(true) // reset, or gone without a word
		return
	}
	in, out := &r.up, &r.down // of this end
	if e == &r.server {
		in, out = out, in
	}
	in.idle = in.idle && w&loop.Readable == 0
	in.ending = in.ending || w&loop.Ends != 0
	out.full = out.full && w&loop.Writable == 0
	switch {
	case r.server.FD >= 0:
		r.move()
	case w&wantsGiveUp != 0:
		r.finish(true)
	case w&wantsAsk != 0 && r.asking.FD < 0:
		r.refused()
	}
}

// End implements loop.Owner.
func (e *end) End() { e.relay.End() }

// End gives the connection up.
func (r *relay) End() {
	r.listener.driver.mu.Lock()
	defer r.listener.driver.mu.Unlock()
	r.finish(true)
}

// move does both ways what can be done.
func (r *relay) move() {
	err := r.listener.driver.move(&r.up)
	if err == nil {
		err = r.listener.driver.move(&r.down)
	}
	if err != nil {
		r.finish(true)
	} else if r.up.ended && r.down.ended {
		r.finish(false)
	}
}

// finish ends the connection, for a reason that both sides are told as a reset,
// or because both have ended.
func (r *relay) finish(reset bool) {
	if r.ended {
		return
	}
	r.ended = true
	d := r.listener.driver
	if r.patience != nil {
		r.patience.Stop()
	}
	for _, s := range []*loop.Socket{&r.client.Socket, &r.server.Socket, &r.asking.Socket} {
		if s.FD < 0 {
			continue
		}
		if reset {
			_ = unix.SetsockoptLinger(s.FD, unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1})
		}
		d.loop.Remove(s)
	}
	for _, w := range []*way{&r.up, &r.down} {
		if w.pipe != nil {
			d.pipes.drop(w.pipe)
			w.pipe = nil
		}
	}
	delete(r.listener.relays, r)
	d.relays--
	if d.full {
		d.full = false
		for _, p := range d.ports {
			p.open.resume()
		}
	}
}
