// Package stack is the user-mode network of one container: gVisor's netstack
// on a network device, with a socket of the host's for each connection.
//
//	container ── device ── link ── netstack ── relay ── host's socket ── world
//
// For each connection, Options.Decide says where the host's socket connects, or
// that there is none. Everything that comes from the device is hostile.
package stack
