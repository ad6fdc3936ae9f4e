package idmap

import (
	"math"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// extents reads "C:H:N C:H:N", unchecked so that tests can write bad maps.
func extents(t testing.TB, text string) Map {
	t.Helper()
	var m Map
	for field := range strings.FieldsSeq(text) {
		var n [3]uint32
		for i, part := range strings.Split(field, ":") {
			v, err := strconv.ParseUint(part, 10, 32)
			if err != nil {
				t.Fatal(err)
			}
			n[i] = uint32(v)
		}
		m = append(m, Extent{Inside: n[0], Outside: n[1], Count: n[2]})
	}
	return m
}

// printed is the inverse of extents.
func printed(m Map) string {
	var fields []string
	for _, e := range m {
		fields = append(fields, e.String())
	}
	return strings.Join(fields, " ")
}

// apart is n extents that share nothing, in lines of 16 bytes.
func apart(n uint32) Map {
	var m Map
	for i := range n {
		m = append(m, Extent{Inside: 10000 + 2*i, Outside: 1000000 + 2*i, Count: 1})
	}
	return m
}

func errorText(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

func TestParseID(t *testing.T) {
	for text, want := range map[string]uint32{
		"0": 0, "1": 1, "1000": 1000, "2147483648": 1 << 31, "4294967294": math.MaxUint32 - 1,
	} {
		if got, err := ParseID(text); got != want || err != nil {
			t.Errorf("ParseID(%q) = %d, %v, want %d", text, got, err, want)
		}
	}
}

func TestParseIDRefuses(t *testing.T) {
	for _, text := range []string{
		"", "+0", "-0", "-1", "+1", " 1", "1 ", "1\n", "0x10", "0b1", "1_000", "1e3", "1.0",
		"00", "010", "root", "٣", "4294967295", "4294967296", "18446744073709551616", "1\x00",
	} {
		id, err := ParseID(text)
		if err == nil {
			t.Errorf("ParseID(%q) = %d, want an error", text, id)
		}
		if id != NoID {
			t.Errorf("ParseID(%q) returns %d with its error, want NoID", text, id)
		}
	}
}

func FuzzParseID(f *testing.F) {
	for _, seed := range []string{"0", "1000", "4294967294", "4294967295", "+0", "-1", "007", ""} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		id, err := ParseID(text)
		if (err != nil) != (id == NoID) {
			t.Errorf("ParseID(%q) = %d, %v: NoID goes with errors", text, id, err)
		}
		if err == nil && strconv.FormatUint(uint64(id), 10) != text {
			t.Errorf("ParseID(%q) = %d, which prints otherwise", text, id)
		}
	})
}

func TestParseExtent(t *testing.T) {
	for text, want := range map[string]Extent{
		"0:1000:1":             {0, 1000, 1},
		"1:100000:65536":       {1, 100000, 65536},
		"0:0:4294967295":       {0, 0, math.MaxUint32},
		"4294967294:0:1":       {math.MaxUint32 - 1, 0, 1},
		"2147483648:5:2000000": {1 << 31, 5, 2000000},
	} {
		got, err := ParseExtent(text)
		if got != want || err != nil {
			t.Errorf("ParseExtent(%q) = %v, %v, want %v", text, got, err, want)
		}
	}
}

func TestParseExtentRefuses(t *testing.T) {
	for _, row := range []struct{ text, cause string }{
		{"", "want CONTAINER:HOST:COUNT"},
		{"0", "want CONTAINER:HOST:COUNT"},
		{"0:1000", "want CONTAINER:HOST:COUNT"},
		{"0:1000:1:1", "want CONTAINER:HOST:COUNT"},
		{"0 1000 1", "want CONTAINER:HOST:COUNT"},
		{":1000:1", "container id"},
		{"-1:1000:1", "container id"},
		{"@0:1000:1", "container id"},
		{"0:4294967295:1", "host id: id 4294967295 is reserved"},
		{"0: 1000:1", "host id"},
		{"0:1000:", "count"},
		{"0:1000:+1", "count"},
		{"0:1000:4294967296", "count"},
		{"0:1000:0", "0:1000:0 maps no ids"},
		{"1:0:4294967295", "goes past the last id 4294967294"},
		{"0:1:4294967295", "goes past the last id 4294967294"},
	} {
		e, err := ParseExtent(row.text)
		if !strings.Contains(errorText(err), row.cause) || e != (Extent{}) {
			t.Errorf("ParseExtent(%q) = %v, %v, want an error with %q", row.text, e, err, row.cause)
		}
	}
}

func FuzzParseExtent(f *testing.F) {
	for _, seed := range []string{"0:1000:1", "1:100000:65536", "0:0:4294967295", "::", "0:0:0", "1:2"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		e, err := ParseExtent(text)
		if err != nil {
			return
		}
		if e.String() != text {
			t.Errorf("ParseExtent(%q) prints as %q", text, e)
		}
		m := Map{e}
		if err := m.Validate(); err != nil {
			t.Errorf("ParseExtent(%q) passes, Validate says %v", text, err)
		}
		last := e.Inside + e.Count - 1
		if host, ok := m.ToHost(last); !ok || host != e.Outside+e.Count-1 {
			t.Errorf("last id of %q is %d, %v", text, host, ok)
		}
	})
}

func TestMapTranslates(t *testing.T) {
	m := extents(t, "0:1000:1 1:100000:65536 70000:5:2")
	for _, row := range []struct {
		name            string
		inside, outside uint32
	}{
		{"root is the user", 0, 1000},
		{"first of a range", 1, 100000},
		{"last of a range", 65536, 165535},
		{"order of extents does not matter", 70001, 6},
	} {
		if got, ok := m.ToHost(row.inside); got != row.outside || !ok {
			t.Errorf("%s: ToHost(%d) = %d, %v, want %d", row.name, row.inside, got, ok, row.outside)
		}
		if got, ok := m.ToContainer(row.outside); got != row.inside || !ok {
			t.Errorf("%s: ToContainer(%d) = %d, %v, want %d", row.name, row.outside, got, ok, row.inside)
		}
	}
}

func TestMapHasNoIDForTheUnmapped(t *testing.T) {
	m := extents(t, "5:1000:10")
	for _, id := range []uint32{0, 4, 15, 16, NoID} {
		if got, ok := m.ToHost(id); ok || got != NoID {
			t.Errorf("ToHost(%d) = %d, %v, want NoID", id, got, ok)
		}
	}
	for _, id := range []uint32{0, 999, 1010, NoID} {
		if got, ok := m.ToContainer(id); ok || got != NoID {
			t.Errorf("ToContainer(%d) = %d, %v, want NoID", id, got, ok)
		}
	}
	if got, ok := Map(nil).ToHost(0); ok || got != NoID {
		t.Errorf("ToHost(0) of no map = %d, %v, want NoID", got, ok)
	}
}

func TestCovers(t *testing.T) {
	m := extents(t, "0:1000:1 1:100000:10")
	for _, row := range []struct {
		name string
		ids  []uint32
		want bool
	}{
		{"root", []uint32{0}, true},
		{"across extents", []uint32{0, 1, 10}, true},
		{"one past the end", []uint32{11}, false},
		{"one of several unmapped", []uint32{0, 65534, 1}, false},
		{"the reserved id", []uint32{NoID}, false},
		{"nothing asked", nil, true},
	} {
		if got := m.Covers(row.ids...); got != row.want {
			t.Errorf("%s: Covers(%v) = %v", row.name, row.ids, got)
		}
	}
}

func TestValidate(t *testing.T) {
	for _, row := range []struct {
		name, good, cause string
	}{
		{"one id", "0:1000:1", ""},
		{"root and a range", "0:1000:1 1:100000:65536", ""},
		{"touching extents", "10:20:10 0:10:10 20:30:5", ""},
		{"every id there is", "0:0:4294967295", ""},
		{"the last id", "0:4294967294:1", ""},
		{"nothing", "", "no ids are mapped"},
		{"an empty extent", "0:1000:1 1:5:0", "1:5:0 maps no ids"},
		{"the reserved id on the host", "0:4294967295:1", "goes past the last id"},
		{"the reserved id in the container", "4294967295:0:1", "goes past the last id"},
		{"wrapping inside", "4294967290:0:100", "goes past the last id"},
		{"wrapping outside", "0:4294967290:100", "goes past the last id"},
		{"the same extent twice", "0:1000:1 0:1000:1", "overlap in the container"},
		{"overlap inside", "0:1000:10 9:2000:1", "0:1000:10 and 9:2000:1 overlap in the container"},
		{"overlap outside", "0:1000:10 10:1009:1", "0:1000:10 and 10:1009:1 overlap on the host"},
		{"one within another", "5:1000:1 0:2000:10", "overlap in the container"},
	} {
		err := extents(t, row.good).Validate()
		if row.cause == "" && err != nil || !strings.Contains(errorText(err), row.cause) {
			t.Errorf("%s: %v, want %q", row.name, err, row.cause)
		}
	}
}

func TestValidateKnowsTheKernelsLimits(t *testing.T) {
	for _, row := range []struct {
		name  string
		m     Map
		cause string
	}{
		{"a page less one byte", append(apart(255), extents(t, "30000:200000:1")...), ""},
		{"a page", apart(256), "256 extents need 4096 bytes, the kernel takes 4095"},
		{"too many extents", apart(341), "341 extents, the kernel takes 340"},
	} {
		err := row.m.Validate()
		if row.cause == "" && err != nil || !strings.Contains(errorText(err), row.cause) {
			t.Errorf("%s: %v, want %q", row.name, err, row.cause)
		}
	}
}

func TestMapsValidateNamesTheKind(t *testing.T) {
	good, bad := extents(t, "0:1000:1"), extents(t, "0:1000:0")
	for _, row := range []struct {
		maps  Maps
		cause string
	}{
		{Maps{UID: bad, GID: good}, "uid map: 0:1000:0 maps no ids"},
		{Maps{UID: good, GID: bad}, "gid map: 0:1000:0 maps no ids"},
		{Maps{UID: good, GID: good}, ""},
		{Maps{}, "uid map: no ids are mapped"},
	} {
		if err := row.maps.Validate(); errorText(err) != row.cause {
			t.Errorf("%v: %v, want %q", row.maps, err, row.cause)
		}
	}
}

func TestMapIsWrittenAsTheKernelReadsIt(t *testing.T) {
	m := extents(t, "0:1000:1 1:100000:65536")
	if got, want := m.Lines(), "0 1000 1\n1 100000 65536\n"; got != want {
		t.Errorf("Lines() = %q, want %q", got, want)
	}
	if got, want := m.Args(), []string{"0", "1000", "1", "1", "100000", "65536"}; !slices.Equal(got, want) {
		t.Errorf("Args() = %q, want %q", got, want)
	}
	if got := Map(nil).Lines(); got != "" {
		t.Errorf("Lines() of no map = %q", got)
	}
}
