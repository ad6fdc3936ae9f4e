package main

import (
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	"github.com/spf13/pflag"

	"bryo/netslirp"
	"bryo/rootless"
	"bryo/rootless/ns"
)

func netFlags(flags *pflag.FlagSet, spec *rootless.Spec) {
	n := &spec.Net
	net := &value{kind: "NET", set: func(text string) error { return setNet(spec, text) }}
	flags.Var(net, "net", "network: user, none, host, slirp4netns, pasta, join:NAME|PID|/path")
	flags.Var(net, "network", "the same as --net")
	_ = flags.MarkHidden("network")
	flags.VarP(every(&n.Publish, "[ADDR:][HOST:]PORT[/udp]", netslirp.ParsePublish), "publish", "p", "lead a port of the host, on 127.0.0.1 unless told, to one of the container")
	flags.Var(each(&n.Rules, "RULE", rule(netslirp.Allow)), "allow", "reach this and nothing else: CIDR|DOMAIN[:PORTS][/tcp|udp|icmp]; the first matching rule counts")
	flags.Var(each(&n.Rules, "RULE", rule(netslirp.Deny)), "deny", "do not reach this")
	loopback := flags.VarPF(one(&n.HostLoopback, "PORTS", parseLoopback), "host-loopback", "", "let the gateway's address lead to the host's loopback, all ports or these")
	loopback.NoOptDefVal = "true"
	flags.Var(each(&n.Nameservers, "ADDR", parseServer), "dns", "ask this name server instead of the host's")
	flags.Var(each(&n.Search, "DOMAIN", parseDomain), "dns-search", "search names in this domain")
	flags.Var(each(&n.Hosts, "NAME:IP", parseHost), "add-host", "add a line to /etc/hosts")
	flags.Var(one(&n.Rate, "UP[:DOWN]", netslirp.ParseRate), "net-rate", "limit bytes a second, as 10m:50m")
	flags.Var(one(&n.LogFile, "FILE", parsePath), "net-log", "append a JSON line for each flow, and for each name that is denied")
	flags.Var(one(&n.PcapFile, "FILE", parsePath), "pcap", "write all packets to this file")
	flags.Var(one(&n.MTU, "BYTES", parseMTU), "net-mtu", "largest packet, 1500 by default")
	flags.Var(one(&n.PortSocket, "FILE", parsePath), "port-socket", "add and remove ports through this socket, as with rootlessctl")
}

// parseLoopback takes no empty list: an unset variable would open all ports.
func parseLoopback(text string) (netslirp.Loopback, error) {
	if text == "" {
		return netslirp.Loopback{}, errors.New("an empty list of ports; write --host-loopback=5432, or --host-loopback alone for all")
	}
	return netslirp.ParseLoopback(text)
}

// every is each for a text that may stand for several.
func every[T any](list *[]T, kind string, parse func(string) ([]T, error)) *value {
	return &value{kind: kind, set: func(text string) error {
		items, err := parse(text)
		*list = append(*list, items...)
		return err
	}}
}

func rule(v netslirp.Verdict) func(string) (netslirp.Rule, error) {
	return func(text string) (netslirp.Rule, error) { return netslirp.ParseRule(v, text) }
}

// setNet takes a driver for a network namespace of the container's own, or
// another namespace.
func setNet(spec *rootless.Spec, text string) error {
	const none = "none"
	switch driver := netslirp.Driver(text); driver {
	case netslirp.DriverUser, netslirp.DriverSlirp4netns, netslirp.DriverPasta, none:
		spec.Namespaces[ns.Net] = ns.Source{}
		if spec.Net.Driver = driver; text == none {
			spec.Net.Driver = netslirp.DriverNone
		}
		return nil
	case netslirp.DriverNone:
	}
	source, err := ns.Parse(text)
	if err == nil && source.Mode == ns.Own { // own, private
		spec.Namespaces[ns.Net], spec.Net.Driver = source, netslirp.DriverUser
		return nil
	}
	if err != nil || text == "" {
		return fmt.Errorf("%q is none of user, none, host, slirp4netns, pasta, join:NAME, join:PID, join:/path", text)
	}
	spec.Namespaces[ns.Net] = source
	return nil
}

func parseServer(text string) (netip.Addr, error) {
	addr, err := netip.ParseAddr(text)
	if err != nil {
		return addr, fmt.Errorf("%q: write the address of a name server, as 192.0.2.53", text)
	}
	return addr, nil
}

func parseDomain(text string) (string, error) {
	const longest = 253
	if text == "" || len(text) > longest || strings.ContainsAny(text, " \t\n\r\x00;#") {
		return "", fmt.Errorf("%q is no domain; write one, as example.org", text)
	}
	return text, nil
}

func parseHost(text string) (rootless.HostName, error) {
	name, address, _ := strings.Cut(text, ":")
	addr, err := netip.ParseAddr(strings.Trim(address, "[]"))
	if _, bad := parseDomain(name); err != nil || bad != nil {
		return rootless.HostName{}, fmt.Errorf("%q: write NAME:IP, as registry:192.0.2.7", text)
	}
	return rootless.HostName{Name: name, Addr: addr}, nil
}

func parseMTU(text string) (uint32, error) {
	const least, most = 1280, 65520 // IPv6's least, RFC 8200; what TUN takes
	mtu, err := strconv.ParseUint(text, 10, 32)
	if err != nil || mtu < least || mtu > most {
		return 0, errors.New("write a number of bytes from 1280 to 65520")
	}
	return uint32(mtu), nil
}
