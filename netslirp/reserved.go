package netslirp

import "net/netip"

// Reserved says why an address is never reached unless the user opens it, and
// "" for the others. An address of IPv6 that a translator or a tunnel turns
// into one of IPv4 is judged as that one as well.
func Reserved(a netip.Addr) (why string) {
	if !a.IsValid() {
		return "no address"
	}
	a = a.Unmap().WithZone("")
	for _, r := range reserved() {
		if r.prefix.Contains(a) {
			return r.why
		}
	}
	if a.Is6() {
		for _, v4 := range embedded(a.As16()) {
			if why := Reserved(v4); why != "" {
				return why + " within IPv6"
			}
		}
	}
	return ""
}

type reservation struct {
	prefix netip.Prefix
	why    string
}

// reserved is in the order of how telling the reasons are.
func reserved() [20]reservation {
	const metadata = "cloud metadata"
	v4 := func(a, b, c, d byte, bits int) netip.Prefix {
		return netip.PrefixFrom(netip.AddrFrom4([4]byte{a, b, c, d}), bits)
	}
	v6 := func(a, b, c, d byte, bits int) netip.Prefix {
		return netip.PrefixFrom(netip.AddrFrom16([16]byte{a, b, c, d}), bits)
	}
	return [...]reservation{
		{v4(127, 0, 0, 0, 8), "loopback"},
		{v4(169, 254, 169, 254, 32), metadata},
		{v4(169, 254, 0, 0, 16), "link-local"},
		{v4(100, 100, 100, 200, 32), metadata}, // Alibaba
		{v4(192, 0, 0, 192, 32), metadata},     // Oracle
		{v4(168, 63, 129, 16, 32), metadata},   // Azure
		{v4(0, 0, 0, 0, 32), "unspecified"},
		{v4(0, 0, 0, 0, 8), "this network"}, // RFC 1122
		{v4(224, 0, 0, 0, 4), "multicast"},
		{v4(255, 255, 255, 255, 32), "broadcast"},
		{v4(240, 0, 0, 0, 4), "reserved"}, // RFC 1112
		{netip.PrefixFrom(netip.IPv6Loopback(), 128), "loopback"},
		{netip.PrefixFrom(netip.IPv6Unspecified(), 128), "unspecified"},
		{v6(0xfe, 0x80, 0, 0, 10), "link-local"},
		{v6(0xfe, 0xc0, 0, 0, 10), "site-local"},
		{v6(0xff, 0, 0, 0, 8), "multicast"},
		{v6(0xfd, 0x00, 0x0e, 0xc2, 32), metadata}, // Amazon, fd00:ec2::254
		{v6(0xfd, 0x20, 0x00, 0xce, 32), metadata}, // Google, fd20:ce::254
		{v6(0xfd, 0x00, 0x00, 0xc1, 32), metadata}, // Oracle, fd00:c1::a9fe:a9fe
		{v6(0x01, 0x00, 0, 0, 64), "discarded"},    // RFC 6666
	}
}

// embedded gives the addresses of IPv4 that one of IPv6 may stand for.
func embedded(a [16]byte) []netip.Addr {
	v4 := func(i int) netip.Addr { return netip.AddrFrom4([4]byte(a[i : i+4])) }
	starts := func(prefix ...byte) bool { return string(a[:len(prefix)]) == string(prefix) }
	switch {
	case starts(0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0), // v4-compatible, RFC 4291
		starts(0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0, 0),    // v4-translated, RFC 2765
		starts(0, 0x64, 0xff, 0x9b, 0, 0, 0, 0, 0, 0, 0, 0): // NAT64, RFC 6052
		return []netip.Addr{v4(12)}
	case starts(0, 0x64, 0xff, 0x9b, 0, 1): // NAT64 of a site, RFC 8215: at /96 or /48
		short, long := netip.AddrFrom4([4]byte{a[6], a[7], a[9], a[10]}), v4(12)
		if long.IsUnspecified() { // it is the other form
			long = short
		}
		if short.IsUnspecified() {
			short = long
		}
		return []netip.Addr{short, long}
	case starts(0x20, 0x02): // 6to4, RFC 3056
		return []netip.Addr{v4(2)}
	case starts(0x20, 0x01, 0, 0): // Teredo, RFC 4380: server, and client inverted
		return []netip.Addr{v4(4), netip.AddrFrom4([4]byte{^a[12], ^a[13], ^a[14], ^a[15]})}
	}
	return nil
}
