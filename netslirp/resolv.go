package netslirp

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// Resolv is a resolv.conf, as far as it concerns a container.
type Resolv struct {
	Nameservers []netip.Addr // may have zones
	Search      []string
	Options     []string
}

// What of a resolv.conf is read at most; the number of servers is the C
// library's MAXNS.
const (
	MaxResolv    = 1 << 16
	maxServers   = 3
	maxSearch    = 32
	maxOptions   = 32
	maxOptionLen = 64
)

// ParseResolv reads resolv.conf(5) as the C library does: what it does not
// understand it skips. The last of several lines "search" or "domain" counts.
func ParseResolv(text string) Resolv {
	var r Resolv
	text = text[:min(len(text), MaxResolv)]
	for line := range strings.Lines(text) {
		if strings.HasPrefix(line, "#") || strings.HasPrefix(line, ";") {
			continue
		}
		fields := strings.Fields(line)
		if len(fields) < 2 {
			continue
		}
		r.add(fields[0], fields[1:])
	}
	return r
}

func (r *Resolv) add(keyword string, values []string) {
	switch keyword {
	case "nameserver":
		addr, err := netip.ParseAddr(values[0])
		if err == nil && len(r.Nameservers) < maxServers && printable(values[0]) {
			r.Nameservers = append(r.Nameservers, addr)
		}
	case "domain":
		r.Search = searchNames(values[:1])
	case "search":
		r.Search = searchNames(values)
	case "options":
		for _, option := range values {
			if len(r.Options) < maxOptions && len(option) <= maxOptionLen && printable(option) {
				r.Options = append(r.Options, option)
			}
		}
	}
}

func searchNames(values []string) []string {
	var names []string
	for _, value := range values {
		if name, err := ParseSearch(value); err == nil && len(names) < maxSearch {
			names = append(names, name)
		}
	}
	return names
}

// ParseSearch reads one domain of a search list; "." is the root, with which
// names are looked up as they are and no other way.
func ParseSearch(text string) (string, error) {
	if text == "." {
		return text, nil
	}
	name, err := parseDomain(strings.TrimSuffix(text, "."))
	if err != nil {
		return "", fmt.Errorf("search %q: %w", clip(text), err)
	}
	if strings.HasPrefix(name, "*") {
		return "", fmt.Errorf("search %q: a wildcard is no domain", clip(text))
	}
	return name, nil
}

// File renders the container's resolv.conf: its own servers, the options of r,
// and the search list of r unless there is another.
func (r Resolv) File(servers []netip.Addr, search []string) string {
	if len(search) == 0 {
		search = r.Search
	}
	var b strings.Builder
	for _, server := range servers {
		b.WriteString("nameserver " + server.String() + "\n")
	}
	if len(search) > 0 {
		b.WriteString("search " + strings.Join(search, " ") + "\n")
	}
	if len(r.Options) > 0 {
		b.WriteString("options " + strings.Join(r.Options, " ") + "\n")
	}
	return b.String()
}

// printable keeps control characters out of what is rendered again.
func printable(text string) bool {
	return !slices.ContainsFunc([]byte(text), func(c byte) bool { return c <= ' ' || c > '~' })
}
