package netslirp

import (
	"net/netip"
	"slices"
	"strings"
)

// Verdict is what happens to a flow.
type Verdict uint8

// A flow is allowed unless something denies it.
const (
	Allow Verdict = iota
	Deny
)

// String gives the name of the flag.
func (v Verdict) String() string {
	if v == Allow {
		return "allow"
	}
	return "deny"
}

// Protocol is a flow's.
type Protocol uint8

// AnyProtocol is for rules.
const (
	AnyProtocol Protocol = iota
	TCP
	UDP
	ICMP
)

// String gives the name that rules and published ports are written with.
func (p Protocol) String() string {
	switch p {
	case TCP:
		return "tcp"
	case UDP:
		return "udp"
	case ICMP:
		return "icmp"
	case AnyProtocol:
	}
	return "any"
}

// Rule is one --allow or --deny. Empty parts match everything; Domain and
// Prefix exclude each other.
type Rule struct {
	Verdict  Verdict
	Prefix   netip.Prefix // invalid for every address
	Domain   string       // lower case, no dot at the end; "*.example.org" is all below it
	Ports    []PortRange
	Protocol Protocol
}

// Policy is a list of rules, of which the first that matches decides.
type Policy struct {
	Rules   []Rule
	Default Verdict // when none matches
}

// DefaultVerdict is what happens to flows that no rule matches: once anything
// is allowed, only that is, as with the firewalls of sandboxes; with nothing
// but denials the rest stays open.
func DefaultVerdict(rules []Rule) Verdict {
	if slices.ContainsFunc(rules, func(r Rule) bool { return r.Verdict == Allow }) {
		return Deny
	}
	return Allow
}

// Decide gives the verdict on a flow to dst, and the rule that made it: nil for
// the default. names knows what names lead to an address, lower case and with
// no dot at the end; it is asked once, and only when a rule's domain matters.
// It may be nil. A v4-mapped address is what it maps. Flows of ICMP have no
// ports: no rule with ports matches them.
func (p Policy) Decide(protocol Protocol, dst netip.AddrPort, names func(netip.Addr) []string) (Verdict, *Rule) {
	addr := dst.Addr().Unmap().WithZone("")
	known := lazily(names, addr)
	for i := range p.Rules {
		rule := &p.Rules[i]
		if rule.matchesFlow(protocol, dst.Port()) && rule.matchesAddr(addr, known) {
			return rule.Verdict, rule
		}
	}
	return p.Default, nil
}

// AllowsName says whether DNS may look a name up. It may unless no flow to the
// name can ever be allowed, by the first of these rules that there is:
//   - an allowed domain that matches, or any allowed address: the name might
//     lead there, so it may be looked up;
//   - a denied domain that matches, or a denied "*", for all ports and
//     protocols: nothing behind it matters, so it may not;
//   - else the default.
//
// Who allows domains alone hence also closes DNS as a way out for data.
func (p Policy) AllowsName(name string) bool {
	name = strings.Map(asciiLower, strings.TrimSuffix(name, "."))
	for i := range p.Rules {
		rule := &p.Rules[i]
		if rule.Domain != "" && !domainMatches(rule.Domain, name) {
			continue
		}
		if rule.Verdict == Allow {
			return true
		}
		if !rule.Prefix.IsValid() && len(rule.Ports) == 0 && rule.Protocol == AnyProtocol {
			return false
		}
	}
	return p.Default == Allow
}

// lazily asks names at most once.
func lazily(names func(netip.Addr) []string, addr netip.Addr) func() []string {
	var list []string
	return func() []string {
		if names != nil {
			list, names = names(addr), nil
		}
		return list
	}
}

func (r *Rule) matchesFlow(protocol Protocol, port uint16) bool {
	if r.Protocol != AnyProtocol && r.Protocol != protocol {
		return false
	}
	if len(r.Ports) == 0 {
		return true
	}
	return protocol != ICMP && slices.ContainsFunc(r.Ports, func(p PortRange) bool { return p.Has(port) })
}

func (r *Rule) matchesAddr(addr netip.Addr, names func() []string) bool {
	if r.Domain != "" {
		return slices.ContainsFunc(names(), func(name string) bool { return domainMatches(r.Domain, name) })
	}
	return !r.Prefix.IsValid() || r.Prefix.Contains(addr)
}

// domainMatches takes "*.example.org" for every name below example.org, and not
// for example.org.
func domainMatches(domain, name string) bool {
	if below, is := strings.CutPrefix(domain, "*"); is {
		return len(name) > len(below) && strings.HasSuffix(name, below)
	}
	return domain == name
}

// asciiLower is what names of hosts are compared by: strings.ToLower would map
// letters of other alphabets onto those of ASCII.
func asciiLower(r rune) rune {
	if 'A' <= r && r <= 'Z' {
		return r + 'a' - 'A'
	}
	return r
}
