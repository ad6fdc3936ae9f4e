package ports

import (
	"net"
	"sync"
)

// limit lets most connections be open at a time; the others wait in the queue
// of the socket.
func limit(listener net.Listener, most int) net.Listener {
	return &limited{Listener: listener, room: make(chan struct{}, most), done: make(chan struct{})}
}

type limited struct {
	net.Listener
	room chan struct{}
	done chan struct{}
	once sync.Once
}

// Accept implements net.Listener.
func (l *limited) Accept() (net.Conn, error) {
	select {
	case l.room <- struct{}{}:
	case <-l.done:
		return nil, net.ErrClosed
	}
	conn, err := l.Listener.Accept()
	if err != nil {
		<-l.room
		return nil, err
	}
	return &counted{Conn: conn, free: sync.OnceFunc(func() { <-l.room })}, nil
}

// Close implements net.Listener.
func (l *limited) Close() error {
	l.once.Do(func() { close(l.done) })
	return l.Listener.Close()
}

type counted struct {
	net.Conn
	free func()
}

// Close implements net.Conn.
func (c *counted) Close() error {
	defer c.free()
	return c.Conn.Close()
}
