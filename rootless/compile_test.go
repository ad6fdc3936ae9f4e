package rootless

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"bryo/fsroot"
	"bryo/idmap"
	"bryo/rootless/confine"
	"bryo/rootless/ns"
	"bryo/rootless/tty"
)

const (
	passwd = "root:x:0:0:root:/root:/bin/bash\nann:x:1000:1000:Ann,,,:/home/ann:/bin/sh\nweb:x:33:33::/var/www:/usr/sbin/nologin\n"
	group  = "root:x:0:\naudio:x:29:ann,web\nweb:x:33:\nann:x:1000:\nfar:x:70000:ann\n"
)

// good is a directory as root on a host that has everything.
func good() (*Spec, *Facts) {
	ranges := []idmap.Range{{Start: 100000, Count: 65536}}
	return &Spec{Root: RootSpec{Path: "root"}, Process: ProcessSpec{Args: []string{"/bin/true"}}},
		&Facts{
			ID: "0123456789ab", Self: idmap.Identity{UID: 1000, GID: 1001}, Name: "ann", UIDs: ranges, GIDs: ranges,
			Helpers: Helpers{"/usr/bin/newuidmap", "/usr/bin/newgidmap"},
			Kernel:  Kernel{MountSetattr: true, Overlay: true},
			Root: RootFacts{
				Source: fsroot.Source{Path: "/srv/root", ID: fsroot.FileID{Major: 8, Minor: 1, Inode: 2}, Dir: true},
				Passwd: []byte(passwd), Group: []byte(group), Shell: "/bin/bash",
			},
			Limits:   map[int]uint64{unix.RLIMIT_NOFILE: 1 << 20, unix.RLIMIT_NPROC: 30000},
			Resolver: "nameserver 192.0.2.1\n", Hosts: "192.0.2.2\tprinter\n",
		}
}

// What a row looks at.

func uids(pl *Plan) string     { return oneLine(pl.IDs.Maps.UID) }
func gids(pl *Plan) string     { return oneLine(pl.IDs.Maps.GID) }
func warnings(pl *Plan) string { return strings.Join(pl.Warnings, "\n") }
func offsets(pl *Plan) string  { return pl.Offsets }
func argv(pl *Plan) string     { return strings.Join(pl.Process.Argv, " ") }
func paths(pl *Plan) string    { return strings.Join(pl.Process.Paths, " ") }
func env(pl *Plan) string      { return strings.Join(pl.Process.Env, " ") }
func dir(pl *Plan) string      { return pl.Process.Dir }
func umask(pl *Plan) string    { return fmt.Sprintf("%04o", pl.Process.Umask) }
func groups(pl *Plan) string   { return fmt.Sprint(pl.Process.Groups) }
func user(pl *Plan) string     { return fmt.Sprintf("%d:%d", pl.Process.UID, pl.Process.GID) }
func names(pl *Plan) string    { return pl.Hostname + " " + pl.Domainname }

func how(pl *Plan) string {
	return fmt.Sprintf("helpers %t, setgroups %t", pl.IDs.Helpers, pl.Process.SetGroups)
}

func oneLine(m idmap.Map) string {
	return strings.ReplaceAll(strings.TrimSpace(m.Lines()), "\n", ", ")
}

func caps(pl *Plan) string {
	return strings.ReplaceAll(strings.Join(pl.Process.Caps.Names(), " "), "CAP_", "")
}

func ambient(pl *Plan) string { return strings.Join(pl.Process.Ambient.Names(), " ") }

func namespaces(pl *Plan) string {
	var list []string
	for _, k := range ns.All() {
		if pl.Namespaces[k].Mode != ns.Own {
			list = append(list, k.File()+"="+pl.Namespaces[k].String())
		}
	}
	return strings.Join(list, " ")
}

func limits(pl *Plan) string {
	var list []string
	for _, l := range pl.Process.Limits {
		list = append(list, fmt.Sprintf("%s=%d:%d", confine.ResourceName(l.Resource), int64(l.Soft), int64(l.Hard)))
	}
	return strings.Join(list, " ")
}

func mounts(pl *Plan) string {
	var list []string
	for i := range pl.Root.Mounts {
		m := &pl.Root.Mounts[i]
		list = append(list, strings.TrimSpace(m.Type.String()+" "+m.From.Path)+" "+m.Target)
	}
	return strings.Join(list, ", ")
}

func written(pl *Plan) string {
	var list []string
	for _, f := range pl.Root.Files {
		name := f.Target
		if f.Lax {
			name += "?"
		}
		list = append(list, name)
	}
	return strings.Join(list, " ")
}

func content(target string) func(*Plan) string {
	return func(pl *Plan) string {
		for _, f := range pl.Root.Files {
			if f.Target == target {
				return f.Content
			}
		}
		return "none"
	}
}

func settings(pl *Plan) string {
	var list []string
	for _, s := range pl.Root.Sysctls {
		list = append(list, s.Path+"="+s.Value)
	}
	return strings.Join(list, " ")
}

// root is the switches of the root file system that are on.
func root(pl *Plan) string {
	r := &pl.Root
	var list []string
	for _, f := range []struct {
		name string
		on   bool
	}{
		{"host", r.Host},
		{"read-only", r.ReadOnly},
		{"layer", r.Layer},
		{"copy", r.Copy},
		{"host-proc", r.Proc == fsroot.HostProc},
		{"empty-sys", r.Sys == fsroot.EmptySys},
		{"host-ipc", r.HostIPC},
		{"console", r.Console},
		{"tty", r.TTYGroup},
		{"legacy", r.Legacy},
	} {
		if f.on {
			list = append(list, f.name)
		}
	}
	return strings.Join(list, " ")
}

func process(pl *Plan) string {
	p := &pl.Process
	return fmt.Sprintf("init %t, terminal %t, stop %q, lo %t", p.Init, p.Terminal, p.StopSignal, pl.Network.Loopback)
}

func host(kind ns.Kind) func(*Spec, *Facts) {
	return func(s *Spec, _ *Facts) { s.Namespaces[kind].Mode = ns.Host }
}

// join is a plan that joins a kind, and the user namespace that owns it.
func join(kinds ...ns.Kind) func(*Spec, *Facts) {
	return func(s *Spec, f *Facts) {
		f.Joined = []Joined{{ns.User, 7}}
		f.JoinedIDs = idmap.Choice{Maps: idmap.Maps{UID: idmap.Map{{Inside: 0, Outside: 0, Count: 1}}, GID: idmap.Map{{Inside: 0, Outside: 0, Count: 1}}}}
		for _, k := range kinds {
			s.Namespaces[k] = ns.Source{Mode: ns.Join, PID: 42}
			f.Joined = append(f.Joined, Joined{k, 8})
		}
	}
}

// one asks for one id only.
func both(changes ...func(*Spec, *Facts)) func(*Spec, *Facts) {
	return func(s *Spec, f *Facts) {
		for _, c := range changes {
			c(s, f)
		}
	}
}

func one(s *Spec, _ *Facts) { s.IDs.Mode = idmap.Single }

func volume(value string) fsroot.Mount {
	m, err := fsroot.ParseVolume(value)
	if err != nil {
		panic(err)
	}
	return m
}

// with has the volumes among the mounts, their sources found as directories.
func with(s *Spec, f *Facts, volumes ...string) {
	f.Sources = map[string]fsroot.Source{}
	for _, v := range volumes {
		m := volume(v)
		s.Mounts = append(s.Mounts, m)
		f.Sources[m.Source] = fsroot.Source{Path: "/home/ann" + strings.TrimPrefix(m.Source, "."), Dir: true}
	}
}

type decision struct {
	name   string
	change func(*Spec, *Facts)
	look   func(*Plan) string
	want   string
}

func decide(t *testing.T, rows []decision) {
	t.Helper()
	for _, row := range rows {
		spec, facts := good()
		row.change(spec, facts)
		plan, err := Compile(spec, facts)
		if err != nil {
			t.Errorf("%s: %v", row.name, err)
			continue
		}
		if got := row.look(plan); got != row.want {
			t.Errorf("%s:\ngot  %s\nwant %s", row.name, got, row.want)
		}
	}
}

func nothing(*Spec, *Facts) {}

func TestIDs(t *testing.T) {
	const all, allGroups = "0 1000 1, 1 100000 65536", "0 1001 1, 1 100000 65536"
	decide(t, []decision{
		{"root is the user, the rest are the ranges", nothing, uids, all},
		{"groups likewise", nothing, gids, allGroups},
		{"the helpers write it", nothing, how, "helpers true, setgroups true"},
		{"without a word", nothing, warnings, ""},
		{"no ranges, one id", func(_ *Spec, f *Facts) { f.UIDs, f.GIDs = nil, nil }, uids, "0 1000 1"},
		{"no ranges, no helpers", func(_ *Spec, f *Facts) { f.UIDs, f.GIDs = nil, nil }, how, "helpers false, setgroups false"},
		{"no group ranges, one id", func(_ *Spec, f *Facts) { f.GIDs = nil }, uids, "0 1000 1"},
		{"no user ranges, one group", func(_ *Spec, f *Facts) { f.UIDs = nil }, gids, "0 1001 1"},
		{"newuidmap missing, one id", func(_ *Spec, f *Facts) { f.Helpers.UID = "" }, uids, "0 1000 1"},
		{"newgidmap missing, one id", func(_ *Spec, f *Facts) { f.Helpers.GID = "" }, gids, "0 1001 1"},
		{"helpers missing, none are used", func(_ *Spec, f *Facts) { f.Helpers = Helpers{} }, how, "helpers false, setgroups false"},
		{"single", one, uids, "0 1000 1"},
		{"single needs no helpers", func(s *Spec, f *Facts) { one(s, f); f.Helpers = Helpers{} }, warnings, ""},
		{"single needs no ranges", func(s *Spec, f *Facts) { one(s, f); f.UIDs = nil }, warnings, ""},
		{"keep-id", func(s *Spec, _ *Facts) { s.IDs.Mode = idmap.KeepID }, uids, "0 100000 1000, 1000 1000 1, 1001 101000 64536"},
		{"keep-id, no ranges", func(s *Spec, f *Facts) { s.IDs.Mode, f.UIDs = idmap.KeepID, nil }, uids, "1000 1000 1"},
		{"keep-id, helpers missing", func(s *Spec, f *Facts) { s.IDs.Mode, f.Helpers = idmap.KeepID, Helpers{} }, gids, "1001 1001 1"},
		{"explicit", func(s *Spec, _ *Facts) { s.IDs = explicit(idmap.Extent{Inside: 0, Outside: 100000, Count: 10}) }, uids, "0 100000 10"},
		{"explicit, own id", func(s *Spec, _ *Facts) { s.IDs = explicit(idmap.Extent{Outside: 1000, Count: 1}) }, gids, "0 1001 1"},
		{"explicit, own id, helpers missing", func(s *Spec, f *Facts) {
			s.IDs, f.Helpers = explicit(idmap.Extent{Outside: 1000, Count: 1}), Helpers{}
		}, how, "helpers false, setgroups false"},
		{"joined: the maps are there", join(ns.Net), uids, "0 0 1"},
		{"joined: no helpers", join(ns.Net), how, "helpers false, setgroups false"},
	})
}

func explicit(extents ...idmap.Extent) idmap.Spec {
	return idmap.Spec{Mode: idmap.Explicit, UIDs: extents}
}

func TestWarningsAreOneLineWithAFix(t *testing.T) {
	for _, row := range []struct {
		name   string
		change func(*Spec, *Facts)
		want   []string
	}{
		{"no ranges", func(_ *Spec, f *Facts) { f.UIDs, f.FreeUIDs = nil, 165536 }, []string{"only one id", "usermod --add-subuids 165536-231071 ann,", "--userns single"}},
		{"no ranges and no name", func(_ *Spec, f *Facts) { f.UIDs, f.Name = nil, "" }, []string{"usermod", " 1000,"}},
		{"no helper", func(_ *Spec, f *Facts) { f.Helpers.UID = "" }, []string{"newuidmap", "only one id", "uidmap"}},
		{"no helper and no ranges", func(_ *Spec, f *Facts) { f.Helpers, f.UIDs = Helpers{}, nil }, []string{"no subordinate ids"}},
		{"keep-id without ranges", func(s *Spec, f *Facts) { s.IDs.Mode, f.GIDs = idmap.KeepID, nil }, []string{"usermod"}},
	} {
		spec, facts := good()
		row.change(spec, facts)
		plan, err := Compile(spec, facts)
		if err != nil || len(plan.Warnings) != 1 || strings.Contains(plan.Warnings[0], "\n") {
			t.Errorf("%s: %v, want one line", row.name, err)
			continue
		}
		for _, want := range row.want {
			if !strings.Contains(plan.Warnings[0], want) {
				t.Errorf("%s: %q does not say %q", row.name, plan.Warnings[0], want)
			}
		}
	}
}

func TestNamespaces(t *testing.T) {
	decide(t, []decision{
		{"eight of its own", nothing, namespaces, ""},
		{"lo is up, init is there", nothing, process, `init true, terminal false, stop "", lo true`},
		{"host pid: the host's proc", host(ns.PID), root, "host-proc tty"},
		{"host net: an empty sys", host(ns.Net), root, "empty-sys tty"},
		{"host net: lo is left alone", host(ns.Net), process, `init true, terminal false, stop "", lo false`},
		{"host ipc: the host's shm", host(ns.IPC), root, "host-ipc tty"},
		{"host uts: its name is left", host(ns.UTS), names, " "},
		{"host cgroup", host(ns.Cgroup), namespaces, "cgroup=host"},
		{"host time", host(ns.Time), namespaces, "time=host"},
		{"joined net: its user namespace, too", join(ns.Net), namespaces, "user=join:the owner of the joined ones net=join:42"},
		{"joined net: lo is left alone", join(ns.Net), process, `init true, terminal false, stop "", lo false`},
		{"joined pid: a fresh proc", join(ns.PID), root, ""},
		{"joined net: a fresh sys", join(ns.Net), root, ""},
		{"joined uts: its name is left", join(ns.UTS), names, " "},
		{"joined user namespace stays as named", join(ns.User), namespaces, "user=join:42"},
		{"offsets", func(s *Spec, _ *Facts) { s.Offsets = ns.Offsets{Monotonic: -1, Boottime: 1e9} }, offsets, "monotonic -1 999999999\nboottime 1 0\n"},
		{"no offsets", nothing, offsets, ""},
		{"no offsets needed beside join", join(ns.IPC), offsets, ""},
	})
}

func TestHostNames(t *testing.T) {
	longest := strings.Repeat("a", 64)
	decide(t, []decision{
		{"the container's id", nothing, names, "0123456789ab "},
		{"chosen", func(s *Spec, _ *Facts) { s.Hostname, s.Domainname = "moss", "garden" }, names, "moss garden"},
		{"as long as the kernel takes", func(s *Spec, _ *Facts) { s.Hostname = longest }, names, longest + " "},
		{"unicode", func(s *Spec, _ *Facts) { s.Hostname = "möös" }, names, "möös "},
		{"it is in /etc/hostname", nothing, content("/etc/hostname"), "0123456789ab\n"},
		{"and in /etc/hosts", nothing, content("/etc/hosts"), "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n127.0.1.1\t0123456789ab\n"},
		{"host uts: not in /etc/hosts", host(ns.UTS), content("/etc/hosts"), "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n"},
		{"host uts: no /etc/hostname", host(ns.UTS), content("/etc/hostname"), "none"},
	})
}

func TestRoot(t *testing.T) {
	ephemeral := func(s *Spec, _ *Facts) { s.Root.Ephemeral = true }
	hostRoot := func(s *Spec, f *Facts) { s.Root = RootSpec{Host: true}; f.Root.Source.Path = "/" }
	decide(t, []decision{
		{"written to", nothing, root, "tty"},
		{"its source is what was found", nothing, func(pl *Plan) string { return pl.Root.Root.Path }, "/srv/root"},
		{"one group: no tty group", one, root, ""},
		{"read-only", func(s *Spec, _ *Facts) { s.Root.ReadOnly = true }, root, "read-only tty"},
		{"ephemeral", ephemeral, root, "layer tty"},
		{"ephemeral, no overlay", func(s *Spec, f *Facts) { ephemeral(s, f); f.Kernel.Overlay = false }, root, "layer copy tty"},
		{"no layer, no overlay", func(_ *Spec, f *Facts) { f.Kernel.Overlay = false }, root, "tty"},
		{"ephemeral and read-only", func(s *Spec, f *Facts) { ephemeral(s, f); s.Root.ReadOnly = true }, root, "read-only layer tty"},
		{"missing mount points: a layer", func(_ *Spec, f *Facts) { f.Root.Missing = []string{"/proc"} }, root, "layer tty"},
		{"read-only, missing mount points", func(s *Spec, f *Facts) { s.Root.ReadOnly, f.Root.Missing = true, []string{"/proc"} }, root, "read-only layer tty"},
		{"the host's is read-only", hostRoot, root, "host read-only tty"},
		{"the host's, ephemeral", func(s *Spec, f *Facts) { hostRoot(s, f); ephemeral(s, f) }, root, "host layer tty"},
		{"old kernel", func(_ *Spec, f *Facts) { f.Kernel.MountSetattr = false }, root, "tty legacy"},
		{"terminal: a console", func(s *Spec, _ *Facts) { s.Process.Terminal = true }, root, "console tty"},
		{"shm of 64 MiB", nothing, shm, "67108864"},
		{"shm as asked", func(s *Spec, _ *Facts) { s.ShmSize = 4096 }, shm, "4096"},
		{"entries only for a layer", func(_ *Spec, f *Facts) { f.Root.Entries = make([]fsroot.Entry, 3) }, spread, "0"},
		{"entries for a layer", func(s *Spec, f *Facts) { ephemeral(s, f); f.Root.Entries = make([]fsroot.Entry, 3) }, spread, "3"},
	})
}

func shm(pl *Plan) string    { return strconv.FormatUint(pl.Root.ShmSize, 10) }
func spread(pl *Plan) string { return strconv.Itoa(len(pl.Root.Entries)) }

func TestMounts(t *testing.T) {
	readOnly := func(s *Spec, f *Facts, volumes ...string) { s.Root.ReadOnly = true; with(s, f, volumes...) }
	decide(t, []decision{
		{"none", nothing, mounts, ""},
		{"with their sources", func(s *Spec, f *Facts) { with(s, f, "./a:/a") }, mounts, "bind /home/ann/a /a"},
		{"the outer first", func(s *Spec, f *Facts) { with(s, f, "./a:/a/b/c", "./b:/a", "./c:/a/b") }, mounts, "bind /home/ann/b /a, bind /home/ann/c /a/b, bind /home/ann/a /a/b/c"},
		{"otherwise as given", func(s *Spec, f *Facts) { with(s, f, "./b:/y", "./a:/x") }, mounts, "bind /home/ann/b /y, bind /home/ann/a /x"},
		{"read-only: scratch space", func(s *Spec, f *Facts) { readOnly(s, f) }, mounts, "tmpfs /run, tmpfs /tmp, tmpfs /var/tmp"},
		{"read-only: not where the user mounts", func(s *Spec, f *Facts) { readOnly(s, f, "./a:/tmp") }, mounts, "tmpfs /run, bind /home/ann/a /tmp, tmpfs /var/tmp"},
		{"read-only: not below what the user mounts", func(s *Spec, f *Facts) { readOnly(s, f, "./a:/var") }, mounts, "tmpfs /run, tmpfs /tmp, bind /home/ann/a /var"},
		{"the host's: /run and /tmp", func(s *Spec, _ *Facts) { s.Root = RootSpec{Host: true} }, mounts, "tmpfs /run, tmpfs /tmp"},
		{"the host's: where sockets are", func(s *Spec, f *Facts) { s.Root, f.RuntimeDir = RootSpec{Host: true}, "/home/ann/run" }, mounts, "tmpfs /run, tmpfs /tmp, tmpfs /home/ann/run"},
		{"the host's: they are below /run", func(s *Spec, f *Facts) { s.Root, f.RuntimeDir = RootSpec{Host: true}, "/run/user/1" }, mounts, "tmpfs /run, tmpfs /tmp"},
		{"the host's, ephemeral: /tmp", func(s *Spec, _ *Facts) { s.Root = RootSpec{Host: true, Ephemeral: true} }, mounts, "tmpfs /run, tmpfs /tmp"},
	})
}

func TestFiles(t *testing.T) {
	const three = "/etc/hostname /etc/hosts /etc/resolv.conf"
	tmpfs := func(target string) func(*Spec, *Facts) {
		return func(s *Spec, _ *Facts) { s.Mounts = []fsroot.Mount{{Type: fsroot.Tmpfs, Target: target}} }
	}
	hostRoot := func(s *Spec, _ *Facts) { s.Root = RootSpec{Host: true} }
	decide(t, []decision{
		{"three", nothing, written, three},
		{"no network, no servers", nothing, content("/etc/resolv.conf"), ""},
		{"host net: the host's servers", host(ns.Net), content("/etc/resolv.conf"), "nameserver 192.0.2.1\n"},
		{"host net: the host's hosts", host(ns.Net), content("/etc/hosts"), "192.0.2.2\tprinter\n"},
		{"host net and uts", func(s *Spec, f *Facts) { host(ns.Net)(s, f); host(ns.UTS)(s, f) }, written, "/etc/hosts /etc/resolv.conf"},
		{"a mount on /etc wins", tmpfs("/etc"), written, ""},
		{"a mount on the file wins", tmpfs("/etc/hosts"), written, "/etc/hostname /etc/resolv.conf"},
		{"a mount beside does not", tmpfs("/etc/hosts.d"), written, three},
		{"a mount of a longer name does not", tmpfs("/et"), written, three},
		{"the host's: only what is there", hostRoot, written, "/etc/hostname? /etc/hosts? /etc/resolv.conf?"},
		{"the host's and its network: name and resolver", func(s *Spec, f *Facts) { hostRoot(s, f); host(ns.Net)(s, f) }, written, "/etc/hostname? /etc/resolv.conf?"},
	})
}

func TestSysctls(t *testing.T) {
	set := func(name string) func(*Spec, *Facts) {
		return func(s *Spec, _ *Facts) { s.Sysctls = []ns.Sysctl{{Name: name, Value: "1"}} }
	}
	decide(t, []decision{
		{"no user namespaces inside", nothing, settings, "user/max_user_namespaces=0"},
		{"unless nested ones are asked for", func(s *Spec, _ *Facts) { s.Process.Nest = true }, settings, ""},
		{"asked for", set("net.ipv4.ip_forward"), settings, "net/ipv4/ip_forward=1 user/max_user_namespaces=0"},
		{"joined: it is not ours to set", join(ns.Net), settings, ""},
		{"user namespaces inside, as many as asked for", set("user.max_user_namespaces"), settings, "user/max_user_namespaces=1"},
	})
}

func TestUser(t *testing.T) {
	as := func(name string) func(*Spec, *Facts) { return func(s *Spec, _ *Facts) { s.Process.User = name } }
	keep := func(s *Spec, _ *Facts) { s.IDs.Mode = idmap.KeepID }
	keepAs := func(uid, gid uint32) func(*Spec, *Facts) {
		return func(s *Spec, _ *Facts) { s.IDs = idmap.Spec{Mode: idmap.KeepID, KeepUID: &uid, KeepGID: &gid} }
	}
	more := func(names ...string) func(*Spec, *Facts) { return func(s *Spec, _ *Facts) { s.Process.Groups = names } }
	decide(t, []decision{
		{"root", nothing, user, "0:0"},
		{"a name", as("ann"), user, "1000:1000"},
		{"a name's groups, those in the map", as("ann"), groups, "[29]"},
		{"a number with an entry", as("33"), user, "33:33"},
		{"a number with an entry has its groups", as("33"), groups, "[29]"},
		{"a number without", as("5000"), user, "5000:0"},
		{"a name and a group", as("ann:audio"), user, "1000:29"},
		{"a group replaces the others", as("ann:audio"), groups, "[]"},
		{"the last id of the map", as("65536:65536"), user, "65536:65536"},
		{"the groups on the host", both(as("ann"), more(keepGroups)), groups, "[]"},
		{"they open what they open outside", more(keepGroups), warnings, "your groups on the host are kept: inside they look like nogroup, and open what they open outside"},
		{"keep-id: the user's own", keep, user, "1000:1001"},
		{"keep-id chosen", keepAs(7, 8), user, "7:8"},
		{"keep-id 0", keepAs(0, 0), user, "0:0"},
		{"keep-id, no ranges", func(s *Spec, f *Facts) { keep(s, f); f.UIDs = nil }, user, "1000:1001"},
		{"keep-id, but another user", func(s *Spec, f *Facts) { keep(s, f); s.Process.User = "root" }, user, "0:0"},
		{"no passwd, root", func(_ *Spec, f *Facts) { f.Root.Passwd, f.Root.Group = nil, nil }, user, "0:0"},
		{"more groups", more("audio", "2000"), groups, "[29 2000]"},
		{"more groups twice", more("audio", "29"), groups, "[29]"},
		{"more groups, those in the map", more("70000", "5"), groups, "[5]"},
		{"one id: none of the image's groups", func(s *Spec, f *Facts) { one(s, f); f.Root.Group = []byte("wheel:x:10:root\n") }, groups, "[]"},
	})
}

func TestCommand(t *testing.T) {
	args := func(list ...string) func(*Spec, *Facts) { return func(s *Spec, _ *Facts) { s.Process.Args = list } }
	pathed := func(path string) func(*Spec, *Facts) {
		return func(s *Spec, _ *Facts) { s.Process.Args, s.Process.Env = []string{"ls"}, []string{"PATH=" + path} }
	}
	enter := func(s *Spec, _ *Facts) { s.Process.Entrypoint = []string{"/entry"} }
	decide(t, []decision{
		{"a path is tried as it is", nothing, paths, "/bin/true"},
		{"a relative path, too", args("bin/x"), paths, "bin/x"},
		{"a name is looked for", args("ls", "-l"), paths, "/usr/local/sbin/ls /usr/local/bin/ls /usr/sbin/ls /usr/bin/ls /sbin/ls /bin/ls"},
		{"arguments are kept", args("ls", "-l", ""), argv, "ls -l "},
		{"in the command's PATH", pathed("/opt/bin:/b"), paths, "/opt/bin/ls /b/ls"},
		{"slashes at the end", pathed("/opt/bin/:/"), paths, "/opt/bin/ls /ls"},
		{"empty parts are here", pathed("/a::/b:"), paths, "/a/ls ./ls /b/ls ./ls"},
		{"an empty PATH is here", pathed(""), paths, "./ls"},
		{"relative parts", pathed("bin"), paths, "bin/ls"},
		{"entrypoint before arguments", func(s *Spec, f *Facts) { enter(s, f); s.Process.Args = []string{"a", "b"} }, argv, "/entry a b"},
		{"entrypoint alone", func(s *Spec, f *Facts) { enter(s, f); s.Process.Args = nil }, argv, "/entry"},
		{"no command: the root's shell", args(), argv, "/bin/bash"},
		{"no command: its path", args(), paths, "/bin/bash"},
	})
}

func TestEnvironment(t *testing.T) {
	const clean = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root container=bryo HOSTNAME=0123456789ab"
	set := func(list ...string) func(*Spec, *Facts) { return func(s *Spec, _ *Facts) { s.Process.Env = list } }
	decide(t, []decision{
		{"clean", nothing, env, clean},
		{"asked for, in order", set("B=1", "A=2"), env, clean + " B=1 A=2"},
		{"the last one wins", set("A=1", "B=2", "A=3"), env, clean + " B=2 A=3"},
		{"an empty value", set("A="), env, clean + " A="},
		{"a value with =", set("A=b=c"), env, clean + " A=b=c"},
		{"ours can be replaced", set("PATH=/x", "HOME=/h", "container=", "HOSTNAME=h"), env, "PATH=/x HOME=/h container= HOSTNAME=h"},
		{"a longer name is another", set("PATHS=/x", "PAT=y"), env, clean + " PATHS=/x PAT=y"},
		{"host uts: no HOSTNAME", host(ns.UTS), env, strings.TrimSuffix(clean, " HOSTNAME=0123456789ab")},
		{"terminal", func(s *Spec, _ *Facts) { s.Process.Terminal = true }, env, clean + " TERM=xterm"},
		{"the terminal's type can be replaced", func(s *Spec, _ *Facts) { s.Process.Terminal, s.Process.Env = true, []string{"TERM=vt100"} }, env, clean + " TERM=vt100"},
		{"the user's home", func(s *Spec, _ *Facts) { s.Process.User = "ann" }, env, strings.Replace(clean, "/root", "/home/ann", 1)},
		{"no entry, home is /", func(s *Spec, _ *Facts) { s.Process.User = "77" }, env, strings.Replace(clean, "/root", "/", 1)},
		{"no home, home is /", func(_ *Spec, f *Facts) { f.Root.Passwd = []byte("root:x:0:0:::\n") }, env, strings.Replace(clean, "/root", "/", 1)},
	})
}

func TestProcess(t *testing.T) {
	mask := func(n uint32) func(*Spec, *Facts) { return func(s *Spec, _ *Facts) { s.Process.Umask = &n } }
	decide(t, []decision{
		{"directory /", nothing, dir, "/"},
		{"directory as asked", func(s *Spec, _ *Facts) { s.Process.Dir = "/tmp/../x" }, dir, "/tmp/../x"},
		{"umask 022", nothing, umask, "0022"},
		{"umask 0 is one", mask(0), umask, "0000"},
		{"umask as asked", mask(0o77), umask, "0077"},
		{"PID 1", func(s *Spec, _ *Facts) { s.Process.AsPID1 = true }, process, `init false, terminal false, stop "", lo true`},
		{"stop signal, terminal", func(s *Spec, _ *Facts) { s.Process.StopSignal, s.Process.Terminal = "INT", true }, process, `init true, terminal true, stop "INT", lo true`},
		{"window size", func(_ *Spec, f *Facts) { f.Window = tty.Size{Rows: 24, Columns: 80} }, func(pl *Plan) string { return fmt.Sprint(pl.Terminal) }, "{24 80}"},
		{"labels", func(s *Spec, _ *Facts) { s.Labels = []string{"a=b"} }, func(pl *Plan) string { return strings.Join(pl.Labels, " ") }, "a=b"},
	})
}

func TestCapabilities(t *testing.T) {
	const most = "CHOWN DAC_OVERRIDE FOWNER FSETID KILL SETGID SETUID SETPCAP NET_BIND_SERVICE"
	change := func(add, drop confine.Caps) func(*Spec, *Facts) {
		return func(s *Spec, _ *Facts) { s.Process.Caps = confine.CapChange{Add: add, Drop: drop} }
	}
	asAnn := func(add, drop confine.Caps) func(*Spec, *Facts) {
		return func(s *Spec, f *Facts) { change(add, drop)(s, f); s.Process.User = "ann" }
	}
	const raw, chown = confine.Caps(1 << unix.CAP_NET_RAW), confine.Caps(1 << unix.CAP_CHOWN)
	decide(t, []decision{
		{"a few", nothing, caps, most + " SETFCAP"},
		{"one id: no SETFCAP", one, caps, most},
		{"added", change(raw, 0), caps, strings.Replace(most, "SERVICE", "SERVICE NET_RAW", 1) + " SETFCAP"},
		{"dropped", change(0, chown), caps, strings.TrimPrefix(most, "CHOWN ") + " SETFCAP"},
		{"dropping wins over adding", change(chown, chown), caps, strings.TrimPrefix(most, "CHOWN ") + " SETFCAP"},
		{"none", change(0, confine.AllCaps), caps, ""},
		{"none but one", change(raw, confine.AllCaps), caps, "NET_RAW"},
		{"root's are not ambient", change(raw, 0), ambient, ""},
		{"another user has none", asAnn(0, 0), ambient, ""},
		{"another user's are what was added", asAnn(raw, 0), ambient, "CAP_NET_RAW"},
		{"another user's, and none else", asAnn(raw, confine.AllCaps), ambient, "CAP_NET_RAW"},
		{"another user's, dropped", asAnn(raw|chown, chown), ambient, "CAP_NET_RAW"},
		{"another user's, all", asAnn(confine.AllCaps, 0), func(pl *Plan) string { return strconv.FormatBool(pl.Process.Ambient == confine.AllCaps) }, "true"},
	})
}

func TestLimits(t *testing.T) {
	ask := func(list ...confine.Limit) func(*Spec, *Facts) {
		return func(s *Spec, _ *Facts) { s.Process.Limits = list }
	}
	hard := func(resource int, n uint64) func(*Spec, *Facts) {
		return func(_ *Spec, f *Facts) { f.Limits[resource] = n }
	}
	decide(t, []decision{
		{"by default", nothing, limits, "core=0:0 nofile=1024:524288 nproc=4096:4096"},
		{"no more files than the user has", hard(unix.RLIMIT_NOFILE, 512), limits, "core=0:0 nofile=512:512 nproc=4096:4096"},
		{"no more processes than the user has", hard(unix.RLIMIT_NPROC, 100), limits, "core=0:0 nofile=1024:524288 nproc=100:100"},
		{"nothing known of the user's", func(_ *Spec, f *Facts) { f.Limits = nil }, limits, "core=0:0 nofile=1024:524288 nproc=4096:4096"},
		{"asked for", ask(confine.Limit{Resource: unix.RLIMIT_NOFILE, Soft: 5, Hard: 6}), limits, "core=0:0 nofile=5:6 nproc=4096:4096"},
		{"another one", ask(confine.Limit{Resource: unix.RLIMIT_STACK, Soft: 5, Hard: confine.Unlimited}), limits, "core=0:0 nofile=1024:524288 nproc=4096:4096 stack=5:-1"},
		{"the last one wins", ask(confine.Limit{Resource: unix.RLIMIT_CORE, Soft: 1, Hard: 1}, confine.Limit{Resource: unix.RLIMIT_CORE, Soft: 2, Hard: 2}), limits, "core=2:2 nofile=1024:524288 nproc=4096:4096"},
		{"as much as the user has", ask(confine.Limit{Resource: unix.RLIMIT_NPROC, Soft: 1, Hard: 30000}), limits, "core=0:0 nofile=1024:524288 nproc=1:30000"},
	})
}

func TestRefusals(t *testing.T) {
	as := func(name string) func(*Spec, *Facts) { return func(s *Spec, _ *Facts) { s.Process.User = name } }
	more := func(names ...string) func(*Spec, *Facts) {
		return func(s *Spec, _ *Facts) { s.Process.Groups = names }
	}
	set := func(name string) func(*Spec, *Facts) {
		return func(s *Spec, _ *Facts) { s.Sysctls = []ns.Sysctl{{Name: name, Value: "1"}} }
	}
	named := func(h, d string) func(*Spec, *Facts) {
		return func(s *Spec, _ *Facts) { s.Hostname, s.Domainname = h, d }
	}
	offset := func(s *Spec, _ *Facts) { s.Offsets.Boottime = 1 }
	extents := func(e ...idmap.Extent) func(*Spec, *Facts) { return func(s *Spec, _ *Facts) { s.IDs = explicit(e...) } }
	for _, row := range []struct {
		name   string
		change func(*Spec, *Facts)
		want   string
	}{
		{"the host's user namespace", host(ns.User), "--userns host"},
		{"the host's mount namespace", host(ns.Mount), "--mount-ns host"},
		{"a joined mount namespace", join(ns.Mount), "--mount-ns join"},
		{"offsets of the host's clocks", both(offset, host(ns.Time)), "leave out --time host"},
		{"offsets of joined clocks", both(offset, join(ns.Time)), "--time-offset"},
		{"offsets beside a join", both(offset, join(ns.Net)), "join nothing"},
		{"the host's name", both(named("a", ""), host(ns.UTS)), "leave out --uts host"},
		{"the host's domain", both(named("", "a"), host(ns.UTS)), "leave out --uts host"},
		{"a joined one's name", both(named("a", ""), join(ns.UTS)), "leave out --uts join:42"},
		{"a name too long", named(strings.Repeat("a", 65), ""), "at most 64 bytes"},
		{"a domain too long", named("", strings.Repeat("a", 65)), "domain name"},
		{"a name of two lines", named("a\nb", ""), "host name"},
		{"a name of two words", named("a b", ""), "host name"},
		{"a name with a slash", named("../a", ""), "host name"},
		{"a name with a NUL", named("a\x00", ""), "host name"},
		{"a sysctl of the host", set("vm.swappiness"), "whole host"},
		{"the name by sysctl", set("kernel.hostname"), "use --hostname"},
		{"a sysctl of the host's network", both(set("net.ipv4.ip_forward"), host(ns.Net)), "leave out --net host"},
		{"a sysctl of a joined network", both(set("net.ipv4.ip_forward"), join(ns.Net)), "leave out --net join:42"},
		{"a map beside a join", both(join(ns.Net), one), "leave --userns"},
		{"an explicit map, helpers missing", both(extents(idmap.Extent{Inside: 0, Outside: 100000, Count: 2}), func(_ *Spec, f *Facts) { f.Helpers.GID = "" }), "apt-get install uidmap"},
		{"an explicit map of the host's root", extents(idmap.Extent{Count: 1}), "system's own"},
		{"an explicit map of somebody's", extents(idmap.Extent{Outside: 5000, Count: 1}), "not yours"},
		{"an empty root", func(_ *Spec, f *Facts) { f.Root.Empty = true }, "the root file system root is empty"},
		{"two mounts on one target", func(s *Spec, f *Facts) { with(s, f, "./a:/x", "./b:/y/../x") }, "two mounts on /x"},
		{"a user above the map", as("65537"), "user id 65537 is not in the map 0 1000 1, 1 100000 65536"},
		{"a group above the map", as("0:65537"), "group id 65537"},
		{"a user, one id", both(as("ann"), one), "user id 1000 is not in the map 0 1000 1"},
		{"a group, one id", both(as("0:5"), one), "group id 5"},
		{"root, keep-id without ranges", func(s *Spec, f *Facts) { s.IDs.Mode, s.Process.User, f.UIDs = idmap.KeepID, "0", nil }, "user id 0"},
		{"a user that is not there", as("eve"), `user "eve" is not in`},
		{"a group that is not there", as("ann:eves"), `group "eves" is not in`},
		{"a group to add that is not there", more("eves"), `group "eves" is not in`},
		{"groups, one id", both(more("5"), one), "--group-add"},
		{"the groups on the host, and others", more(keepGroups, "5"), "goes with no other group"},
		{"a relative directory", func(s *Spec, _ *Facts) { s.Process.Dir = "tmp" }, "absolute path"},
		{"a limit above the user's", func(s *Spec, _ *Facts) {
			s.Process.Limits = []confine.Limit{{Resource: unix.RLIMIT_NOFILE, Soft: 1, Hard: 1<<20 + 1}}
		}, "your own hard limit is 1048576"},
		{"the host's root, which could be uncovered", func(s *Spec, _ *Facts) { s.Root, s.Process.Caps.Add = RootSpec{Host: true}, confine.AllCaps }, "sys_admin"},
		{"set-user-ID programs, under no_new_privs", func(s *Spec, f *Facts) { s.Process.NewPrivs, f.Kernel.NoNewPrivs = true, true }, "runs with no_new_privs"},
		{"no limit above the user's", func(s *Spec, _ *Facts) {
			s.Process.Limits = []confine.Limit{{Resource: unix.RLIMIT_NPROC, Soft: 1, Hard: confine.Unlimited}}
		}, "nproc=1:unlimited"},
		{"no command and no shell", func(s *Spec, f *Facts) { s.Process.Args, f.Root.Shell = nil, "" }, ErrNoShell.Error()},
		{"an empty command", func(s *Spec, _ *Facts) { s.Process.Args = []string{""} }, "empty string"},
		{"an empty entrypoint", func(s *Spec, _ *Facts) { s.Process.Entrypoint = []string{""} }, "empty string"},
	} {
		spec, facts := good()
		row.change(spec, facts)
		plan, err := Compile(spec, facts)
		switch {
		case err == nil:
			t.Errorf("%s: no error", row.name)
		case plan != nil:
			t.Errorf("%s: a plan beside %v", row.name, err)
		case !strings.Contains(err.Error(), row.want):
			t.Errorf("%s: %v, want %q", row.name, err, row.want)
		case strings.Count(err.Error(), "\n") > 2:
			t.Errorf("%s: more than three lines: %v", row.name, err)
		}
	}
}

func TestNoShellIsTold(t *testing.T) {
	spec, facts := good()
	spec.Process.Args, facts.Root.Shell = nil, ""
	if _, err := Compile(spec, facts); !errors.Is(err, ErrNoShell) {
		t.Error(err)
	}
}

// What a Plan is made of is not shared with what it is made from.
func TestCompileChangesNothing(t *testing.T) {
	spec, facts := good()
	with(spec, facts, "./a:/b/c", "./b:/b")
	spec.Process.Env, spec.Process.Groups = []string{"A=1", "A=2"}, []string{"29"}
	before, _ := json.Marshal([]any{spec, facts})
	first, err := Compile(spec, facts)
	if err != nil {
		t.Fatal(err)
	}
	second, err := Compile(spec, facts)
	if err != nil {
		t.Fatal(err)
	}
	after, _ := json.Marshal([]any{spec, facts})
	if string(before) != string(after) {
		t.Errorf("before\n%s\nafter\n%s", before, after)
	}
	one, err := json.Marshal(first)
	two, _ := json.Marshal(second)
	if err != nil || string(one) != string(two) {
		t.Errorf("%v: compiled twice:\n%s\n%s", err, one, two)
	}
}

func TestRootInside(t *testing.T) {
	for _, row := range []struct {
		name     string
		uid, gid uint32
		want     bool
	}{{"both", 0, 0, true}, {"only the user", 0, 5, false}, {"only the group", 5, 0, false}, {"neither", 5, 5, false}} {
		pl := &Plan{IDs: idmap.Choice{Maps: idmap.Maps{UID: idmap.Map{{Inside: row.uid, Count: 1}}, GID: idmap.Map{{Inside: row.gid, Count: 1}}}}}
		if got := pl.RootInside(); got != row.want {
			t.Errorf("%s: %t", row.name, got)
		}
	}
}

func TestMountPoints(t *testing.T) {
	const etc = " /etc/hostname /etc/hosts /etc/resolv.conf"
	for _, row := range []struct {
		name   string
		change func(*Spec, *Facts)
		want   string
	}{
		{"a directory", nothing, "/proc /sys /dev" + etc},
		{"read-only", func(s *Spec, _ *Facts) { s.Root.ReadOnly = true }, "/proc /sys /dev" + etc + " /run /tmp /var/tmp"},
		{"mounts", func(s *Spec, f *Facts) { with(s, f, "./a:/a", "./b:/b/c") }, "/proc /sys /dev /a /b/c" + etc},
		{"the host's", func(s *Spec, _ *Facts) { s.Root = RootSpec{Host: true} }, "/proc /sys /dev"},
	} {
		spec, facts := good()
		row.change(spec, facts)
		if got := strings.Join(MountPoints(spec), " "); got != row.want {
			t.Errorf("%s: %s, want %s", row.name, got, row.want)
		}
	}
}

func TestCompileUnshare(t *testing.T) {
	outside := []string{"PATH=/x:/y", "LANG=C"}
	for _, row := range []struct {
		name   string
		change func(*Spec, *Facts)
		args   []string
		look   func(*Plan) string
		want   string
	}{
		{"all ids", nothing, []string{"id"}, uids, "0 1000 1, 1 100000 65536"},
		{"no ranges, one id", func(_ *Spec, f *Facts) { f.GIDs = nil }, []string{"id"}, uids, "0 1000 1"},
		{"the bare command", nothing, []string{"rm", "-r", "x"}, argv, "rm -r x"},
		{"bryo's own environment", nothing, []string{"id"}, env, "PATH=/x:/y LANG=C"},
		{"setgroups with helpers", nothing, []string{"id"}, how, "helpers true, setgroups true"},
	} {
		spec, facts := good()
		row.change(spec, facts)
		plan, err := CompileUnshare(spec, facts, row.args, outside)
		if err != nil {
			t.Errorf("%s: %v", row.name, err)
		} else if got := row.look(plan); got != row.want {
			t.Errorf("%s: %s, want %s", row.name, got, row.want)
		}
	}
}

func TestCompileUnshareRefuses(t *testing.T) {
	spec, facts := good()
	if _, err := CompileUnshare(spec, facts, []string{""}, nil); err == nil {
		t.Error("an empty command: no error")
	}
	spec.IDs, facts.Helpers = explicit(idmap.Extent{Outside: 100000, Count: 1}), Helpers{}
	if _, err := CompileUnshare(spec, facts, []string{"id"}, nil); err == nil || !strings.Contains(err.Error(), "newuidmap") {
		t.Errorf("helpers missing: %v", err)
	}
}

// Whatever is asked for, a plan's command has ids that are mapped, no
// capability that was dropped, and a variable only once.
func FuzzCompile(f *testing.F) {
	f.Add("ann:audio", "A=1", "/x", uint32(1000), uint64(0), uint64(0), uint8(0))
	f.Add("0", "PATH=", "", uint32(0), uint64(1), uint64(math.MaxUint64), uint8(255))
	f.Add("4294967295", "=", "x", uint32(math.MaxUint32), uint64(1<<40), uint64(5), uint8(2))
	f.Fuzz(func(t *testing.T, user, variable, dir string, keep uint32, add, drop uint64, bits uint8) {
		spec, facts := good()
		spec.Process.User, spec.Process.Env, spec.Process.Dir = user, []string{variable, variable}, dir
		spec.Process.Caps = confine.CapChange{Add: confine.Caps(add) & confine.AllCaps, Drop: confine.Caps(drop) & confine.AllCaps}
		spec.IDs.Mode = idmap.Mode(bits & 3)
		if spec.IDs.Mode == idmap.KeepID {
			spec.IDs.KeepUID = &keep
		}
		if bits&4 != 0 {
			facts.UIDs = nil
		}
		if bits&8 != 0 {
			facts.Helpers = Helpers{}
		}
		spec.Root.ReadOnly, spec.Root.Ephemeral, spec.Root.Host = bits&16 != 0, bits&32 != 0, bits&64 != 0
		plan, err := Compile(spec, facts)
		if err != nil {
			if plan != nil || strings.Count(err.Error(), "\n") > 2 {
				t.Errorf("a plan, or more than three lines: %q", err)
			}
			return
		}
		checkPlan(t, plan, spec.Process.Caps)
		checkVariables(t, plan.Process.Env)
	})
}

func checkVariables(t *testing.T, env []string) {
	t.Helper()
	seen := map[string]bool{}
	for _, e := range env {
		key, _, found := strings.Cut(e, "=")
		if seen[key] && found {
			t.Errorf("%s is set twice in %q", key, env)
		}
		seen[key] = true
	}
}

func checkPlan(t *testing.T, plan *Plan, asked confine.CapChange) {
	t.Helper()
	p := &plan.Process
	if err := plan.IDs.Maps.Validate(); err != nil {
		t.Error(err)
	}
	if !plan.IDs.Maps.UID.Covers(p.UID) || !plan.IDs.Maps.GID.Covers(append(p.Groups, p.GID)...) {
		t.Errorf("%d:%d %v is not in the map", p.UID, p.GID, p.Groups)
	}
	if asked.Drop != confine.AllCaps && p.Caps&asked.Drop != 0 {
		t.Errorf("has %v, dropped were %v", p.Caps.Names(), asked.Drop.Names())
	}
	if p.Ambient&^(p.Caps&asked.Add) != 0 || (p.UID == 0 && p.Ambient != 0) {
		t.Errorf("ambient %v of user %d", p.Ambient.Names(), p.UID)
	}
	if !strings.HasPrefix(p.Dir, "/") || len(p.Paths) == 0 || slices.Contains(p.Paths, "") {
		t.Errorf("directory %q, paths %q", p.Dir, p.Paths)
	}
}
