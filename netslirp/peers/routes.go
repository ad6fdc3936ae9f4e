package peers

import (
	"os"
	"strconv"
	"strings"
	"time"

	"bryo/netslirp"
)

// routes tells when pasta has connected a container: it adds the default route
// last, first that of IPv4. A container without it has only IPv6, or none that
// leads out; then no more may come.
type routes struct{ since time.Time }

// settled says that nothing more is to be waited for.
func (r *routes) settled(pid int, now time.Time) bool {
	const calm = 200 * time.Millisecond
	dir := "/proc/" + strconv.Itoa(pid) + "/net/"
	four, _ := os.ReadFile(dir + "route")
	six, _ := os.ReadFile(dir + "ipv6_route")
	some, whole := routes4(string(four))
	if whole {
		return true
	}
	if !some && !routes6(string(six)) {
		r.since = time.Time{}
		return false
	}
	if r.since.IsZero() {
		r.since = now
	}
	return now.Sub(r.since) >= calm
}

// routes4 reads /proc/net/route: the interface, then the destination in
// hexadecimal digits, which are zeros for the default.
func routes4(text string) (some, whole bool) {
	for line := range strings.Lines(text) {
		field := strings.Fields(line)
		if len(field) > 1 && field[0] == netslirp.Interface {
			some = true
			whole = whole || field[1] == "00000000"
		}
	}
	return some, whole
}

// routes6 reads /proc/net/ipv6_route: the destination, and the interface at the
// end. The kernel itself adds those of links and of groups, fe80::/10 and ff00::/8.
func routes6(text string) bool {
	for line := range strings.Lines(text) {
		field := strings.Fields(line)
		if len(field) > 1 && field[len(field)-1] == netslirp.Interface &&
			!strings.HasPrefix(field[0], "fe8") && !strings.HasPrefix(field[0], "ff") {
			return true
		}
	}
	return false
}
