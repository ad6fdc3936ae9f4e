// Package monitor looks after a container that nobody waits for: it keeps what
// the container says, lets people attach to it, and notes how it ends. One
// process does it, on one goroutine, with one poll(2) for everything; when
// nothing has happened for a while it sleeps as a program of a few KB
// (launch.Sleep) and goes on with the next event. The container is tied to it:
// however the process ends, the container does, too.
package monitor
