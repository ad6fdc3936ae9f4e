package idmap

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
)

// NoID is (uid_t)-1, "no change" to chown(2) and setresuid(2), so that no
// namespace can hold it. Everything here that has no id to return returns it:
// a caller who drops an error must not become root.
const NoID uint32 = math.MaxUint32

// The kernel's limits on one map (user_namespaces(7)). The text has to be
// written at once and to be shorter than a page, which is reached well before
// 340 extents; 4096 bytes is the smallest page there is.
const (
	maxExtents = 340
	pageSize   = 4096
)

// Kind tells user ids from group ids.
type Kind uint8

// The two kinds.
const (
	UID Kind = iota
	GID
)

// String returns "uid" or "gid".
func (k Kind) String() string {
	if k == GID {
		return "gid"
	}
	return "uid"
}

// Extent maps Count ids from Inside on, in the container, to as many from
// Outside on, on the host. It is the runtime specification's LinuxIDMapping:
// containerID, hostID, size.
type Extent struct{ Inside, Outside, Count uint32 }

// Map is the map of one kind. The order of the extents means nothing to the
// kernel. Its methods other than Validate expect a valid map.
type Map []Extent

// Maps holds the maps of both kinds.
type Maps struct{ UID, GID Map }

// ParseID reads an id in the form the kernel prints it: unsigned, decimal,
// below 4294967295, without sign, space or leading zeros. On error it
// returns NoID.
func ParseID(text string) (uint32, error) {
	id, err := parseNumber(text)
	if err != nil {
		return NoID, err
	}
	if id == NoID {
		return NoID, fmt.Errorf("id %s is reserved", text)
	}
	return id, nil
}

// ParseExtent reads "C:H:N": container id, host id, number of ids.
func ParseExtent(text string) (Extent, error) {
	fields := strings.Split(text, ":")
	if len(fields) != 3 {
		return Extent{}, fmt.Errorf("id map %q: want CONTAINER:HOST:COUNT", text)
	}
	inside, err := ParseID(fields[0])
	if err != nil {
		return Extent{}, fmt.Errorf("id map %q: container id: %w", text, err)
	}
	outside, err := ParseID(fields[1])
	if err != nil {
		return Extent{}, fmt.Errorf("id map %q: host id: %w", text, err)
	}
	// A count may be 4294967295: it maps the ids 0 to 4294967294.
	count, err := parseNumber(fields[2])
	if err != nil {
		return Extent{}, fmt.Errorf("id map %q: count: %w", text, err)
	}
	e := Extent{Inside: inside, Outside: outside, Count: count}
	if err := e.validate(); err != nil {
		return Extent{}, fmt.Errorf("id map: %w", err)
	}
	return e, nil
}

// ParseLines reads the text of /proc/PID/uid_map, as Lines writes it and the
// kernel lays it out.
func ParseLines(text string) (m Map, err error) {
	for line := range strings.Lines(text) {
		extent, err := ParseExtent(strings.Join(strings.Fields(line), ":"))
		if err != nil {
			return nil, err
		}
		m = append(m, extent)
	}
	return m, nil
}

// parseNumber refuses leading zeros because other programs read them as octal.
func parseNumber(text string) (uint32, error) {
	n, err := strconv.ParseUint(text, 10, 32)
	if err != nil || text[0] == '0' && text != "0" {
		return NoID, fmt.Errorf("%q is not an unsigned 32-bit decimal number", text)
	}
	return uint32(n), nil
}

// String returns the form ParseExtent reads.
func (e Extent) String() string { return string(e.appendTo(nil, ':')) }

func (e Extent) appendTo(b []byte, separator byte) []byte {
	b = strconv.AppendUint(b, uint64(e.Inside), 10)
	b = append(b, separator)
	b = strconv.AppendUint(b, uint64(e.Outside), 10)
	b = append(b, separator)
	return strconv.AppendUint(b, uint64(e.Count), 10)
}

func (e Extent) validate() error {
	if e.Count == 0 {
		return fmt.Errorf("%s maps no ids", e)
	}
	if e.inside().end() > uint64(NoID) || e.outside().end() > uint64(NoID) {
		return fmt.Errorf("%s goes past the last id %d", e, NoID-1)
	}
	return nil
}

func (e Extent) inside() Range  { return Range{Start: e.Inside, Count: e.Count} }
func (e Extent) outside() Range { return Range{Start: e.Outside, Count: e.Count} }

// ToHost returns the host's id for an id of the container; false and NoID when
// it is not mapped.
func (m Map) ToHost(inside uint32) (uint32, bool) {
	for _, e := range m {
		if e.inside().contains(inside) {
			return e.Outside + (inside - e.Inside), true
		}
	}
	return NoID, false
}

// ToContainer returns the container's id for an id of the host; false and NoID
// when it is not mapped.
func (m Map) ToContainer(outside uint32) (uint32, bool) {
	for _, e := range m {
		if e.outside().contains(outside) {
			return e.Inside + (outside - e.Outside), true
		}
	}
	return NoID, false
}

// Covers reports whether every one of the container's ids is mapped, so that a
// process can take it.
func (m Map) Covers(inside ...uint32) bool {
	for _, id := range inside {
		if _, ok := m.ToHost(id); !ok {
			return false
		}
	}
	return true
}

// Validate reports why the kernel would refuse the map. It does not know whose
// ids they are.
func (m Map) Validate() error {
	if len(m) == 0 {
		return errors.New("no ids are mapped")
	}
	if len(m) > maxExtents {
		return fmt.Errorf("%d extents, the kernel takes %d", len(m), maxExtents)
	}
	for i, e := range m {
		if err := e.validate(); err != nil {
			return err
		}
		for _, earlier := range m[:i] {
			if e.inside().overlaps(earlier.inside()) {
				return fmt.Errorf("%s and %s overlap in the container", earlier, e)
			}
			if e.outside().overlaps(earlier.outside()) {
				return fmt.Errorf("%s and %s overlap on the host", earlier, e)
			}
		}
	}
	if size := len(m.Lines()); size >= pageSize {
		return fmt.Errorf("%d extents need %d bytes, the kernel takes %d", len(m), size, pageSize-1)
	}
	return nil
}

// Validate validates both maps and says which kind is wrong.
func (m Maps) Validate() error {
	if err := m.UID.Validate(); err != nil {
		return fmt.Errorf("%s map: %w", UID, err)
	}
	if err := m.GID.Validate(); err != nil {
		return fmt.Errorf("%s map: %w", GID, err)
	}
	return nil
}

// Lines returns the text of /proc/PID/uid_map: a line "INSIDE OUTSIDE COUNT"
// for each extent. The kernel wants it in one write.
func (m Map) Lines() string {
	var b []byte
	for _, e := range m {
		b = append(e.appendTo(b, ' '), '\n')
	}
	return string(b)
}

// Args returns the arguments of newuidmap(1) or newgidmap(1) that follow the
// process: three for each extent.
func (m Map) Args() []string {
	args := make([]string, 0, 3*len(m))
	for _, e := range m {
		for _, n := range [...]uint32{e.Inside, e.Outside, e.Count} {
			args = append(args, strconv.FormatUint(uint64(n), 10))
		}
	}
	return args
}
