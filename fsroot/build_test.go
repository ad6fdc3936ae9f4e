package fsroot

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"bryo/rootless/program"
)

var update = flag.Bool("update", false, "write the golden files anew")

// plain is a directory as root, with one mount of each type, and nothing odd.
func plain() *Plan {
	return &Plan{
		Root: Source{Path: "/srv/root", ID: FileID{Major: 8, Minor: 1, Inode: 2}, Dir: true}, ShmSize: 64 << 20, TTYGroup: true,
		Mounts: []Attached{
			{Mount: Mount{Source: "./data", Target: "/data", Attributes: usual | ro}, From: Source{Path: "/home/ann/data", ID: FileID{Major: 8, Minor: 2, Inode: 3}, Dir: true}},
			{Mount: Mount{Type: Tmpfs, Target: "/var/cache", Attributes: usual, Size: 1 << 20, Mode: 0o755}},
			{Mount: Mount{Type: Overlay, Source: "/usr", Target: "/opt/usr", Attributes: usual}, From: Source{Path: "/usr", ID: FileID{Major: 8, Minor: 1, Inode: 4}, Dir: true}},
			{Mount: Mount{Source: "/etc/motd", Target: "/etc/motd", Attributes: usual, Shallow: true}, From: Source{Path: "/etc/motd", ID: FileID{Major: 8, Minor: 1, Inode: 5}}},
		},
		Devices: []Device{{"/dev/fuse", "/dev/fuse"}, {"/dev/net/tun", "/dev/net/tun"}},
		Files:   []File{{Target: "/etc/hosts", Content: "127.0.0.1\tlocalhost\n"}, {Target: "/etc/resolv.conf"}},
		Sysctls: []Setting{{Path: "user/max_user_namespaces", Value: "0", Limits: true}},
	}
}

// variants are the shapes that a root file system comes in.
func variants() []struct {
	name   string
	change func(*Plan)
} {
	entries := []Entry{{Name: "bin", Link: "usr/bin"}, {Name: "etc", Dir: true}, {Name: "mnt", Dir: true, Mixed: true}, {Name: "file"}}
	return []struct {
		name   string
		change func(*Plan)
	}{
		{"plain", func(*Plan) {}},
		{"read-only", func(p *Plan) { p.ReadOnly = true }},
		{"host", func(p *Plan) { p.Host, p.ReadOnly, p.Root.Path, p.Files[0].Lax = true, true, "/", true }},
		{"layer", func(p *Plan) { p.Layer = true }},
		{"layer, read-only", func(p *Plan) { p.Layer, p.ReadOnly = true, true }},
		{"layer of entries", func(p *Plan) { p.Layer, p.Entries = true, entries }},
		{"layer of entries, read-only", func(p *Plan) { p.Layer, p.ReadOnly, p.Entries = true, true, entries }},
		{"layer by copy", func(p *Plan) { p.Layer, p.Copy = true, true }},
		{"host's namespaces", func(p *Plan) { p.Proc, p.Sys, p.HostIPC = HostProc, EmptySys, true }},
		{"processors that tell their heat", func(p *Plan) { p.Throttles = []string{"devices/system/cpu/cpu0/thermal_throttle"} }},
		{"set-user-ID programs", func(p *Plan) { p.SetUID, p.ReadOnly = true, true }},
		{"console", func(p *Plan) { p.Console = true }},
		{"image", func(p *Plan) { p.Stack, p.Dirs = image(), []Dir{{Path: "/srv/app", Owner: Owner{UID: 7, GID: 8}}} }},
		{"image, read-only", func(p *Plan) { p.Stack, p.ReadOnly = image(), true }},
		{"image, writes in memory", func(p *Plan) { p.Stack, p.Layer = image(), true }},
		{"nothing asked for", func(p *Plan) { p.Mounts, p.Devices, p.Files, p.Sysctls = nil, nil, nil, nil }},
		{"legacy", func(p *Plan) { p.Legacy = true }},
		{"legacy, read-only", func(p *Plan) { p.Legacy, p.ReadOnly = true, true }},
		{"legacy, layer by copy", func(p *Plan) { p.Legacy, p.Layer, p.Copy = true, true, true }},
		{"legacy, layer of entries", func(p *Plan) { p.Legacy, p.Layer, p.Copy, p.Entries = true, true, true, entries }},
		{"legacy, host's namespaces", func(p *Plan) { p.Legacy, p.Proc, p.HostIPC = true, HostProc, true }},
	}
}

func image() *Stack {
	return &Stack{
		Dir: Source{Path: "/home/ann/layers", ID: FileID{Major: 8, Minor: 2, Inode: 9}, Dir: true}, Layers: []string{"low", "middle", "top"},
		Volatile: true, Top: &Top{Owner: Owner{UID: 1, GID: 2}, Mode: 0o555},
	}
}

func listing(t *testing.T, plan *Plan) string {
	t.Helper()
	p := program.New()
	b := NewBuilder(plan, p)
	b.Prepare()
	b.Build()
	if plan.Console {
		b.Console()
	}
	var text strings.Builder
	if err := p.List(&text); err != nil {
		t.Fatal(err)
	}
	return text.String()
}

// call is one line of a listing: a call, its arguments, and its result's name.
type call struct {
	step, name, line, result string
	args                     []string
}

func calls(text string) []call {
	var list []call
	step := ""
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		if heading, is := strings.CutPrefix(line, "# "); is {
			step = heading
			continue
		}
		rest, _, _ := strings.Cut(line, "  // ")
		rest, result, _ := strings.Cut(rest, ") = ")
		name, args, _ := strings.Cut(strings.TrimSuffix(rest, ")"), "(")
		list = append(list, call{step: step, name: name, line: line, result: result, args: strings.Split(args, ", ")})
	}
	return list
}

// everyVariant runs a check on the calls of each.
func everyVariant(t *testing.T, check func(t *testing.T, plan *Plan, list []call)) {
	t.Helper()
	for _, v := range variants() {
		plan := plain()
		v.change(plan)
		t.Run(v.name, func(t *testing.T) { check(t, plan, calls(listing(t, plan))) })
	}
}

func lines(list []call) string {
	var b strings.Builder
	for _, c := range list {
		b.WriteString(c.line + "\n")
	}
	return b.String()
}

func at(list []call, beginning string) int {
	return slices.IndexFunc(list, func(c call) bool { return strings.HasPrefix(c.line, beginning) })
}

// A golden listing, to be read: go test ./fsroot -update writes it anew.
func TestListing(t *testing.T) {
	plan := plain()
	plan.Mounts, plan.Devices = plan.Mounts[:1], nil
	got := listing(t, plan)
	golden := filepath.Join("testdata", "plain.golden")
	if *update {
		if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("the listing differs from %s; if it should, go test ./fsroot -update\n%s", golden, got)
	}
}

func TestSteps(t *testing.T) {
	everyVariant(t, func(t *testing.T, plan *Plan, list []call) {
		pivot := at(list, `pivot_root(".", ".")`)
		if pivot < 0 || strings.Count(lines(list), "pivot_root") != 1 {
			t.Fatal("not one pivot_root")
		}
		if want := []string{`umount2(".", MNT_DETACH)`, `chdir("/")`}; list[pivot+1].line != want[0] || list[pivot+2].line != want[1] {
			t.Errorf("after pivot_root come %s and %s, want %s", list[pivot+1].line, list[pivot+2].line, want)
		}
		if list[pivot-1].name != "fchdir" {
			t.Errorf("before pivot_root comes %s", list[pivot-1].line)
		}
		for _, fs := range []struct {
			call string
			is   bool
		}{{`fsmount(proc`, plan.Proc == FreshProc}, {`open_tree(AT_FDCWD, "/proc"`, plan.Proc == HostProc}, {`fsmount(sysfs`, plan.Sys == FreshSys}} {
			i := at(list, fs.call)
			if (i >= 0) != fs.is || i > pivot {
				t.Errorf("%s is call %d, pivot_root %d", fs.call, i, pivot)
			}
		}
		last := list[len(list)-1]
		if want := "make read-only /dev"; last.step != want && !plan.Console {
			t.Errorf("the last step is %q, want %q", last.step, want)
		}
	})
}

// The root's identity is checked, and so is that of each source and device.
func TestSourcesAreThoseThatWereFound(t *testing.T) {
	everyVariant(t, func(t *testing.T, plan *Plan, list []call) {
		want := []string{`open_tree(AT_FDCWD, "` + plan.Root.Path + `"`}
		for i := range plan.Mounts {
			if m := &plan.Mounts[i]; m.Type != Tmpfs {
				want = append(want, `open_tree(AT_FDCWD, "`+m.From.Path+`"`)
			}
		}
		for _, beginning := range want {
			i := at(list, beginning)
			if i < 0 {
				t.Errorf("no %s", beginning)
				continue
			}
			rest := slices.IndexFunc(list[i:], func(c call) bool { return c.step != list[i].step })
			step := lines(list[i : i+rest])
			if !strings.Contains(step, "statx("+list[i].result) || strings.Count(step, "else ESTALE") != 2 {
				t.Errorf("%s is taken as it is:\n%s", beginning, step)
			}
		}
		for _, n := range nodes() {
			i := at(list, `open_tree(AT_FDCWD, "/dev/`+n.name+`"`)
			if i < 0 || !strings.Contains(lines(list[i:i+5]), fmt.Sprintf("== %#x, else ENODEV", uint64(n.major)|uint64(n.minor)<<32)) {
				t.Errorf("/dev/%s is taken as it is", n.name)
			}
		}
	})
}

// After pivot_root, paths are the root's: none is absolute, but for links that
// are made, and mount(2) by a descriptor's name.
func TestNothingAfterPivotUsesAPathOfTheHost(t *testing.T) {
	everyVariant(t, func(t *testing.T, plan *Plan, list []call) {
		for _, c := range list[at(list, "pivot_root")+1:] {
			named := strings.Contains(c.line, `"/`) || strings.Contains(c.line, "AT_FDCWD")
			descriptor := plan.Legacy && c.name == "mount" && c.args[1] == `"`+legacyPath+`"`
			if named && c.line != `chdir("/")` && c.name != "symlinkat" && !descriptor {
				t.Errorf("%s: %s", c.step, c.line)
			}
		}
	})
}

// Nothing of the root file system is executed.
func TestNothingOfTheRootIsExecuted(t *testing.T) {
	everyVariant(t, func(t *testing.T, _ *Plan, list []call) {
		for _, c := range list[at(list, "pivot_root")+1:] {
			if strings.HasPrefix(c.name, "exec") || strings.HasPrefix(c.name, "clone") {
				t.Errorf("%s: %s", c.step, c.line)
			}
		}
	})
}

func TestLookupsAreConfined(t *testing.T) {
	own := regexp.MustCompile(`^(tmpfs|pts|dev|shm|mqueue)\.\d+$`)
	everyVariant(t, func(t *testing.T, _ *Plan, list []call) {
		pivot := at(list, "pivot_root")
		for i, c := range list {
			switch c.name {
			case "openat2":
				if !strings.Contains(c.line, "RESOLVE_IN_ROOT") && !strings.Contains(c.line, "RESOLVE_BENEATH") {
					t.Errorf("%s: %s", c.step, c.line)
				}
				if !strings.Contains(c.line, "RESOLVE_NO_MAGICLINKS") && !strings.Contains(c.line, "RESOLVE_NO_SYMLINKS") {
					t.Errorf("%s: %s", c.step, c.line)
				}
			case "openat":
				if i > pivot && !own.MatchString(c.args[0]) {
					t.Errorf("%s: %s", c.step, c.line)
				}
			case "open", "chroot", "stat", "readlinkat", "fchmodat", "fchownat":
				t.Errorf("%s: %s", c.step, c.line)
			}
		}
	})
}

// A mount is put on an open file, never on a path.
func TestMountsGoOnDescriptors(t *testing.T) {
	fd := regexp.MustCompile(`^[a-z]+\.\d+$`)
	everyVariant(t, func(t *testing.T, plan *Plan, list []call) {
		for _, c := range list {
			switch c.name {
			case "move_mount":
				if !fd.MatchString(c.args[0]) || c.args[1] != `""` || !fd.MatchString(c.args[2]) || c.args[3] != `""` {
					t.Errorf("%s: %s", c.step, c.line)
				}
			case "mount":
				if !plan.Legacy || c.args[1] != `"`+legacyPath+`"` || c.args[0] != "NULL" {
					t.Errorf("%s: %s", c.step, c.line)
				}
			}
		}
	})
}

// What comes from the host has its attributes before it is attached, or, where
// there is no mount_setattr, right after.
func TestMountsHaveTheirAttributes(t *testing.T) {
	everyVariant(t, func(t *testing.T, _ *Plan, list []call) {
		restricted := map[string]bool{}
		for i, c := range list {
			switch {
			case c.name == "mount_setattr":
				restricted[c.args[0]] = true
			case c.name == "fsmount":
				restricted[c.result] = strings.Contains(c.line, "MOUNT_ATTR_NOSUID")
			case c.name == "open_tree": // a clone has those of what it is cloned from
				restricted[c.result] = restricted[c.args[0]]
			case c.name == "move_mount" && remounted(list[i:]):
				restricted[c.args[0]] = true
			case c.name == "move_mount" && !restricted[c.args[0]] && !hidden(list, i):
				t.Errorf("%s: %s", c.step, c.line)
			}
		}
	})
}

func TestLegacyKernelsHaveNoMountSetattr(t *testing.T) {
	everyVariant(t, func(t *testing.T, plan *Plan, list []call) {
		if got := at(list, "mount_setattr") >= 0; got == plan.Legacy {
			t.Errorf("mount_setattr: %t", got)
		}
		if got := at(list, "dup3") >= 0; got != plan.Legacy {
			t.Errorf("mount(2) by a descriptor's name: %t", got)
		}
	})
}

// remounted holds when the mount that is attached first gets attributes next.
func remounted(list []call) bool {
	return len(list) > 3 && list[1].line == fmt.Sprintf("dup3(%s, %d, O_CLOEXEC)", list[0].args[0], legacyFD) &&
		strings.Contains(list[2].line, "MS_PRIVATE") && strings.Contains(list[3].line, "MS_REMOUNT") && strings.Contains(list[3].line, "MS_NOSUID")
}

// hidden holds for what an overlay or a copy is made of, which nobody reaches
// once it is covered, and for /dev/pts' console.
func hidden(list []call, i int) bool {
	mount, onto := list[i].args[0], list[i].args[2]
	return at(list, "mkdirat("+mount+`, "lower"`) >= 0 || list[i].step == "make /dev/console" ||
		slices.ContainsFunc(list, func(c call) bool { return c.result == onto && c.args[1] == `"lower"` })
}

func TestReadOnlyIsLast(t *testing.T) {
	everyVariant(t, func(t *testing.T, plan *Plan, list []call) {
		if !plan.ReadOnly {
			return
		}
		i := slices.IndexFunc(list, func(c call) bool { return c.step == "make read-only /" })
		if i < 0 {
			t.Fatal("the root can be written")
		}
		for _, c := range list[i:] {
			if !strings.HasPrefix(c.step, "make read-only /") || !slices.Contains([]string{"mount_setattr", "dup3", "mount"}, c.name) {
				t.Errorf("after the root became read-only: %s: %s", c.step, c.line)
			}
		}
	})
}

// A layer leaves the root file system itself alone.
func TestALayerIsWritten(t *testing.T) {
	everyVariant(t, func(t *testing.T, plan *Plan, list []call) {
		first := list[at(list, `open_tree(AT_FDCWD, "`+plan.Root.Path+`"`):]
		set := slices.IndexFunc(first, func(c call) bool { return c.name == "mount_setattr" })
		if set >= 0 {
			// With ReadOnly all below the root stays so, and the root is open until it is complete.
			readOnly := strings.Contains(first[set].line, "MOUNT_ATTR_RDONLY")
			reopened := strings.Contains(first[set+1].line, "{0, MOUNT_ATTR_RDONLY, 0, 0}")
			if (readOnly && !reopened) != (plan.Layer || plan.Host) || reopened && !plan.ReadOnly {
				t.Errorf("%s\n%s", first[set].line, first[set+1].line)
			}
		}
		if got := at(list, `fsopen("overlay"`) >= 0 && at(list, `fsopen("overlay"`) < at(list, "pivot_root"); got != (plan.Layer && !plan.Copy || plan.Stack != nil) {
			t.Errorf("an overlay: %t", got)
		}
	})
}

func TestMasks(t *testing.T) {
	everyVariant(t, func(t *testing.T, plan *Plan, list []call) {
		covered := map[string]bool{}
		for _, c := range list {
			if c.name == "move_mount" {
				covered[c.step] = true
			}
		}
		for _, m := range procMasks() {
			if !covered["mask /proc/"+m.path] {
				t.Errorf("/proc/%s is open", m.path)
			}
		}
		for _, m := range plan.sysMasks() {
			if !covered["mask /sys/"+m.path] {
				t.Errorf("/sys/%s is open", m.path)
			}
		}
		for _, name := range procReadOnly() {
			if !covered["make read-only /proc/"+name] {
				t.Errorf("/proc/%s can be written", name)
			}
		}
		// Sysctls are written before /proc/sys becomes read-only.
		if set, fixed := at(list, "write(sysctl"), slices.IndexFunc(list, func(c call) bool { return c.step == "make read-only /proc/sys" }); set > fixed {
			t.Error("sysctls are set too late")
		}
	})
}
