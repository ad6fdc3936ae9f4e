package idmap

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Mode is how the maps are found.
type Mode uint8

const (
	// Auto is root inside as the user, and from 1 on all subordinate ids.
	Auto Mode = iota
	// Single is root inside as the user, and nobody else.
	Single
	// KeepID is the user under a chosen id inside, and the subordinate ids
	// around it from 0 on.
	KeepID
	// Explicit is the extents that the user wrote.
	Explicit
)

// Spec is what the user asked for. The zero value is Auto.
type Spec struct {
	Mode Mode
	// KeepUID and KeepGID are the user's ids inside, for KeepID; nil keeps
	// those of the host.
	KeepUID, KeepGID *uint32
	// UIDs and GIDs are the extents for Explicit, Outside being host ids. When
	// one kind is left out it copies the other, with the user's own uid and
	// own gid standing for one another.
	UIDs, GIDs Map
}

// Identity is the user's own ids on the host.
type Identity struct{ UID, GID uint32 }

// Range is Count ids of the host from Start on, which the user may map.
type Range struct{ Start, Count uint32 }

// Warning is why a Choice holds less than was asked for.
type Warning uint8

const (
	// NoWarning says that the user gets what was asked for.
	NoWarning Warning = iota
	// NoRanges says that one id was mapped, for want of subordinate uids,
	// gids, or both: one kind alone would leave files with half an owner.
	NoRanges
)

// String returns the warning as a clause, "" for none.
func (w Warning) String() string {
	if w == NoRanges {
		return "subordinate uids or gids are missing: only one id is mapped"
	}
	return ""
}

// Choice is the maps and how they have to be written.
type Choice struct {
	Maps Maps
	// Helpers says that newuidmap and newgidmap must write the maps. Without
	// them a process may only map its own id, in one line.
	Helpers bool
	// Setgroups says that setgroups(2) works inside. Where it does not and
	// there are no helpers, "deny" goes to /proc/PID/setgroups before gid_map
	// is written (CVE-2014-8989); with helpers, newgidmap sees to it.
	Setgroups bool
	Warning   Warning
}

// NotYoursError is a host id in an explicit map which is neither the user's
// own nor subordinate. It stands for the ids First to Last.
type NotYoursError struct {
	Kind        Kind
	Extent      Extent
	First, Last uint32
}

// systemIDs is below what useradd(8) gives to people: no range of these is
// ever to be granted.
const systemIDs = 1000

// Error names the id and the command that would grant it.
func (e *NotYoursError) Error() string {
	if e.First < systemIDs {
		return fmt.Sprintf("%s map %s: host %s %d is the system's own\nfix: map ids of yours: your own, or those in /etc/sub%s",
			e.Kind, e.Extent, e.Kind, e.First, e.Kind)
	}
	return fmt.Sprintf("%s map %s: host %s %d is not yours\nfix: sudo usermod --add-sub%ss %d-%d $USER",
		e.Kind, e.Extent, e.Kind, e.First, e.Kind, e.First, e.Last)
}

// ParseSpec reads the value of a flag: auto, single, keep-id, keep-id:UID,GID,
// or podman's keep-id:uid=UID,gid=GID, where either may be left out.
func ParseSpec(text string) (Spec, error) {
	mode, options, hasOptions := strings.Cut(text, ":")
	switch {
	case text == "auto":
		return Spec{Mode: Auto}, nil
	case text == "single":
		return Spec{Mode: Single}, nil
	case text == "keep-id":
		return Spec{Mode: KeepID}, nil
	case mode == "keep-id" && hasOptions:
		spec, err := parseKeep(options)
		if err != nil {
			return Spec{}, fmt.Errorf("id map %q: %w", text, err)
		}
		return spec, nil
	}
	return Spec{}, fmt.Errorf("id map %q: want auto, single or keep-id[:UID,GID]", text)
}

func parseKeep(options string) (Spec, error) {
	if !strings.Contains(options, "=") {
		uid, gid, both := strings.Cut(options, ",")
		if !both {
			return Spec{}, errors.New("want keep-id:UID,GID or keep-id:uid=UID")
		}
		options = "uid=" + uid + ",gid=" + gid
	}
	spec := Spec{Mode: KeepID}
	for option := range strings.SplitSeq(options, ",") {
		key, value, _ := strings.Cut(option, "=")
		var keep **uint32
		switch key {
		case "uid":
			keep = &spec.KeepUID
		case "gid":
			keep = &spec.KeepGID
		default:
			return Spec{}, fmt.Errorf("option %q: want uid=UID or gid=GID", option)
		}
		if *keep != nil {
			return Spec{}, fmt.Errorf("%s is given twice", key)
		}
		id, err := ParseID(value)
		if err != nil {
			return Spec{}, fmt.Errorf("%s: %w", key, err)
		}
		*keep = &id
	}
	return spec, nil
}

// Choose decides the maps of a user namespace. uids and gids are the user's
// subordinate ranges as found: they may overlap one another, repeat, or hold
// the user's own id. Ids beyond what the kernel can map are left out.
func Choose(spec Spec, self Identity, uids, gids []Range) (Choice, error) {
	if err := spec.check(); err != nil {
		return Choice{}, err
	}
	var choice Choice
	if spec.Mode == Explicit {
		maps, err := explicit(spec, self, uids, gids)
		if err != nil {
			return Choice{}, err
		}
		choice.Maps = maps
	} else {
		choice.Maps, choice.Warning = arrange(spec, self, uids, gids)
	}
	if err := choice.Maps.Validate(); err != nil {
		return Choice{}, err
	}
	choice.Helpers = !choice.Maps.UID.only(self.UID) || !choice.Maps.GID.only(self.GID)
	// newgidmap allows setgroups(2) for a subordinate gid only: a user who
	// could drop the own group would get past modes that deny that group
	// (CVE-2018-7169).
	choice.Setgroups = !choice.Maps.GID.only(self.GID)
	return choice, nil
}

// check refuses what the mode would ignore.
func (s Spec) check() error {
	if s.Mode > Explicit {
		return fmt.Errorf("id map mode %d is unknown", s.Mode)
	}
	if s.Mode != KeepID && (s.KeepUID != nil || s.KeepGID != nil) {
		return errors.New("ids to keep go with keep-id only")
	}
	hasExtents := len(s.UIDs)+len(s.GIDs) > 0
	if s.Mode != Explicit && hasExtents {
		return errors.New("an explicit id map excludes auto, single and keep-id")
	}
	if s.Mode == Explicit && !hasExtents {
		return errors.New("an explicit id map needs extents")
	}
	return nil
}

// only reports whether the kernel lets a process write the map by itself.
func (m Map) only(own uint32) bool {
	return len(m) == 1 && m[0].Count == 1 && m[0].Outside == own
}

// arrange makes the maps of every mode but Explicit. All are one shape: Auto
// keeps the user at 0, Single does so without any ranges.
func arrange(spec Spec, self Identity, uids, gids []Range) (Maps, Warning) {
	var at Identity
	if spec.Mode == KeepID {
		at = self
		if spec.KeepUID != nil {
			at.UID = *spec.KeepUID
		}
		if spec.KeepGID != nil {
			at.GID = *spec.KeepGID
		}
	}
	uids, gids = usable(uids, self.UID), usable(gids, self.GID)
	warning := NoWarning
	if spec.Mode != Single && (len(uids) == 0 || len(gids) == 0) {
		warning = NoRanges
	}
	if spec.Mode == Single || warning == NoRanges {
		uids, gids = nil, nil
	}
	return Maps{UID: around(at.UID, self.UID, uids), GID: around(at.GID, self.GID, gids)}, warning
}

// around maps id at to own, and the container's other ids from 0 on to the
// ranges, in their order, until either runs out:
//
//	container  0 .. at-1    at    at+1 ..
//	host       ranges       own   the rest of the ranges
func around(at, own uint32, ranges []Range) Map {
	m := Map{{Inside: at, Outside: own, Count: 1}}
	size := len(m.Lines())
	next := uint32(0)
	for _, r := range ranges {
		for r.Count > 0 && next < NoID {
			if next == at {
				next++
				continue
			}
			free := NoID - next
			if next < at {
				free = at - next
			}
			e := Extent{Inside: next, Outside: r.Start, Count: min(r.Count, free)}
			size += len(e.String()) + len("\n")
			if len(m) == maxExtents || size >= pageSize {
				return m.sorted()
			}
			m = append(m, e)
			r.Start += e.Count
			r.Count -= e.Count
			next += e.Count
		}
	}
	return m.sorted()
}

func (m Map) sorted() Map {
	slices.SortFunc(m, func(a, b Extent) int { return cmp.Compare(a.Inside, b.Inside) })
	return m
}

// explicit takes the maps as written, apart from cutting them where the user's
// ranges meet, since newuidmap wants each extent within one of them.
func explicit(spec Spec, self Identity, uids, gids []Range) (Maps, error) {
	maps := Maps{UID: spec.UIDs, GID: spec.GIDs}
	if len(maps.GID) == 0 {
		maps.GID = maps.UID.replaced(self.UID, self.GID)
	}
	if len(maps.UID) == 0 {
		maps.UID = maps.GID.replaced(self.GID, self.UID)
	}
	// Validate first: overlaps are to be told in the user's own extents.
	if err := maps.Validate(); err != nil {
		return Maps{}, err
	}
	var err error
	given := maps
	maps.UID, err = given.UID.granted(UID, self.UID, uids)
	var gidErr error
	maps.GID, gidErr = given.GID.granted(GID, self.GID, gids)
	if gidErr != nil && (err == nil || len(spec.UIDs) == 0) {
		err = gidErr // of the kind that was written, not of its copy
	}
	if err != nil {
		return Maps{}, err
	}
	return maps, nil
}

// replaced copies the map, with the extents of one host id changed to another.
func (m Map) replaced(one, other uint32) Map {
	m = slices.Clone(m)
	for i, e := range m {
		if e.Count == 1 && e.Outside == one {
			m[i].Outside = other
		}
	}
	return m
}

// granted cuts each extent into parts that lie within one range or are the own
// id, and reports the first host id that is neither.
func (m Map) granted(kind Kind, own uint32, ranges []Range) (Map, error) {
	ranges = append([]Range{{Start: own, Count: 1}}, ranges...)
	var parts Map
	for _, e := range m {
		for rest := e; rest.Count > 0; {
			reach := grantedFrom(rest.Outside, ranges)
			if reach == 0 {
				last := min(uint64(firstAfter(rest.Outside, ranges)), e.outside().end()) - 1
				return nil, &NotYoursError{Kind: kind, Extent: e, First: rest.Outside, Last: uint32(last)}
			}
			n := uint32(min(reach, uint64(rest.Count)))
			parts = append(parts, Extent{Inside: rest.Inside, Outside: rest.Outside, Count: n})
			rest = Extent{Inside: rest.Inside + n, Outside: rest.Outside + n, Count: rest.Count - n}
		}
		// Ranges of one id each could ask for a part per id.
		if len(parts) > maxExtents {
			return nil, fmt.Errorf("%s map: %s spans too many of your ranges, the kernel takes %d extents", kind, e, maxExtents)
		}
	}
	return parts, nil
}

// grantedFrom returns how many ids from id on lie in the one range that holds
// most of them.
func grantedFrom(id uint32, ranges []Range) uint64 {
	var most uint64
	for _, r := range ranges {
		if r.contains(id) {
			most = max(most, r.end()-uint64(id))
		}
	}
	return most
}

// firstAfter returns where the nearest range above id starts, NoID when none.
func firstAfter(id uint32, ranges []Range) uint32 {
	first := NoID
	for _, r := range ranges {
		if r.Count > 0 && r.Start > id {
			first = min(first, r.Start)
		}
	}
	return first
}

// usable returns the ranges in their order, without the own id, without ids
// that an earlier range has given, and without NoID and what is past it.
func usable(ranges []Range, own uint32) []Range {
	taken := []Range{{Start: own, Count: 1}}
	for _, r := range ranges {
		// No map has room for more, and the work is quadratic.
		if len(taken) > maxExtents {
			break
		}
		r.Count = min(r.Count, NoID-r.Start)
		taken = append(taken, r.without(taken)...)
	}
	return taken[1:]
}

// without returns what is left of a range, in order.
func (r Range) without(taken []Range) []Range {
	left := []Range{r}
	for _, t := range taken {
		var kept []Range
		for _, l := range left {
			kept = append(kept, l.minus(t)...)
		}
		left = kept
	}
	return left
}

func (r Range) minus(other Range) []Range {
	var left []Range
	keep := func(start, end uint64) {
		if start < end {
			left = append(left, Range{Start: uint32(start), Count: uint32(end - start)})
		}
	}
	keep(uint64(r.Start), min(r.end(), uint64(other.Start)))
	keep(max(uint64(r.Start), other.end()), r.end())
	return left
}

// end is one past the last id; 64 bits because it may be 2^32 and more.
func (r Range) end() uint64 { return uint64(r.Start) + uint64(r.Count) }

func (r Range) contains(id uint32) bool { return id >= r.Start && uint64(id) < r.end() }

func (r Range) overlaps(other Range) bool {
	return r.Count > 0 && other.Count > 0 && uint64(r.Start) < other.end() && uint64(other.Start) < r.end()
}
