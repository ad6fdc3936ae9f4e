package dns

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"
)

func TestLearn(t *testing.T) {
	loop := []string{"a. 9 CNAME b.", "b. 9 CNAME a.", "b. 9 A 192.0.2.1"}
	var long []string
	for i := range 40 {
		long = append(long, fmt.Sprintf("n%d. 9 CNAME n%d.", i, i+1))
	}
	for _, row := range []struct {
		about   string
		name    string
		records []string
		want    []string
	}{
		{"one", "a", []string{"a. 60 A 192.0.2.1"}, []string{"a 192.0.2.1 1m0s"}},
		{"case", "a", []string{"A. 60 AAAA 2001:db8::1"}, []string{"a 2001:db8::1 1m0s"}},
		{"both ends of TTL", "a", []string{"a. 0 A 192.0.2.1", "a. 86400 A 192.0.2.2"}, []string{"a 192.0.2.1 1s", "a 192.0.2.2 1h0m0s"}},
		{"v4-mapped", "a", []string{"a. 60 AAAA ::ffff:192.0.2.1"}, []string{"a 192.0.2.1 1m0s"}},
		{
			"least TTL of the chain, any order", "a",
			[]string{"c. 60 A 192.0.2.1", "b. 20 CNAME c.", "a. 300 CNAME b."},
			[]string{"a 192.0.2.1 20s", "b 192.0.2.1 20s", "c 192.0.2.1 20s"},
		},
		{"not reached", "a", []string{"b. 60 A 192.0.2.1", "c. 60 CNAME a."}, nil},
		{"the first CNAME counts", "a", []string{"a. 9 CNAME b.", "a. 9 CNAME c.", "c. 9 A 192.0.2.1"}, nil},
		{"loop", "a", loop, []string{"a 192.0.2.1 9s", "b 192.0.2.1 9s"}},
		{"to itself", "a", []string{"a. 9 CNAME a.", "a. 9 A 192.0.2.1"}, []string{"a 192.0.2.1 9s", "a 192.0.2.1 9s"}},
		{"too long", "n0", append(long, "n16. 9 A 192.0.2.1"), nil},
	} {
		query := ask(t, row.name+".", dnsmessage.TypeA)
		var got []string
		for _, one := range learn(row.name, response(query, 0, row.records...)) {
			got = append(got, fmt.Sprintf("%s %s %s", one.name, one.addr, one.ttl))
		}
		if row.about == "to itself" {
			got = slices.Compact(got)
			row.want = slices.Compact(row.want)
		}
		if !slices.Equal(got, row.want) {
			t.Errorf("%s: %q, want %q", row.about, got, row.want)
		}
	}
	message := response(ask(t, "a.", dnsmessage.TypeA), 0, "a. 60 A 192.0.2.1", "a. 60 A 192.0.2.2")
	if got := learn("a", message[:len(message)-1]); len(got) != 1 {
		t.Error("an answer that breaks off: ", got)
	}
}

func FuzzLearn(f *testing.F) {
	f.Add(response(ask(f, "a.", dnsmessage.TypeA), 0, "a. 60 CNAME b.", "b. 60 A 192.0.2.1"))
	f.Add(response(ask(f, "a.", dnsmessage.TypeA), 0, "a. 60 CNAME a.", "a. 60 AAAA 2001:db8::1"))
	f.Fuzz(func(t *testing.T, message []byte) {
		facts := learn("a", message)
		if len(facts) > maxChain*maxAddrs {
			t.Fatal(len(facts))
		}
		for _, one := range facts {
			if !one.addr.IsValid() || one.addr.Is4In6() || one.ttl < minTTL || one.ttl > maxTTL {
				t.Fatal(one)
			}
		}
	})
}

// clock is a table's, moved by hand.
func clock(n *Names) func(time.Duration) {
	now := time.Unix(1000, 0)
	n.now = func() time.Time { return now }
	return func(d time.Duration) { now = now.Add(d) }
}

func TestNames(t *testing.T) {
	n := NewNames()
	pass := clock(n)
	one, two := netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("2001:db8::1")
	n.Learn("a", one, 10*time.Second)
	n.Learn("b", netip.MustParseAddr("::ffff:192.0.2.1"), 100*time.Second)
	n.Learn("a", two, 0)
	n.Learn("z", two, 1000*time.Hour)
	check := func(about string, addr netip.Addr, want ...string) {
		t.Helper()
		if got := n.Lookup(addr); !slices.Equal(got, want) {
			t.Errorf("%s: %q, want %q", about, got, want)
		}
	}
	check("new", one, "a", "b")
	check("mapped", netip.MustParseAddr("::ffff:192.0.2.1"), "a", "b")
	check("other family", two, "a", "z")
	pass(62 * time.Second)
	check("a second and grace", two, "z")
	check("ten seconds and grace", one, "a", "b")
	n.Learn("a", one, time.Second)
	n.Learn("b", one, time.Second)
	pass(62 * time.Second)
	check("the longer life counts", one, "b")
	pass(time.Hour)
	check("an hour is the most", two)
	if len(n.byAddr)+len(n.queue) != 0 {
		t.Error("something is left: ", n.byAddr)
	}
}

func TestNamesBounds(t *testing.T) {
	n := NewNames()
	n.most = 100
	clock(n)
	addr := netip.MustParseAddr("192.0.2.1")
	for i := range 70 {
		n.Learn(fmt.Sprint("n", i), addr, time.Duration(i+1)*time.Second)
	}
	if got := n.Lookup(addr); len(got) != maxNamesPerAddr || slices.Contains(got, "n5") || !slices.Contains(got, "n6") {
		t.Error(len(got), got)
	}
	for i := range 1000 {
		n.Learn("flood", netip.AddrFrom4([4]byte{198, 51, byte(i >> 8), byte(i)}), time.Second)
	}
	if len(n.queue) != 100 {
		t.Error(len(n.queue))
	}
	if got := n.Lookup(addr); len(got) != maxNamesPerAddr {
		t.Error("what expires last made room: ", got)
	}
	total := 0
	for _, list := range n.byAddr {
		total += len(list)
	}
	if total != len(n.queue) {
		t.Error(total, len(n.queue))
	}
}

func TestNamesConcurrently(*testing.T) {
	n := NewNames()
	n.most = 50
	var group sync.WaitGroup
	for i := range 4 {
		group.Go(func() {
			for k := range 1000 {
				addr := netip.AddrFrom4([4]byte{192, 0, 2, byte(k)})
				n.Learn(strings.Repeat("x", i+1), addr, time.Second)
				n.Lookup(addr)
			}
		})
	}
	group.Wait()
}

// FuzzNames keeps the two views of the table in step.
func FuzzNames(f *testing.F) {
	f.Add([]byte{1, 2, 3, 4, 250, 9, 9, 9})
	f.Fuzz(func(t *testing.T, steps []byte) {
		n := NewNames()
		n.most = 8
		pass := clock(n)
		for i, step := range steps {
			addr := netip.AddrFrom4([4]byte{192, 0, 2, step & 3})
			if step > 240 {
				pass(time.Duration(step) * time.Second)
			}
			n.Learn(strconv.Itoa(int(step>>2&7)), addr, time.Duration(i%100)*time.Second)
			n.Lookup(addr)
		}
		total := 0
		for _, list := range n.byAddr {
			total += len(list)
		}
		if total != len(n.queue) || total > n.most {
			t.Fatal(total, len(n.queue))
		}
	})
}
