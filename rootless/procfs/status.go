package procfs

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"

	"bryo/idmap"
	"bryo/rootless/confine"
)

// Process is what the kernel says of one process. Ids are the container's own.
type Process struct {
	PID          int    // on the host
	Name         string // of its program, which it may change
	UIDs, GIDs   []uint32
	Groups       []uint32 // supplementary
	Outside      []uint32 `json:",omitempty"` // supplementary groups of the host that the container has no number for
	Nested       bool     `json:",omitempty"` // it is in a user namespace inside, which its capabilities are of
	Capabilities CapSets
	NoNewPrivs   bool
	Seccomp      string // disabled, strict or filter
	Filters      int    // seccomp filters, those of bryo's own surroundings among them
	Dumpable     string // yes, no, or that the kernel does not tell
	Umask        string
	OOMScoreAdj  int
	Limits       []Limit
	Descriptors  []string // what its descriptors lead to, by number
	Hidden       bool     `json:",omitempty"` // the kernel does not show the user its descriptors
}

// CapSets are a process's capabilities: capabilities(7).
type CapSets struct{ Effective, Permitted, Inheritable, Bounding, Ambient confine.Caps }

// MarshalJSON prints them by name.
func (c CapSets) MarshalJSON() ([]byte, error) {
	return json.Marshal(struct{ Effective, Permitted, Inheritable, Bounding, Ambient []string }{
		c.Effective.Names(), c.Permitted.Names(), c.Inheritable.Names(), c.Bounding.Names(), c.Ambient.Names(),
	})
}

// Limit is a resource limit as /proc/PID/limits has it.
type Limit struct{ Name, Soft, Hard string }

// parseStatus reads /proc/PID/status, of which every line has a key of its own;
// maps are the container's.
func parseStatus(text string, maps idmap.Maps) (p Process, err error) {
	fields := map[string]string{}
	for line := range strings.Lines(text) {
		key, value, _ := strings.Cut(line, ":")
		if _, twice := fields[key]; !twice {
			fields[key] = strings.TrimSpace(value)
		}
	}
	p.Name, p.Umask = fields["Name"], fields["Umask"]
	p.UIDs, _ = inside(fields["Uid"], maps.UID)
	p.GIDs, _ = inside(fields["Gid"], maps.GID)
	p.Groups, p.Outside = inside(fields["Groups"], maps.GID)
	p.NoNewPrivs = fields["NoNewPrivs"] == "1"
	p.Filters, _ = strconv.Atoi(fields["Seccomp_filters"]) // before Linux 5.9 there is none
	switch fields["Seccomp"] {
	case "0":
		p.Seccomp = "disabled"
	case "1":
		p.Seccomp = "strict"
	case "2":
		p.Seccomp = "filter"
	default:
		return p, fmt.Errorf("status: seccomp mode %q", fields["Seccomp"])
	}
	for key, set := range map[string]*confine.Caps{
		"CapEff": &p.Capabilities.Effective, "CapPrm": &p.Capabilities.Permitted, "CapInh": &p.Capabilities.Inheritable,
		"CapBnd": &p.Capabilities.Bounding, "CapAmb": &p.Capabilities.Ambient,
	} {
		bits, err := strconv.ParseUint(fields[key], 16, 64)
		if err != nil {
			return p, fmt.Errorf("status: %s: %w", key, err)
		}
		*set = confine.Caps(bits)
	}
	return p, nil
}

// inside translates ids, and tells those that have no number inside.
func inside(list string, m idmap.Map) (ids, outside []uint32) {
	ids = []uint32{}
	for text := range strings.FieldsSeq(list) {
		id, err := strconv.ParseUint(text, 10, 32)
		if err != nil {
			continue
		}
		if translated, ok := m.ToContainer(uint32(id)); ok {
			ids = append(ids, translated)
		} else {
			outside = append(outside, uint32(id))
		}
	}
	return ids, outside
}

// parseLimits reads /proc/PID/limits, a table of columns of one width: names have
// blanks, amounts have none.
func parseLimits(text string) (list []Limit) {
	const width = 26
	for line := range strings.Lines(text) {
		if len(line) < width {
			continue
		}
		name, amounts := limitName(strings.TrimSpace(line[:width])), strings.Fields(line[width:])
		if name != "" && len(amounts) > 1 {
			list = append(list, Limit{name, amounts[0], amounts[1]})
		}
	}
	return list
}

// limitName is what getrlimit(2) calls a limit that the table calls otherwise.
func limitName(long string) string {
	switch long {
	case "Max cpu time":
		return "cpu"
	case "Max file size":
		return "fsize"
	case "Max data size":
		return "data"
	case "Max stack size":
		return "stack"
	case "Max core file size":
		return "core"
	case "Max processes":
		return "nproc"
	case "Max open files":
		return "nofile"
	case "Max locked memory":
		return "memlock"
	case "Max address space":
		return "as"
	case "Max pending signals":
		return "sigpending"
	case "Max msgqueue size":
		return "msgqueue"
	}
	return "" // of no weight for what a container can do
}
