package tests

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// driver is a way to connect a container.
type driver struct {
	name    string
	flags   []string
	without bool   // there is no /dev/net/tun
	program string // that it needs
	lacks   []string
}

func drivers() []driver {
	return []driver{
		{name: "user", flags: []string{"--net", "user"}},
		{name: "default"},
		{name: "veth", flags: []string{"--net", "user"}, without: true},
		{name: "slirp4netns", flags: []string{"--net", "slirp4netns"}, program: "slirp4netns"},
		// Debian 12's pasta passes no refusals on, and its sending stalls.
		{name: "pasta", flags: []string{"--net", "pasta"}, program: "pasta", lacks: []string{"refused", "out"}},
		{name: "host", flags: []string{"--net", "host"}},
	}
}

// check is what every driver does.
type check struct{ name, command, want string }

func checks() []check {
	const size = "1048576"
	return []check{
		{"names", "netsite lookup intranet.corp.test nobody.test", "intranet.corp.test " + farAddr4 + "\nnobody.test none\n"},
		{"the search list", "netsite lookup intranet", "intranet " + farAddr4 + "\n"},
		{"HTTP", "wget -q -O - http://" + peerAddr4 + "/hello", "hello from outside\n"},
		{"refused", "netsite dial " + peerAddr4 + ":" + deadPort + " | cut -d ' ' -f 2", "refused\n"},
		{"reset", "netsite read " + peerAddr4 + ":" + resetPort, "reset\n"},
		{"a datagram", "netsite ask " + farAddr4 + ":7", farAddr4 + ":7 answer\n"},
		{"a longer one", "netsite datagram " + peerAddr4 + ":7 4000", "4000 answer\n"},
		{"out", "netsite give " + peerAddr4 + ":" + sumPort + " " + size, "gave " + size + "\n"},
		{"in", "netsite take " + farAddr4 + ":" + pourPort + " " + size, "took " + size + "\n"},
		{"its own loopback device", "nc -l -p 7007 -e echo moss & until nc 127.0.0.1 7007 < /dev/null 2> /dev/null; do sleep 0.05; done; wait", "moss\n"},
	}
}

// Every driver passes the same checks, and leaves nothing behind.
func TestNetDrivers(t *testing.T) {
	if !inWorld(t) {
		return
	}
	w := newWorld(t, veth)
	for _, d := range drivers() {
		w.step(d.name, func(t *testing.T, w *world) {
			if d.program != "" {
				if _, err := exec.LookPath(d.program); err != nil {
					t.Skipf("no %s here", d.program)
				}
			}
			if d.without {
				w.withoutTUN(w.closed())
			}
			w.conforms(d)
			w.nothingLeft()
			w.killed(d.flags)
		})
	}
	w.step("no way to reach anything", isolated)
	w.step("forms of no TUN", noTUN)
	w.step("a program that is not there", missingProgram)
	w.step("shared", shareNetwork)
}

// conforms runs all checks in one container.
func (w *world) conforms(d driver) {
	w.t.Helper()
	const mark = "== "
	var script strings.Builder
	wanted := slices.DeleteFunc(checks(), func(c check) bool { return slices.Contains(d.lacks, c.name) })
	for _, c := range wanted {
		fmt.Fprintf(&script, "echo '%s%s'; %s 2>&1\n", mark, c.name, c.command)
	}
	got := w.box(d.flags, "sh", "-c", script.String())
	printed := map[string]string{}
	for part := range strings.SplitSeq(got.out, mark) {
		name, text, _ := strings.Cut(part, "\n")
		printed[name] = text
	}
	for _, c := range wanted {
		if printed[c.name] != c.want {
			w.t.Errorf("%s: %q, want %q", c.name, printed[c.name], c.want)
		}
	}
	if got.code != 0 || got.err != "" {
		w.t.Errorf("exit code %d, %s", got.code, got.err)
	}
	select {
	case <-w.services.sums:
	default:
	}
}

// killed kills bryo in the midst of a transfer.
func (w *world) killed(flags []string) {
	w.t.Helper()
	c := w.publish(flags, "sh", "-c", "wget -q -O /dev/null http://"+peerAddr4+"/blob?n=1000000000000 & sleep 0.2; echo ready; wait")
	c.out.await(w.t, "ready")
	c.end()
}

// closed is a file that stands in for a device that the user may not open.
func (w *world) closed() string {
	w.t.Helper()
	path := filepath.Join(w.dir, "closed")
	if err := os.WriteFile(path, nil, 0); err != nil && !errors.Is(err, fs.ErrPermission) {
		w.t.Fatal(err)
	}
	return path
}

// withoutTUN hides the device until the test's end.
func (w *world) withoutTUN(by string) {
	w.t.Helper()
	const device = "/dev/net/tun"
	if _, err := os.Stat(device); err != nil {
		return // it is not there in the first place
	}
	w.cover(device, by)
}

// cover mounts one file over another until the test's end.
func (w *world) cover(path, by string) {
	w.t.Helper()
	if err := unix.Mount(by, path, "", unix.MS_BIND, ""); err != nil {
		w.t.Skipf("%s cannot be hidden: %v", path, err)
	}
	w.t.Cleanup(func() {
		if err := unix.Unmount(path, unix.MNT_DETACH); err != nil {
			w.t.Error(err)
		}
	})
}

// pid waits for a number that bryo writes to a file.
func (w *world) pid(file string) (pid int) {
	w.t.Helper()
	if !holds(func() bool {
		text, _ := os.ReadFile(file)
		pid, _ = strconv.Atoi(strings.TrimSpace(string(text)))
		return pid > 0
	}) {
		w.t.Fatalf("no process id in %s", file)
	}
	return pid
}

// isolated is --net none.
func isolated(t *testing.T, w *world) {
	before := w.services.all()
	got := w.box([]string{"--net", "none"}, "sh", "-c", "ls /sys/class/net; netsite dial "+peerAddr4+":80; ip route")
	if !strings.HasPrefix(got.out, "lo\n"+peerAddr4+":80 unreachable") || strings.Contains(got.out, "default") {
		t.Errorf("%+v", got)
	}
	if after := w.services.all(); fmt.Sprint(before) != fmt.Sprint(after) {
		t.Errorf("reached from --net none: %v, %v", before, after)
	}
}

// noTUN has the device absent, and something else in its place.
func noTUN(_ *testing.T, w *world) {
	hello := []string{"wget", "-q", "-O", "-", "http://web.test/hello"}
	w.step("another", func(_ *testing.T, w *world) {
		w.withoutTUN("/dev/null")
		w.prints(w.box(nil, hello...), "hello from outside\n")
	})
	w.step("closed", func(_ *testing.T, w *world) {
		w.withoutTUN(w.closed())
		w.words(nil, "dial", map[string]string{"[" + peerAddr6 + "]:80": "open", peerAddr4 + ":" + deadPort: "refused", metadataAddr + ":80": "refused"})
		got := w.box([]string{"--net", "slirp4netns"}, "echo", "it ran")
		if got.code != 125 || got.out != "" || !strings.Contains(got.err, "/dev/net/tun") || !strings.Contains(got.err, "fix:") {
			w.t.Errorf("a driver that needs the device: %+v, want a refusal with a fix", got)
		}
	})
	w.step("absent", func(t *testing.T, w *world) {
		if err := unix.Mount("none", "/dev/net", "tmpfs", 0, ""); err != nil {
			t.Skip("/dev/net cannot be hidden: ", err)
		}
		defer func() { _ = unix.Unmount("/dev/net", unix.MNT_DETACH) }()
		w.prints(w.box(nil, hello...), "hello from outside\n")
		c := w.publish([]string{"-p", "8120:7"}, "netsite", "echo", "0.0.0.0:7")
		defer c.end()
		c.speaks("tcp", "127.0.0.1:8120", dialHere)
	})
}

// missingProgram is a driver that is not installed, and bryo-net not beside
// bryo.
func missingProgram(t *testing.T, w *world) {
	alone := filepath.Join(w.dir, "alone")
	if err := os.Mkdir(alone, 0o755); err != nil {
		t.Fatal(err)
	}
	bare := filepath.Join(alone, "bryo")
	if err := copyFile(w.bin, bare); err != nil {
		t.Fatal(err)
	}
	refused := func(bin, network, want string) {
		got := w.end(w.ordinary(bin, "run", "--userns", "single", "--net", network, w.root, "echo", "it ran"))
		if got.code != 125 || got.out != "" || !strings.Contains(got.err, want) {
			t.Errorf("--net %s: %+v, want a refusal", network, got)
		}
	}
	refused(bare, "user", netProcess)
	for _, program := range []string{"slirp4netns", "pasta"} {
		if path, err := exec.LookPath(program); err == nil {
			w.cover(path, w.closed())
		}
		refused(w.bin, program, program)
	}
	w.nothingLeft()
}

// shareNetwork has a container join another's network.
func shareNetwork(t *testing.T, w *world) {
	pidfile := filepath.Join(w.dir, "share.pid")
	c := w.publish([]string{"--pidfile", pidfile}, "netsite", "echo", "127.0.0.1:7")
	defer c.end()
	c.out.await(t, "listening")
	pid := strconv.Itoa(w.pid(pidfile))
	const script = "netsite ask 127.0.0.1:7; wget -q -O - http://" + peerAddr4 + "/hello"
	w.prints(w.end(w.ordinary("bryo", "run", "--net", "join:"+pid, w.root, "sh", "-c", script)), "127.0.0.1:7 answer\nhello from outside\n")
}
