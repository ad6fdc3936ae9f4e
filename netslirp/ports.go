package netslirp

import (
	"fmt"
	"strconv"
	"strings"
)

// maxRanges bounds a list of ports, which is looked through per connection.
const maxRanges = 256

// String gives FIRST or FIRST-LAST.
func (r PortRange) String() string {
	first := strconv.Itoa(int(r.First))
	if r.First == r.Last {
		return first
	}
	return first + "-" + strconv.Itoa(int(r.Last))
}

func formatPorts(list []PortRange) string {
	texts := make([]string, len(list))
	for i, r := range list {
		texts[i] = r.String()
	}
	return strings.Join(texts, ",")
}

// parsePortList reads "80", "8000-8010" and lists of both with commas.
func parsePortList(text string) ([]PortRange, error) {
	if strings.Count(text, ",") >= maxRanges {
		return nil, fmt.Errorf("more than %d ranges of ports", maxRanges)
	}
	var list []PortRange
	for one := range strings.SplitSeq(text, ",") {
		r, err := parsePorts(one)
		if err != nil {
			return nil, err
		}
		list = append(list, r)
	}
	return list, nil
}

func parsePorts(text string) (PortRange, error) {
	firstText, lastText, has := strings.Cut(text, "-")
	first, err := parsePort(firstText)
	if err != nil || !has {
		return PortRange{first, first}, err
	}
	last, err := parsePort(lastText)
	if err != nil {
		return PortRange{}, err
	}
	if last < first {
		return PortRange{}, fmt.Errorf("the range %d-%d runs backwards", first, last)
	}
	return PortRange{first, last}, nil
}

func parsePort(text string) (uint16, error) {
	port, err := strconv.ParseUint(text, 10, 16)
	if err != nil || port == 0 || text[0] == '0' {
		return 0, fmt.Errorf("%q is no port from 1 to 65535", clip(text))
	}
	return uint16(port), nil
}

// clip keeps an error's line short whatever it quotes.
func clip(text string) string {
	const limit = 80
	if len(text) > limit {
		return text[:limit] + "..."
	}
	return text
}
