// Package loop waits for a container's network device and for the host's sockets
// on one goroutine: a packet, what is made of it and the socket that it is for
// meet without anybody being woken.
//
//	device ──┐                    ┌── Turn of what a socket belongs to
//	sockets ─┤ epoll ── Loop.Run ─┤
//	Queue ───┘                    └── Read, Flush of the device
package loop
