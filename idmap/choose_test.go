package idmap

import (
	"encoding/binary"
	"errors"
	"slices"
	"strings"
	"testing"
)

// asked is the arguments of Choose.
type asked struct {
	spec       Spec
	self       Identity
	uids, gids []Range
}

// ordinary is what most hosts answer.
func ordinary() asked {
	return asked{
		self: Identity{UID: 1000, GID: 1000},
		uids: []Range{{100000, 65536}},
		gids: []Range{{100000, 65536}},
	}
}

func (a asked) choose() (Choice, error) { return Choose(a.spec, a.self, a.uids, a.gids) }

func keep(uid, gid uint32) Spec { return Spec{Mode: KeepID, KeepUID: &uid, KeepGID: &gid} }

func TestChoose(t *testing.T) {
	const ordinaryMap = "0:1000:1 1:100000:65536"
	for _, row := range []struct {
		name     string
		change   func(*asked)
		uid, gid string // gid is as uid when empty
	}{
		{"auto is the zero value", func(*asked) {}, ordinaryMap, ""},
		{"gids differ from uids", func(a *asked) { a.self.GID, a.gids = 100, []Range{{7, 3}} }, ordinaryMap, "0:100:1 1:7:3"},
		{"several ranges, in their order", func(a *asked) { a.uids = []Range{{300000, 10}, {200000, 20}} }, "0:1000:1 1:300000:10 11:200000:20", ordinaryMap},
		{"touching ranges stay apart", func(a *asked) { a.uids = []Range{{300000, 10}, {300010, 10}} }, "0:1000:1 1:300000:10 11:300010:10", ordinaryMap},
		{"own id within a range", func(a *asked) { a.uids = []Range{{990, 20}} }, "0:1000:1 1:990:10 11:1001:9", ordinaryMap},
		{"own id first in a range", func(a *asked) { a.uids = []Range{{1000, 20}} }, "0:1000:1 1:1001:19", ordinaryMap},
		{"own id last in a range", func(a *asked) { a.uids = []Range{{981, 20}} }, "0:1000:1 1:981:19", ordinaryMap},
		{"own uid is no own gid", func(a *asked) { a.self.GID, a.gids = 100, []Range{{1000, 5}} }, ordinaryMap, "0:100:1 1:1000:5"},
		{"duplicate ranges", func(a *asked) { a.uids = append(a.uids, a.uids...) }, ordinaryMap, ""},
		{"overlapping ranges", func(a *asked) { a.uids = append(a.uids, Range{165000, 1000}) }, "0:1000:1 1:100000:65536 65537:165536:464", ordinaryMap},
		{"a range around another", func(a *asked) { a.uids = []Range{{50, 10}, {40, 30}} }, "0:1000:1 1:50:10 11:40:10 21:60:10", ordinaryMap},
		{"an empty range", func(a *asked) { a.uids = append(a.uids, Range{5, 0}) }, ordinaryMap, ""},
		{"a range past the last id", func(a *asked) { a.uids = []Range{{NoID - 5, NoID}} }, "0:1000:1 1:4294967290:5", ordinaryMap},
		{"all ids there are", func(a *asked) { a.uids = []Range{{0, NoID}} }, "0:1000:1 1:0:1000 1001:1001:4294966294", ordinaryMap},
		{"root with ranges", func(a *asked) { a.self = Identity{} }, "0:0:1 1:100000:65536", ""},

		{"keep-id, own ids", func(a *asked) { a.spec.Mode = KeepID }, "0:100000:1000 1000:1000:1 1001:101000:64536", ""},
		{"keep-id, given ids", func(a *asked) { a.spec = keep(200, 0) }, "0:100000:200 200:1000:1 201:100200:65336", ordinaryMap},
		{"keep-id, only the uid given", func(a *asked) { a.spec = keep(200, 0); a.spec.KeepGID = nil }, "0:100000:200 200:1000:1 201:100200:65336", "0:100000:1000 1000:1000:1 1001:101000:64536"},
		{"keep-id, ranges too small to reach it", func(a *asked) { a.spec = keep(70000, 0) }, "0:100000:65536 70000:1000:1", ordinaryMap},
		{"keep-id, ranges end at it", func(a *asked) { a.spec = keep(65536, 0) }, "0:100000:65536 65536:1000:1", ordinaryMap},
		{"keep-id, between ranges", func(a *asked) { a.spec = keep(10, 0); a.uids = []Range{{50, 10}, {90, 5}} }, "0:50:10 10:1000:1 11:90:5", ordinaryMap},
		{"keep-id, the last id", func(a *asked) { a.spec = keep(NoID-1, 0) }, "0:100000:65536 4294967294:1000:1", ordinaryMap},
		{"keep-id, the last id, all ids", func(a *asked) { a.spec = keep(NoID-1, 0); a.uids = []Range{{0, NoID}} }, "0:0:1000 1000:1001:4294966294 4294967294:1000:1", ordinaryMap},

		{"explicit", func(a *asked) {
			a.spec = Spec{Mode: Explicit, UIDs: extents(t, "0:100000:5"), GIDs: extents(t, "7:1000:1")}
		}, "0:100000:5", "7:1000:1"},
		{"explicit, gids copy uids", func(a *asked) { a.spec = Spec{Mode: Explicit, UIDs: extents(t, ordinaryMap)} }, ordinaryMap, ""},
		{"explicit, own gid stands for own uid", func(a *asked) {
			a.self.GID, a.spec = 100, Spec{Mode: Explicit, UIDs: extents(t, "5:1000:1 6:100000:2")}
		}, "5:1000:1 6:100000:2", "5:100:1 6:100000:2"},
		{"explicit, uids copy gids", func(a *asked) {
			a.self.GID, a.spec = 100, Spec{Mode: Explicit, GIDs: extents(t, "5:100:1 6:100000:2")}
		}, "5:1000:1 6:100000:2", "5:100:1 6:100000:2"},
		{"explicit, across touching ranges", func(a *asked) {
			a.uids = []Range{{300010, 10}, {300000, 10}}
			a.spec = Spec{Mode: Explicit, UIDs: extents(t, "0:300005:10"), GIDs: extents(t, "0:1000:1")}
		}, "0:300005:5 5:300010:5", "0:1000:1"},
		{"explicit, own id and the range after it", func(a *asked) {
			a.uids = []Range{{1001, 10}}
			a.spec = Spec{Mode: Explicit, UIDs: extents(t, "0:1000:5"), GIDs: extents(t, "0:1000:1")}
		}, "0:1000:1 1:1001:4", "0:1000:1"},
		{"explicit, own id within a range", func(a *asked) {
			a.uids = []Range{{990, 20}}
			a.spec = Spec{Mode: Explicit, UIDs: extents(t, "0:995:10"), GIDs: extents(t, "0:1000:1")}
		}, "0:995:10", "0:1000:1"},
	} {
		a := ordinary()
		row.change(&a)
		if row.gid == "" {
			row.gid = row.uid
		}
		got, err := a.choose()
		if err != nil {
			t.Errorf("%s: %v", row.name, err)
			continue
		}
		if printed(got.Maps.UID) != row.uid || printed(got.Maps.GID) != row.gid {
			t.Errorf("%s:\nuids %s\nwant %s\ngids %s\nwant %s", row.name, printed(got.Maps.UID), row.uid, printed(got.Maps.GID), row.gid)
		}
		if !got.Helpers || got.Warning != NoWarning {
			t.Errorf("%s: helpers %v, warning %q", row.name, got.Helpers, got.Warning)
		}
		if want := row.gid != "0:1000:1" && row.gid != "7:1000:1"; got.Setgroups != want {
			t.Errorf("%s: setgroups %v, want %v", row.name, got.Setgroups, want)
		}
	}
}

func TestChooseWithoutHelpers(t *testing.T) {
	for _, row := range []struct {
		name    string
		change  func(*asked)
		uid     string
		warning Warning
	}{
		{"single", func(a *asked) { a.spec.Mode = Single }, "0:1000:1", NoWarning},
		{"single without ranges", func(a *asked) { a.spec.Mode, a.uids, a.gids = Single, nil, nil }, "0:1000:1", NoWarning},
		{"auto without ranges", func(a *asked) { a.uids, a.gids = nil, nil }, "0:1000:1", NoRanges},
		{"auto without uids", func(a *asked) { a.uids = nil }, "0:1000:1", NoRanges},
		{"auto without gids", func(a *asked) { a.gids = nil }, "0:1000:1", NoRanges},
		{"auto with empty ranges", func(a *asked) { a.uids = []Range{{100000, 0}} }, "0:1000:1", NoRanges},
		{"auto with nothing but the own id", func(a *asked) { a.uids = []Range{{1000, 1}} }, "0:1000:1", NoRanges},
		{"keep-id without ranges", func(a *asked) { a.spec.Mode, a.uids, a.gids = KeepID, nil, nil }, "1000:1000:1", NoRanges},
		{"keep-id, given ids, without gids", func(a *asked) { a.spec, a.gids = keep(5, 5), nil }, "5:1000:1", NoRanges},
		{"explicit own id", func(a *asked) { a.spec = Spec{Mode: Explicit, UIDs: extents(t, "33:1000:1")} }, "33:1000:1", NoWarning},
	} {
		a := ordinary()
		row.change(&a)
		got, err := a.choose()
		if err != nil || printed(got.Maps.UID) != row.uid || printed(got.Maps.GID) != row.uid {
			t.Errorf("%s: %v, %v, want %s", row.name, got.Maps, err, row.uid)
		}
		if got.Helpers || got.Setgroups || got.Warning != row.warning {
			t.Errorf("%s: helpers %v, setgroups %v, warning %q", row.name, got.Helpers, got.Setgroups, got.Warning)
		}
	}
}

func TestOneKindAloneNeedsHelpersToo(t *testing.T) {
	for _, row := range []struct {
		name, uids, gids string
		setgroups        bool
	}{
		{"a uid range", "0:100000:5", "0:1000:1", false},
		{"a gid range", "0:1000:1", "0:100000:5", true},
		{"one subordinate id", "0:100000:1", "0:1000:1", false},
	} {
		a := ordinary()
		a.spec = Spec{Mode: Explicit, UIDs: extents(t, row.uids), GIDs: extents(t, row.gids)}
		got, err := a.choose()
		if err != nil || !got.Helpers || got.Setgroups != row.setgroups {
			t.Errorf("%s: %+v, %v", row.name, got, err)
		}
	}
}

func TestChooseRefuses(t *testing.T) {
	for _, row := range []struct {
		name   string
		change func(*asked)
		cause  string
	}{
		{"explicit without extents", func(a *asked) { a.spec.Mode = Explicit }, "an explicit id map needs extents"},
		{"extents without explicit", func(a *asked) { a.spec.GIDs = extents(t, "0:1000:1") }, "excludes auto"},
		{"ids to keep without keep-id", func(a *asked) { a.spec = keep(1, 1); a.spec.Mode = Single }, "keep-id only"},
		{"a mode out of range", func(a *asked) { a.spec.Mode = Explicit + 1 }, "mode 4 is unknown"},
		{"keeping the reserved id", func(a *asked) { a.spec = keep(NoID, 0) }, "uid map: 4294967295:1000:1 goes past"},
		{"being the reserved id", func(a *asked) { a.self.GID = NoID }, "gid map: 0:4294967295:1 goes past"},
		{"an overlap", func(a *asked) { a.spec = Spec{Mode: Explicit, UIDs: extents(t, "0:1000:1 0:100000:1")} }, "uid map: 0:1000:1 and 0:100000:1 overlap in the container"},
		{"an empty extent", func(a *asked) { a.spec = Spec{Mode: Explicit, UIDs: extents(t, "0:1000:0")} }, "uid map: 0:1000:0 maps no ids"},
		{"an extent in too many ranges", func(a *asked) {
			a.uids = nil
			for id := range uint32(500) {
				a.uids = append(a.uids, Range{id, 1})
			}
			a.spec = Spec{Mode: Explicit, UIDs: extents(t, "0:0:500"), GIDs: extents(t, "0:1000:1")}
		}, "uid map: 0:0:500 spans too many of your ranges"},
	} {
		a := ordinary()
		row.change(&a)
		got, err := a.choose()
		if err == nil || !strings.Contains(err.Error(), row.cause) {
			t.Errorf("%s: %+v, %v, want an error with %q", row.name, got, err, row.cause)
		}
	}
}

func TestExplicitSaysWhichIDIsNotYours(t *testing.T) {
	for _, row := range []struct{ name, uids, gids, cause, fix string }{
		{"somebody's", "0:1001:1", "0:1000:1", "uid map 0:1001:1: host uid 1001 is not yours", "--add-subuids 1001-1001 $USER"},
		{"the host's root", "0:0:1", "0:1000:1", "host uid 0 is the system's own", "your own, or those in /etc/subuid"},
		{"starts with the own id", "0:1000:10", "0:1000:1", "host uid 1001 is not yours", "--add-subuids 1001-1009 $USER"},
		{"starts before a range", "0:99990:20", "0:1000:1", "host uid 99990 is not yours", "--add-subuids 99990-99999 $USER"},
		{"ends after a range", "0:165530:20", "0:1000:1", "host uid 165536 is not yours", "--add-subuids 165536-165549 $USER"},
		{"the second extent", "0:1000:1 1:5:2", "0:1000:1", "uid map 1:5:2: host uid 5 is the system's own", "those in /etc/subuid"},
		{"a gid", "0:1000:1", "0:50:1", "gid map 0:50:1: host gid 50 is the system's own", "those in /etc/subgid"},
		{"a gid copied from the uids", "0:200000:1", "", "gid map 0:200000:1: host gid 200000 is not yours", "--add-subgids 200000-200000 $USER"},
	} {
		a := ordinary()
		a.uids = append(a.uids, Range{200000, 1})
		a.spec = Spec{Mode: Explicit, UIDs: extents(t, row.uids), GIDs: extents(t, row.gids)}
		_, err := a.choose()
		if _, is := errors.AsType[*NotYoursError](err); !is {
			t.Errorf("%s: %v, want a NotYoursError", row.name, err)
			continue
		}
		cause, fix, _ := strings.Cut(err.Error(), "\n")
		if !strings.HasSuffix(cause, row.cause) || !strings.HasSuffix(fix, row.fix) {
			t.Errorf("%s:\n%v\nwant %s, %s", row.name, err, row.cause, row.fix)
		}
	}
}

func TestChooseLeavesItsArgumentsAlone(t *testing.T) {
	a := ordinary()
	a.self.GID = 100
	a.spec = Spec{Mode: Explicit, UIDs: extents(t, "9:100000:5 0:1000:1")}
	before := printed(a.spec.UIDs)
	if _, err := a.choose(); err != nil {
		t.Fatal(err)
	}
	if printed(a.spec.UIDs) != before || a.spec.GIDs != nil || !slices.Equal(a.uids, ordinary().uids) {
		t.Errorf("Choose changed %+v", a)
	}
}

func TestMoreRangesThanTheKernelTakesAreLeftOut(t *testing.T) {
	for _, row := range []struct {
		name string
		step uint32
		spec Spec
	}{
		{"short lines", 2, Spec{}},
		{"long lines", 4000000, Spec{}},
		{"keep-id past them", 4000000, keep(NoID-1, NoID-1)},
	} {
		a := ordinary()
		a.spec, a.uids = row.spec, nil
		for i := range uint32(1000) {
			a.uids = append(a.uids, Range{Start: 2000 + i*row.step, Count: 1})
		}
		got, err := a.choose()
		if err != nil || len(got.Maps.UID) < 100 {
			t.Errorf("%s: %d extents, %v", row.name, len(got.Maps.UID), err)
		}
		if _, ok := got.Maps.UID.ToContainer(1000); !ok {
			t.Errorf("%s: the own id is left out", row.name)
		}
	}
}

func TestParseSpec(t *testing.T) {
	id := func(n uint32) *uint32 { return &n }
	for text, want := range map[string]Spec{
		"auto":                    {},
		"single":                  {Mode: Single},
		"keep-id":                 {Mode: KeepID},
		"keep-id:200,210":         {Mode: KeepID, KeepUID: id(200), KeepGID: id(210)},
		"keep-id:0,0":             {Mode: KeepID, KeepUID: id(0), KeepGID: id(0)},
		"keep-id:uid=200,gid=210": {Mode: KeepID, KeepUID: id(200), KeepGID: id(210)},
		"keep-id:gid=210,uid=200": {Mode: KeepID, KeepUID: id(200), KeepGID: id(210)},
		"keep-id:uid=200":         {Mode: KeepID, KeepUID: id(200)},
		"keep-id:gid=210":         {Mode: KeepID, KeepGID: id(210)},
	} {
		got, err := ParseSpec(text)
		if err != nil || !same(got, want) {
			t.Errorf("ParseSpec(%q) = %s, %v, want %s", text, written(got), err, written(want))
		}
	}
}

func TestParseSpecRefuses(t *testing.T) {
	for _, row := range []struct{ text, cause string }{
		{"", "want auto, single or keep-id"},
		{"Auto", "want auto, single or keep-id"},
		{"auto:size=100", "want auto, single or keep-id"},
		{"single:", "want auto, single or keep-id"},
		{"explicit", "want auto, single or keep-id"},
		{"keep-id:", "want keep-id:UID,GID"},
		{"keep-id:200", "want keep-id:UID,GID"},
		{"keep-id:200,", "gid: "},
		{"keep-id:,200", "uid: "},
		{"keep-id:1,2,3", `option "3"`},
		{"keep-id:200,gid=1", `option "200"`},
		{"keep-id:uid=", "uid: "},
		{"keep-id:uid=+0", "uid: "},
		{"keep-id:-1,0", "uid: "},
		{"keep-id:4294967295,0", "uid: id 4294967295 is reserved"},
		{"keep-id:uid=1,uid=1", "uid is given twice"},
		{"keep-id:size=5", `option "size=5"`},
		{"keep-id:uid=1,", `option ""`},
		{"keep-id: uid=1", `option " uid=1"`},
	} {
		got, err := ParseSpec(row.text)
		if !strings.Contains(errorText(err), row.cause) || !same(got, Spec{}) {
			t.Errorf("ParseSpec(%q) = %s, %v, want an error with %q", row.text, written(got), err, row.cause)
		}
	}
}

// written is the flag that gives a Spec, in podman's spelling.
func written(s Spec) string {
	if s.Mode != KeepID {
		return [...]string{"auto", "single", "keep-id", "explicit"}[s.Mode]
	}
	var options []string
	for key, id := range map[string]*uint32{"uid": s.KeepUID, "gid": s.KeepGID} {
		if id != nil {
			options = append(options, key+"="+strings.Split(Extent{Inside: *id}.String(), ":")[0])
		}
	}
	if len(options) == 0 {
		return "keep-id"
	}
	slices.Sort(options)
	return "keep-id:" + strings.Join(options, ",")
}

func same(a, b Spec) bool { return a.Mode == b.Mode && written(a) == written(b) }

func FuzzParseSpec(f *testing.F) {
	for _, seed := range []string{"auto", "single", "keep-id", "keep-id:200,210", "keep-id:uid=200,gid=210", "keep-id:gid=1", "keep-id:,", "keep-id:="} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		spec, err := ParseSpec(text)
		if err != nil {
			if !same(spec, Spec{}) {
				t.Errorf("ParseSpec(%q) returns %s with its error", text, written(spec))
			}
			return
		}
		again, err := ParseSpec(written(spec))
		if err != nil || !same(again, spec) {
			t.Errorf("ParseSpec(%q) = %s, read again %s, %v", text, written(spec), written(again), err)
		}
		a := ordinary()
		a.spec = spec
		if _, err := a.choose(); err != nil {
			t.Errorf("ParseSpec(%q): Choose says %v", text, err)
		}
	})
}

// rangesFrom makes ranges of bytes; the first half of the kinds stays small so
// that they meet.
func rangesFrom(data []byte) []Range {
	var ranges []Range
	for len(data) >= 9 && len(ranges) < 400 {
		r := Range{Start: binary.LittleEndian.Uint32(data[1:]), Count: binary.LittleEndian.Uint32(data[5:])}
		if data[0]%2 == 0 {
			r.Start, r.Count = r.Start%100, r.Count%20
		}
		ranges = append(ranges, r)
		data = data[9:]
	}
	return ranges
}

func FuzzChoose(f *testing.F) {
	f.Add(uint8(0), uint32(1000), uint32(1000), uint32(0), []byte{}, []byte{})
	f.Add(uint8(0), uint32(5), uint32(10), uint32(0), []byte("\x00\x03\x00\x00\x00\x05\x00\x00\x00"), []byte("\x00\x09\x00\x00\x00\x07\x00\x00\x00"))
	f.Add(uint8(2), uint32(5), uint32(10), uint32(6), []byte("\x01\x03\x00\x00\x00\xff\xff\xff\xff"), []byte("\x01\xff\xff\xff\xff\xff\xff\xff\xff"))
	f.Add(uint8(1), NoID, uint32(0), NoID, []byte("\x00\x03\x00\x00\x00\x05\x00\x00\x00\x00\x04\x00\x00\x00\x09\x00\x00\x00"), []byte{})
	f.Fuzz(func(t *testing.T, mode uint8, uid, gid, at uint32, uids, gids []byte) {
		a := asked{self: Identity{UID: uid, GID: gid}, uids: rangesFrom(uids), gids: rangesFrom(gids)}
		keptAt := uint32(0)
		if a.spec.Mode = Mode(mode) % Explicit; a.spec.Mode == KeepID {
			a.spec, keptAt = keep(at, at), at
		}
		got, err := a.choose()
		reserved := slices.Contains([]uint32{uid, gid, keptAt}, NoID)
		if (err != nil) != reserved {
			t.Fatalf("%+v: %v", a, err)
		}
		if err != nil {
			return
		}
		if err := got.Maps.Validate(); err != nil {
			t.Fatalf("%+v: %v: %v", a, got.Maps, err)
		}
		holds(t, got.Maps.UID, uid, keptAt, a.uids)
		holds(t, got.Maps.GID, gid, keptAt, a.gids)
		alone := len(got.Maps.UID) == 1 && len(got.Maps.GID) == 1
		if got.Helpers == alone || got.Warning == NoRanges && !alone {
			t.Errorf("%+v: helpers %v, warning %q", got.Maps, got.Helpers, got.Warning)
		}
	})
}

// holds checks what is true of every map but an explicit one.
func holds(t *testing.T, m Map, own, at uint32, ranges []Range) {
	t.Helper()
	if host, ok := m.ToHost(at); !ok || host != own {
		t.Errorf("%v: container %d is host %d, want %d", m, at, host, own)
	}
	next := uint32(0)
	for _, e := range m {
		// Without gaps, except in front of a kept id that ranges did not reach.
		if e.Inside != next && e.Inside != at {
			t.Errorf("%v: gap before %v", m, e)
		}
		next = e.Inside + e.Count
		if e.outside().contains(own) && (e.Count != 1 || e.Inside != at) {
			t.Errorf("%v: own id %d is in %v", m, own, e)
		}
		within := func(r Range) bool { return r.contains(e.Outside) && e.outside().end() <= r.end() }
		if e.Outside != own && !slices.ContainsFunc(ranges, within) {
			t.Errorf("%v: %v is in no range of %v", m, e, ranges)
		}
	}
}

func FuzzExplicit(f *testing.F) {
	f.Add(uint32(5), "0:5:1", []byte{})
	f.Add(uint32(5), "0:4:6", []byte("\x00\x03\x00\x00\x00\x05\x00\x00\x00\x00\x08\x00\x00\x00\x09\x00\x00\x00"))
	f.Fuzz(func(t *testing.T, own uint32, extent string, data []byte) {
		e, err := ParseExtent(extent)
		if err != nil || own == NoID {
			return
		}
		a := asked{
			spec: Spec{Mode: Explicit, UIDs: Map{e}, GIDs: Map{{Inside: 0, Outside: own, Count: 1}}},
			self: Identity{UID: own, GID: own},
			uids: rangesFrom(data),
		}
		got, err := a.choose()
		if foreign, is := errors.AsType[*NotYoursError](err); is {
			mine := func(r Range) bool { return r.overlaps(Range{foreign.First, foreign.Last - foreign.First + 1}) }
			if slices.ContainsFunc(append(a.uids, Range{own, 1}), mine) {
				t.Errorf("%v of %+v: %v, but it is", e, a, err)
			}
			return
		}
		if err != nil {
			return
		}
		for _, part := range got.Maps.UID {
			within := func(r Range) bool { return r.contains(part.Outside) && part.outside().end() <= r.end() }
			if !slices.ContainsFunc(append(a.uids, Range{own, 1}), within) {
				t.Errorf("%v of %+v: %v is in no range", e, a, part)
			}
		}
		for _, id := range []uint32{e.Inside, e.Inside + e.Count/2, e.Inside + e.Count - 1} {
			if host, _ := got.Maps.UID.ToHost(id); host != e.Outside+(id-e.Inside) {
				t.Errorf("%v became %v", e, got.Maps.UID)
			}
		}
	})
}
