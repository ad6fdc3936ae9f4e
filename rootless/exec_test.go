package rootless

import (
	"testing"

	"bryo/idmap"
)

// The map is the container's, written as that one was: a single own id needs
// no helpers, and forbids setgroups(2).
func TestCompileMapped(t *testing.T) {
	facts := &Facts{Self: idmap.Identity{UID: 1000, GID: 1000}, Helpers: Helpers{"/bin/u", "/bin/g"}}
	own := idmap.Map{{Inside: 5, Outside: 1000, Count: 1}}
	for _, row := range []struct {
		name     string
		uid, gid idmap.Map
		helpers  bool
	}{
		{"one id", own, own, false},
		{"many", append(idmap.Map{{Inside: 0, Outside: 100000, Count: 5}}, own...), own, true},
		{"many groups", own, idmap.Map{{Inside: 0, Outside: 1000, Count: 2}}, true},
		{"somebody else's", own, idmap.Map{{Inside: 0, Outside: 1001, Count: 1}}, true},
	} {
		pl := &Plan{IDs: idmap.Choice{Maps: idmap.Maps{UID: row.uid, GID: row.gid}}}
		got := CompileMapped(pl, facts, []string{"bryo", "copy"}, []string{"A=b"})
		if got.IDs.Helpers != row.helpers || got.IDs.Setgroups != row.helpers || got.Process.SetGroups != row.helpers {
			t.Errorf("%s: %+v", row.name, got.IDs)
		}
		if got.Helpers != facts.Helpers || got.Self != facts.Self || got.Process.Argv[1] != "copy" || got.Process.Env[0] != "A=b" {
			t.Errorf("%s: %+v", row.name, got)
		}
	}
}
