package confine

import (
	"fmt"
	"math"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Limit is one resource limit: getrlimit(2).
type Limit struct {
	Resource   int // RLIMIT_*
	Soft, Hard uint64
}

func (l Limit) String() string {
	return ResourceName(l.Resource) + "=" + amount(l.Soft) + ":" + amount(l.Hard)
}

// Unlimited is RLIM_INFINITY.
const Unlimited = math.MaxUint64

type resource struct {
	name   string
	number int
}

func resources() []resource {
	return []resource{
		{"as", unix.RLIMIT_AS},
		{"core", unix.RLIMIT_CORE},
		{"cpu", unix.RLIMIT_CPU},
		{"data", unix.RLIMIT_DATA},
		{"fsize", unix.RLIMIT_FSIZE},
		{"locks", unix.RLIMIT_LOCKS},
		{"memlock", unix.RLIMIT_MEMLOCK},
		{"msgqueue", unix.RLIMIT_MSGQUEUE},
		{"nice", unix.RLIMIT_NICE},
		{"nofile", unix.RLIMIT_NOFILE},
		{"nproc", unix.RLIMIT_NPROC},
		{"rss", unix.RLIMIT_RSS},
		{"rtprio", unix.RLIMIT_RTPRIO},
		{"rttime", unix.RLIMIT_RTTIME},
		{"sigpending", unix.RLIMIT_SIGPENDING},
		{"stack", unix.RLIMIT_STACK},
	}
}

// ResourceName is the limit's name on the command line.
func ResourceName(number int) string {
	for _, r := range resources() {
		if r.number == number {
			return r.name
		}
	}
	return strconv.Itoa(number)
}

// ParseLimit reads NAME=SOFT[:HARD]; -1 and unlimited are no limit.
func ParseLimit(value string) (Limit, error) {
	name, amounts, _ := strings.Cut(value, "=")
	for _, r := range resources() {
		if r.name != name {
			continue
		}
		softText, hardText, both := strings.Cut(amounts, ":")
		soft, err := parseAmount(softText)
		hard := soft
		if err == nil && both {
			hard, err = parseAmount(hardText)
		}
		if err != nil || soft > hard {
			return Limit{}, fmt.Errorf("ulimit %q: write %s=SOFT[:HARD] with SOFT at most HARD; -1 is no limit", value, name)
		}
		return Limit{r.number, soft, hard}, nil
	}
	return Limit{}, fmt.Errorf("ulimit %q: no such limit; there are as core cpu data fsize memlock nofile nproc stack and those of getrlimit(2)", value)
}

// LimitNames lists the names that ParseLimit takes.
func LimitNames() []string {
	var names []string
	for _, r := range resources() {
		names = append(names, r.name)
	}
	return names
}

func amount(n uint64) string {
	if n == Unlimited {
		return "unlimited"
	}
	return strconv.FormatUint(n, 10)
}

func parseAmount(s string) (uint64, error) {
	if s == "-1" || s == "unlimited" {
		return Unlimited, nil
	}
	return strconv.ParseUint(s, 10, 63)
}

// DefaultProcesses bounds how many processes one user id of a container has.
const DefaultProcesses = 4096

// Limits are the defaults with what was asked for on top. hard is what the
// invoking user may have at most: an unprivileged process cannot raise it.
func Limits(asked []Limit, hard func(resource int) uint64) ([]Limit, error) {
	const files, moreFiles = 1024, 524288
	limits := []Limit{
		{unix.RLIMIT_CORE, 0, 0}, // core_pattern's program would run on the host
		{unix.RLIMIT_NOFILE, min(files, hard(unix.RLIMIT_NOFILE)), min(moreFiles, hard(unix.RLIMIT_NOFILE))},
		{unix.RLIMIT_NPROC, min(DefaultProcesses, hard(unix.RLIMIT_NPROC)), min(DefaultProcesses, hard(unix.RLIMIT_NPROC))},
	}
	for _, a := range asked {
		if most := hard(a.Resource); a.Hard > most {
			return nil, fmt.Errorf("ulimit %s=%s:%s: your own hard limit is %d; ask for less, or have it raised (limits.conf(5))",
				ResourceName(a.Resource), amount(a.Soft), amount(a.Hard), most)
		}
		limits = replace(limits, a)
	}
	return limits, nil
}

func replace(limits []Limit, with Limit) []Limit {
	for i := range limits {
		if limits[i].Resource == with.Resource {
			limits[i] = with
			return limits
		}
	}
	return append(limits, with)
}
