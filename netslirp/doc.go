// Package netslirp connects a container's network namespace. For now it knows
// the part that every container has: a loopback interface that is up.
package netslirp
