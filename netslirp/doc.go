// Package netslirp says how a container's network namespace is connected, as
// values (Config, Rule, Publish) that are decided before anything is made, and
// makes the container's device: link.go, tun.go and veth.go add the calls to a
// launch program. What moves the packets is in packages below, for bryo-net
// only: stack (gVisor's netstack), dns, ports (rootlesskit), and peers
// (slirp4netns and pasta).
package netslirp
