package main

import (
	"net/netip"
	"testing"
)

func TestHostAddresses(t *testing.T) {
	r, err := openRoutes()
	if err != nil {
		t.Fatal(err)
	}
	for address, want := range map[string]bool{
		"127.0.0.1": true, "127.9.9.9": true, "::1": true, "255.255.255.255": true, "224.0.0.1": true,
	} {
		if got := r.host(netip.MustParseAddr(address)); got != want {
			t.Errorf("%s: the host's: %t, want %t", address, got, want)
		}
	}
}

func TestRouteKind(t *testing.T) {
	for _, row := range []struct {
		name    string
		message []byte
		mine    bool
	}{
		{"nothing", nil, false},
		{"short", make([]byte, 8), false},
		{"another's", make([]byte, 64), false},
	} {
		if _, mine, _ := routeKind(row.message, 7); mine != row.mine {
			t.Errorf("%s: %t", row.name, mine)
		}
	}
}

func FuzzRouteKind(f *testing.F) {
	f.Add(question(netip.MustParseAddr("192.0.2.1"), 0), uint32(0))
	f.Fuzz(func(_ *testing.T, message []byte, sequence uint32) { _, _, _ = routeKind(message, sequence) })
}
