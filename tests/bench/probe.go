package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"math/bits"
	"os"
	"strconv"
	"strings"
)

// given is what a tool gave to its container.
type given struct {
	Own        []string // the kinds of namespaces that are not the host's
	IDs        uint64   // how many user ids are mapped
	Mounts     []string // lines of mountinfo, proc(5)
	NoNewPrivs bool
	Seccomp    bool // a filter is on
	Caps       int  // effective ones
}

// kinds are the names of namespaces in /proc/PID/ns.
func kinds() []string {
	return []string{"cgroup", "ipc", "mnt", "net", "pid", "time", "user", "uts"}
}

// probeScript prints lines of a word and what it is about, for parseGiven. It
// uses nothing that the root file system of the bench does not have.
func probeScript() string {
	return `echo begin
for kind in ` + strings.Join(kinds(), " ") + `; do echo ns $kind $(readlink /proc/self/ns/$kind); done
sed 's/^/ids /' /proc/self/uid_map
sed -n 's/^\(NoNewPrivs\|Seccomp\|CapEff\):/\1/p' /proc/self/status
sed 's/^/mount /' /proc/self/mountinfo
echo end`
}

// hostNamespaces returns what the links of /proc/self/ns say of this process.
func hostNamespaces() map[string]string {
	links := map[string]string{}
	for _, kind := range kinds() {
		links[kind], _ = os.Readlink("/proc/self/ns/" + kind) // a kind that the kernel lacks has no link
	}
	return links
}

// parseGiven reads what probeScript printed in a container.
func parseGiven(printed []byte, host map[string]string) (given, error) {
	g := given{}
	ended := false
	lines := bufio.NewScanner(bytes.NewReader(printed))
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		word, rest, _ := strings.Cut(strings.Replace(lines.Text(), "\t", " ", 1), " ")
		ended = ended || word == "end"
		if err := g.take(word, strings.TrimSpace(rest), host); err != nil {
			return given{}, fmt.Errorf("line %q of the probe: %w", lines.Text(), err)
		}
	}
	if err := lines.Err(); err != nil {
		return given{}, err
	}
	if !ended {
		return given{}, errors.New("the probe printed no end")
	}
	return g, nil
}

func (g *given) take(word, rest string, host map[string]string) error {
	switch word {
	case "ns":
		kind, link, _ := strings.Cut(rest, " ")
		if link != "" && link != host[kind] {
			g.Own = append(g.Own, kind)
		}
	case "ids":
		fields := strings.Fields(rest)
		if len(fields) != 3 {
			return errors.New("not three numbers")
		}
		count, err := strconv.ParseUint(fields[2], 10, 64)
		if err != nil {
			return err
		}
		g.IDs += count
	case "NoNewPrivs":
		g.NoNewPrivs = rest == "1"
	case "Seccomp":
		g.Seccomp = rest == "2"
	case "CapEff":
		set, err := strconv.ParseUint(rest, 16, 64)
		if err != nil {
			return err
		}
		g.Caps = bits.OnesCount64(set)
	case "mount":
		g.Mounts = append(g.Mounts, rest)
	}
	return nil
}

// fault says what a container lacks that the comparison is about, or nothing.
func (g given) fault(allIDs bool) string {
	for _, kind := range []string{"user", "mnt", "pid", "net"} {
		if !strings.Contains(" "+strings.Join(g.Own, " ")+" ", " "+kind+" ") {
			return "its container has no own " + kind + " namespace"
		}
	}
	if allIDs != (g.IDs > 1) {
		return fmt.Sprintf("its container has %d user ids", g.IDs)
	}
	return ""
}
