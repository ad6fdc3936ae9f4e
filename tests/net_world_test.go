package tests

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// worldVariable says that the process is the test again, in a host of its own.
const worldVariable = "BRYO_TEST_WORLD"

// The world of a network test: a host in namespaces of its own, in which the
// user is unprivileged, and all that is outside of it. Nothing leads further.
//
//	container ── bryo-net ── host 192.0.2.2 ═══════ 192.0.2.1 outside
//	                         2001:db8::2            2001:db8::1
//	                                                198.51.100.7, 203.0.113.9, 2001:db8:1::7
//	                                                169.254.169.254, metadata of a cloud
const (
	hostAddr4, hostAddr6 = "192.0.2.2", "2001:db8::2"
	peerAddr4, peerAddr6 = "192.0.2.1", "2001:db8::1"
	farAddr4, farAddr6   = "198.51.100.7", "2001:db8:1::7"
	thirdAddr            = "203.0.113.9"
	metadataAddr         = "169.254.169.254"
	unreachableAddr      = "203.0.113.66"
	silentAddr           = "203.0.113.77"
)

// world is what a test has of it.
type world struct {
	*site
	outside  *place
	services *services // outside
	house    *hits     // what reached the host's own servers
	resolv   string    // the host's /etc/resolv.conf
}

// at is the world for a test within the test.
func (w *world) at(t *testing.T) *world {
	inner, its := *w, *w.site
	its.t = t
	inner.site = &its
	return &inner
}

// step runs a test within the test.
func (w *world) step(name string, f func(t *testing.T, w *world)) {
	w.t.Run(name, func(t *testing.T) { f(t, w.at(t)) })
}

// inWorld has a test run in a host of its own, as the unprivileged user; it is
// false in the processes in between, which have nothing left to do then.
func inWorld(t *testing.T) bool {
	t.Helper()
	if os.Getenv(worldVariable) != "" {
		return true
	}
	bin, err := suite.bryo()
	if err == nil {
		err = netBinaries.build(filepath.Dir(bin))
	}
	if err != nil {
		t.Fatal(err)
	}
	pattern := "^" + t.Name() + "$"
	if _, below, ok := strings.Cut(flag.Lookup("test.run").Value.String(), "/"); ok {
		pattern += "/" + below
	}
	if os.Getuid() == 0 {
		asUser(t, pattern)
		return false
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, "/proc/self/exe", "-test.run", pattern, "-test.v", "-test.timeout", patience.String())
	cmd.Env = append(os.Environ(), worldVariable+"=1", "BRYO_TEST_BINARY="+bin)
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  unix.CLONE_NEWUSER | unix.CLONE_NEWNET | unix.CLONE_NEWNS,
		UidMappings: []syscall.SysProcIDMap{{ContainerID: os.Getuid(), HostID: os.Getuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{ContainerID: os.Getgid(), HostID: os.Getgid(), Size: 1}},
		AmbientCaps: []uintptr{unix.CAP_NET_ADMIN, unix.CAP_NET_RAW, unix.CAP_NET_BIND_SERVICE, unix.CAP_SYS_ADMIN},
		Pdeathsig:   syscall.SIGKILL,
	}
	out, err := cmd.CombinedOutput()
	if err != nil && len(out) == 0 {
		t.Skip("no host of the test's own: ", err)
	}
	relay(t, string(out), err)
	return false
}

// relay tells of a test that ran in another process as if it had run in this
// one.
func relay(t *testing.T, out string, err error) {
	t.Helper()
	began := regexp.MustCompile(`^=== (?:RUN|NAME|CONT) +(\S+)`)
	ended := regexp.MustCompile(`^ *--- (PASS|FAIL|SKIP): (\S+) `)
	said, current := map[string]string{}, ""
	for line := range strings.Lines(out) {
		if match := began.FindStringSubmatch(line); match != nil {
			current = match[1]
		} else if match := ended.FindStringSubmatch(line); match == nil {
			said[current] += strings.TrimSuffix(strings.TrimSuffix(line, "FAIL\n"), "PASS\n")
		} else if _, name, below := strings.Cut(match[2], "/"); below {
			t.Run(name, func(t *testing.T) { verdict(t, match[1], said[match[2]]) })
			delete(said, match[2])
		} else if match[1] == "SKIP" {
			verdict(t, match[1], said[match[2]])
		}
	}
	if current == t.Name() {
		current = ""
	}
	if err != nil {
		t.Errorf("%v\n%s", err, said[t.Name()]+said[current])
	}
}

func verdict(t *testing.T, how, said string) {
	t.Helper()
	said = strings.TrimSpace(said)
	switch {
	case how == "SKIP":
		t.Skip(said)
	case how == "FAIL":
		t.Error(said)
	case said != "":
		t.Log(said)
	}
}

// netBinaries are the executables beside bryo that tests need.
var netBinaries netBuild

type netBuild struct {
	once sync.Once
	err  error
}

// build builds what is not there yet.
func (b *netBuild) build(dir string) error {
	b.once.Do(func() {
		for name, pkg := range map[string]string{"bryo-net": "cmd/bryo-net", "netsite": "tests/netsite", "attack": "tests/attack"} {
			b.err = errors.Join(b.err, buildOne(filepath.Join(dir, name), pkg))
		}
		if runtime.GOARCH == "amd64" {
			b.err = errors.Join(b.err, buildOne(filepath.Join(dir, "attack32"), "tests/attack", "GOARCH=386"))
		}
	})
	return b.err
}

// buildOne builds an executable, as the user to whom the checkout belongs.
func buildOne(path, pkg string, env ...string) error {
	if _, err := os.Stat(path); err == nil {
		return nil
	}
	build := exec.Command("go", "build", "-buildmode=exe", "-buildvcs=false", "-o", path, module+"/"+pkg)
	build.Env = append(append(os.Environ(), "CGO_ENABLED=0"), env...)
	var owner syscall.Stat_t
	if err := syscall.Stat(".", &owner); err != nil {
		return err
	}
	if os.Getuid() == 0 && owner.Uid != 0 {
		build.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: owner.Uid, Gid: owner.Gid}}
	}
	if out, err := build.CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w\n%s", build, err, out)
	}
	return nil
}

// lines makes the way from the host to what is outside.
type lines func(t *testing.T, outside *place)

// newWorld makes the world around the process.
func newWorld(t *testing.T, way lines) *world {
	t.Helper()
	w := &world{site: newSite(t)}
	w.outside = newPlace(t)
	way(t, w.outside)
	w.furnish()
	w.services = startServices(t, w.outside)
	w.house = startHouse(t)
	w.resolv = filepath.Join(w.dir, "resolv.conf")
	w.resolve("search corp.test\nnameserver " + peerAddr4 + "\n")
	if err := unix.Mount(w.resolv, "/etc/resolv.conf", "", unix.MS_BIND, ""); err != nil {
		t.Skip("/etc/resolv.conf cannot be the test's own: ", err)
	}
	if err := copyFile(filepath.Join(filepath.Dir(w.bin), "netsite"), filepath.Join(w.root, "bin/netsite")); err != nil {
		t.Fatal(err)
	}
	return w
}

// resolve says who resolves names for the host.
func (w *world) resolve(text string) {
	w.t.Helper()
	if err := os.WriteFile(w.resolv, []byte(text), 0o644); err != nil {
		w.t.Fatal(err)
	}
}

// furnish gives both ends their addresses and routes.
func (w *world) furnish() {
	w.t.Helper()
	w.ip(nil, `link set lo up
link set up0 up
addr add 192.0.2.2/24 dev up0
addr add 2001:db8::2/64 dev up0 nodad
route add default via 192.0.2.1 dev up0
route add ::/0 via 2001:db8::1 dev up0`)
	w.ip(w.outside, `link set lo up
link set down0 up
addr add 192.0.2.1/24 dev down0
addr add 2001:db8::1/64 dev down0 nodad
addr add 198.51.100.7/32 dev lo
addr add 203.0.113.9/32 dev lo
addr add 169.254.169.254/32 dev lo
addr add 2001:db8:1::7/128 dev lo nodad
route add unreachable 203.0.113.66/32
route add blackhole 203.0.113.77/32`)
	w.outside.must(w.t, func() error { return os.WriteFile("/proc/sys/net/ipv4/ip_forward", []byte("1"), 0o644) })
	// Programs meet the congestion control that distributions have.
	_ = os.WriteFile("/proc/sys/net/ipv4/tcp_congestion_control", []byte("reno"), 0o644)
}

// ip runs commands of ip(8) at a place; nil is the host.
func (w *world) ip(where *place, batch string) {
	w.t.Helper()
	f := func() error {
		cmd := exec.CommandContext(w.t.Context(), "ip", "-batch", "-")
		cmd.Stdin = strings.NewReader(batch)
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("%s: %w\n%s%s", cmd, err, batch, out)
		}
		return nil
	}
	if where != nil {
		where.must(w.t, f)
	} else if err := f(); err != nil {
		w.t.Fatal(err)
	}
}

// veth joins the host and what is outside by a wire that loses nothing.
func veth(t *testing.T, outside *place) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "ip", "link", "add", "up0", "type", "veth", "peer", "name", "down0", "netns", outside.path)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Skipf("no veth pair here: %v: %s", err, out)
	}
}

// place is a network namespace, and the thread that is in it. Sockets that are
// made there stay there, whoever uses them.
type place struct {
	path  string
	calls chan func()
}

func newPlace(t *testing.T) *place {
	t.Helper()
	p := &place{calls: make(chan func())}
	made := make(chan error)
	go func() {
		runtime.LockOSThread() // and the thread ends with the goroutine
		err := unix.Unshare(unix.CLONE_NEWNET)
		p.path = fmt.Sprintf("/proc/%d/task/%d/ns/net", os.Getpid(), unix.Gettid())
		made <- err
		for call := range p.calls {
			call()
		}
	}()
	if err := <-made; err != nil {
		t.Skip("no network namespace within the first: ", err)
	}
	t.Cleanup(func() { close(p.calls) })
	return p
}

// do has a function run there.
func (p *place) do(f func() error) error {
	result := make(chan error)
	p.calls <- func() { result <- f() }
	return <-result
}

func (p *place) must(t *testing.T, f func() error) {
	t.Helper()
	if err := p.do(f); err != nil {
		t.Fatal(err)
	}
}

// ordinary has a command run without the capabilities that the test has over its
// host: as the user who types it.
func (w *world) ordinary(name string, args ...string) *exec.Cmd {
	if name == "bryo" {
		name = w.bin
	}
	return w.command("setpriv", append([]string{"--inh-caps=-all", "--ambient-caps=-all", "--", name}, args...)...)
}

// boxed is the command of a container with one id, all that the user has in
// such a host.
func (w *world) boxed(flags []string, root string, command ...string) *exec.Cmd {
	args := append([]string{"run", "--userns", "single"}, flags...)
	return w.ordinary("bryo", append(append(args, root), command...)...)
}

// box runs a command in a container of busybox.
func (w *world) box(flags []string, command ...string) outcome {
	return w.end(w.boxed(flags, w.root, command...))
}

// hosted runs a program of the host in a container.
func (w *world) hosted(flags []string, command ...string) outcome {
	w.t.Helper()
	if _, err := exec.LookPath(command[0]); err != nil {
		w.t.Skipf("no %s here", command[0])
	}
	return w.end(w.boxed(flags, "host", command...))
}

// prints checks what a command printed.
func (w *world) prints(got outcome, want string) {
	w.t.Helper()
	if got.code != 0 || got.out != want {
		w.t.Errorf("exit code %d, want 0; printed\n%s, want\n%s\n%s", got.code, got.out, want, got.err)
	}
}

// finds checks that the output of a command has all these words.
func (w *world) finds(got outcome, words ...string) {
	w.t.Helper()
	for _, word := range words {
		if got.code != 0 || !strings.Contains(got.out+got.err, word) {
			w.t.Errorf("exit code %d, want 0; no %q in\n%s%s", got.code, word, got.out, got.err)
			return
		}
	}
}
