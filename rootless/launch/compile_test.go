package launch

import (
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"bryo/fsroot"
	"bryo/idmap"
	"bryo/rootless"
	"bryo/rootless/cgroup"
	"bryo/rootless/confine"
	"bryo/rootless/ns"
	"bryo/rootless/program"
	"bryo/rootless/tty"
)

// good is /bin/true in a directory, on a host that has everything.
func good() (*rootless.Spec, *rootless.Facts) {
	ranges := []idmap.Range{{Start: 100000, Count: 65536}}
	return &rootless.Spec{Root: rootless.RootSpec{Path: "root"}, Process: rootless.ProcessSpec{Args: []string{"/bin/true"}}},
		&rootless.Facts{
			ID: "0123456789ab", Self: idmap.Identity{UID: 1000, GID: 1000}, Name: "ann", UIDs: ranges, GIDs: ranges,
			Helpers: rootless.Helpers{UID: "/usr/bin/newuidmap", GID: "/usr/bin/newgidmap"},
			Kernel:  rootless.Kernel{MountSetattr: true, Overlay: true},
			Root: rootless.RootFacts{
				Source: fsroot.Source{Path: "/srv/root", Dir: true}, Shell: "/bin/sh",
				Passwd: []byte("root:x:0:0::/root:/bin/sh\nann:x:1000:1000::/:/bin/sh\n"), Group: []byte("audio:x:29:ann\n"),
			},
			Window: tty.Size{Rows: 24, Columns: 80},
		}
}

func compile(t *testing.T, change func(*rootless.Spec, *rootless.Facts)) *rootless.Plan {
	t.Helper()
	spec, facts := good()
	change(spec, facts)
	plan, err := rootless.Compile(spec, facts)
	if err != nil {
		t.Fatal(err)
	}
	return plan
}

func nothing(*rootless.Spec, *rootless.Facts) {}

func one(s *rootless.Spec, _ *rootless.Facts)      { s.IDs.Mode = idmap.Single }
func keep(s *rootless.Spec, _ *rootless.Facts)     { s.IDs.Mode = idmap.KeepID }
func asAnn(s *rootless.Spec, _ *rootless.Facts)    { s.Process.User = "ann" }
func asPID1(s *rootless.Spec, _ *rootless.Facts)   { s.Process.AsPID1 = true }
func terminal(s *rootless.Spec, _ *rootless.Facts) { s.Process.Terminal = true }

// keptAlone keeps the user's id where there is no other.
func keptAlone(s *rootless.Spec, f *rootless.Facts) { keep(s, f); f.UIDs = nil }

// noRoot maps the user's own id and others, but not 0, and takes another.
func noRoot(s *rootless.Spec, _ *rootless.Facts) {
	s.IDs = idmap.Spec{Mode: idmap.Explicit, UIDs: idmap.Map{{Inside: 1000, Outside: 1000, Count: 1}, {Inside: 2000, Outside: 100000, Count: 10}}}
	s.Process.User = "2005:2005"
}

// adds asks for a capability that is none by default.
func adds(s *rootless.Spec, _ *rootless.Facts) { s.Process.Caps.Add = 1 << unix.CAP_NET_RAW }

func newPrivs(s *rootless.Spec, f *rootless.Facts) {
	s.Process.NewPrivs = true
	f.Seccomp = confine.Seccomp{Filter: confine.Prebuilt()}
}

func joins(kinds ...ns.Kind) func(*rootless.Spec, *rootless.Facts) {
	return func(s *rootless.Spec, f *rootless.Facts) {
		root := idmap.Map{{Inside: 0, Outside: 0, Count: 1}}
		f.Joined, f.JoinedIDs = []rootless.Joined{{Kind: ns.User, FD: 20}}, idmap.Choice{Maps: idmap.Maps{UID: root, GID: root}}
		for i, k := range kinds {
			s.Namespaces[k] = ns.Source{Mode: ns.Join, PID: 42}
			f.Joined = append(f.Joined, rootless.Joined{Kind: k, FD: 21 + i})
		}
	}
}

func both(changes ...func(*rootless.Spec, *rootless.Facts)) func(*rootless.Spec, *rootless.Facts) {
	return func(s *rootless.Spec, f *rootless.Facts) {
		for _, c := range changes {
			c(s, f)
		}
	}
}

func anyFDs() descriptors {
	return descriptors{errors: 4, maps: 5, parent: 7, stage: 8, terminal: 9}
}

// calls is a listing's lines, without the headings.
func calls(t *testing.T, p *program.Program) []string {
	t.Helper()
	return slices.DeleteFunc(listed(t, p), func(line string) bool { return strings.HasPrefix(line, "# ") })
}

func listed(t *testing.T, p *program.Program) []string {
	t.Helper()
	var b strings.Builder
	if err := p.List(&b); err != nil {
		t.Fatal(err)
	}
	return strings.Split(strings.TrimSpace(b.String()), "\n")
}

// steps is a listing's headings.
func steps(t *testing.T, p *program.Program) []string {
	t.Helper()
	list := slices.DeleteFunc(listed(t, p), func(line string) bool { return !strings.HasPrefix(line, "# ") })
	for i := range list {
		list[i] = strings.TrimPrefix(list[i], "# ")
	}
	return list
}

// inOrder holds when lines that begin so come in this order.
func inOrder(t *testing.T, name string, list []string, want ...string) {
	t.Helper()
	rest := list
	for _, w := range want {
		i := slices.IndexFunc(rest, func(line string) bool { return strings.HasPrefix(line, w) })
		if i < 0 {
			t.Errorf("%s: no %q among the last %d calls:\n%s", name, w, len(rest), strings.Join(rest, "\n"))
			return
		}
		rest = rest[i+1:]
	}
}

func count(list []string, beginning string) int {
	n := 0
	for _, line := range list {
		if strings.HasPrefix(line, beginning) {
			n++
		}
	}
	return n
}

const deathsig, undumpable = "prctl(PR_SET_PDEATHSIG, 9", "prctl(PR_SET_DUMPABLE"

func TestStageInOrder(t *testing.T) {
	for _, row := range []struct {
		name   string
		change func(*rootless.Spec, *rootless.Facts)
	}{
		{"root", nothing},
		{"PID 1", asPID1},
		{"one id", one},
		{"another user", asAnn},
		{"another user with capabilities", both(asAnn, adds)},
		{"the user's own id", keep},
		{"the user's own id alone", keptAlone},
		{"terminal", terminal},
	} {
		_, stage := Programs(compile(t, row.change))
		list := calls(t, stage)
		inOrder(t, row.name, list, deathsig, "ppoll", undumpable, "setsid", "prctl(PR_SET_NO_NEW_PRIVS, 1)", "prctl(PR_CAPBSET_DROP",
			"keyctl", "prlimit64", "umask(18)", `chdir("/")`, "getcwd", "expect cwd", "capset", "close_range(3, 3", "close_range(5, 4294967295",
			"fcntl(4, F_SETFD, 1)", "rt_sigprocmask", `execve("/bin/true"`)
		inOrder(t, row.name, steps(t, stage), "hide", "close descriptors", "reset signal handlers", "unblock signals", "execute /bin/true")
		exec := slices.IndexFunc(list, func(line string) bool { return strings.HasPrefix(line, "execve") })
		if last := list[exec-1]; !strings.HasPrefix(last, "rt_sigprocmask") {
			t.Errorf("%s: before execve comes %s", row.name, last)
		}
	}
}

// The working directory is entered while the process still is root inside;
// whoever it becomes is decided by then.
func TestIDsChangeBeforeCapabilities(t *testing.T) {
	for _, row := range []struct {
		name   string
		change func(*rootless.Spec, *rootless.Facts)
		want   []string
		never  string
	}{
		{"root stays root", nothing, []string{"chdir", "capset", "execve"}, "setresuid"},
		{"another group", func(s *rootless.Spec, _ *rootless.Facts) { s.Process.User = "0:5" }, []string{"chdir", "setresgid(5, 5, 5)", "setgroups", "setresuid", "capset", "execve"}, "PR_SET_KEEPCAPS"},
		{"another user", asAnn, []string{"chdir", "setresgid(1000, 1000, 1000)", "setgroups(1, ", "setresuid(1000, 1000, 1000)", "capset", "execve"}, "PR_SET_KEEPCAPS"},
		{"another user with capabilities", both(asAnn, adds), []string{"prctl(8, 1", "setresuid(1000", "capset", "prctl(PR_CAP_AMBIENT, 2, 13", "execve"}, "PR_CAP_AMBIENT, 2, 12"},
		{"the user's own id", keep, []string{"setresuid(1000", "capset", "execve"}, "PR_CAP_AMBIENT"},
		{"one id", one, []string{"capset", "execve"}, "set" + "groups"},
		{"the user's own id alone", keptAlone, []string{"capset", "execve"}, "setresuid"},
		{"another user, root not in the map", noRoot, []string{"setresgid(2005, 2005, 2005)", "setresuid(2005, 2005, 2005)", "capset", "execve"}, "setresuid(0, 0, 0)"},
		{"root, set-user-ID programs count", newPrivs, []string{"clone3", "capset", "seccomp(", "execve", "prctl(PR_SET_NO_NEW_PRIVS, 1)", "reap"}, "setresuid"},
		{"another user, set-user-ID programs count", both(asAnn, newPrivs), []string{"prctl(8, 1", "setresuid(1000", "capset", "seccomp(", "execve"}, "PR_CAP_AMBIENT"},
		{"the user's own id alone, with capabilities", both(keptAlone, adds), []string{"capset", "prctl(PR_CAP_AMBIENT, 2, 13", "execve"}, "setresuid"},
	} {
		_, stage := Programs(compile(t, row.change))
		list := calls(t, stage)
		inOrder(t, row.name, list, row.want...)
		if strings.Contains(strings.Join(list, "\n"), row.never) {
			t.Errorf("%s: %q is in\n%s", row.name, row.never, strings.Join(list, "\n"))
		}
	}
}

// What loading a filter takes without no_new_privs ends with execve: it is in
// no set that execve keeps.
func TestFilterWithoutNoNewPrivs(t *testing.T) {
	for _, row := range []struct {
		name   string
		change func(*rootless.Spec, *rootless.Facts)
		held   string // effective, permitted and inheritable: capset(2)
	}{
		{"root", newPrivs, `"\xfb\x05 \x80\xfb\x05 \x80\x00\x00\x00\x00`},
		{"another user", both(newPrivs, asAnn), `"\x00\x00 \x00\x00\x00 \x00\x00\x00\x00\x00`},
	} {
		_, stage := Programs(compile(t, row.change))
		list := calls(t, stage)
		drops := slices.IndexFunc(list, func(line string) bool { return strings.HasPrefix(line, "prctl(PR_CAPBSET_DROP, 21)") })
		sets := slices.IndexFunc(list, func(line string) bool { return strings.HasPrefix(line, "capset(") })
		if drops < 0 || sets < drops || !strings.Contains(list[sets], row.held) {
			t.Errorf("%s: bounded at %d, and then %s", row.name, drops, list[sets])
		}
		if got := count(list, "prctl(PR_SET_NO_NEW_PRIVS"); got != 1 {
			t.Errorf("%s: no_new_privs %d times, want it for init alone", row.name, got)
		}
	}
}

func TestInit(t *testing.T) {
	_, stage := Programs(compile(t, nothing))
	list := calls(t, stage)
	inOrder(t, "init", list, "clone3(", "expect child", "setsid", "execve", "capset", "close_range(0, 4294967295", "reap")
	if last := list[len(list)-1]; !strings.HasPrefix(last, "reap") {
		t.Errorf("the last call is %s", last)
	}
	if count(list, "seccomp(") != 0 {
		t.Errorf("the command has no filter, and init has one:\n%s", strings.Join(list, "\n"))
	}
	_, stage = Programs(compile(t, func(_ *rootless.Spec, f *rootless.Facts) { f.Seccomp.Filter = confine.Prebuilt() }))
	list = calls(t, stage)
	inOrder(t, "init, filtered", list, "seccomp(", "execve", "capset", "prctl(PR_SET_NO_NEW_PRIVS, 1)", undumpable, "seccomp(", "close_range(0, 4294967295", "reap")
	_, stage = Programs(compile(t, asPID1))
	list = calls(t, stage)
	if count(list, "clone3") != 0 || count(list, "reap") != 0 {
		t.Errorf("the command is PID 1, and there is an init:\n%s", strings.Join(list, "\n"))
	}
	if last := list[len(list)-1]; !strings.HasSuffix(last, "else ENOENT") {
		t.Errorf("the last call is %s", last)
	}
}

func TestCommandOfAnotherPIDNamespaceIsTied(t *testing.T) {
	for _, row := range []struct {
		name   string
		change func(*rootless.Spec, *rootless.Facts)
		want   int
	}{
		{"its own", nothing, 1},
		{"the host's", func(s *rootless.Spec, _ *rootless.Facts) { s.Namespaces[ns.PID].Mode = ns.Host }, 2},
		{"the host's, another user", both(asAnn, func(s *rootless.Spec, _ *rootless.Facts) { s.Namespaces[ns.PID].Mode = ns.Host }), 2},
	} {
		_, stage := Programs(compile(t, row.change))
		list := calls(t, stage)
		if got := count(list, deathsig); got != row.want {
			t.Errorf("%s: tied %d times, want %d", row.name, got, row.want)
		}
		if row.want > 1 {
			inOrder(t, row.name, list, "capset", deathsig, "execve")
		}
	}
}

func TestSetupInOrder(t *testing.T) {
	offsets := func(s *rootless.Spec, _ *rootless.Facts) { s.Offsets.Boottime = 1e9 }
	for _, row := range []struct {
		name   string
		change func(*rootless.Spec, *rootless.Facts)
		want   []string
	}{
		{"mapped by helpers", nothing, []string{deathsig, "ppoll", "umask(", "socket(", "open_tree(AT_FDCWD", "read(5,", "setresgid(0, 0, 0)", "setgroups(", "setresuid(0, 0, 0)", deathsig, "sethostname", "pivot_root", "execveat(8"}},
		{"mapped by itself", one, []string{deathsig, "openat(AT_FDCWD, \"/proc/self/setgroups\"", "write(file.", "openat(AT_FDCWD, \"/proc/self/uid_map\"", "openat(AT_FDCWD, \"/proc/self/gid_map\"", "open_tree(AT_FDCWD", "setresuid(0, 0, 0)", deathsig, "pivot_root", "execveat(8"}},
		{"the user's own id", keep, []string{"read(5,", "setresuid(0, 0, 0)", deathsig, "pivot_root"}},
		{"the user's own id alone", keptAlone, []string{"openat(AT_FDCWD, \"/proc/self/uid_map\"", "capset", "prctl(PR_CAP_AMBIENT, 2", deathsig, "pivot_root", "execveat(8"}},
		{"clock offsets", offsets, []string{deathsig, "openat(AT_FDCWD, \"/proc/self/timens_offsets\"", "write(file.", "umask("}},
		{"terminal", terminal, []string{"pivot_root", "openat(pts.", "ioctl(master.", "ioctl(slave.", "move_mount(console.", "sendmsg(9", "dup3(slave.", "close(master.", "execveat(8"}},
	} {
		setup, _ := Programs(compile(t, row.change))
		list := calls(t, setup)
		inOrder(t, row.name, list, row.want...)
		if got := count(list, undumpable); got != 0 {
			t.Errorf("%s: undumpable while it shares memory with bryo", row.name)
		}
		inOrder(t, row.name, list, "fcntl(4, F_SETFD", "fcntl(7, F_SETFD", "execveat(8")
		if last := list[len(list)-1]; !strings.HasPrefix(last, `execveat(8, "", ["bryo-init"], [], AT_EMPTY_PATH)`) {
			t.Errorf("%s: the last call is %s", row.name, last)
		}
	}
}

// Nothing is waited for that needs no mapped id, and nothing is taken from the
// host once the user's rights are gone.
func TestHostIsLeftBeforeIDsChange(t *testing.T) {
	setup, _ := Programs(compile(t, func(s *rootless.Spec, f *rootless.Facts) {
		s.Mounts = []fsroot.Mount{{Source: "./a", Target: "/a"}}
		f.Sources = map[string]fsroot.Source{"./a": {Path: "/home/ann/a", Dir: true}}
		s.Devices = []fsroot.Device{{Source: "/dev/fuse", Target: "/dev/fuse"}}
	}))
	list := calls(t, setup)
	waits := slices.IndexFunc(list, func(line string) bool { return strings.HasPrefix(line, "read(5,") })
	for _, line := range list[waits:] {
		if strings.HasPrefix(line, "open") && strings.Contains(line, "AT_FDCWD") {
			t.Errorf("after the wait for the maps: %s", line)
		}
	}
	for _, line := range list[:waits] {
		if strings.HasPrefix(line, "move_mount") || strings.HasPrefix(line, "mkdirat") {
			t.Errorf("before the maps are there: %s", line)
		}
	}
}

func TestNames(t *testing.T) {
	named := func(s *rootless.Spec, _ *rootless.Facts) { s.Hostname, s.Domainname = "moss", "garden" }
	hosts := func(s *rootless.Spec, _ *rootless.Facts) { s.Namespaces[ns.UTS].Mode = ns.Host }
	for _, row := range []struct {
		name   string
		change func(*rootless.Spec, *rootless.Facts)
		want   int
	}{{"by default", nothing, 1}, {"both", named, 2}, {"the host's", hosts, 0}} {
		setup, _ := Programs(compile(t, row.change))
		list := calls(t, setup)
		if got := count(list, "sethostname") + count(list, "setdomainname"); got != row.want {
			t.Errorf("%s: %d calls, want %d", row.name, got, row.want)
		}
	}
	setup, _ := Programs(compile(t, named))
	inOrder(t, "both", calls(t, setup), `sethostname("moss", 4)`, `setdomainname("garden", 6)`)
}

// Where executable memfds are forbidden, the stage lies in a file without a
// name that cannot be written.
func TestStageInAFile(t *testing.T) {
	fds := anyFDs()
	fds.stage, fds.file = -1, "\x7fELF..."
	list := calls(t, compileSetup(compile(t, nothing), fds))
	inOrder(t, "stored", list, "pivot_root", `fsopen("tmpfs"`, `openat(stage.`, `write(stage.`, "close(stage.", "openat(stage.", "unlinkat(stage.", "mount_setattr(stage.", "execveat(stage.")
}

// A process that enters namespaces of another container shares no memory with
// bryo, and can be traced by nobody there.
func TestJoining(t *testing.T) {
	for _, row := range []struct {
		name   string
		change func(*rootless.Spec, *rootless.Facts)
		joined []string
		not    string // flag of the clone
	}{
		{"network", joins(ns.Net), []string{"setns(20, 268435456)", "close(20)", "setns(21, 1073741824)", "close(21)"}, "CLONE_NEWNET"},
		{"processes", joins(ns.PID), []string{"setns(20, 268435456)", "setns(21, 536870912)"}, "CLONE_NEWPID"},
		{"more than one", joins(ns.UTS, ns.IPC, ns.Net), []string{"setns(20,", "setns(21,", "setns(22,", "setns(23,"}, "CLONE_NEWIPC"},
		{"only the user namespace", joins(), []string{"setns(20, 268435456)"}, "CLONE_NEWUSER"},
		{"time", joins(ns.Time), []string{"setns(20,", "setns(21, 128)"}, "CLONE_NEWTIME"},
	} {
		plan := compile(t, row.change)
		enter, inside := calls(t, compileEnter(plan, anyFDs())), calls(t, compileJoined(plan, anyFDs()))
		if count(enter, "setns")+count(enter, "clone3")+count(enter, "unshare")+count(enter, "open")+count(enter, "setres") != 0 {
			t.Errorf("%s: bryo's memory is shared, and there is\n%s", row.name, strings.Join(enter, "\n"))
		}
		inOrder(t, row.name, enter, deathsig, "ppoll", "fcntl(4, F_SETFD", "fcntl(7, F_SETFD", "fcntl(20, F_SETFD", "execveat(8")
		inOrder(t, row.name, inside, append([]string{deathsig, "ppoll", undumpable}, row.joined...)...)
		inOrder(t, row.name, inside, "setns", "clone3({CLONE_", "exit_group", deathsig, "ppoll", "umask(", "setresuid(0, 0, 0)", deathsig, "pivot_root", undumpable, "prctl(PR_SET_NO_NEW_PRIVS", "execve")
		made := inside[slices.IndexFunc(inside, func(line string) bool { return strings.HasPrefix(line, "clone3({CLONE") })]
		for _, never := range []string{"CLONE_VM", "CLONE_NEWUSER", "CLONE_NEWTIME", row.not} {
			if strings.Contains(made, never) {
				t.Errorf("%s: %s", row.name, made)
			}
		}
		if !strings.Contains(made, "CLONE_PARENT") || !strings.Contains(made, "CLONE_NEWNS") {
			t.Errorf("%s: %s", row.name, made)
		}
		if first := inside[slices.IndexFunc(inside, func(line string) bool { return strings.HasPrefix(line, "clone3(") })]; first != made {
			t.Errorf("%s: before the namespaces are made there is %s", row.name, first)
		}
	}
}

// A time namespace is unshared: a clone would enter it at once.
func TestTimeNamespaceBesideAJoin(t *testing.T) {
	for _, row := range []struct {
		name   string
		change func(*rootless.Spec, *rootless.Facts)
		want   int
	}{
		{"its own", joins(ns.Net), 1},
		{"joined", joins(ns.Time), 0},
		{"the host's", both(joins(ns.Net), func(s *rootless.Spec, _ *rootless.Facts) { s.Namespaces[ns.Time].Mode = ns.Host }), 0},
	} {
		list := calls(t, compileJoined(compile(t, row.change), anyFDs()))
		if got := count(list, "unshare(128)"); got != row.want {
			t.Errorf("%s: %d, want %d", row.name, got, row.want)
		}
	}
	list := calls(t, compileJoined(compile(t, joins(ns.Net)), anyFDs()))
	inOrder(t, "order", list, "setns", "unshare(128)", "clone3(")
}

func TestUnshareProgram(t *testing.T) {
	for _, row := range []struct {
		name   string
		change func(*rootless.Spec, *rootless.Facts)
		maps   int
		want   []string
	}{
		{"by helpers", nothing, 5, []string{"read(5,", "setresgid(0, 0, 0)", "setgroups(", "setresuid(0, 0, 0)", deathsig, "rt_sigprocmask", `execve("/x/id"`, `execve("/y/id"`}},
		{"by itself", one, -1, []string{"openat(AT_FDCWD, \"/proc/self/setgroups\"", "openat(AT_FDCWD, \"/proc/self/uid_map\"", "setresuid(0, 0, 0)", deathsig, "execve"}},
	} {
		spec, facts := good()
		row.change(spec, facts)
		plan, err := rootless.CompileUnshare(spec, facts, []string{"id"}, []string{"PATH=/x:/y"})
		if err != nil {
			t.Fatal(err)
		}
		fds := anyFDs()
		fds.maps = row.maps
		list := calls(t, compileUnshare(plan, fds))
		inOrder(t, row.name, list, row.want...)
		if strings.Contains(strings.Join(list, "\n"), "pivot_root") || count(list, "prctl(PR_SET_NO_NEW_PRIVS") != 0 {
			t.Errorf("%s: it is no container", row.name)
		}
	}
}

// The listing is in strace's words.
func TestEveryCallHasAName(t *testing.T) {
	plan := compile(t, both(terminal, asAnn, adds))
	setup, stage := Programs(plan)
	joining := compile(t, joins(ns.Net))
	for _, p := range []*program.Program{setup, stage, compileEnter(joining, anyFDs()), compileJoined(joining, anyFDs())} {
		if list := calls(t, p); count(list, "syscall_") > 0 {
			t.Errorf("%q", slices.DeleteFunc(list, func(line string) bool { return !strings.HasPrefix(line, "syscall_") }))
		}
	}
}

// Each place of PATH is tried, and what is found but cannot run is sent along.
func TestExecuteTriesEveryPlace(t *testing.T) {
	_, stage := Programs(compile(t, func(s *rootless.Spec, _ *rootless.Facts) {
		s.Process.Args, s.Process.Env = []string{"ls", "a b", ""}, []string{"PATH=/a:/b", "X=1"}
	}))
	list := calls(t, stage)
	inOrder(t, "execute", list, `execve("/a/ls", ["ls", "a b", ""], `, `openat(AT_FDCWD, "/a/ls"`, "read(command.", "write(4,", `execve("/b/ls"`, `openat(AT_FDCWD, "/b/ls"`, "expect 0 & 0x1 == 0x1, else ENOENT")
	all := steps(t, stage)
	inOrder(t, "steps", all, "execute /a/ls", "execute /b/ls", "execute ls")
	for _, line := range list {
		if strings.HasPrefix(line, `openat(AT_FDCWD, "/`) && (!strings.Contains(line, "O_NONBLOCK") || !strings.Contains(line, "O_NOCTTY") || !strings.Contains(line, "O_CLOEXEC")) {
			t.Errorf("a device or a FIFO may hold it up: %s", line)
		}
	}
}

func TestTerminalIsUsed(t *testing.T) {
	_, stage := Programs(compile(t, terminal))
	inOrder(t, "terminal", calls(t, stage), "setsid", "ioctl(9, 21518", "dup3(9, 0", "dup3(9, 1", "dup3(9, 2", "close_range(3, 3", "execve")
	setup, _ := Programs(compile(t, both(terminal, asAnn)))
	inOrder(t, "its owner", calls(t, setup), "ioctl(slave.", "fchown(slave.", "dup3(slave.")
	_, stage = Programs(compile(t, nothing))
	if count(calls(t, stage), "ioctl") != 0 {
		t.Error("a terminal that nobody asked for")
	}
}

func TestCapabilitiesOfTheBoundingSet(t *testing.T) {
	_, stage := Programs(compile(t, func(s *rootless.Spec, _ *rootless.Facts) { s.Process.Caps.Drop = confine.AllCaps }))
	if got := count(calls(t, stage), "prctl(PR_CAPBSET_DROP"); got != len(confine.AllCaps.Names()) {
		t.Errorf("%d are dropped", got)
	}
}

// The root of a cgroup namespace is where its maker is: not clone3, which bryo
// calls from elsewhere, makes it.
func TestCgroupNamespaceIsMadeInTheCgroup(t *testing.T) {
	limited := func(s *rootless.Spec, f *rootless.Facts) {
		s.Limits.CPUs = "0"
		f.Cgroup = cgroup.Facts{Unified: true, Program: "/usr/bin/bryo-cgroup", Manager: cgroup.Manager{Socket: "/run/user/1000/bus", Controllers: cgroup.All()}}
	}
	const step, affinity = "make a cgroup namespace", "take the cgroup's processors"
	for _, c := range []struct {
		name   string
		change func(*rootless.Spec, *rootless.Facts)
		want   bool
	}{
		{"no limits", nothing, false},
		{"limits", limited, true},
		{"the host's", both(limited, func(s *rootless.Spec, _ *rootless.Facts) { s.Namespaces[ns.Cgroup].Mode = ns.Host }), false},
	} {
		list := steps(t, compileSetup(compile(t, c.change), anyFDs()))
		if got := slices.Contains(list, step); got != c.want {
			t.Errorf("%s: %t, %v", c.name, got, list)
		}
		if c.want && (!slices.Contains(list, affinity) || !slices.Contains(steps(t, compileEnter(compile(t, c.change), anyFDs())), affinity)) {
			t.Errorf("%s: it keeps the processors that bryo has", c.name)
		}
		if at := slices.Index(list, "mount /sys/fs/cgroup"); (at >= 0) != c.want || at >= 0 && at < slices.Index(list, step) {
			t.Errorf("%s: /sys/fs/cgroup is step %d", c.name, at)
		}
	}
}
