package ns

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Offsets are what a time namespace adds to two clocks (time_namespaces(7)).
type Offsets struct{ Monotonic, Boottime time.Duration }

// ParseOffsets reads "monotonic=+1d,boottime=-2h30m": Go's durations and days.
func ParseOffsets(value string) (Offsets, error) {
	var o Offsets
	for part := range strings.SplitSeq(value, ",") {
		clock, amount, found := strings.Cut(part, "=")
		offset, err := parseDuration(amount)
		if !found || err != nil {
			return Offsets{}, fmt.Errorf("time offset %q: write CLOCK=OFFSET, as monotonic=+1d or boottime=-2h30m", part)
		}
		switch clock {
		case "monotonic":
			o.Monotonic = offset
		case "boottime":
			o.Boottime = offset
		default:
			return Offsets{}, fmt.Errorf("time offset %q: only the clocks monotonic and boottime have one", part)
		}
	}
	return o, nil
}

// parseDuration is time.ParseDuration with a leading number of days.
func parseDuration(s string) (time.Duration, error) {
	sign := ""
	if s != "" && (s[0] == '+' || s[0] == '-') {
		sign, s = s[:1], s[1:]
	}
	var days time.Duration
	if d, rest, found := strings.Cut(s, "d"); found {
		n, err := strconv.ParseUint(d, 10, 15) // 2^15 days stay below Duration's 292 years
		if err != nil {
			return 0, err
		}
		days = time.Duration(n) * 24 * time.Hour
		if s = rest; s == "" {
			s = "0s"
		}
	}
	if s != "" && (s[0] == '+' || s[0] == '-') {
		return 0, fmt.Errorf("%q has a second sign", s)
	}
	rest, err := time.ParseDuration(s)
	sum := days + rest
	if err != nil || rest < 0 || sum < days {
		return 0, fmt.Errorf("%q is no duration", s)
	}
	if sign == "-" {
		sum = -sum
	}
	return sum, nil
}

// Text is what is written to /proc/PID/timens_offsets, or "" for no offset.
func (o Offsets) Text() string {
	var b strings.Builder
	for _, c := range []struct {
		name   string
		offset time.Duration
	}{{"monotonic", o.Monotonic}, {"boottime", o.Boottime}} {
		if c.offset == 0 {
			continue
		}
		seconds, nanoseconds := c.offset/time.Second, c.offset%time.Second
		if nanoseconds < 0 { // the kernel takes 0 to 999999999
			seconds, nanoseconds = seconds-1, nanoseconds+time.Second
		}
		fmt.Fprintf(&b, "%s %d %d\n", c.name, seconds, nanoseconds)
	}
	return b.String()
}
