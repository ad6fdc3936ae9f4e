package main

import (
	"net/netip"

	"bryo/netslirp"
	"bryo/netslirp/stack"
)

// decider says for each connection where it leads, or that it leads nowhere.
// It is asked with the address that is dialled: after DNS, each time.
type decider struct {
	loopback netslirp.Loopback
	policy   netslirp.Policy
	names    func(netip.Addr) []string
	host     func(netip.Addr) bool // whether the host owns an address
}

func (d *decider) decide(f stack.Flow) stack.Decision {
	deny := stack.Decision{Verdict: netslirp.Deny}
	to := netip.AddrPortFrom(f.Destination.Addr().Unmap(), f.Destination.Port())
	if host, is := gateway(to.Addr()); is {
		// A rule that names it can close it; that others are allowed does not.
		verdict, rule := d.policy.Decide(f.Protocol, to, d.names)
		denied := rule != nil && verdict == netslirp.Deny
		if f.Protocol != netslirp.ICMP && d.opens(to.Port()) && !denied {
			return stack.Decision{Dial: netip.AddrPortFrom(host, to.Port())}
		}
		return deny
	}
	if netslirp.Reserved(to.Addr()) != "" || ours(to.Addr()) || d.host(to.Addr()) {
		return deny
	}
	verdict, _ := d.policy.Decide(f.Protocol, to, d.names)
	decision := stack.Decision{Verdict: verdict, Dial: to}
	if names := d.names(to.Addr()); len(names) > 0 {
		decision.Name = names[0]
	}
	return decision
}

// gateway says which address of the host the gateway's alias stands for.
func gateway(a netip.Addr) (host netip.Addr, is bool) {
	switch a {
	case netslirp.Gateway4():
		return netip.AddrFrom4([4]byte{127, 0, 0, 1}), true
	case netslirp.Gateway6():
		return netip.IPv6Loopback(), true
	default:
		return netip.Addr{}, false
	}
}

// ours are the other addresses of the container's own little network.
func ours(a netip.Addr) bool {
	return netip.PrefixFrom(netslirp.Gateway4(), netslirp.Bits4).Masked().Contains(a) ||
		netip.PrefixFrom(netslirp.Gateway6(), netslirp.Bits6).Masked().Contains(a)
}

func (d *decider) opens(port uint16) bool {
	if !d.loopback.Open {
		return false
	}
	for _, r := range d.loopback.Ports {
		if r.Has(port) {
			return true
		}
	}
	return len(d.loopback.Ports) == 0
}
