package confine

import (
	"errors"
	"path"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"bryo/rootless/program"
)

func TestParseLandlock(t *testing.T) {
	for _, row := range []struct {
		text string
		want string // "" is an error
	}{
		{"rwx:/build", "rwx:/build"},
		{"r:/", "r:/"},
		{"xr:/usr//lib/../bin/", "xr:/usr/bin"},
		{"w:/a:b", "w:/a:b"},
		{"rx:/a,b c", "rx:/a,b c"},
		{"bind:0", "bind:0"},
		{"bind:80", "bind:80"},
		{"connect:65535", "connect:65535"},
		{"scope", "scope"},
		{"unscoped", "unscoped"},
		{"", ""},
		{"/usr", ""},
		{":/usr", ""},
		{"rx", ""},
		{"rx:", ""},
		{"rx:usr", ""},
		{"rx:./usr", ""},
		{"ro:/usr", ""},
		{"rr:/usr", ""},
		{"rwxr:/usr", ""},
		{"r x:/usr", ""},
		{"R:/usr", ""},
		{"r:/a\x00b", ""},
		{"connect:0", ""},
		{"connect:65536", ""},
		{"connect:-1", ""},
		{"connect:http", ""},
		{"bind:", ""},
		{"bind", ""},
		{"scope:/", ""},
		{"unscoped:", ""},
	} {
		r, err := ParseLandlock(row.text)
		if (err != nil) != (row.want == "") || (err == nil && r.String() != row.want) {
			t.Errorf("%q: %s, %v; want %q", row.text, r, err, row.want)
		}
	}
}

func FuzzParseLandlock(f *testing.F) {
	for _, seed := range []string{"rwx:/usr", "bind:80", "connect:443", "scope", "unscoped", "r:/../..", "w:relative", "::"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		r, err := ParseLandlock(text)
		if err != nil {
			return
		}
		if r.Path != "" && (!path.IsAbs(r.Path) || path.Clean(r.Path) != r.Path || strings.Contains(r.Path, "\x00")) {
			t.Errorf("%q: path %q", text, r.Path)
		}
		again, err := ParseLandlock(r.String())
		if err != nil || again != r {
			t.Errorf("%q: %v became %v (%v)", text, r, again, err)
		}
	})
}

func rules(t *testing.T, texts ...string) []LandlockRule {
	t.Helper()
	var list []LandlockRule
	for _, text := range texts {
		r, err := ParseLandlock(text)
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, r)
	}
	return list
}

func TestCompileLandlock(t *testing.T) {
	const both = ScopeAbstract | ScopeSignal
	for _, row := range []struct {
		name    string
		rules   string
		exposed Scope
		abi     int
		want    Landlock // without its rules
		missing string
		bare    Scope
	}{
		{"nothing", "", 0, 7, Landlock{}, "", 0},
		{"paths", "rx:/usr rw:/tmp", 0, 7, Landlock{Files: allFiles}, "", 0},
		{"paths, 6.2", "rx:/usr", 0, 3, Landlock{Files: allFiles &^ unix.LANDLOCK_ACCESS_FS_IOCTL_DEV}, "", 0},
		{"paths, before 6.2", "rx:/usr", 0, 2, Landlock{Files: allFiles &^ (unix.LANDLOCK_ACCESS_FS_IOCTL_DEV | unix.LANDLOCK_ACCESS_FS_TRUNCATE)}, "truncated", 0},
		{"paths, 5.13", "rx:/usr", 0, 1, Landlock{Files: 0x1fff}, "truncated", 0},
		{"paths, before 5.13", "rx:/usr", 0, 0, Landlock{}, "5.13", 0},
		{"ports", "bind:80 connect:443", 0, 4, Landlock{Net: 3}, "", 0},
		{"one kind of port leaves the other open", "connect:443", 0, 4, Landlock{Net: unix.LANDLOCK_ACCESS_NET_CONNECT_TCP}, "", 0},
		{"ports, before 6.7", "bind:80", 0, 3, Landlock{}, "6.7", 0},
		{"asked to scope", "scope", 0, 6, Landlock{Scope: both}, "", 0},
		{"asked to scope, before 6.12", "scope", 0, 5, Landlock{}, "6.12", both},
		{"exposed", "", ScopeAbstract, 6, Landlock{Scope: ScopeAbstract}, "", 0},
		{"exposed, before 6.12", "", ScopeAbstract, 5, Landlock{}, "", ScopeAbstract},
		{"exposed, and told so", "unscoped", both, 6, Landlock{}, "", 0},
		{"exposed, with paths", "r:/", ScopeSignal, 6, Landlock{Files: allFiles, Scope: ScopeSignal}, "", 0},
	} {
		l, missing, bare, err := CompileLandlock(rules(t, strings.Fields(row.rules)...), row.exposed, row.abi)
		if err != nil || l.Files != row.want.Files || l.Net != row.want.Net || l.Scope != row.want.Scope || bare != row.bare {
			t.Errorf("%s: %+v, bare %v, %v", row.name, l, bare, err)
		}
		if got := strings.Join(missing, "\n"); !strings.Contains(got, row.missing) || (got == "") != (row.missing == "") {
			t.Errorf("%s: missing %q, want %q", row.name, got, row.missing)
		}
	}
	if _, _, _, err := CompileLandlock(rules(t, "scope", "unscoped"), 0, 7); !errors.Is(err, ErrScopes) {
		t.Error(err)
	}
}

// A file is allowed nothing of a directory's, which the kernel refuses, and
// nobody makes devices.
func TestLandlockLetters(t *testing.T) {
	for _, r := range rules(t, "rwx:/a", "r:/b", "w:/c", "x:/d") {
		if files, dirs := r.letters(); files&dirs != 0 || (files|dirs)&makeDevices != 0 || (files|dirs)&^allFiles != 0 {
			t.Errorf("%s: %#x, %#x", r, files, dirs)
		}
	}
}

func TestLandlockCalls(t *testing.T) {
	for _, row := range []struct{ abi, rules int }{{1, 4}, {3, 4}, {4, 5}, {7, 5}} {
		l, _, _, err := CompileLandlock(rules(t, "rwx:/a", "r:/b", "connect:443"), ScopeAbstract, row.abi)
		if err != nil {
			t.Fatal(err)
		}
		got := list(t, func(p *program.Program) { RestrictSelf(p, &l, MakeLandlock(p, &l)) })
		for text, want := range map[string]int{
			"RESOLVE_NO_MAGICLINKS|RESOLVE_NO_SYMLINKS": 2, "landlock_add_rule(ruleset.": row.rules,
			"landlock_create_ruleset": 1, "landlock_restrict_self(ruleset.": 1,
			"may fail": 2, "may fail EINVAL": 2,
		} {
			if n := strings.Count(got, text); n != want {
				t.Errorf("ABI %d: %d times %q, want %d:\n%s", row.abi, n, text, want, got)
			}
		}
	}
	none := Landlock{}
	if got := list(t, func(p *program.Program) { RestrictSelf(p, &none, MakeLandlock(p, &none)) }); strings.Contains(got, "landlock") {
		t.Error(got)
	}
}
