package rootless

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"unicode"

	"bryo/netslirp"
	"bryo/rootless/ns"
)

// mostPorts are published at most: each is a listener of its own.
const mostPorts = 4096

// compileNetwork decides what connects a network namespace of the container's own.
func compileNetwork(spec *Spec, facts *Facts, pl *Plan) error {
	own := pl.Namespaces[ns.Net].Mode == ns.Own
	pl.Network.Loopback = own
	asked := &spec.Net
	if !own || asked.Driver == netslirp.DriverNone {
		return nil
	}
	if facts.Net.Program == "" {
		return fmt.Errorf("--net %s: the program bryo-net is missing, which belongs beside bryo or in ../libexec/bryo\nfix: install it (make install), or say --net none", asked.Driver)
	}
	if len(facts.Joined) > 0 && (asked.publishes() || asked.Driver != netslirp.DriverUser) {
		return errors.New("--publish, and the drivers slirp4netns and pasta, do not go together with joined namespaces\nfix: join the network, too, or leave them out")
	}
	if len(asked.Publish) > mostPorts {
		return fmt.Errorf("--publish: %d ports; at most %d can be published\nfix: publish fewer, or use --net host", len(asked.Publish), mostPorts)
	}
	n := &pl.Network
	n.Program, n.LogFile, n.PcapFile = facts.Net.Program, asked.LogFile, asked.PcapFile
	n.Config = netslirp.Config{
		Driver: asked.Driver, MTU: asked.MTU, Nameservers: asked.Nameservers, HostLoopback: asked.HostLoopback,
		Rules: asked.Rules, Default: netslirp.DefaultVerdict(asked.Rules), Rate: asked.Rate,
		Log: asked.LogFile != "", Pcap: asked.PcapFile != "", Publish: asked.Publish, PortSocket: asked.PortSocket,
	}
	if facts.Net.NoTUN != "" {
		if asked.Driver != netslirp.DriverUser {
			return fmt.Errorf("--net %s: %s\nfix: have it opened (chmod 0666 /dev/net/tun), or say --net user, which does without", asked.Driver, facts.Net.NoTUN)
		}
		n.Config.Link = netslirp.Veth
	}
	if n.Config.MTU == 0 {
		n.Config.MTU = netslirp.DefaultMTU
		if asked.Driver != netslirp.DriverUser {
			n.Config.MTU = netslirp.PeerMTU
		}
	}
	return nil
}

func (n *NetSpec) publishes() bool { return len(n.Publish) > 0 || n.PortSocket != "" }

// checkNetwork refuses what would silently do nothing.
func (spec *Spec) checkNetwork() error {
	n := &spec.Net
	mode := spec.Namespaces[ns.Net].Mode
	if len(n.Hosts) > 0 && mode == ns.Host {
		return errors.New("--add-host: with --net host /etc/hosts is the host's own\nfix: say --net user, or leave --add-host out")
	}
	for _, row := range []struct {
		flag   string
		given  bool
		anyone bool // slirp4netns and pasta can do it, too
	}{
		{"--publish", len(n.Publish) > 0, true},
		{"--port-socket", n.PortSocket != "", true},
		{"--allow and --deny", len(n.Rules) > 0, false},
		{"--net-rate", n.Rate != netslirp.Rate{}, false},
		{"--net-log", n.LogFile != "", false},
		{"--pcap", n.PcapFile != "", false},
		{"--net-mtu", n.MTU != 0, true},
		{"--host-loopback", n.HostLoopback.Open, true},
		{"--dns", len(n.Nameservers) > 0, true},
		{"--dns-search", len(n.Search) > 0 && mode != ns.Join, true}, // resolv.conf is the container's own
	} {
		switch {
		case !row.given || (mode == ns.Own && n.Driver == netslirp.DriverUser):
		case mode != ns.Own || n.Driver == netslirp.DriverNone:
			return fmt.Errorf("%s needs a network of bryo's own making\nfix: say --net user, or leave %s out", row.flag, row.flag)
		case !row.anyone:
			return fmt.Errorf("%s is not in the power of %s\nfix: say --net user", row.flag, n.Driver)
		}
	}
	return nil
}

// resolver is the container's resolv.conf(5): it asks bryo-net, with the host's
// search list and options, or whom the others ask whose network is joined.
func resolver(spec *Spec, facts *Facts, pl *Plan) string {
	host := netslirp.ParseResolv(facts.Resolver)
	if pl.Namespaces[ns.Net].Mode == ns.Join {
		return host.File(host.Nameservers, spec.Net.Search)
	}
	switch pl.Network.Config.Driver {
	case netslirp.DriverUser:
		return host.File([]netip.Addr{netslirp.DNS4(), netslirp.DNS6()}, spec.Net.Search)
	case netslirp.DriverSlirp4netns:
		if len(spec.Net.Nameservers) == 0 {
			return host.File([]netip.Addr{netslirp.DNS4()}, spec.Net.Search)
		}
	case netslirp.DriverPasta:
		if len(spec.Net.Nameservers) == 0 {
			return host.File([]netip.Addr{netslirp.DNS4()}, spec.Net.Search) // --dns-forward
		}
	case netslirp.DriverNone:
		return ""
	}
	return host.File(spec.Net.Nameservers, spec.Net.Search)
}

// hosts is the container's own hosts(5).
func hosts(spec *Spec, facts *Facts, pl *Plan) string {
	var b strings.Builder
	b.WriteString("127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n")
	if pl.Hostname != "" {
		fmt.Fprintf(&b, "127.0.1.1\t%s\n", pl.Hostname)
	}
	for _, h := range spec.Net.Hosts {
		fmt.Fprintf(&b, "%s\t%s\n", h.Addr, h.Name)
	}
	if pl.Namespaces[ns.Net].Mode == ns.Join {
		b.WriteString(othersHosts(facts.Hosts, hostNames(b.String())))
	}
	return WithNeighbours(b.String(), facts.Neighbours)
}

// othersHosts are the lines of another container's hosts(5) that are not about
// that one itself. That one may write what it likes: known names stay whose they are.
func othersHosts(text string, known []string) string {
	var b strings.Builder
	for line := range strings.Lines(text) {
		ours := strings.HasSuffix(strings.TrimSpace(line), neighbourMark)
		line, _, _ = strings.Cut(line, "#")
		fields := strings.Fields(line)
		if ours || len(fields) == 0 {
			continue
		}
		addr, err := netip.ParseAddr(fields[0])
		if err != nil || addr.IsLoopback() || strings.ContainsFunc(line, func(r rune) bool { return r != '\t' && r != '\n' && !unicode.IsPrint(r) }) {
			continue
		}
		writeTaken(&b, fields, known)
	}
	return b.String()
}

// Marks end the lines of hosts(5) that bryo replaces.
const (
	neighbourMark = "# shares this network"
	takenMark     = "# of those who share this network" // taken over, as they wrote it
)

func writeTaken(b *strings.Builder, fields, known []string) {
	names := slices.DeleteFunc(fields[1:], func(name string) bool {
		return slices.ContainsFunc(known, func(k string) bool { return strings.EqualFold(k, name) })
	})
	if len(names) > 0 {
		fmt.Fprintf(b, "%s\t%s\t%s\n", fields[0], strings.Join(names, "\t"), takenMark)
	}
}

// hostNames are the names in a hosts(5).
func hostNames(hosts string) (names []string) {
	for line := range strings.Lines(hosts) {
		line, _, _ = strings.Cut(line, "#")
		if fields := strings.Fields(line); len(fields) > 1 {
			names = append(names, fields[1:]...)
		}
	}
	return names
}

// WithNeighbours is a hosts(5) with a line for each of the containers that share
// a network, and with it the loopback, in place of those lines that it had. They
// come first, and nobody else's line that was taken over has one of their names.
func WithNeighbours(hosts string, names []string) string {
	var b strings.Builder
	for _, name := range names {
		fmt.Fprintf(&b, "127.0.0.1\t%s\t%s\n", name, neighbourMark)
	}
	for line := range strings.Lines(hosts) {
		rest, taken := strings.CutSuffix(strings.TrimSpace(line), takenMark)
		switch fields := strings.Fields(rest); {
		case strings.HasSuffix(strings.TrimSpace(line), neighbourMark):
		case taken && len(fields) > 0:
			writeTaken(&b, fields, names)
		default:
			b.WriteString(strings.TrimSuffix(line, "\n") + "\n")
		}
	}
	return b.String()
}

const pingGroupRange = "net/ipv4/ping_group_range"

// pingGroups lets every group of the container send echo requests, so that ping
// needs no capability: icmp(7).
func pingGroups(pl *Plan) string {
	if pl.Network.Config.Driver == netslirp.DriverNone {
		return ""
	}
	var last uint32
	for _, extent := range pl.IDs.Maps.GID {
		last = max(last, extent.Inside+extent.Count-1)
	}
	for last > 0 && !pl.IDs.Maps.GID.Covers(last) {
		last--
	}
	if !pl.IDs.Maps.GID.Covers(0) {
		return ""
	}
	return fmt.Sprintf("0 %d", last)
}
