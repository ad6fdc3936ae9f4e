package rootless

import (
	"strings"
	"testing"

	"bryo/idmap"
)

func TestNoteWarnings(t *testing.T) {
	maps := idmap.Maps{UID: idmap.Map{{Outside: 1000, Count: 1}, {Inside: 1, Outside: 100000, Count: 65536}}, GID: idmap.Map{{Outside: 1000, Count: 1}}}
	for note, want := range map[string]bool{
		"":                                  false,
		"moss":                              false,
		"0:1000:1 0:1000:1":                 true, // whose owners are notes
		maps.Text():                         false,
		"0:1000:1,1:200000:65536 0:1000:1":  true,
		"0:1001:1 0:1000:1":                 true,
		"0:1000:1 0:1001:1":                 true,
		"0:1000:1 0:1000:1,1:100000:65536":  true,
		"0:1000:1\n0:1000:1 0:1000:1":       false,
		strings.Repeat("x", 10000):          false,
		"0:1000:1,1:100000:65537 0:1000:1":  true,
		"1:100000:65536 0:1000:1":           false,
		"0:1000:1 0:1000:1 0:1000:1":        false,
		"\x1b[2J0:1001:1 0:1000:1":          false,
		"0:1000:1,5:100004:10 0:1000:1":     false,
		"0:1000:1,5:100005:10 0:1000:1":     true,
		"0:1000:1,70000:100005:10 0:1000:1": true,
	} {
		warnings := noteWarnings(note, maps)
		if got := len(warnings) > 0; got != want || got && !strings.Contains(warnings[0], "--userns") {
			t.Errorf("%.50q: %q", note, warnings)
		}
	}
}
