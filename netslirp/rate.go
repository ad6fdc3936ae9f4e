package netslirp

import (
	"fmt"
	"strconv"
	"strings"
)

// ParseRate reads UP[:DOWN], in bytes a second with k, m or g for powers of
// 1024: "10m:1g". Without DOWN, UP holds both ways; 0 is no limit.
func ParseRate(text string) (Rate, error) {
	upText, downText, has := strings.Cut(text, ":")
	if !has {
		downText = upText
	}
	up, err := parseBytes(upText)
	if err != nil {
		return Rate{}, fmt.Errorf("rate %q: %w", clip(text), err)
	}
	down, err := parseBytes(downText)
	if err != nil {
		return Rate{}, fmt.Errorf("rate %q: %w", clip(text), err)
	}
	return Rate{Up: up, Down: down}, nil
}

// parseBytes stays below what a token bucket reckons with in 63 bits.
func parseBytes(text string) (uint64, error) {
	const most = 1 << 40
	digits, unit := text, uint64(1)
	if text != "" {
		switch text[len(text)-1] {
		case 'k', 'K':
			unit = 1 << 10
		case 'm', 'M':
			unit = 1 << 20
		case 'g', 'G':
			unit = 1 << 30
		}
	}
	if unit != 1 {
		digits = text[:len(text)-1]
	}
	n, err := strconv.ParseUint(digits, 10, 64)
	if err != nil {
		return 0, fmt.Errorf("%q is no count of bytes a second: write UP[:DOWN], as 10m:1g", clip(text))
	}
	if n > most/unit {
		return 0, fmt.Errorf("%q is more than 1024g", clip(text))
	}
	return n * unit, nil
}

// ParseLoopback reads the value of --host-loopback: a list of ports, "" or
// "true" for all of them, "false" for none.
func ParseLoopback(text string) (Loopback, error) {
	switch text {
	case "", "true":
		return Loopback{Open: true}, nil
	case "false":
		return Loopback{}, nil
	}
	ports, err := parsePortList(text)
	if err != nil {
		return Loopback{}, fmt.Errorf("host-loopback %q: %w: write ports, as 8080,9000-9010", clip(text), err)
	}
	return Loopback{Open: true, Ports: ports}, nil
}

// Has says whether a port of the host's loopback may be reached.
func (l Loopback) Has(port uint16) bool {
	if len(l.Ports) == 0 {
		return l.Open
	}
	for _, r := range l.Ports {
		if l.Open && r.Has(port) {
			return true
		}
	}
	return false
}
