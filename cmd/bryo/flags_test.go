package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/spf13/pflag"

	"bryo/fsroot"
	"bryo/idmap"
	"bryo/rootless/confine"
	"bryo/rootless/ns"
)

// discard is where messages go that no test reads.
func discard(t *testing.T) streams {
	t.Helper()
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = null.Close() })
	return streams{in: null, out: null, err: null}
}

// words parts a command line at blanks; "" stands for an empty word.
func words(line string) []string {
	list := strings.Fields(line)
	for i, w := range list {
		list[i] = strings.ReplaceAll(w, `""`, "")
	}
	return list
}

func network(r *request) any {
	n := &r.spec.Net
	return fmt.Sprint(n.Driver, " ", n.Publish, n.Rules, n.Hosts)
}

func TestRunFlags(t *testing.T) {
	t.Setenv("BRYO_TEST", "from outside")
	for _, row := range []struct {
		name, line string
		look       func(*request) any
		want       string
	}{
		{"root and command", "root ls -l", args, "root [ls -l]"},
		{"no command", "root", args, "root []"},
		{"-- is swallowed", "root -- ls --all", args, "root [ls --all]"},
		{"only one of them", "root -- -- ls", args, "root [-- ls]"},
		{"-- before the root", "-- root ls", args, "root [ls]"},
		{"flags stop at the root", "root --read-only", args, "root [--read-only]"},
		{"the host's root", "host ls", func(r *request) any { return r.spec.Root }, "{ <nil> true false false}"},
		{"a directory that is called host", "./host", func(r *request) any { return r.spec.Root }, "{./host <nil> false false false}"},
		{"root flags", "--read-only --ephemeral root", func(r *request) any { return r.spec.Root }, "{root <nil> false true true}"},
		{"own user namespace", "--userns auto root", ids, "0 [] []"},
		{"single", "--userns single root", ids, "1 [] []"},
		{"keep-id", "--userns keep-id:5,6 root", func(r *request) any { return fmt.Sprint(*r.spec.IDs.KeepUID, *r.spec.IDs.KeepGID) }, "5 6"},
		{"explicit", "--uidmap 0:1000:1 --uidmap 1:100000:5 --gidmap 0:7:1 root", ids, "3 [0:1000:1 1:100000:5] [0:7:1]"},
		{"the last map counts", "--userns single --userns auto root", ids, "0 [] []"},
		{"a joined user namespace", "--userns join:5 root", namespace(ns.User), "join:5"},
		{"the last user namespace counts", "--userns join:5 --userns auto root", namespace(ns.User), "own"},
		{"the last map, not a namespace", "--userns keep-id --userns own root", ids, "0 [] []"},
		{"host processes", "--pid host root", namespace(ns.PID), "host"},
		{"joined names", "--uts=join:/proc/5/ns/uts root", namespace(ns.UTS), "join:/proc/5/ns/uts"},
		{"time, cgroup, ipc", "--time host --cgroupns host --ipc private root", namespace(ns.Cgroup), "host"},
		{"no network", "--net none root", namespace(ns.Net), "own"},
		{"the host's network", "--network host root", namespace(ns.Net), "host"},
		{"the last network counts", "--net none --net host root", namespace(ns.Net), "host"},
		{"another's network", "--net container:5 root", namespace(ns.Net), "join:5"},
		{"clocks", "--time-offset boottime=+1d root", func(r *request) any { return r.spec.Offsets.Boottime }, "24h0m0s"},
		{"names", "-h moss --domainname garden root", func(r *request) any { return r.spec.Hostname + " " + r.spec.Domainname }, "moss garden"},
		{"sysctls", "--sysctl net.a=1 --sysctl net/b=2 root", func(r *request) any { return r.spec.Sysctls }, "[{net.a 1} {net.b 2}]"},
		{"mounts of three kinds, in order", "-v /a:/b --tmpfs /c --mount type=overlay,src=/d,dst=/e root", mounts, "bind /b, tmpfs /c, overlay /e"},
		{"devices", "--device /dev/fuse --device /dev/a:/dev/b:rwm root", func(r *request) any { return r.spec.Devices }, "[{/dev/fuse /dev/fuse} {/dev/a /dev/b}]"},
		{"shm", "--shm-size 1m root", func(r *request) any { return r.spec.ShmSize }, "1048576"},
		{"user", "-u ann:29 --group-add a --group-add 5 root", func(r *request) any { return r.spec.Process.User + fmt.Sprint(r.spec.Process.Groups) }, "ann:29[a 5]"},
		{"directory", "-w /x root", func(r *request) any { return r.spec.Process.Dir }, "/x"},
		{"entrypoint", "--entrypoint /e root a", func(r *request) any { return r.spec.Process.Entrypoint }, "[/e]"},
		{"an empty entrypoint is none", `--entrypoint /e --entrypoint "" root a`, func(r *request) any { return r.spec.Process.Entrypoint }, "[]"},
		{"limits", "--ulimit nofile=5:6 --ulimit core=-1 root", func(r *request) any { return len(r.spec.Process.Limits) }, "2"},
		{"umask", "--umask 077 root", func(r *request) any { return *r.spec.Process.Umask }, "63"},
		{"umask 0", "--umask 0 root", func(r *request) any { return *r.spec.Process.Umask }, "0"},
		{"capabilities", "--cap-add net_raw,CAP_CHOWN --cap-add KILL --cap-drop all root", func(r *request) any { return r.spec.Process.Caps.Add.Names() }, "[CAP_CHOWN CAP_KILL CAP_NET_RAW]"},
		{"dropped", "--cap-drop all root", func(r *request) any { return r.spec.Process.Caps.Drop == confine.AllCaps }, "true"},
		{"signal by name", "--stop-signal sigusr1 root", func(r *request) any { return r.spec.Process.StopSignal }, "USR1"},
		{"signal by number", "--stop-signal 15 root", func(r *request) any { return r.spec.Process.StopSignal }, "TERM"},
		{"switches", "--as-pid-1 --nest -t -i --rm root", func(r *request) any {
			return fmt.Sprint(r.spec.Process.AsPID1, r.spec.Process.Nest, r.spec.Process.Terminal)
		}, "true true true"},
		{"no terminal", "-t=false root", func(r *request) any { return r.spec.Process.Terminal }, "false"},
		{"short flags together", "-it root", func(r *request) any { return r.spec.Process.Terminal }, "true"},
		{"labels", "-l a=b --label c root", func(r *request) any { return r.spec.Labels }, "[a=b c]"},
		{"life", "--status-fd 5 --pidfile p root", func(r *request) any { return r.life }, "{5 p false}"},
		{"the network by default", "root", network, "user [] [] []"},
		{"no network", "--net none root", network, " [] [] []"},
		{"another driver", "--network pasta root", network, "pasta [] [] []"},
		{"ports", "-p 80 -p [::1]:1:2/udp root", network, "user [127.0.0.1::80/tcp [::1]:1:2/udp] [] []"},
		{"rules in order", "--deny 192.0.2.1 --allow *.example.org:443 root", network, "user [] [192.0.2.1 *.example.org:443] []"},
		{"more hosts", "--add-host a:192.0.2.1 --add-host b:[2001:db8::1] root", network, "user [] [] [{a 192.0.2.1} {b 2001:db8::1}]"},
		{"loopback", "--host-loopback root", func(r *request) any { return r.spec.Net.HostLoopback }, "{true []}"},
		{"loopback, a port", "--host-loopback=80 root", func(r *request) any { return r.spec.Net.HostLoopback }, "{true [80]}"},
		{"no life", "root", func(r *request) any { return r.life }, "{-1  false}"},
		{"variables", "-e A=1 -e B= -e C=a=b root", env, "[A=1 B= C=a=b]"},
		{"a variable of the caller's", "-e BRYO_TEST root", env, "[BRYO_TEST=from outside]"},
		{"a variable that the caller has not", "-e BRYO_TEST_NONE root", env, "[]"},
	} {
		r, err := parseRun(words(row.line), discard(t))
		if err != nil {
			t.Errorf("%s: %v", row.name, err)
			continue
		}
		if got := fmt.Sprint(row.look(r)); got != row.want {
			t.Errorf("%s: %s, want %s", row.name, got, row.want)
		}
	}
}

func args(r *request) any { return r.spec.Root.Path + fmt.Sprintf(" %v", r.spec.Process.Args) }
func env(r *request) any  { return r.spec.Process.Env }
func ids(r *request) any {
	list := func(m idmap.Map) []string {
		var extents []string
		for _, e := range m {
			extents = append(extents, e.String())
		}
		return extents
	}
	return fmt.Sprint(r.spec.IDs.Mode, list(r.spec.IDs.UIDs), list(r.spec.IDs.GIDs))
}

func namespace(k ns.Kind) func(*request) any {
	return func(r *request) any { return r.spec.Namespaces[k] }
}

func mounts(r *request) any {
	var list []string
	for i := range r.spec.Mounts {
		list = append(list, r.spec.Mounts[i].Type.String()+" "+r.spec.Mounts[i].Target)
	}
	return strings.Join(list, ", ")
}

func TestRunFlagsRefuse(t *testing.T) {
	for _, row := range []struct{ line, want string }{
		{"", "no root file system"},
		{"--", "no root file system"},
		{"--read-only", "no root file system"},
		{"--nothing root", "unknown flag: --nothing"},
		{"-Z root", "unknown shorthand"},
		{"--userns nothing root", "auto, single or keep-id"},
		{"--userns join:.x root", "join takes a container, a process id"},
		{"--userns single --uidmap 0:1000:1 root", "leave --userns out"},
		{"--uidmap 0:1000 root", "CONTAINER:HOST:COUNT"},
		{"--gidmap 0:-1:1 root", "host id"},
		{"--pid nothing root", "none of own, host"},
		{"-p 0 root", "-p"},
		{"--dns example.org root", "address of a name server"},
		{"--dns-search a;b root", "is no domain"},
		{"--add-host a root", "NAME:IP"},
		{"--net-mtu 100 root", "1280"},
		{"--net nothing root", "none of user, none, host"},
		{"--time-offset nothing root", "CLOCK=OFFSET"},
		{"--sysctl nothing root", "NAME=VALUE"},
		{"-v name:/x root", "./name:/x"},
		{"--mount type=volume,dst=/x root", "bind, tmpfs, overlay"},
		{"--tmpfs x root", "absolute path"},
		{"--device /etc/passwd root", "/dev/NAME"},
		{"--shm-size 0 root", "number of bytes"},
		{`-u "" root`, "empty user"},
		{"--ulimit nofile root", "SOFT[:HARD]"},
		{"--umask 8 root", "octal"},
		{"--umask 1000 root", "octal"},
		{"--umask -1 root", "octal"},
		{"--cap-add nothing root", "capabilities(7)"},
		{"--cap-drop all, root", "capabilities(7)"},
		{"--stop-signal nothing root", "signal(7)"},
		{"--stop-signal 0 root", "signal(7)"},
		{"--stop-signal 65 root", "signal(7)"},
		{"--privileged root", "no privileges of the host"},
		{"--privileged=false root", "no privileges of the host"},
		{"-e =x root", "KEY=VALUE"},
		{`-e "" root`, "KEY=VALUE"},
		{"--env-file /nothing/here root", "no such file"},
		{"--env-host=maybe root", "invalid"},
		{"--label =x root", "KEY=VALUE"},
		{"--status-fd -1 root", "open descriptor"},
		{"--status-fd x root", "open descriptor"},
		{`--pidfile "" root`, "empty path"},
		{"--read-only=maybe root", "must be true or false"},
		{"--userns", "needs an argument"},
	} {
		r, err := parseRun(words(row.line), discard(t))
		if err == nil || !strings.Contains(err.Error(), row.want) {
			t.Errorf("%q: %v, want %q", row.line, err, row.want)
		}
		if r != nil && err != nil && r.spec.Root.Path != "" && row.want != "leave --userns out" {
			t.Errorf("%q: a request beside %v", row.line, err)
		}
	}
}

func TestEnvironmentInOrder(t *testing.T) {
	t.Setenv("BRYO_TEST", "host")
	file := filepath.Join(t.TempDir(), "env")
	text := "# comment\n\n  A=file\nB=has blanks \r\nBRYO_TEST\nC=#no comment\n\tD==\nE='quoted'\nLONG=" + strings.Repeat("x", 100_000)
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	r, err := parseRun([]string{"-e", "A=flag", "--env-file", file, "root"}, discard(t))
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"A=file", "B=has blanks ", "BRYO_TEST=host", "C=#no comment", "D==", "E='quoted'", "LONG=" + strings.Repeat("x", 100_000), "A=flag"}
	if got := r.spec.Process.Env; !slices.Equal(got, want) {
		t.Errorf("%.200q, want %.200q", got, want)
	}
	r, err = parseRun([]string{"-e", "BRYO_TEST=flag", "--env-host", "root"}, discard(t))
	if err != nil {
		t.Fatal(err)
	}
	got := r.spec.Process.Env
	if len(got) != len(os.Environ())+1 || !slices.Contains(got, "BRYO_TEST=host") || got[len(got)-1] != "BRYO_TEST=flag" {
		t.Errorf("%q", got)
	}
	if r, err = parseRun([]string{"--env-host=false", "root"}, discard(t)); err != nil || len(r.spec.Process.Env) != 0 {
		t.Errorf("%v, %v", r, err)
	}
}

func TestEnvFileRefuses(t *testing.T) {
	file := filepath.Join(t.TempDir(), "env")
	for _, text := range []string{"=x\n", "A=1\n = \n"} {
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		if _, err := addEnvFile(nil, file); err == nil || !strings.Contains(err.Error(), file) {
			t.Errorf("%q: %v", text, err)
		}
	}
}

// One number is one signal, however often it is asked.
func TestSignalsByNumber(t *testing.T) {
	for number := 1; number < 65; number++ {
		text := strconv.Itoa(number)
		first, err := parseSignal(text)
		if err != nil {
			continue
		}
		for range 20 {
			if again, _ := parseSignal(text); again != first {
				t.Errorf("%d is %s, and %s", number, first, again)
				break
			}
		}
	}
}

// Flags parse into the Spec, and a Spec prints.
func TestSpecPrints(t *testing.T) {
	r, err := parseRun(words("--uidmap 0:1000:1 -v /a:/b --net none root ls"), discard(t))
	if err != nil {
		t.Fatal(err)
	}
	if text, err := json.Marshal(r.spec); err != nil || !strings.Contains(string(text), `"/b"`) {
		t.Errorf("%s, %v", text, err)
	}
}

// Whatever the command line, a request has a root, and arguments that were there.
func FuzzParseRun(f *testing.F) {
	for _, seed := range []string{"root ls", "-v /a:/b:ro --net none root -- sh -c x", "--uidmap 0:1:1 --userns auto root", "--mount type=tmpfs,dst=/t host", "-e A -e B=c --umask 7 . .", "--", "-t=false --cap-add all,x r"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, line string) {
		if strings.Contains(line, "env") {
			return // files and variables of this machine
		}
		given := strings.Fields(line)
		r, err := parseRun(given, streams{})
		if err != nil {
			return
		}
		if r.spec.Root.Host == (r.spec.Root.Path != "") {
			t.Errorf("%q: root %+v", line, r.spec.Root)
		}
		n := len(r.spec.Process.Args)
		if n > len(given) || !slices.Equal(given[len(given)-n:], r.spec.Process.Args) {
			t.Errorf("%q: arguments %q", line, r.spec.Process.Args)
		}
		for i := range r.spec.Mounts {
			if m := &r.spec.Mounts[i]; !strings.HasPrefix(m.Target, "/") || m.Type > fsroot.Overlay {
				t.Errorf("%q: %+v", line, m)
			}
		}
		if r.life.StatusFD < noStatus || (r.spec.IDs.Mode == idmap.Explicit) != (len(r.spec.IDs.UIDs)+len(r.spec.IDs.GIDs) > 0) {
			t.Errorf("%q: %+v, %+v", line, r.life, r.spec.IDs)
		}
	})
}

func TestExplainFlags(t *testing.T) {
	flags, _, asProgram, asJSON := explainFlags(discard(t))
	if err := flags.Parse(words("--program --read-only root --json")); err != nil || !*asProgram || *asJSON {
		t.Errorf("%v, program %t, json %t", err, *asProgram, *asJSON)
	}
}

func TestUnshareFlags(t *testing.T) {
	for _, row := range []struct {
		line, want string
	}{{"id", "[id]"}, {"--userns keep-id id -u", "[id -u]"}, {"-- id", "[id]"}, {"", "[]"}} {
		r := &request{}
		flags := unshareFlags(&r.spec)
		if err := flags.Parse(words(row.line)); err != nil || fmt.Sprint(flags.Args()) != row.want {
			t.Errorf("%q: %v, %v, want %s", row.line, flags.Args(), err, row.want)
		}
	}
	r := &request{}
	flags := unshareFlags(&r.spec)
	flags.SetOutput(discard(t).err)
	if err := flags.Parse([]string{"--help"}); !errors.Is(err, pflag.ErrHelp) {
		t.Error(err)
	}
}
