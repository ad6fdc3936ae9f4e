package netslirp

import (
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"testing"
)

func TestParseResolv(t *testing.T) {
	text := `# by hand
; too
nameserver 127.0.0.53
  nameserver fe80::1%eth0 # trailing
nameserver nonsense
nameserver
domain lost.example
search Example.ORG. corp.example b@d
search example.net .
nameserver 192.0.2.1
nameserver 192.0.2.4
options edns0 ndots:2
options trust-ad ` + strings.Repeat("x", 65) + "\nsortlist 10.0.0.0\x00\r\n"
	want := Resolv{
		Nameservers: []netip.Addr{netip.MustParseAddr("127.0.0.53"), netip.MustParseAddr("fe80::1%eth0"), netip.MustParseAddr("192.0.2.1")},
		Search:      []string{"example.net", "."},
		Options:     []string{"edns0", "ndots:2", "trust-ad"},
	}
	if got := ParseResolv(text); !reflect.DeepEqual(got, want) {
		t.Errorf("%+v, want %+v", got, want)
	}
	if got := ParseResolv("search A.example b@d b.example"); !slices.Equal(got.Search, []string{"a.example", "b.example"}) {
		t.Error(got.Search)
	}
	if got := ParseResolv(""); !reflect.DeepEqual(got, Resolv{}) {
		t.Error(got)
	}
}

func TestResolvFile(t *testing.T) {
	servers := []netip.Addr{DNS4(), DNS6()}
	host := Resolv{Search: []string{"example.org", "corp.example"}, Options: []string{"ndots:2", "edns0"}}
	const head = "nameserver 10.0.2.3\nnameserver fd00::3\n"
	for _, row := range []struct {
		host   Resolv
		search []string
		want   string
	}{
		{host, nil, head + "search example.org corp.example\noptions ndots:2 edns0\n"},
		{host, []string{"b.example"}, head + "search b.example\noptions ndots:2 edns0\n"},
		{Resolv{}, []string{"."}, head + "search .\n"},
		{Resolv{}, nil, head},
	} {
		if got := row.host.File(servers, row.search); got != row.want {
			t.Errorf("%q, want %q", got, row.want)
		}
	}
}

func TestParseSearch(t *testing.T) {
	for text, want := range map[string]string{
		".": ".", "Example.org": "example.org", "example.org.": "example.org",
		"": "", "*.example.org": "", "a b": "", "a\nnameserver 1.1.1.1": "", "..": "",
	} {
		if got, err := ParseSearch(text); got != want || (err == nil) != (want != "") {
			t.Errorf("%q: %q, %v", text, got, err)
		}
	}
}

func FuzzParseResolv(f *testing.F) {
	f.Add("nameserver 127.0.0.53\noptions edns0 trust-ad\nsearch .\n")
	f.Add("domain x\nnameserver fe80::1%a\r\n")
	f.Fuzz(func(t *testing.T, text string) {
		r := ParseResolv(text)
		if len(r.Nameservers) > 3 || len(r.Search) > maxSearch || len(r.Options) > maxOptions {
			t.Fatalf("%+v", r)
		}
		again := ParseResolv(r.File(r.Nameservers, nil))
		if !slices.Equal(again.Nameservers, r.Nameservers) || !slices.Equal(again.Search, r.Search) || !slices.Equal(again.Options, r.Options) {
			t.Fatalf("%+v becomes %+v", r, again)
		}
	})
}

func TestParseRate(t *testing.T) {
	for text, want := range map[string]Rate{
		"10m:1g": {10 << 20, 1 << 30},
		"10M":    {10 << 20, 10 << 20},
		"500":    {500, 500},
		"0:5k":   {0, 5 << 10},
		"5K:0":   {5 << 10, 0},
		"1024g":  {1 << 40, 1 << 40},
	} {
		if got, err := ParseRate(text); err != nil || got != want {
			t.Errorf("%s: %v, %v", text, got, err)
		}
	}
	for _, text := range []string{"", ":", "1m:", ":1m", "m", "1.5m", "-1", "+1", "1t", "1mm", "1025g", "18446744073709551615g", "1:2:3", "1 m"} {
		if got, err := ParseRate(text); err == nil {
			t.Errorf("%q is %v", text, got)
		}
	}
}

func FuzzParseRate(f *testing.F) {
	f.Add("10m:1g")
	f.Fuzz(func(t *testing.T, text string) {
		if rate, err := ParseRate(text); err == nil && max(rate.Up, rate.Down) > 1<<40 {
			t.Fatal(rate)
		}
	})
}

func TestParseLoopback(t *testing.T) {
	for text, want := range map[string]Loopback{
		"":               {Open: true},
		"true":           {Open: true},
		"false":          {},
		"8080,9000-9010": {Open: true, Ports: []PortRange{{8080, 8080}, {9000, 9010}}},
	} {
		if got, err := ParseLoopback(text); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%q: %+v, %v", text, got, err)
		}
	}
	for _, text := range []string{"yes", "8080,", "0", "9-8", " 80", strings.Repeat("1,", 300) + "1"} {
		if got, err := ParseLoopback(text); err == nil {
			t.Errorf("%q is %v", text, got)
		}
	}
	some := Loopback{Open: true, Ports: []PortRange{{8080, 8080}, {9000, 9010}}}
	if !some.Has(9005) || some.Has(80) || (Loopback{}).Has(80) || !(Loopback{Open: true}).Has(80) {
		t.Error("wrong ports are open")
	}
}

func FuzzParseLoopback(f *testing.F) {
	f.Add("8080,9000-9010")
	f.Fuzz(func(t *testing.T, text string) {
		loopback, err := ParseLoopback(text)
		if err != nil || len(loopback.Ports) == 0 {
			return
		}
		if again, err := ParseLoopback(formatPorts(loopback.Ports)); err != nil || !reflect.DeepEqual(again, loopback) {
			t.Fatalf("%+v becomes %+v, %v", loopback, again, err)
		}
	})
}
