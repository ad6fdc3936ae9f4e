package rootless

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"bryo/netslirp"
	"bryo/rootless/ns"
)

// online asks for a driver on a host that has bryo-net.
func online(driver netslirp.Driver, change ...func(*Spec, *Facts)) func(*Spec, *Facts) {
	return func(s *Spec, f *Facts) {
		s.Net.Driver = driver
		f.Net.Program = "/usr/libexec/bryo/bryo-net"
		for _, c := range change {
			c(s, f)
		}
	}
}

func closed(_ *Spec, f *Facts) { f.Net.NoTUN = "/dev/net/tun: permission denied" }

func published(s *Spec, _ *Facts) {
	s.Net.Publish = []netslirp.Publish{{Protocol: netslirp.TCP, HostIP: netip.AddrFrom4([4]byte{127, 0, 0, 1}), HostPort: 8080, ChildPort: 80}}
}

func logged(s *Spec, _ *Facts) { s.Net.LogFile = "flows" }

func small(s *Spec, _ *Facts) { s.Net.MTU = 1280 }

func searching(s *Spec, _ *Facts) { s.Net.Search = []string{"example.org"} }

func naming(s *Spec, _ *Facts) {
	s.Net.Hosts = []HostName{{"registry", netip.AddrFrom4([4]byte{192, 0, 2, 7})}}
}

func network(pl *Plan) string {
	n := &pl.Network
	return fmt.Sprintf("%q lo %t link %d mtu %d waits %t lasts %t", n.Config.Driver, n.Loopback, n.Config.Link, n.Config.MTU, n.Config.Waits(), n.Lasts())
}

func TestNetwork(t *testing.T) {
	decide(t, []decision{
		{"none", nothing, network, `"" lo true link 0 mtu 0 waits false lasts false`},
		{"user", online(netslirp.DriverUser), network, `"user" lo true link 0 mtu 1500 waits false lasts false`},
		{"no tun", online(netslirp.DriverUser, closed), network, `"user" lo true link 1 mtu 1500 waits false lasts false`},
		{"mtu", online(netslirp.DriverUser, func(s *Spec, _ *Facts) { s.Net.MTU = 9000 }), network, `"user" lo true link 0 mtu 9000 waits false lasts false`},
		{"ports", online(netslirp.DriverUser, published), network, `"user" lo true link 0 mtu 1500 waits true lasts true`},
		{"log", online(netslirp.DriverUser, logged), network, `"user" lo true link 0 mtu 1500 waits false lasts true`},
		{"pasta", online(netslirp.DriverPasta), network, `"pasta" lo true link 0 mtu 65520 waits true lasts true`},
		{"host", online(netslirp.DriverUser, host(ns.Net)), network, `"" lo false link 0 mtu 0 waits false lasts false`},
		{"joined", online(netslirp.DriverUser, join(ns.Net)), network, `"" lo false link 0 mtu 0 waits false lasts false`},
		{"no rules", online(netslirp.DriverUser), func(pl *Plan) string { return pl.Network.Config.Default.String() }, "allow"},
		{
			"a rule that allows denies the rest", online(netslirp.DriverUser, func(s *Spec, _ *Facts) { s.Net.Rules = []netslirp.Rule{{Domain: "example.org"}} }),
			func(pl *Plan) string { return pl.Network.Config.Default.String() }, "deny",
		},
		{"ping for all groups", online(netslirp.DriverUser), settings, "user/max_user_namespaces=0 net/ipv4/ping_group_range=0 65536"},
		{"ping for one", online(netslirp.DriverUser, func(s *Spec, f *Facts) { one(s, f) }), settings, "user/max_user_namespaces=0 net/ipv4/ping_group_range=0 0"},
		{
			"ping as asked", online(netslirp.DriverUser, func(s *Spec, _ *Facts) { s.Sysctls = []ns.Sysctl{{Name: "net.ipv4.ping_group_range", Value: "1 0"}} }),
			settings, "net/ipv4/ping_group_range=1 0 user/max_user_namespaces=0",
		},
		{
			"names", online(netslirp.DriverUser, func(_ *Spec, f *Facts) { f.Resolver = "nameserver 127.0.0.53\nsearch example.org\noptions ndots:2\n" }),
			content("/etc/resolv.conf"), "nameserver 10.0.2.3\nnameserver fd00::3\nsearch example.org\noptions ndots:2\n",
		},
		{"pasta with an mtu", online(netslirp.DriverPasta, small, searching), network, `"pasta" lo true link 0 mtu 1280 waits true lasts true`},
		{"more hosts", online(netslirp.DriverUser, naming), func(pl *Plan) string { return lastLine(content("/etc/hosts")(pl)) }, "192.0.2.7\tregistry"},
		{"more hosts and no network", naming, func(pl *Plan) string { return lastLine(content("/etc/hosts")(pl)) }, "192.0.2.7\tregistry"},
		{"joined: who is asked there", joining, content("/etc/resolv.conf"), "nameserver 10.0.2.3\nsearch example.org\n"},
		{"joined: with another search list", func(s *Spec, f *Facts) { joining(s, f); s.Net.Search = []string{"moss"} }, content("/etc/resolv.conf"), "nameserver 10.0.2.3\nsearch moss\n"},
		{
			"joined: the hosts of the other, its neighbours, but not itself", joining, content("/etc/hosts"),
			"127.0.0.1\tbox\t# shares this network\n127.0.0.1\tdb\t# shares this network\n" +
				"127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n127.0.1.1\t0123456789ab\n" +
				"192.0.2.7\tprinter\tlp\t# of those who share this network\n",
		},
	})
}

// joining joins the network of a container that wrote what it liked.
func joining(s *Spec, f *Facts) {
	online(netslirp.DriverUser, join(ns.Net))(s, f)
	f.Resolver = "nameserver 10.0.2.3\nevil\x1b[2J\nsearch example.org\n"
	f.Hosts = "127.0.0.1\tlocalhost\n127.0.1.1\tmoss\n192.0.2.7 printer  lp\n192.0.2.8 a\x1b[2J\nnonsense here\n192.0.2.9\n192.0.2.10\told\t# shares this network\n" +
		"203.0.113.66 db\n203.0.113.66 DB localhost 0123456789ab # mine\n"
	f.Neighbours = []string{"box", "db"}
}

func TestWithNeighbours(t *testing.T) {
	for _, row := range []struct {
		name, hosts string
		names       []string
		want        string
	}{
		{"nothing", "", nil, ""},
		{"one comes", "192.0.2.1\ta\n", []string{"b"}, "127.0.0.1\tb\t# shares this network\n192.0.2.1\ta\n"},
		{"a last line without an end", "192.0.2.1\ta", []string{"b"}, "127.0.0.1\tb\t# shares this network\n192.0.2.1\ta\n"},
		{
			"one comes whose name somebody had claimed", "192.0.2.1\ta\tB\t# of those who share this network\n192.0.2.2\tb\t# of those who share this network\n",
			[]string{"b"},
			"127.0.0.1\tb\t# shares this network\n192.0.2.1\ta\t# of those who share this network\n",
		},
		{"one goes, what others wrote stays", "127.0.0.1\tb\t# shares this network\n# mine\n", nil, "# mine\n"},
		{"another in its place", "127.0.0.1\tb\t# shares this network\n", []string{"c"}, "127.0.0.1\tc\t# shares this network\n"},
	} {
		got := WithNeighbours(row.hosts, row.names)
		if got != row.want || WithNeighbours(got, row.names) != got {
			t.Errorf("%s: %q, want %q", row.name, got, row.want)
		}
	}
}

func lastLine(text string) string {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	return lines[len(lines)-1]
}

func TestNetworkRefused(t *testing.T) {
	for _, row := range []struct {
		name   string
		change func(*Spec, *Facts)
		want   string
	}{
		{"no bryo-net", func(s *Spec, _ *Facts) { s.Net.Driver = netslirp.DriverUser }, "bryo-net is missing"},
		{"pasta without tun", online(netslirp.DriverPasta, closed), "--net user, which does without"},
		{"ports without a network", published, "--publish needs a network of bryo's own making"},
		{"ports on the host's", online(netslirp.DriverUser, published, host(ns.Net)), "--publish needs a network"},
		{"an mtu without a network", small, "--net-mtu needs a network of bryo's own making"},
		{"an mtu of the host's", online(netslirp.DriverUser, small, host(ns.Net)), "--net-mtu needs a network"},
		{"an mtu of another's", online(netslirp.DriverUser, small, join(ns.Net)), "leave --net-mtu out"},
		{"a search list without a network", searching, "--dns-search needs a network"},
		{"a search list on the host's", online(netslirp.DriverUser, searching, host(ns.Net)), "--dns-search needs a network"},
		{"names beside the host's", online(netslirp.DriverUser, naming, host(ns.Net)), "--add-host: with --net host"},
		{"a log by pasta", online(netslirp.DriverPasta, logged), "--net-log is not in the power of pasta"},
		{"ports beside a joined namespace", online(netslirp.DriverUser, published, join(ns.PID)), "do not go together"},
	} {
		spec, facts := good()
		row.change(spec, facts)
		if _, err := Compile(spec, facts); err == nil || !strings.Contains(err.Error(), row.want) {
			t.Errorf("%s: %v, want %q", row.name, err, row.want)
		}
	}
}
