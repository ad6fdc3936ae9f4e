package rootless

import (
	"fmt"
	"testing"

	"golang.org/x/sys/unix"

	"bryo/rootless/confine"
	"bryo/rootless/ns"
)

func TestSquash(t *testing.T) {
	squashed := func(pl *Plan) string {
		if pl.Squash == nil {
			return fmt.Sprintf("no, %d:%d", pl.Process.UID, pl.Process.GID)
		}
		s := pl.Squash
		return fmt.Sprintf("%d:%d %v, killable %v, and in truth %d:%d %v", s.UID, s.GID, s.Groups, s.Killable, pl.Process.UID, pl.Process.GID, pl.Process.Groups)
	}
	on := func(s *Spec, _ *Facts) { s.Squash = SquashOn }
	off := func(s *Spec, _ *Facts) { s.Squash = SquashOff }
	noted := func(text string) func(*Spec, *Facts) { return func(_ *Spec, f *Facts) { f.Root.IDMap = text } }
	const single = "0:1000:1 0:1001:1"
	root := "0:0 [], killable false, and in truth 0:0 []"
	decide(t, []decision{
		{"not unless told", one, squashed, "no, 0:0"},
		{"told", both(one, on), squashed, root},
		{"a root that was unpacked so", both(one, noted(single)), squashed, root},
		{"such a root, and told not to", both(one, noted(single), off), squashed, "no, 0:0"},
		{"such a root, and more ids", noted(single), squashed, "no, 0:0"},
		{"a root that was unpacked with more", both(one, noted("0:1000:1,1:100000:65536 0:1001:1,1:100000:65536")), squashed, "no, 0:0"},
		{"nonsense is noted", both(one, noted("0:x")), squashed, "no, 0:0"},
		{"no ranges", both(noted(single), func(_ *Spec, f *Facts) { f.UIDs, f.GIDs = nil, nil }), squashed, root},
		{"such a root, and the host's processes", both(one, noted(single), func(s *Spec, _ *Facts) { s.Namespaces[ns.PID].Mode = ns.Host }), squashed, "no, 0:0"},
		{
			"another user, who is not in the map", both(one, on, func(s *Spec, _ *Facts) { s.Process.User = "ann" }), squashed,
			"1000:1000 [29 70000], killable false, and in truth 0:0 []",
		},
		{
			"a kernel that can", both(one, on, func(_ *Spec, f *Facts) { f.Kernel.Killable = true }), squashed,
			"0:0 [], killable true, and in truth 0:0 []",
		},
	})
	for name, change := range map[string]func(*Spec, *Facts){
		"more ids":             func(*Spec, *Facts) {},
		"joined":               join(ns.Net),
		"the host's processes": both(one, func(s *Spec, _ *Facts) { s.Namespaces[ns.PID].Mode = ns.Host }),
		"locks are limited": both(one, func(s *Spec, _ *Facts) {
			s.Process.Limits = []confine.Limit{{Resource: unix.RLIMIT_LOCKS, Soft: 1, Hard: 1}}
		}),
	} {
		spec, facts := good()
		both(change, on)(spec, facts)
		if plan, err := Compile(spec, facts); err == nil {
			t.Errorf("%s: %s", name, squashed(plan))
		}
	}
}
