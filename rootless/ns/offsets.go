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
	size := strings.TrimLeft(s, "+-")
	if len(s)-len(size) > 1 {
		return 0, fmt.Errorf("%q has more than one sign", s)
	}
	amount, err := days(size)
	if err != nil {
		return 0, err
	}
	if strings.HasPrefix(s, "-") {
		amount = -amount
	}
	return amount, nil
}

// days reads a duration without a sign.
func days(s string) (time.Duration, error) {
	var whole time.Duration
	if d, rest, found := strings.Cut(s, "d"); found {
		n, err := strconv.ParseUint(d, 10, 15) // 2^15 days stay below Duration's 292 years
		if err != nil {
			return 0, err
		}
		whole = time.Duration(n) * 24 * time.Hour
		if s = rest; s == "" {
			return whole, nil
		}
	}
	rest, err := time.ParseDuration(s)
	if sum := whole + rest; err == nil && s[0] != '+' && rest >= 0 && sum >= whole {
		return sum, nil
	}
	return 0, fmt.Errorf("%q is no duration", s)
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
