package idmap

import (
	"math"
	"reflect"
	"strings"
	"testing"
)

func TestMapsText(t *testing.T) {
	many := Map{{0, 1000, 1}, {1, 100000, 65536}}
	m := Maps{UID: many, GID: Map{{0, 100, 1}}}
	const want = "0:1000:1,1:100000:65536 0:100:1"
	if got := m.Text(); got != want {
		t.Errorf("%s, want %s", got, want)
	}
	if got, err := ParseMaps(want); err != nil || !reflect.DeepEqual(got, m) {
		t.Errorf("%v, %v", got, err)
	}
	for _, text := range []string{"", " ", "0:0:1", "0:0:1 ", " 0:0:1", "0:0:1,0:5:1 0:0:1", "0:0:0 0:0:1", "0:0:1 0:0:-1", strings.Repeat("0:0:1,", 400) + "0:0:1 0:0:1"} {
		if got, err := ParseMaps(text); err == nil || !reflect.DeepEqual(got, Maps{}) {
			t.Errorf("%q: %v, %v", text, got, err)
		}
	}
}

func TestIncludes(t *testing.T) {
	all := Map{{0, 1000, 1}, {1, 100000, 65536}}
	for _, row := range []struct {
		name      string
		one, more Map
		want      bool
	}{
		{"itself", all, all, true},
		{"one of them", all, Map{{0, 1000, 1}}, true},
		{"a part", all, Map{{5, 100004, 100}}, true},
		{"in pieces", Map{{0, 5, 10}, {10, 15, 10}, {20, 25, 1}}, Map{{3, 8, 18}}, true},
		{"nothing", Map{{0, 1000, 1}}, nil, true},
		{"more than there is", Map{{0, 1000, 1}}, all, false},
		{"other ids", all, Map{{0, 1001, 1}}, false},
		{"a little further", Map{{0, 100, 10}}, Map{{0, 100, 11}}, false},
		{"a hole", Map{{0, 5, 10}, {11, 16, 10}}, Map{{0, 5, 20}}, false},
		{"the largest", Map{{0, 0, math.MaxUint32}}, Map{{1, 1, math.MaxUint32 - 1}}, true},
	} {
		if got := row.one.Includes(row.more); got != row.want {
			t.Errorf("%s: %v", row.name, got)
		}
	}
}

func FuzzParseMaps(f *testing.F) {
	f.Add("0:1000:1,1:100000:65536 0:100:1")
	f.Fuzz(func(t *testing.T, text string) {
		m, err := ParseMaps(text)
		if err != nil {
			return
		}
		if again, err := ParseMaps(m.Text()); err != nil || !reflect.DeepEqual(again, m) {
			t.Errorf("%q is %v, and then %v, %v", text, m, again, err)
		}
		if !m.UID.Includes(m.UID) || !m.GID.Includes(m.GID) {
			t.Errorf("%v does not include itself", m)
		}
	})
}
