package netslirp

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
)

// ParseRule reads what --allow and --deny take:
//
//	CIDR|ADDRESS|DOMAIN|* [:PORT[-PORT][,PORT...]] [/tcp|/udp|/icmp]
//
// without the spaces. An address or prefix of IPv6 that ports follow stands in
// brackets: "[2001:db8::/32]:443". A domain is ASCII; "*.example.org" is all
// below example.org.
func ParseRule(verdict Verdict, text string) (Rule, error) {
	rule, err := parseRule(text)
	if err != nil {
		return Rule{}, fmt.Errorf("%s %q: %w: write CIDR|DOMAIN|*[:PORT][/tcp|/udp|/icmp], as example.org:443 or 10.0.0.0/8",
			verdict, clip(text), err)
	}
	rule.Verdict = verdict
	return rule, nil
}

// String gives what ParseRule reads; the verdict is not part of it.
func (r Rule) String() string {
	var b strings.Builder
	switch {
	case r.Domain != "":
		b.WriteString(r.Domain)
	case !r.Prefix.IsValid():
		b.WriteByte('*')
	default:
		b.WriteString(r.prefixText())
	}
	if len(r.Ports) > 0 {
		b.WriteByte(':')
		b.WriteString(formatPorts(r.Ports))
	}
	if r.Protocol != AnyProtocol {
		b.WriteByte('/')
		b.WriteString(r.Protocol.String())
	}
	return b.String()
}

func (r Rule) prefixText() string {
	text := r.Prefix.String()
	if r.Prefix.IsSingleIP() {
		text = r.Prefix.Addr().String()
	}
	if r.Prefix.Addr().Is6() && len(r.Ports) > 0 {
		return "[" + text + "]"
	}
	return text
}

func parseRule(text string) (Rule, error) {
	const longest = 4096
	if len(text) > longest {
		return Rule{}, fmt.Errorf("longer than %d bytes", longest)
	}
	rest, protocol := cutRuleProtocol(text)
	rule := Rule{Protocol: protocol}
	where, ports, hasPorts, err := cutRulePorts(rest)
	if err != nil {
		return Rule{}, err
	}
	if hasPorts {
		if protocol == ICMP {
			return Rule{}, errors.New("icmp has no ports")
		}
		if rule.Ports, err = parsePortList(ports); err != nil {
			return Rule{}, err
		}
	}
	switch {
	case where == "*":
		return rule, nil
	case where == "":
		return Rule{}, errors.New("nothing says where to")
	case strings.ContainsAny(where, ":/") || looksNumeric(where):
		rule.Prefix, err = parsePrefix(where)
	default:
		rule.Domain, err = parseDomain(where)
	}
	return rule, err
}

// cutRuleProtocol takes off the protocol; the slash of a prefix length stays.
func cutRuleProtocol(text string) (rest string, protocol Protocol) {
	i := strings.LastIndexByte(text, '/')
	if i < 0 {
		return text, AnyProtocol
	}
	for _, protocol := range []Protocol{TCP, UDP, ICMP} {
		if strings.EqualFold(text[i+1:], protocol.String()) {
			return text[:i], protocol
		}
	}
	return text, AnyProtocol
}

func cutRulePorts(text string) (where, ports string, has bool, err error) {
	if strings.HasPrefix(text, "[") {
		where, rest, closed := strings.Cut(text[1:], "]")
		switch {
		case !closed:
			return "", "", false, errors.New("the bracket is not closed")
		case !strings.Contains(where, ":"):
			return "", "", false, errors.New("brackets are for IPv6 addresses")
		case rest == "":
			return where, "", false, nil
		case rest[0] != ':':
			return "", "", false, errors.New("the prefix length goes into the brackets, and only :PORT behind them")
		}
		return where, rest[1:], true, nil
	}
	if strings.Count(text, ":") > 1 {
		return text, "", false, nil // an IPv6 address, or parsePrefix complains
	}
	where, ports, has = strings.Cut(text, ":")
	return where, ports, has, nil
}

func parsePrefix(text string) (netip.Prefix, error) {
	if !strings.Contains(text, "/") {
		addr, err := netip.ParseAddr(text)
		if err != nil || addr.Zone() != "" || addr.Is4In6() {
			return netip.Prefix{}, notPlain(text)
		}
		return netip.PrefixFrom(addr, addr.BitLen()), nil
	}
	prefix, err := netip.ParsePrefix(text)
	switch length := text[strings.LastIndexByte(text, '/')+1:]; {
	case strings.Trim(length, "0123456789:") != "":
		return netip.Prefix{}, fmt.Errorf("%q is no protocol and no prefix length", clip(length))
	case err != nil || prefix.Addr().Is4In6():
		return netip.Prefix{}, notPlain(text)
	case prefix != prefix.Masked():
		return netip.Prefix{}, fmt.Errorf("%s has bits behind its length, %s has not", prefix, prefix.Masked())
	}
	return prefix, nil
}

func notPlain(text string) error {
	return fmt.Errorf("%q is no plain address or prefix (with ports, IPv6 stands in brackets; no zones, no v4-mapped ones)", clip(text))
}

// looksNumeric says that text is an address or an attempt at one: no top-level
// domain is a number, and resolvers take numbers for addresses (inet_aton(3)).
func looksNumeric(text string) bool {
	last := text[strings.LastIndexByte(text, '.')+1:]
	return last != "" && (strings.Trim(last, "0123456789") == "" || strings.HasPrefix(strings.ToLower(last), "0x"))
}

// parseDomain takes names of hosts, underscores included, which SRV has.
func parseDomain(text string) (string, error) {
	const longest, longestLabel = 253, 63
	name := strings.TrimPrefix(text, "*.")
	switch {
	case strings.HasSuffix(name, "."):
		return "", errors.New("a domain is written without a dot at its end")
	case len(name) > longest:
		return "", fmt.Errorf("a domain has at most %d bytes", longest)
	case strings.Contains(name, "*"):
		return "", errors.New(`"*" stands alone or as "*." at the start`)
	}
	for label := range strings.SplitSeq(name, ".") {
		if label == "" || len(label) > longestLabel {
			return "", fmt.Errorf("each part of a domain has 1 to %d bytes", longestLabel)
		}
		if i := strings.IndexFunc(label, notLabel); i >= 0 {
			if label[i] >= 0x80 {
				return "", errors.New("a domain is in ascii, as xn--bcher-kva.example")
			}
			return "", fmt.Errorf("%q is in no domain", label[i])
		}
	}
	return strings.ToLower(text), nil
}

func notLabel(r rune) bool {
	return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && r != '-' && r != '_'
}
