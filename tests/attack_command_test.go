package tests

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// The tests are named after the classes of SECURITY.md's table.

// 1: CVE-2016-9962, CVE-2024-21626.
func TestAttackDescriptors(t *testing.T) {
	b := newBattle(t)
	if b == nil {
		return
	}
	attack := []string{"attack", "files", b.secret}
	for _, flags := range [][]string{nil, {"--as-pid-1"}, {"-u", "1000"}, {"--userns", "single"}, {"--cap-add", "all", "--seccomp", "off"}, {"--net", "none", "--ephemeral"}} {
		b.loses(flags, attack...)
	}
	b.losesInside(nil, attack...)
	b.losesInside([]string{"--cap-add", "all"}, attack...)
	b.wins(b.bwrap(), attack...)
}

// 2: CVE-2024-21626, CVE-2026-55686.
func TestAttackWorkingDirectory(t *testing.T) {
	b := newBattle(t)
	if b == nil {
		return
	}
	attack := []string{"attack", "directory", "secret"}
	dirs := []string{"/proc/self/cwd", "/proc/1/cwd", "/proc/1/root/tmp", "/linked"}
	for fd := 3; fd < 12; fd++ {
		dirs = append(dirs, fmt.Sprintf("/proc/self/fd/%d", fd))
	}
	for _, dir := range dirs {
		b.loses([]string{"-w", dir}, attack...)
		b.link("linked", dir) // what an image may have there
		b.loses([]string{"-w", "/linked"}, attack...)
	}
	end := b.container("besieged", nil, "sleep", "1000")
	for _, dir := range dirs {
		if reached := b.reached(b.end(b.careless(append([]string{"bryo", "exec", "-w", dir, "besieged"}, attack...)...))); len(reached) > 0 {
			t.Errorf("exec in %s: reached %q", dir, reached)
		}
	}
	end()
	b.wins(b.bwrap("--chdir", "/proc/self/fd/3"), attack...)
}

// 3: CVE-2019-5736. TestOwnExecutable and TestOutsideOfIt have more.
func TestAttackExecutable(t *testing.T) {
	b := newBattle(t)
	if b == nil {
		return
	}
	owned := b.ownBryo()
	before, err := os.ReadFile(b.bin)
	if err != nil {
		t.Fatal(err)
	}
	for _, flags := range [][]string{nil, {"--as-pid-1"}, {"--userns", "single", "--seccomp", "off"}} {
		b.loses(append(flags, "-v", b.outside+":/srv"), "sh", "-c", "attack executables; echo 'refused to run nothing'")
	}
	b.losesInside(nil, "sh", "-c", "attack executables; echo 'refused to run nothing'")
	after, err := os.ReadFile(b.bin)
	info, err2 := os.Stat(b.bin)
	if err != nil || err2 != nil || string(after) != string(before) || info.Mode() != 0o755 {
		t.Errorf("bryo has changed: %v, %v, %v", info, err, err2)
	}
	wrapper := b.bwrap()
	b.here(wrapper)
	peer, err := os.ReadFile("/usr/bin/bwrap")
	if err != nil {
		t.Skip(err)
	}
	wrapper[0] = filepath.Join(owned, "bwrap")
	if err := os.WriteFile(wrapper[0], peer, 0o700); err != nil {
		t.Fatal(err)
	}
	b.wins(wrapper, "attack", "executables")
}

// ownBryo has the user own bryo's executable, which lies in the directory.
func (b *battle) ownBryo() (dir string) {
	b.t.Helper()
	dir = filepath.Join(b.dir, "bin")
	if err := os.Mkdir(dir, 0o755); err != nil {
		b.t.Fatal(err)
	}
	for _, name := range []string{"bryo", "bryo-net"} {
		if err := copyFile(filepath.Join(filepath.Dir(b.bin), name), filepath.Join(dir, name)); err != nil {
			b.t.Fatal(err)
		}
	}
	b.bin = filepath.Join(dir, "bryo")
	return dir
}

// 8: CVE-2017-5226, CVE-2019-10063.
func TestAttackTerminal(t *testing.T) {
	b := newBattle(t)
	if b == nil {
		return
	}
	attack := "attack"
	attacked := func(wrapper ...string) (reached []string, queued int) {
		screen := newScreen(b.site)
		cmd := b.careless(append(wrapper, attack, "terminal")...)
		screen.start(cmd)
		code := b.wait(cmd)
		screen.await(t, "TIOCLINUX")
		queued, err := unix.IoctlGetInt(int(screen.slave.Fd()), unix.TIOCINQ)
		if err != nil {
			t.Fatal(err)
		}
		return b.reached(outcome{code: code, out: strings.NewReplacer("\r", "", "xre", "re").Replace(screen.String())}), queued
	}
	for _, flags := range [][]string{nil, {"-t"}, {"--tty=false"}, {"--tty=false", "--seccomp", "off"}, {"-t", "--cap-add", "all"}} {
		args := append(append([]string{"bryo", "run"}, flags...), b.root)
		if reached, queued := attacked(args...); len(reached) > 0 || queued > 0 {
			t.Errorf("%v: reached %q, %d keys", flags, reached, queued)
		}
	}
	if runtime.GOARCH == "amd64" {
		attack = "attack32"
		if reached, queued := attacked("bryo", "run", b.root); len(reached) > 0 || queued > 0 {
			t.Errorf("32 bits: reached %q, %d keys", reached, queued)
		}
	}
	b.here(b.bwrap())
	if reached, _ := attacked(b.bwrap()...); len(reached) == 0 {
		t.Skip("this kernel puts no keys into terminals: dev.tty.legacy_tiocsti")
	}
}

// 9: CVE-2022-29162, CVE-2022-36109, and set-user-ID programs. The story "user"
// has the nonsense ids.
func TestAttackPrivileges(t *testing.T) {
	b := newBattle(t)
	if b == nil {
		return
	}
	if !hasSubids() {
		t.Skip("the user has no subordinate ids to be another user with")
	}
	suid := filepath.Join(b.root, "bin/suid")
	if err := copyFile(filepath.Join(b.root, "bin/attack"), suid); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(suid, 0o755|os.ModeSetuid); err != nil {
		t.Fatal(err)
	}
	b.loses([]string{"-u", "1000"}, "suid", "become", "0")
	b.loses([]string{"-u", "1000", "--cap-add", "all", "-v", filepath.Dir(suid) + ":/srv:suid"}, "/srv/suid", "become", "0")
	b.loses([]string{"-u", "1000", "--seccomp", "off"}, "suid", "become", "0")
	for _, user := range []string{"0", "1000"} {
		b.loses([]string{"-u", user, "--group-add", "50"}, "attack", "elevated")
	}
	b.losesInside([]string{"-u", "1000"}, "suid", "become", "0")
	end := b.container("besieged", nil, "sleep", "1000")
	for _, user := range []string{"", "+0", "-0", "-1", "0x0", "0.0", " 0", "0 ", "4294967295", "4294967296", "18446744073709551616", "65537", "nobody2", ":", ":0", "0:"} {
		for _, args := range [][]string{{"exec", "-u", user, "besieged"}, {"run", "-u", user, b.root}} {
			if got := b.bryo(append(args, "attack", "become", "0")...); got.code != 125 || got.out != "" {
				t.Errorf("%q: %+v", args, got)
			}
		}
	}
	end()
	b.losesInside(nil, "attack", "elevated")
	naive := b.unshare("--map-auto", "--setuid", "1000", "--setgid", "1000")
	b.wins(naive, "suid", "become", "0")
	b.wins(naive, "attack", "elevated")
}

// 11: CVE-2023-25809, CVE-2022-0492.
func TestAttackCgroup(t *testing.T) {
	b := newBattle(t)
	if b == nil {
		return
	}
	hosts, err := os.Readlink("/proc/self/ns/cgroup")
	if err != nil {
		t.Skip(err)
	}
	attack := []string{"attack", "cgroup", hosts}
	for _, flags := range [][]string{nil, {"--userns", "single"}, {"--nest"}, {"--net", "none"}} {
		b.loses(flags, attack...)
	}
	b.losesInside(nil, attack...)
	b.wins(b.bwrap(), attack...)
}

// 14 and 19: the host's loopback and abstract sockets. TestNetTargets has every
// form of the addresses, and what a name may lead to.
func TestAttackNetwork(t *testing.T) {
	b := newBattle(t)
	if b == nil {
		return
	}
	config := net.ListenConfig{}
	listen := func(network, address string) string {
		l, err := config.Listen(t.Context(), network, address)
		if err != nil {
			t.Skip(err)
		}
		t.Cleanup(func() { _ = l.Close() })
		return l.Addr().String()
	}
	tcp, abstract := listen("tcp", "127.0.0.1:0"), listen("unix", fmt.Sprintf("@bryo-attack-%d", os.Getpid()))
	_, port, err := net.SplitHostPort(tcp)
	if err != nil {
		t.Fatal(err)
	}
	addresses := []string{"attack", "dial", "tcp", tcp, "[::1]:" + port, "10.0.2.2:" + port, "169.254.169.254:80", "[::ffff:127.0.0.1]:" + port}
	for _, flags := range [][]string{nil, {"--net", "none"}} {
		b.loses(flags, addresses...)
		b.loses(flags, "attack", "dial", "unix", abstract)
	}
	b.wins(b.bwrap(), "attack", "dial", "tcp", tcp)
	b.wins(b.bwrap(), "attack", "dial", "unix", abstract)
}

// 15: what maps the ids must not be what the search path has.
func TestAttackIDMaps(t *testing.T) {
	b := newBattle(t)
	if b == nil {
		return
	}
	if !hasSubids() {
		t.Skip("the user has no subordinate ids to map")
	}
	planted := filepath.Join(b.dir, "planted")
	if err := os.Mkdir(planted, 0o755); err != nil {
		t.Fatal(err)
	}
	ran := filepath.Join(b.dir, "ran")
	for _, name := range []string{"newuidmap", "newgidmap", "bryo-net", "sh", "mount"} {
		if err := os.WriteFile(filepath.Join(planted, name), []byte("#!/bin/sh\necho ran >> "+ran+"\nexit 1\n"), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	ranBy := func(args ...string) bool {
		cmd := b.careless(args...)
		cmd.Env = append(cmd.Env, "PATH="+planted+":/usr/bin:/bin")
		b.end(cmd)
		_, err := os.Stat(ran)
		return err == nil
	}
	for _, flags := range [][]string{nil, {"--userns", "auto", "--net", "none"}} {
		if ranBy(append(append([]string{"bryo", "run"}, flags...), b.root, "true")...) {
			t.Errorf("bryo run %v executes a helper of the search path's", flags)
		}
	}
	naive := b.unshare("--map-auto")
	b.here(naive)
	if !ranBy(append(naive, "true")...) {
		t.Skip("unshare looks for newuidmap elsewhere, too")
	}
}

// 16: the kernel's surface, through each of the machine's ABIs.
func TestAttackSurface(t *testing.T) {
	b := newBattle(t)
	if b == nil {
		return
	}
	attacks := []string{"attack"}
	if runtime.GOARCH == "amd64" {
		attacks = append(attacks, "attack32") // int 0x80
	}
	for _, attack := range attacks {
		for _, flags := range [][]string{nil, {"-u", "1000"}, {"--userns", "single"}, {"--as-pid-1"}} {
			b.loses(flags, attack, "surface")
		}
		b.losesInside(nil, attack, "surface")
		b.wins(b.bwrap(), attack, "surface")
	}
	if got := b.bryo("run", "--seccomp", "strict", b.root, "attack32", "surface"); runtime.GOARCH == "amd64" && (got.code == 0 || got.out != "") {
		t.Errorf("--seccomp strict and the 32-bit ABI: %+v", got)
	}
}

// 17: what proc and sys tell, and steer.
func TestAttackKernelFiles(t *testing.T) {
	b := newBattle(t)
	if b == nil {
		return
	}
	for _, flags := range [][]string{nil, {"--userns", "single"}, {"--nest"}, {"--net", "none"}, {"--seccomp", "off"}} {
		b.loses(flags, "attack", "kernel")
	}
	b.losesInside(nil, "attack", "kernel")
	b.wins(b.bwrap(), "attack", "kernel")
}

// 17: neither a proc of its own nor a namespace inside shows what is masked. The
// mounts hold that, whatever the filter says.
func TestAttackMasks(t *testing.T) {
	b := newBattle(t)
	if b == nil {
		return
	}
	for _, flags := range [][]string{nil, {"--seccomp", "off"}, {"--nest"}, {"--nest", "--seccomp", "off"}, {"--nest", "--seccomp", "off", "--userns", "single"}, {"--nest", "--net", "none", "--seccomp", "off"}} {
		b.loses(flags, "attack", "nested")
	}
	b.losesInside([]string{"--nest", "--seccomp", "off"}, "attack", "nested")
	b.wins(b.bwrap("--unshare-net"), "attack", "nested")
}

// 18: keyrings(7).
func TestAttackKeys(t *testing.T) {
	b := newBattle(t)
	if b == nil {
		return
	}
	name := fmt.Sprintf("bryo-attack-%d", os.Getpid())
	id, err := unix.AddKey("user", name, []byte(mark), unix.KEY_SPEC_USER_KEYRING)
	if err != nil {
		t.Skip("no key can be made: ", err)
	}
	defer func() { _, _ = unix.KeyctlInt(unix.KEYCTL_INVALIDATE, id, 0, 0, 0) }()
	for _, flags := range [][]string{nil, {"--seccomp", "off"}, {"--userns", "single", "--seccomp", "off"}, {"--as-pid-1", "--seccomp", "off"}} {
		b.loses(flags, "attack", "keys", name)
	}
	b.losesInside([]string{"--seccomp", "off"}, "attack", "keys", name)
	b.wins(b.bwrap(), "attack", "keys", name)
}

// 19: the caller's environment.
func TestAttackEnvironment(t *testing.T) {
	b := newBattle(t)
	if b == nil {
		return
	}
	for _, flags := range [][]string{nil, {"--as-pid-1"}, {"--cap-add", "all", "--seccomp", "off"}} {
		b.loses(flags, "attack", "environment", mark)
	}
	b.losesInside([]string{"--cap-add", "all"}, "attack", "environment", mark)
	b.wins(b.bwrap(), "attack", "environment", mark)
}

// 19: nothing outlives the tool. TestKilledAnytime has every moment.
func TestAttackOutlives(t *testing.T) {
	b := newBattle(t)
	if b == nil {
		return
	}
	outlives := func(args ...string) bool {
		cmd := b.careless(append(args, "sh", "-c", "trap '' HUP TERM; setsid sleep 1000 >/dev/null 2>&1 & echo ready.; exec sleep 1000 >/dev/null 2>&1")...)
		b.start(cmd).await(t, "ready.")
		b.find(cmd.Process.Pid, "sleep")
		_ = cmd.Process.Kill()
		b.wait(cmd)
		const moment = 2 * time.Second
		for end := time.Now().Add(moment); time.Now().Before(end); time.Sleep(moment / 100) {
			reap()
			if len(family(os.Getpid())) == 0 {
				return false
			}
		}
		for _, p := range family(os.Getpid()) {
			p.kill()
		}
		return true
	}
	for _, flags := range [][]string{nil, {"--net", "none"}, {"-u", "1000"}} {
		if outlives(append(append([]string{"bryo", "run"}, flags...), b.root)...) {
			t.Errorf("bryo run %v: the command lives on", flags)
		}
	}
	b.here(b.unshare())
	if !outlives(b.unshare()...) {
		t.Skip("unshare's processes end with it, too")
	}
}

// 20: bryo's own processes. TestIntruder has every way into PID 1, TestConfined
// what bryo-net can do.
func TestAttackProcesses(t *testing.T) {
	b := newBattle(t)
	if b == nil {
		return
	}
	for _, flags := range [][]string{nil, {"--seccomp", "off"}, {"--userns", "single"}, {"-t"}} {
		b.loses(append([]string{"--tty=false"}, flags...), "attack", "processes")
	}
	b.wins(b.bwrap(), "attack", "processes")
}

// 20: nobody inside looks into a process that enters.
func TestAttackWhoEnters(t *testing.T) {
	b := newBattle(t)
	if b == nil {
		return
	}
	const seconds, span = "3", 2 * time.Second
	for _, flags := range [][]string{nil, {"--cap-add", "SYS_PTRACE", "--seccomp", "off"}} {
		end := b.container("besieged", flags, "sleep", "1000")
		hunter := b.careless("bryo", "exec", "besieged", "attack", "hunt", seconds)
		out := b.start(hunter)
		entered := 0
		for start := time.Now(); time.Since(start) < span; entered++ {
			if got := b.end(b.careless("bryo", "exec", "besieged", "true")); got.code != 0 {
				t.Fatalf("%+v", got)
			}
		}
		code := b.wait(hunter)
		if reached := b.reached(outcome{code: code, out: out.String()}); len(reached) > 0 || entered == 0 {
			t.Errorf("%v: of %d that entered, reached %q", flags, entered, reached)
		}
		end()
	}
	naive := b.unshare()
	b.here(naive)
	b.here([]string{"nsenter"})
	hunter := b.careless(append(naive, "attack", "hunt", seconds)...)
	out := b.start(hunter)
	pid := b.find(hunter.Process.Pid, "attack").pid
	for start := time.Now(); time.Since(start) < span; {
		b.end(b.careless("nsenter", "--target", strconv.Itoa(pid), "--user", "--mount", "--pid", "--root", "--preserve-credentials", "/bin/true"))
	}
	code := b.wait(hunter)
	if reached := b.reached(outcome{code: code, out: out.String()}); len(reached) == 0 {
		t.Skip("nobody sees nsenter enter either")
	}
}

// 14 and 20: no interface that steers the container is inside of it.
func TestAttackControl(t *testing.T) {
	b := newBattle(t)
	if b == nil {
		return
	}
	ports := "2048"
	if soak() {
		ports = "65535"
	}
	b.losesInside(nil, "attack", "gateway", "10.0.2.2", ports)
	defer b.container("besieged", nil, "sleep", "1000")()
	for _, name := range []string{"besieged", "bryo"} {
		b.loses([]string{"--net", "none"}, "attack", "control", name, "/", "sockets")
		b.losesInside(nil, "attack", "control", name, "/", "sockets")
	}
	attack := filepath.Join(b.root, "bin/attack")
	inRoot := b.root
	b.root = "host"
	b.loses([]string{"-v", attack + ":/mnt"}, "/mnt", "control", "besieged", filepath.Dir(b.run))
	b.root = inRoot
	b.wins([]string{"bwrap", "--ro-bind", "/", "/", "--dev", "/dev", "--proc", "/proc"}, attack, "control", "besieged", b.run)
}
