package procfs

import (
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"bryo/fsroot"
	"bryo/idmap"
	"bryo/rootless"
	"bryo/rootless/confine"
	"bryo/rootless/ns"
)

const status = `Name:	sleep\nUid:	9	9	9	9
Umask:	0022
Uid:	1000	1000	1000	100004
Gid:	1001	1001	1001	1001
Groups:	27 1001 100010 
CapInh:	0000000000000000
CapPrm:	00000000800005fb
CapEff:	0000000000000020
CapBnd:	00000000800005fb
CapAmb:	0000000000000400
NoNewPrivs:	1
Seccomp:	2
Seccomp_filters:	3
`

func containerMaps() idmap.Maps {
	return idmap.Maps{
		UID: idmap.Map{{Inside: 0, Outside: 1000, Count: 1}, {Inside: 1, Outside: 100000, Count: 65536}},
		GID: idmap.Map{{Inside: 0, Outside: 1001, Count: 1}, {Inside: 1, Outside: 100000, Count: 65536}},
	}
}

func TestParseStatus(t *testing.T) {
	p, err := parseStatus(status, containerMaps())
	if err != nil {
		t.Fatal(err)
	}
	want := Process{
		Name: `sleep\nUid:	9	9	9	9`, UIDs: []uint32{0, 0, 0, 5}, GIDs: []uint32{0, 0, 0, 0}, Groups: []uint32{0, 11}, Outside: []uint32{27},
		Capabilities: CapSets{Effective: 1 << unix.CAP_KILL, Permitted: 0x800005fb, Bounding: 0x800005fb, Ambient: 1 << unix.CAP_NET_BIND_SERVICE},
		NoNewPrivs:   true, Seccomp: "filter", Filters: 3, Umask: "0022",
	}
	if got, expected := fmt.Sprintf("%+v", p), fmt.Sprintf("%+v", want); got != expected {
		t.Errorf("%s, want %s", got, expected)
	}
	for _, change := range []struct{ from, to string }{
		{"Seccomp:\t2", "Seccomp:\t9"}, {"Seccomp:\t2\n", ""}, {"CapBnd:\t00000000800005fb\n", ""}, {"CapEff:\t0", "CapEff:\tx"},
	} {
		if _, err := parseStatus(strings.Replace(status, change.from, change.to, 1), containerMaps()); err == nil {
			t.Errorf("no error for %q", change.to)
		}
	}
}

func FuzzParseStatus(f *testing.F) {
	f.Add(status)
	f.Add("Name:\nSeccomp:")
	f.Add(strings.ReplaceAll(status, "\t", " "))
	f.Fuzz(func(t *testing.T, text string) {
		p, err := parseStatus(text, containerMaps())
		if err != nil {
			return
		}
		if _, err := json.Marshal(p); err != nil {
			t.Error(err)
		}
	})
}

const limits = `Limit                     Soft Limit           Hard Limit           Units     
Max cpu time              unlimited            unlimited            seconds   
Max core file size        0                    0                    bytes     
Max processes             4096                 4096                 processes 
Max open files            1024                 524288               files     
Max realtime timeout      unlimited            unlimited            us        
`

func TestParseLimits(t *testing.T) {
	want := []Limit{{"cpu", "unlimited", "unlimited"}, {"core", "0", "0"}, {"nproc", "4096", "4096"}, {"nofile", "1024", "524288"}}
	if got := parseLimits(limits); !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
	if got := parseLimits("Max open files\nMax open files            1024\n\n"); len(got) != 0 {
		t.Errorf("%v of half a table", got)
	}
}

func FuzzParseLimits(f *testing.F) {
	f.Add(limits)
	f.Fuzz(func(t *testing.T, text string) {
		for _, l := range parseLimits(text) {
			if l.Name == "" || l.Soft == "" || l.Hard == "" {
				t.Errorf("%+v", l)
			}
		}
	})
}

// What is read of this process is what it can ask for itself.
func TestReadProcess(t *testing.T) {
	id := idmap.Map{{Inside: 0, Outside: 0, Count: 4294967294}}
	p, err := readProcess(os.Getpid(), idmap.Maps{UID: id, GID: id})
	if err != nil {
		t.Fatal(err)
	}
	set, err := unix.PrctlRetInt(unix.PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0)
	if err != nil || p.NoNewPrivs != (set == 1) {
		t.Errorf("no_new_privs %t: %d, %v", p.NoNewPrivs, set, err)
	}
	if int(p.UIDs[1]) != os.Geteuid() || int(p.GIDs[1]) != os.Getegid() {
		t.Errorf("%v %v", p.UIDs, p.GIDs)
	}
	var files unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &files); err != nil {
		t.Fatal(err)
	}
	if i := slices.IndexFunc(p.Limits, func(l Limit) bool { return l.Name == "nofile" }); i < 0 || p.Limits[i].Hard != strconv.FormatUint(files.Max, 10) {
		t.Errorf("%v, want a hard limit of %d", p.Limits, files.Max)
	}
	if p.Hidden || len(p.Descriptors) == 0 {
		t.Errorf("descriptors %v, hidden %t", p.Descriptors, p.Hidden)
	}
}

// held is a container in which all holds that its plan says.
func held() (*Security, *rootless.Plan) {
	maps := containerMaps()
	plan := &rootless.Plan{IDs: idmap.Choice{Maps: maps}}
	plan.Process.Caps = 0x5fb
	plan.Process.Seccomp = confine.Seccomp{Profile: "default", Filter: make([]byte, 16)}
	plan.Process.Limits = []confine.Limit{{Resource: unix.RLIMIT_NPROC, Soft: 10, Hard: 20}}
	plan.Root.ReadOnly = true
	command := Process{
		Capabilities: CapSets{Effective: 0x20, Permitted: 0x5fb, Bounding: 0x5fb}, NoNewPrivs: true, Seccomp: "filter", Filters: 2,
		Limits: []Limit{{"nproc", "5", "20"}},
	}
	s := &Security{
		UIDs: maps.UID, GIDs: maps.GID, Command: command,
		Init: &Process{Capabilities: CapSets{Permitted: 1 << unix.CAP_KILL}, NoNewPrivs: true, Seccomp: "filter", Filters: 2},
		Mounts: []Mount{
			{Point: "/", Options: "ro,nosuid,nodev,relatime"},
			{Point: "/proc", Options: "rw,nosuid,nodev,noexec"},
			{Point: "/proc/sys", Options: "ro,nosuid"},
			{Point: "/sys", Options: "ro,nosuid,nodev,noexec"},
			{Point: "/dev", Options: "ro,nosuid,noexec"},
		},
	}
	for _, k := range ns.All() {
		s.Namespaces = append(s.Namespaces, Namespace{Kind: k.File()})
	}
	return s, plan
}

func TestWeaker(t *testing.T) {
	for _, row := range []struct {
		name   string
		change func(*Security, *rootless.Plan)
		want   string
	}{
		{"all holds", func(*Security, *rootless.Plan) {}, ""},
		{"another map", func(s *Security, _ *rootless.Plan) { s.UIDs = idmap.Map{{Inside: 0, Outside: 0, Count: 1}} }, "user ids"},
		{"the host's network", func(s *Security, _ *rootless.Plan) { s.Namespaces[ns.Net].Host = true }, "net namespace: the host's"},
		{"the host's network, as planned", func(s *Security, pl *rootless.Plan) {
			s.Namespaces[ns.Net].Host, pl.Namespaces[ns.Net].Mode = true, ns.Host
		}, ""},
		{"a path that is open", func(s *Security, _ *rootless.Plan) { s.Bare = []string{"/proc/kcore"} }, "/proc/kcore: not masked"},
		{"a capability more", func(s *Security, _ *rootless.Plan) { s.Command.Capabilities.Effective |= 1 << unix.CAP_SYS_ADMIN }, "effective capabilities beyond the planned: CAP_SYS_ADMIN"},
		{"all capabilities of a namespace inside", func(s *Security, _ *rootless.Plan) {
			s.Command.Nested, s.Command.Capabilities.Effective = true, confine.AllCaps
		}, ""},
		{"a larger bounding set", func(s *Security, _ *rootless.Plan) { s.Command.Capabilities.Bounding = confine.AllCaps }, "bounding"},
		{"new privileges", func(s *Security, _ *rootless.Plan) { s.Command.NoNewPrivs = false }, "command: no no_new_privs"},
		{"new privileges, as planned", func(s *Security, pl *rootless.Plan) { s.Command.NoNewPrivs, pl.Process.NewPrivs = false, true }, ""},
		{"no filter", func(s *Security, _ *rootless.Plan) { s.Command.Seccomp = "disabled" }, "no seccomp filter"},
		{"only the filter around bryo", func(s *Security, _ *rootless.Plan) { s.Command.Filters = 1 }, "no seccomp filter of its own"},
		{"no filter, as planned", func(s *Security, pl *rootless.Plan) {
			s.Command.Seccomp, pl.Process.Seccomp = "disabled", confine.Seccomp{Profile: "off"}
		}, ""},
		{"a higher limit", func(s *Security, _ *rootless.Plan) { s.Command.Limits[0].Hard = "21" }, "limit nproc is 21"},
		{"no limit", func(s *Security, _ *rootless.Plan) { s.Command.Limits[0].Hard = "unlimited" }, "limit nproc is unlimited"},
		{"a lower limit", func(s *Security, _ *rootless.Plan) { s.Command.Limits[0].Hard = "1" }, ""},
		{"set-user-ID programs", func(s *Security, _ *rootless.Plan) { s.Mounts[0].Options = "ro,nodev" }, "mount /: not nosuid"},
		{"set-user-ID programs, as planned", func(s *Security, pl *rootless.Plan) { s.Mounts[0].Options, pl.Root.SetUID = "ro,nodev", true }, ""},
		{"a root that can be written", func(s *Security, _ *rootless.Plan) { s.Mounts[0].Options = "rw,nosuid,nodev" }, "mount /: not ro"},
		{"a /proc/sys that can be written", func(s *Security, _ *rootless.Plan) { s.Mounts[2].Options = "rw" }, "mount /proc/sys: not ro"},
		{"a /proc that is covered", func(s *Security, _ *rootless.Plan) {
			s.Mounts = append(s.Mounts, Mount{Point: "/proc", Options: "rw", Covered: true})
		}, ""},
		{"an init with more", func(s *Security, _ *rootless.Plan) { s.Init.Capabilities.Permitted = confine.AllCaps }, "init: capabilities"},
		{"an init with new privileges", func(s *Security, _ *rootless.Plan) { s.Init.NoNewPrivs = false }, "init: no no_new_privs"},
		{"an init without a filter", func(s *Security, _ *rootless.Plan) { s.Init.Filters = 1 }, "init: no seccomp filter"},
		{"an init with descriptors", func(s *Security, _ *rootless.Plan) { s.Init.Descriptors = []string{"3 /home"} }, "init: open descriptors: 3 /home"},
		{"no init", func(s *Security, _ *rootless.Plan) { s.Init = nil }, ""},
	} {
		s, plan := held()
		row.change(s, plan)
		got := strings.Join(s.weaker(plan, 1), "\n")
		if !strings.Contains(got, row.want) || (got == "") != (row.want == "") {
			t.Errorf("%s: %q, want %q", row.name, got, row.want)
		}
	}
}

func TestCovers(t *testing.T) {
	for _, row := range []struct {
		name  string
		mount Mount
		want  bool
	}{
		{"the null device", Mount{Point: "/proc/keys", Type: "devtmpfs", Root: "/null", Options: "rw"}, true},
		{"an empty directory", Mount{Point: "/proc/keys", Type: "tmpfs", Root: "/empty", Options: "ro,nosuid"}, true},
		{"one that can be written", Mount{Point: "/proc/keys", Type: "tmpfs", Root: "/empty", Options: "rw"}, false},
		{"one that is covered itself", Mount{Point: "/proc/keys", Type: "devtmpfs", Root: "/null", Covered: true}, false},
		{"elsewhere", Mount{Point: "/proc/key", Type: "devtmpfs", Root: "/null"}, false},
		{"itself", Mount{Point: "/proc/keys", Type: "proc", Root: "/keys", Options: "ro"}, false},
	} {
		if got := row.mount.covers("/proc/keys"); got != row.want {
			t.Errorf("%s: %t", row.name, got)
		}
	}
	if !slices.Contains((&fsroot.Plan{}).Masked(), "/proc/keys") {
		t.Error("it is not masked")
	}
}
