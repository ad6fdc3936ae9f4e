package ns

import (
	"encoding/json"
	"fmt"
	"os"
	"path"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestParse(t *testing.T) {
	for value, want := range map[string]Source{
		"own":                   {},
		"private":               {},
		"host":                  {Mode: Host},
		"join:1":                {Mode: Join, PID: 1},
		"join:0042":             {Mode: Join, PID: 42},
		"join:2147483647":       {Mode: Join, PID: 2147483647},
		"container:42":          {Mode: Join, PID: 42},
		"ns:/proc/1/ns/net":     {Mode: Join, Path: "/proc/1/ns/net"},
		"join:/run/netns/a:b c": {Mode: Join, Path: "/run/netns/a:b c"},
		"join:/":                {Mode: Join, Path: "/"},
		"join:moss":             {Mode: Join, Name: "moss"},
		"container:moss":        {Mode: Join, Name: "moss"},
		"join:1x":               {Mode: Join, Name: "1x"},
		"join:2853f6d50192":     {Mode: Join, Name: "2853f6d50192"},
		"join:Moss_2.b-":        {Mode: Join, Name: "Moss_2.b-"},
	} {
		if got, err := Parse(value); got != want || err != nil {
			t.Errorf("%q: %+v, %v, want %+v", value, got, err, want)
		}
	}
}

func TestParseRefuses(t *testing.T) {
	for _, value := range []string{
		"", "Own", "own:", "host:1", "none", "join", "join:", "join:0", "join:-1", "join:+1", "join: 1", "join:-x", "join:.x", "join:a b", "join:a/b",
		"join:2147483648", "join:18446744073709551617", "join:m\u00f6ss", "join:./x", "join:../x", "ns:", "container:", "ns:moss", ":1", "path:/x",
	} {
		if got, err := Parse(value); err == nil || got != (Source{}) {
			t.Errorf("%q: %+v, %v", value, got, err)
		} else if !strings.Contains(err.Error(), "join") {
			t.Errorf("%q: %v does not say what can be written", value, err)
		}
	}
}

func FuzzParse(f *testing.F) {
	for _, seed := range []string{"own", "host", "join:42", "join:/proc/1/ns/net", "ns:/x", "container:0", "join:", "join:+1", "join:moss", "join:0x"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, value string) {
		source, err := Parse(value)
		if err != nil {
			if source != (Source{}) {
				t.Errorf("%q: %+v beside %v", value, source, err)
			}
			return
		}
		if again, err := Parse(source.String()); again != source || err != nil {
			t.Errorf("%q prints as %q, which is %+v, %v", value, source, again, err)
		}
		joins := source.PID > 0 || strings.HasPrefix(source.Path, "/") || source.Name != ""
		if (source.Mode == Join) != joins || (source.PID != 0 && source.Path+source.Name != "") || source.PID < 0 {
			t.Errorf("%q: %+v", value, source)
		}
	})
}

// A plan is read again by those that enter the container.
func TestSetAsJSON(t *testing.T) {
	for name, set := range map[string]Set{
		"own":               {},
		"all":               {PID: {Mode: Host}, Net: {Mode: Join, PID: 42}, IPC: {Mode: Join, Path: "/run/x"}},
		"the owner, joined": {User: Owner(), Net: {Mode: Join, PID: 42}},
	} {
		text, err := json.Marshal(set)
		if err != nil {
			t.Fatal(err)
		}
		var again Set
		if err := json.Unmarshal(text, &again); err != nil || again != set {
			t.Errorf("%s: %s is %+v, %v", name, text, again, err)
		}
	}
	var set Set
	if err := json.Unmarshal([]byte(`{"net": "moss"}`), &set); err == nil {
		t.Errorf("%+v", set)
	}
}

// The kinds are what the running kernel calls them.
func TestKinds(t *testing.T) {
	flags, names := map[uint64]bool{}, map[string]bool{}
	for i, k := range All() {
		if int(k) != i {
			t.Errorf("kind %d is in place %d", k, i)
		}
		if flags[k.CloneFlag()] || names[k.Flag()] || k.CloneFlag()&(k.CloneFlag()-1) != 0 {
			t.Errorf("%s: another kind has --%s or %#x", k.File(), k.Flag(), k.CloneFlag())
		}
		flags[k.CloneFlag()], names[k.Flag()] = true, true
		file, err := os.Open("/proc/self/ns/" + k.File())
		if err != nil {
			t.Error(err)
			continue
		}
		kind, err := unix.IoctlRetInt(int(file.Fd()), unix.NS_GET_NSTYPE)
		if err != nil || uint64(kind) != k.CloneFlag() {
			t.Errorf("%s: the kernel says %#x, %v", k.File(), kind, err)
		}
		_ = file.Close()
	}
}

func TestUserIsJoinedFirstAndMountLast(t *testing.T) {
	all := All()
	if all[0] != User || all[Count-1] != Mount {
		t.Errorf("%v", all)
	}
	var s Set
	s[Mount].Mode, s[Net].Mode, s[User].Mode = Join, Join, Join
	if got := s.Joined(); !slices.Equal(got, []Kind{User, Net, Mount}) {
		t.Errorf("joined %v", got)
	}
}

func TestCloneFlags(t *testing.T) {
	const every = unix.CLONE_NEWUSER | unix.CLONE_NEWPID | unix.CLONE_NEWUTS | unix.CLONE_NEWIPC | unix.CLONE_NEWCGROUP | unix.CLONE_NEWTIME | unix.CLONE_NEWNET | unix.CLONE_NEWNS
	for _, row := range []struct {
		name   string
		change func(*Set)
		want   uint64
	}{
		{"all are made", func(*Set) {}, every},
		{"but not the host's", func(s *Set) { s[Net].Mode = Host }, every &^ unix.CLONE_NEWNET},
		{"and not those joined", func(s *Set) { s[User].Mode, s[PID].Mode = Join, Join }, every &^ (unix.CLONE_NEWUSER | unix.CLONE_NEWPID)},
	} {
		var s Set
		row.change(&s)
		if got := s.CloneFlags(); got != row.want {
			t.Errorf("%s: %#x, want %#x", row.name, got, row.want)
		}
	}
}

func TestCheckSet(t *testing.T) {
	for _, row := range []struct {
		kind Kind
		mode Mode
		want string
	}{
		{User, Own, ""},
		{User, Join, ""},
		{User, Host, "--userns host"},
		{Mount, Own, ""},
		{Mount, Host, "--mount-ns host"},
		{Mount, Join, "--mount-ns join"},
		{PID, Host, ""},
		{PID, Join, ""},
		{Net, Host, ""},
		{Net, Join, ""},
		{Time, Join, ""},
		{Cgroup, Host, ""},
		{IPC, Join, ""},
		{UTS, Host, ""},
	} {
		var s Set
		s[row.kind].Mode = row.mode
		err := s.Check()
		if (err == nil) != (row.want == "") || (err != nil && !strings.Contains(err.Error(), row.want)) {
			t.Errorf("%s %d: %v, want %q", row.kind.File(), row.mode, err, row.want)
		}
	}
}

func TestParseOffsets(t *testing.T) {
	const day = 24 * time.Hour
	for value, want := range map[string]Offsets{
		"monotonic=+1d":                       {Monotonic: day},
		"boottime=-2h30m":                     {Boottime: -150 * time.Minute},
		"monotonic=1d,boottime=-1d":           {Monotonic: day, Boottime: -day},
		"boottime=1d2h3m4.5s":                 {Boottime: day + 2*time.Hour + 3*time.Minute + 4500*time.Millisecond},
		"boottime=-1d2h":                      {Boottime: -26 * time.Hour},
		"monotonic=1ns":                       {Monotonic: 1},
		"monotonic=0":                         {},
		"monotonic=0d":                        {},
		"monotonic=1h,monotonic=2h":           {Monotonic: 2 * time.Hour},
		"monotonic=32767d":                    {Monotonic: 32767 * day},
		"monotonic=-32767d,boottime=2562047h": {Monotonic: -32767 * day, Boottime: 2562047 * time.Hour},
	} {
		if got, err := ParseOffsets(value); got != want || err != nil {
			t.Errorf("%q: %+v, %v, want %+v", value, got, err, want)
		}
	}
}

func TestParseOffsetsRefuses(t *testing.T) {
	for _, value := range []string{
		"", "monotonic", "monotonic=", "monotonic=+", "monotonic=d", "monotonic=1", "monotonic=1x", "monotonic=--1h", "monotonic=+-1h", "monotonic=-1d-2h",
		"realtime=1h", "=1h", "monotonic=1h,", ",", "monotonic=1.5d", "monotonic=-1.5d", "monotonic=1d1d", "monotonic= 1h", "monotonic=32768d",
		"monotonic=99999999999999999999d", "monotonic=2562048h", "Monotonic=1h", "monotonic=1h boottime=1h", "monotonic=+1d+2h",
	} {
		if got, err := ParseOffsets(value); err == nil || got != (Offsets{}) {
			t.Errorf("%q: %+v, %v", value, got, err)
		}
	}
}

// Days and hours together are no more than 292 years.
func TestOffsetsDoNotWrap(t *testing.T) {
	for _, value := range []string{"monotonic=32767d2000000h", "boottime=-32767d2000000h"} {
		if got, err := ParseOffsets(value); err == nil {
			t.Errorf("%q: %+v", value, got)
		}
	}
}

func TestOffsetsText(t *testing.T) {
	for _, row := range []struct {
		name    string
		offsets Offsets
		want    string
	}{
		{"none", Offsets{}, ""},
		{"forwards", Offsets{Monotonic: 90 * time.Second}, "monotonic 90 0\n"},
		{"both", Offsets{time.Second, 2 * time.Second}, "monotonic 1 0\nboottime 2 0\n"},
		{"backwards", Offsets{Boottime: -time.Hour}, "boottime -3600 0\n"},
		{"less than a second backwards", Offsets{Boottime: -time.Millisecond}, "boottime -1 999000000\n"},
		{"parts of a second backwards", Offsets{Monotonic: -1500 * time.Millisecond}, "monotonic -2 500000000\n"},
		{"a nanosecond", Offsets{Monotonic: 1}, "monotonic 0 1\n"},
	} {
		if got := row.offsets.Text(); got != row.want {
			t.Errorf("%s: %q, want %q", row.name, got, row.want)
		}
	}
}

// The text has the same offsets, as the kernel reads them.
func FuzzParseOffsets(f *testing.F) {
	for _, seed := range []string{"monotonic=+1d,boottime=-2h30m", "boottime=-0.5s", "monotonic=32767d", "monotonic=0", "monotonic=-1d-2h", "monotonic=32767d2000000h"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, value string) {
		offsets, err := ParseOffsets(value)
		if err != nil {
			if offsets != (Offsets{}) {
				t.Errorf("%q: %+v beside %v", value, offsets, err)
			}
			return
		}
		if again := asTheKernel(t, offsets.Text()); again != offsets {
			t.Errorf("%q: %+v is written as %q", value, offsets, offsets.Text())
		}
		if !strings.Contains(value, "-") && (offsets.Monotonic < 0 || offsets.Boottime < 0) {
			t.Errorf("%q goes backwards: %+v", value, offsets)
		}
	})
}

// asTheKernel reads what is written to timens_offsets.
func asTheKernel(t *testing.T, text string) Offsets {
	t.Helper()
	var offsets Offsets
	for line := range strings.Lines(text) {
		var clock string
		var seconds, nanoseconds int64
		if _, err := fmt.Sscan(line, &clock, &seconds, &nanoseconds); err != nil || nanoseconds < 0 || nanoseconds >= 1e9 {
			t.Fatalf("%q: %v", line, err)
		}
		offset := time.Duration(seconds)*time.Second + time.Duration(nanoseconds)
		if clock == "monotonic" {
			offsets.Monotonic = offset
		} else {
			offsets.Boottime = offset
		}
	}
	return offsets
}

func TestParseSysctl(t *testing.T) {
	for text, want := range map[string]Sysctl{
		"net.ipv4.ip_forward=1":            {"net.ipv4.ip_forward", "1"},
		"net/ipv4/ip_forward=1":            {"net.ipv4.ip_forward", "1"},
		"/net/ipv4/ip_forward=1":           {"net.ipv4.ip_forward", "1"},
		"kernel.msgmax=":                   {"kernel.msgmax", ""},
		"kernel.sem=250 32000 32 128":      {"kernel.sem", "250 32000 32 128"},
		"net.ipv4.ping_group_range=0\t1=2": {"net.ipv4.ping_group_range", "0\t1=2"},
	} {
		got, err := ParseSysctl(text)
		if got != want || err != nil {
			t.Errorf("%q: %+v, %v, want %+v", text, got, err, want)
		}
		if path := got.Path(); path != strings.ReplaceAll(want.Name, ".", "/") {
			t.Errorf("%q: path %s", text, path)
		}
	}
}

func TestParseSysctlRefuses(t *testing.T) {
	for _, text := range []string{
		"", "=", "=1", ".=1", "/=1", "net.ipv4.ip_forward", "net..ip_forward=1", "net/../kernel/hostname=1", "net//x=1", "net./x=1",
		"net.x=1\nnet.y=2", "net.x\n=1", "net.x\x00=1", "net.x=\x00",
	} {
		if got, err := ParseSysctl(text); err == nil || got != (Sysctl{}) {
			t.Errorf("%q: %+v, %v", text, got, err)
		}
	}
}

// A path stays below /proc/sys, and is one line.
func FuzzParseSysctl(f *testing.F) {
	for _, seed := range []string{"net.ipv4.ip_forward=1", "net/ipv4/../x=1", "...=", "kernel.sem=1 2\t3", "/=", "../../x=1"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		s, err := ParseSysctl(text)
		if err != nil {
			if s != (Sysctl{}) {
				t.Errorf("%q: %+v beside %v", text, s, err)
			}
			return
		}
		if p := s.Path(); path.Clean("/"+p) != "/"+p || p == "" {
			t.Errorf("%q: path %q", text, p)
		}
		if strings.ContainsAny(s.Name+s.Value, "\x00\n") {
			t.Errorf("%q: %+v", text, s)
		}
		if again, err := ParseSysctl(s.Name + "=" + s.Value); again != s || err != nil {
			t.Errorf("%q: %+v is parsed as %+v, %v", text, s, again, err)
		}
	})
}

func TestSysctlsOfAnOwnNamespace(t *testing.T) {
	for _, row := range []struct {
		name, sysctl string
		change       func(*Set)
		want         string
	}{
		{"network", "net.ipv4.ip_forward", func(*Set) {}, ""},
		{"messages", "kernel.msgmax", func(*Set) {}, ""},
		{"semaphores", "kernel.sem", func(*Set) {}, ""},
		{"shared memory", "kernel.shm_rmid_forced", func(*Set) {}, ""},
		{"queues", "fs.mqueue.msg_max", func(*Set) {}, ""},
		{"user namespaces", "user.max_net_namespaces", func(*Set) {}, ""},
		{"the host's kernel", "kernel.core_pattern", func(*Set) {}, "whole host"},
		{"the host's memory", "vm.overcommit_memory", func(*Set) {}, "whole host"},
		{"a prefix is no name", "network.x", func(*Set) {}, "whole host"},
		{"queues have a directory", "fs.mqueuex", func(*Set) {}, "whole host"},
		{"host name", "kernel.hostname", func(*Set) {}, "--hostname"},
		{"domain name", "kernel.domainname", func(*Set) {}, "--domainname"},
		{"the host's network", "net.core.somaxconn", func(s *Set) { s[Net].Mode = Host }, "leave out --net host"},
		{"a joined network", "net.core.somaxconn", func(s *Set) { s[Net] = Source{Mode: Join, PID: 5} }, "leave out --net join:5"},
		{"the host's queues", "kernel.msgmax", func(s *Set) { s[IPC].Mode = Host }, "leave out --ipc host"},
		{"another's user namespace", "user.max_net_namespaces", func(s *Set) { s[User] = Source{Mode: Join, Path: "/x"} }, "leave out --userns join:/x"},
		{"another namespace does not matter", "kernel.sem", func(s *Set) { s[Net].Mode = Host }, ""},
	} {
		var set Set
		row.change(&set)
		err := Sysctl{Name: row.sysctl}.Check(set)
		if (err == nil) != (row.want == "") || (err != nil && !strings.Contains(err.Error(), row.want)) {
			t.Errorf("%s: %v, want %q", row.name, err, row.want)
		}
	}
}
