package main

import (
	"net/netip"
	"testing"

	"bryo/netslirp"
	"bryo/netslirp/stack"
)

// A host that owns 192.0.2.1, and knows one name.
func testDecider(loopback netslirp.Loopback, rules ...netslirp.Rule) *decider {
	return &decider{
		loopback: loopback,
		policy:   netslirp.Policy{Rules: rules, Default: netslirp.DefaultVerdict(rules)},
		host: func(a netip.Addr) bool {
			return a == netip.MustParseAddr("192.0.2.1") || a == netip.MustParseAddr("2001:db8::1")
		},
		names: func(a netip.Addr) []string {
			if a == netip.MustParseAddr("198.51.100.7") {
				return []string{"www.example.org"}
			}
			return nil
		},
	}
}

func TestDecide(t *testing.T) {
	all := netslirp.Loopback{Open: true}
	some := netslirp.Loopback{Open: true, Ports: []netslirp.PortRange{{First: 80, Last: 81}}}
	for _, row := range []struct {
		name, to string
		loopback netslirp.Loopback
		want     string // where it is dialled, "" for nowhere
	}{
		{"somewhere", "198.51.100.7:80", netslirp.Loopback{}, "198.51.100.7:80"},
		{"somewhere, v6", "[2001:db8::7]:80", netslirp.Loopback{}, "[2001:db8::7]:80"},
		{"v4-mapped somewhere", "[::ffff:198.51.100.7]:80", netslirp.Loopback{}, "198.51.100.7:80"},
		{"loopback", "127.0.0.1:80", all, ""},
		{"loopback, v6", "[::1]:80", all, ""},
		{"loopback, mapped", "[::ffff:127.0.0.1]:80", all, ""},
		{"loopback by NAT64", "[64:ff9b::7f00:1]:80", all, ""},
		{"unspecified", "0.0.0.0:80", all, ""},
		{"unspecified, v6", "[::]:80", all, ""},
		{"metadata", "169.254.169.254:80", all, ""},
		{"metadata, mapped", "[::ffff:169.254.169.254]:80", all, ""},
		{"link-local", "[fe80::1]:80", all, ""},
		{"multicast", "224.0.0.1:80", all, ""},
		{"the host's own", "192.0.2.1:80", all, ""},
		{"the host's own, v6", "[2001:db8::1]:80", all, ""},
		{"the host's own, mapped", "[::ffff:192.0.2.1]:80", all, ""},
		{"gateway, closed", "10.0.2.2:80", netslirp.Loopback{}, ""},
		{"gateway, open", "10.0.2.2:80", all, "127.0.0.1:80"},
		{"gateway, open, v6", "[fd00::2]:80", all, "[::1]:80"},
		{"gateway, mapped", "[::ffff:10.0.2.2]:80", all, "127.0.0.1:80"},
		{"gateway, this port", "10.0.2.2:81", some, "127.0.0.1:81"},
		{"gateway, another port", "10.0.2.2:82", some, ""},
		{"a neighbour", "10.0.2.4:80", all, ""},
		{"a neighbour, v6", "[fd00::4]:80", all, ""},
	} {
		got := testDecider(row.loopback).decide(stack.Flow{Protocol: netslirp.TCP, Destination: netip.MustParseAddrPort(row.to)})
		want := stack.Decision{Verdict: netslirp.Deny}
		if row.want != "" {
			want = stack.Decision{Dial: netip.MustParseAddrPort(row.want)}
		}
		if got.Verdict != want.Verdict || got.Dial != want.Dial {
			t.Errorf("%s: %+v, want %+v", row.name, got, want)
		}
	}
}

// Rules never open what is closed by default.
func TestDecideByRules(t *testing.T) {
	allow := func(text string) netslirp.Rule {
		rule, err := netslirp.ParseRule(netslirp.Allow, text)
		if err != nil {
			t.Fatal(err)
		}
		return rule
	}
	for _, row := range []struct {
		rule, to string
		want     netslirp.Verdict
	}{
		{"*", "127.0.0.1:80", netslirp.Deny},
		{"198.51.100.0/24", "10.0.2.2:80", netslirp.Deny},
		{"127.0.0.0/8", "127.0.0.1:80", netslirp.Deny},
		{"192.0.2.1", "192.0.2.1:80", netslirp.Deny},
		{"*.example.org", "198.51.100.7:80", netslirp.Allow},
		{"*.example.org:443", "198.51.100.7:80", netslirp.Deny},
		{"example.org", "198.51.100.7:80", netslirp.Deny},
		{"*.example.org", "198.51.100.8:80", netslirp.Deny},
		{"198.51.100.0/24:80-90/udp", "198.51.100.8:80", netslirp.Deny},
		{"198.51.100.0/24:80-90", "198.51.100.8:85", netslirp.Allow},
	} {
		got := testDecider(netslirp.Loopback{}, allow(row.rule)).decide(stack.Flow{Protocol: netslirp.TCP, Destination: netip.MustParseAddrPort(row.to)})
		if got.Verdict != row.want {
			t.Errorf("%s, to %s: %s, want %s", row.rule, row.to, got.Verdict, row.want)
		}
	}
}

// A rule closes the gateway where --host-loopback opened it; allowing others
// does not.
func TestDecideGatewayByRules(t *testing.T) {
	gateway := stack.Flow{Protocol: netslirp.TCP, Destination: netip.MustParseAddrPort("10.0.2.2:22")}
	for _, row := range []struct {
		verdict netslirp.Verdict
		rule    string
		want    netslirp.Verdict
	}{
		{netslirp.Deny, "10.0.2.2:22", netslirp.Deny},
		{netslirp.Deny, "*", netslirp.Deny},
		{netslirp.Deny, "10.0.2.2:23", netslirp.Allow},
		{netslirp.Allow, "198.51.100.7", netslirp.Allow},
		{netslirp.Allow, "10.0.2.2", netslirp.Allow},
	} {
		rule, err := netslirp.ParseRule(row.verdict, row.rule)
		if err != nil {
			t.Fatal(err)
		}
		if got := testDecider(netslirp.Loopback{Open: true}, rule).decide(gateway); got.Verdict != row.want {
			t.Errorf("%s %s: %s, want %s", row.verdict, row.rule, got.Verdict, row.want)
		}
	}
}
