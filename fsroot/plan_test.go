package fsroot

import (
	"path"
	"slices"
	"strings"
	"testing"
)

func on(targets ...string) []Attached {
	var mounts []Attached
	for _, target := range targets {
		mounts = append(mounts, Attached{Mount: Mount{Type: Tmpfs, Target: target}})
	}
	return mounts
}

func targets(mounts []Attached) string {
	var list []string
	for i := range mounts {
		list = append(list, mounts[i].Target)
	}
	return strings.Join(list, " ")
}

func TestOrder(t *testing.T) {
	for _, row := range []struct{ name, given, want string }{
		{"none", "", ""},
		{"the outer first", "/a/b/c /a /a/b", "/a /a/b /a/b/c"},
		{"as given at one depth", "/b /a /c", "/b /a /c"},
		{"by depth, not by name", "/z /a/b", "/z /a/b"},
		{"a longer name is not below", "/ab /a /a/b", "/ab /a /a/b"},
	} {
		given := on(strings.Fields(row.given)...)
		before := targets(given)
		got, err := Order(given)
		if err != nil || targets(got) != row.want {
			t.Errorf("%s: %s, %v, want %s", row.name, targets(got), err, row.want)
		}
		if targets(given) != before {
			t.Errorf("%s: the list that was given is now %s", row.name, targets(given))
		}
	}
	if _, err := Order(on("/a", "/b", "/a")); err == nil || !strings.Contains(err.Error(), "two mounts on /a") {
		t.Errorf("two on one target: %v", err)
	}
}

func FuzzOrder(f *testing.F) {
	f.Add("/a/b /a /c")
	f.Add("/a /a")
	f.Add("/x/y/z /x/y /x /a/b/c/d")
	f.Fuzz(func(t *testing.T, text string) {
		var list []string
		for word := range strings.FieldsSeq(text) {
			list = append(list, path.Clean("/"+word))
		}
		mounts, err := Order(on(list...))
		slices.Sort(list)
		unique := len(slices.Compact(slices.Clone(list))) == len(list)
		if (err == nil) != unique {
			t.Fatalf("%q: %v", list, err)
		}
		for i := range mounts {
			for j := range mounts[:i] {
				if Under(mounts[j].Target, mounts[i].Target) {
					t.Errorf("%s hides %s", mounts[i].Target, mounts[j].Target)
				}
			}
		}
	})
}

func TestScratch(t *testing.T) {
	for _, row := range []struct {
		name  string
		host  bool
		asked []Attached
		want  string
	}{
		{"three", false, nil, "/run /tmp /var/tmp"},
		{"not where the user mounts", false, on("/tmp", "/var/tmp"), "/run"},
		{"below it does not matter", false, on("/tmp/a", "/run/b/c"), "/run /tmp /var/tmp"},
		{"the host's: two", true, nil, "/run /tmp"},
		{"the host's, the user's", true, on("/tmp"), "/run"},
	} {
		got := Scratch(row.host, row.asked, 800)
		if targets(got) != row.want {
			t.Errorf("%s: %s, want %s", row.name, targets(got), row.want)
		}
		for i := range got {
			size := map[string]uint64{"/tmp": 200}[got[i].Target]
			if m := &got[i]; m.Type != Tmpfs || m.Size != max(size, 100) || m.Mode != 0o1777 || m.Attributes != usual {
				t.Errorf("%s: %+v", row.name, m)
			}
		}
	}
}

func TestUnder(t *testing.T) {
	for _, row := range []struct {
		target, dir string
		want        bool
	}{
		{"/a", "/a", true},
		{"/a/b", "/a", true},
		{"/a/b", "/a/", true},
		{"/a", "/", true},
		{"/", "/", true},
		{"/ab", "/a", false},
		{"/a", "/a/b", false},
		{"/a", "/b", false},
		{"/", "/a", false},
	} {
		if got := Under(row.target, row.dir); got != row.want {
			t.Errorf("%s under %s: %t", row.target, row.dir, got)
		}
	}
}

func TestMade(t *testing.T) {
	for path, want := range map[string]bool{"/proc": true, "/proc/sys/fs/binfmt_misc": true, "/dev/pts": true, "/sys": true, "/process": false, "/home/proc": false, "/": false, "/device": false} {
		if got := Made(path); got != want {
			t.Errorf("%s: %t", path, got)
		}
	}
}

func TestParents(t *testing.T) {
	for target, want := range map[string]string{"/a": "", "/a/b": "a", "/a/b/c": "a a/b", "/a/b/c/d": "a a/b a/b/c"} {
		if got := strings.Join(parents(target), " "); got != want {
			t.Errorf("%s: %s, want %s", target, got, want)
		}
	}
}

// What is masked or read-only is written once, and below one file system.
func TestStandardTables(t *testing.T) {
	seen := map[string]bool{}
	check := func(fs, name string) {
		if seen[fs+name] || path.Join(fs, name) != fs+name {
			t.Errorf("%s%s", fs, name)
		}
		seen[fs+name] = true
	}
	for _, m := range procMasks() {
		check("/proc/", m.path)
	}
	for _, name := range procReadOnly() {
		check("/proc/", name)
	}
	for _, m := range (&Plan{}).sysMasks() {
		check("/sys/", m.path)
	}
	for _, n := range nodes() {
		check("/dev/", n.name)
	}
	for _, l := range links() {
		check("/dev/", l.name)
	}
	for _, secret := range []string{"/proc/kcore", "/proc/keys", "/proc/kallsyms", "/proc/sys", "/proc/sysrq-trigger", "/proc/timer_list", "/sys/firmware", "/sys/kernel/debug", "/sys/kernel/security"} {
		if !seen[secret] {
			t.Errorf("%s is open", secret)
		}
	}
}

func TestMasksTakeTheFirstNode(t *testing.T) {
	if got := nodes()[0].name; got != "null" {
		t.Errorf("it is %s", got)
	}
}

// What others hide, bryo hides too, and what they make read-only cannot be
// written: Docker's and podman's lists, runc's and systemd-nspawn's.
func TestMasksAreMoreThanOthers(t *testing.T) {
	processors := []string{"devices/system/cpu/cpu0/thermal_throttle", "devices/system/cpu/cpu11/thermal_throttle"}
	masked := (&Plan{Throttles: processors}).Masked()
	for _, path := range []string{
		"/proc/acpi", "/proc/asound", "/proc/interrupts", "/proc/kallsyms", "/proc/kcore", "/proc/keys", "/proc/latency_stats", "/proc/sched_debug",
		"/proc/scsi", "/proc/timer_list", "/proc/timer_stats", "/sys/dev/block", "/sys/devices/system/cpu/cpu11/thermal_throttle",
		"/sys/devices/virtual/powercap", "/sys/firmware", "/sys/fs/selinux",
	} {
		if !slices.Contains(masked, path) {
			t.Errorf("%s is not masked", path)
		}
	}
	closed := append(ReadOnlyPaths(), masked...)
	for _, path := range []string{
		"/proc/acpi", "/proc/apm", "/proc/asound", "/proc/bus", "/proc/fs", "/proc/irq", "/proc/scsi", "/proc/sys", "/proc/sysrq-trigger",
	} {
		if !slices.Contains(closed, path) {
			t.Errorf("%s can be written", path)
		}
	}
}
