package idmap

import (
	"fmt"
	"strings"
)

// Text returns both maps in one line, which ParseMaps reads: extents with commas
// between them, and a blank between the kinds.
func (m Maps) Text() string { return m.UID.Text() + " " + m.GID.Text() }

// Text returns the extents with commas between them.
func (m Map) Text() string {
	extents := make([]string, len(m))
	for i, e := range m {
		extents[i] = e.String()
	}
	return strings.Join(extents, ",")
}

// ParseMaps reads maps that are valid.
func ParseMaps(text string) (m Maps, err error) {
	uid, gid, found := strings.Cut(text, " ")
	if !found {
		return Maps{}, fmt.Errorf("id maps %q: want two", text)
	}
	if m.UID, err = parseMap(uid); err == nil {
		m.GID, err = parseMap(gid)
	}
	if err == nil {
		err = m.Validate()
	}
	if err != nil {
		return Maps{}, err
	}
	return m, nil
}

func parseMap(text string) (m Map, err error) {
	for extent := range strings.SplitSeq(text, ",") {
		e, err := ParseExtent(extent)
		if err != nil {
			return nil, err
		}
		if m = append(m, e); len(m) > maxExtents {
			return nil, fmt.Errorf("an id map has more than %d extents", maxExtents)
		}
	}
	return m, nil
}

// Includes says that all ids of a map are inside as the other one has them.
func (m Map) Includes(other Map) bool {
	for _, e := range other {
		for n := uint32(0); n < e.Count; {
			i := m.at(e.Inside + n)
			if i < 0 || m[i].Outside-m[i].Inside != e.Outside-e.Inside {
				return false
			}
			n += min(e.Count-n, m[i].Count-(e.Inside+n-m[i].Inside))
		}
	}
	return true
}

// at is the extent that an id inside is in, or -1.
func (m Map) at(inside uint32) int {
	for i, e := range m {
		if inside >= e.Inside && inside-e.Inside < e.Count {
			return i
		}
	}
	return -1
}

// RootAlone says that root inside is the only id.
func (m Maps) RootAlone() bool {
	alone := func(m Map) bool { return len(m) == 1 && m[0].Inside == 0 && m[0].Count == 1 }
	return alone(m.UID) && alone(m.GID)
}
