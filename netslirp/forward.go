package netslirp

import (
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
)

// Publish is a port of the host that leads into the container.
type Publish struct {
	Protocol  Protocol // TCP or UDP
	HostIP    netip.Addr
	HostPort  uint16 // 0 for one that is free
	ChildPort uint16
}

// Published is a port that leads into a container now; the number is for
// removing it. A list of them as JSON is what bryo-net's client prints.
type Published struct {
	ID int
	Publish
}

// String gives the grammar of ParsePublish, with nothing left out.
func (p Publish) String() string {
	host := ""
	if p.HostPort != 0 {
		host = strconv.Itoa(int(p.HostPort))
	}
	addr := p.HostIP.String()
	if p.HostIP.Is6() {
		addr = "[" + addr + "]"
	}
	return fmt.Sprintf("%s:%s:%d/%s", addr, host, p.ChildPort, p.Protocol)
}

// ParsePublish reads docker's and podman's grammar of published ports:
//
//	[ADDR:][HOST[-HOST]:]CONTAINER[-CONTAINER][/tcp|/udp]
//
// An address of IPv6 stands in brackets; without an address it is 127.0.0.1.
// Without HOST the port is 0, for one that is free: "80", "127.0.0.1::80". The
// ranges are of one length, and each port of them is one Publish.
func ParsePublish(text string) ([]Publish, error) {
	list, err := parsePublish(text)
	if err != nil {
		return nil, fmt.Errorf("publish %q: %w: write [ADDR:][HOST:]CONTAINER[/udp], as 8080:80", clip(text), err)
	}
	return list, nil
}

func parsePublish(text string) ([]Publish, error) {
	ports, protocol, err := cutPublishProtocol(text)
	if err != nil {
		return nil, err
	}
	addr, ports, err := cutPublishAddr(ports)
	if err != nil {
		return nil, err
	}
	hostText, childText, hasHost := strings.Cut(ports, ":")
	if !hasHost {
		hostText, childText = "", ports
	}
	child, err := parsePorts(childText)
	if err != nil {
		return nil, fmt.Errorf("container port: %w", err)
	}
	host := PortRange{}
	if hostText != "" {
		if host, err = parsePorts(hostText); err != nil {
			return nil, fmt.Errorf("host port: %w", err)
		}
		if host.Last-host.First != child.Last-child.First {
			return nil, fmt.Errorf("%s and %s are of different lengths", host, child)
		}
	}
	list := make([]Publish, 0, int(child.Last-child.First)+1)
	for i := range int(child.Last-child.First) + 1 {
		one := Publish{Protocol: protocol, HostIP: addr, ChildPort: child.First + uint16(i)}
		if host.First != 0 {
			one.HostPort = host.First + uint16(i)
		}
		list = append(list, one)
	}
	return list, nil
}

func cutPublishProtocol(text string) (rest string, protocol Protocol, err error) {
	rest, name, has := strings.Cut(text, "/")
	switch {
	case !has || strings.EqualFold(name, "tcp"):
		return rest, TCP, nil
	case strings.EqualFold(name, "udp"):
		return rest, UDP, nil
	case strings.EqualFold(name, "sctp"):
		return "", 0, errors.New("sctp is not carried, only tcp and udp")
	}
	return "", 0, fmt.Errorf("%q is no protocol, only tcp and udp are", clip(name))
}

// cutPublishAddr leaves what follows the address: HOST:CONTAINER, :CONTAINER or
// CONTAINER.
func cutPublishAddr(text string) (addr netip.Addr, rest string, err error) {
	var host string
	switch colons := strings.Count(text, ":"); {
	case strings.HasPrefix(text, "["):
		var closed bool
		if host, rest, closed = strings.Cut(text[1:], "]:"); !closed {
			return netip.Addr{}, "", errors.New("the bracket is not closed by ]: and ports")
		}
		if strings.Count(rest, ":") != 1 {
			return netip.Addr{}, "", noPorts("[" + host + "]")
		}
		addr, err = parsePublishAddr(host)
		if err == nil && addr.Is4() {
			err = fmt.Errorf("brackets are for IPv6 addresses, %s is none", addr)
		}
		return addr.Unmap(), rest, err
	case colons == 1 && text[0] == ':':
		return netip.Addr{}, "", errors.New("the host port is empty (leave out its colon for a free port)")
	case colons < 2:
		if host, _, _ = strings.Cut(text, ":"); colons == 1 && strings.Contains(host, ".") {
			return netip.Addr{}, "", noPorts(host)
		}
		return netip.AddrFrom4([4]byte{127, 0, 0, 1}), text, nil
	case colons == 2:
		host, rest, _ = strings.Cut(text, ":")
		addr, err = parsePublishAddr(host)
		return addr, rest, err
	}
	return netip.Addr{}, "", errors.New("too many colons (an IPv6 address stands in brackets, as [::1]:8080:80)")
}

func noPorts(host string) error {
	return fmt.Errorf("%s has no HOST:CONTAINER behind it (:CONTAINER for a free port)", clip(host))
}

func parsePublishAddr(host string) (netip.Addr, error) {
	addr, err := netip.ParseAddr(host)
	if err != nil {
		return netip.Addr{}, fmt.Errorf("%q is no address (a name is not looked up)", clip(host))
	}
	if addr.Zone() != "" {
		return netip.Addr{}, fmt.Errorf("%q has a zone", clip(host))
	}
	return addr, nil
}
