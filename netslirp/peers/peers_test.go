package peers

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"bryo/netslirp"
)

// role makes this program a container that does nothing, or the process that
// connects one and then gets killed.
const role = "BRYO_PEERS_TEST"

func TestMain(m *testing.M) {
	switch os.Getenv(role) {
	case "container":
		_, _ = os.Stdout.WriteString("\n")
		_, _ = io.Copy(io.Discard, os.Stdin)
	case "owner":
		if err := own(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	default:
		os.Exit(m.Run())
	}
}

// nobody is more than the kernel's highest PID.
const nobody = 1 << 30

// owned is what own is told, and says when it has begun.
type owned struct {
	Driver netslirp.Driver
	PID    int
}

func own() error {
	in := json.NewDecoder(os.Stdin)
	var tell owned
	if err := in.Decode(&tell); err != nil {
		return err
	}
	p, err := Start(context.Background(), tell.Driver, configured(tell.PID))
	if err != nil {
		return err
	}
	if err := json.NewEncoder(os.Stdout).Encode(owned{tell.Driver, p.cmd.Process.Pid}); err != nil {
		return err
	}
	return p.Wait()
}

func configured(pid int) netslirp.Config {
	return netslirp.Config{MTU: netslirp.PeerMTU, PID: pid}
}

// container starts one and gives its PID.
func container(t *testing.T) int {
	t.Helper()
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), role+"=container")
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  unix.CLONE_NEWUSER | unix.CLONE_NEWNET,
		UidMappings: []syscall.SysProcIDMap{{HostID: os.Geteuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{HostID: os.Getegid(), Size: 1}},
	}
	begin(t, cmd)
	return cmd.Process.Pid
}

// begin starts this program in a role and waits for its first word; it ends
// with the test.
func begin(t *testing.T, cmd *exec.Cmd, tell ...any) []byte {
	t.Helper()
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Skipf("no user and network namespaces here: %v", err)
	}
	t.Cleanup(func() {
		_ = in.Close()
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	for _, word := range tell {
		if err := json.NewEncoder(in).Encode(word); err != nil {
			t.Fatal(err)
		}
	}
	word := make([]byte, 1<<10)
	n, err := out.Read(word)
	if err != nil {
		t.Fatalf("it did not begin: %v", err)
	}
	return word[:n]
}

// drivers runs a test with each program that this machine has.
func drivers(t *testing.T, run func(t *testing.T, driver netslirp.Driver)) {
	for _, driver := range []netslirp.Driver{netslirp.DriverSlirp4netns, netslirp.DriverPasta} {
		t.Run(string(driver), func(t *testing.T) {
			if _, err := find(driver, netslirp.ProgramDirs()); err != nil {
				t.Skipf("%s is not installed", driver)
			}
			if driver == netslirp.DriverPasta && os.Geteuid() == 0 {
				t.Skip("pasta does not connect root's containers: it becomes nobody")
			}
			tun, err := os.OpenFile("/dev/net/tun", os.O_RDWR, 0)
			if err != nil {
				t.Skipf("no /dev/net/tun: %v", err)
			}
			_ = tun.Close()
			run(t, driver)
		})
	}
}

func TestConnects(t *testing.T) {
	drivers(t, func(t *testing.T, driver netslirp.Driver) {
		pid := container(t)
		p, err := Start(t.Context(), driver, configured(pid))
		if err != nil {
			t.Fatal(err)
		}
		defer p.Stop()
		devices, err := os.ReadFile(fmt.Sprintf("/proc/%d/net/dev", pid))
		if err != nil || !bytes.Contains(devices, []byte(netslirp.Interface+":")) {
			t.Errorf("the container has no %s: %v\n%s", netslirp.Interface, err, devices)
		}
		p.Stop()
		p.Stop()
		if err := p.Wait(); err != nil {
			t.Errorf("Wait after Stop: %v", err)
		}
		if alive(p.cmd.Process.Pid) {
			t.Error("the program is left after Stop")
		}
	})
}

// A death that Stop did not bring is an error, by a signal, too.
func TestDiesLater(t *testing.T) {
	drivers(t, func(t *testing.T, driver netslirp.Driver) {
		p, err := Start(t.Context(), driver, configured(container(t)))
		if err != nil {
			t.Fatal(err)
		}
		_ = p.cmd.Process.Kill()
		err = p.Wait()
		p.Stop()
		wants(t, err, string(driver)+" ended: signal: killed")
		wants(t, p.Wait(), "signal: killed")
	})
}

// Nothing is left when the process that started the program is killed.
func TestOwnerKilled(t *testing.T) {
	drivers(t, func(t *testing.T, driver netslirp.Driver) {
		owner := exec.Command("/proc/self/exe")
		owner.Env = append(os.Environ(), role+"=owner")
		var told owned
		if err := json.Unmarshal(begin(t, owner, owned{driver, container(t)}), &told); err != nil {
			t.Fatal(err)
		}
		if !alive(told.PID) {
			t.Fatal("the program does not run")
		}
		_ = owner.Process.Kill()
		const patience, step = 3 * time.Second, 5 * time.Millisecond
		for end := time.Now().Add(patience); alive(told.PID); time.Sleep(step) {
			if time.Now().After(end) {
				_ = syscall.Kill(told.PID, syscall.SIGKILL)
				t.Fatal("the program is left")
			}
		}
	})
}

// alive says whether a process runs; nobody may have waited for one that ended.
func alive(pid int) bool {
	stat, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return false
	}
	_, rest, _ := strings.Cut(string(stat), ") ")
	return !strings.HasPrefix(rest, "Z") && !strings.HasPrefix(rest, "X")
}

func TestProgramSays(t *testing.T) {
	drivers(t, func(t *testing.T, driver netslirp.Driver) {
		_, err := Start(t.Context(), driver, configured(nobody))
		wants(t, err, fmt.Sprintf("--net %s: %s ended: exit status 1: ", driver, driver))
	})
}

func TestMissingProgram(t *testing.T) {
	for driver, pkg := range map[netslirp.Driver]string{netslirp.DriverSlirp4netns: "slirp4netns", netslirp.DriverPasta: "passt"} {
		config := configured(1)
		_, err := start(t.Context(), driver, &config, []string{t.TempDir(), "/nonexistent"})
		wants(t, err, fmt.Sprintf("--net %s: the program is missing\nfix: install it (Debian: apt-get install %s)", driver, pkg))
	}
}

// Neither program can open some of the loopback's ports, so neither opens all.
func TestLoopbackPortsRefused(t *testing.T) {
	for _, driver := range []netslirp.Driver{netslirp.DriverSlirp4netns, netslirp.DriverPasta} {
		for _, open := range []bool{true, false} {
			config := configured(1)
			config.HostLoopback = netslirp.Loopback{Open: open, Ports: []netslirp.PortRange{{First: 80, Last: 80}}}
			_, err := Start(t.Context(), driver, config)
			wants(t, err, "fix: say --net user, or --host-loopback for all ports")
		}
	}
}

func TestLoopbackClosedByDefault(t *testing.T) {
	config := configured(1)
	for _, row := range []struct {
		flag string
		args func(*netslirp.Config) []string
	}{{"--disable-host-loopback", slirpArgs}, {"--no-map-gw", pastaArgs}} {
		for _, open := range []bool{false, true} {
			config.HostLoopback.Open = open
			if has := strings.Contains(strings.Join(row.args(&config), " "), row.flag); has == open {
				t.Errorf("%s with --host-loopback=%v: %v", row.flag, open, has)
			}
		}
	}
}

// scripted starts a program of our own in a driver's place.
func scripted(t *testing.T, ctx context.Context, driver netslirp.Driver, script string) (*Process, error) { //nolint:revive // the test comes first
	t.Helper()
	dir := t.TempDir()
	// A child that another test has forked and that has not executed anything yet
	// would keep the file open for writing: ETXTBSY.
	syscall.ForkLock.RLock()
	err := os.WriteFile(filepath.Join(dir, string(driver)), []byte("#!/bin/sh\n"+script+"\n"), 0o700)
	syscall.ForkLock.RUnlock()
	if err != nil {
		t.Fatal(err)
	}
	config := configured(nobody)
	return start(ctx, driver, &config, []string{dir})
}

func TestEarlyDeath(t *testing.T) {
	for _, row := range []struct{ name, script, want string }{
		{"with words", "echo one >&2; echo >&2; echo two >&2; exit 3", "ended: exit status 3: one; two"},
		{"silent", "exit 0", "ended: too early"},
		{"by a signal", "kill -9 $$", "ended: signal: killed"},
		{"without a syslog", "echo 'Failed to send 12 bytes to syslog' >&2; exit 1", "ended: exit status 1"},
		{"its child keeps the words open", "sleep 5 & exit 4", "ended: "},
		{"more words than are kept", "yes abcdefg | head -c 100000 >&2; exit 5", "ended: exit status 5: abcdefg; "},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			for _, driver := range []netslirp.Driver{netslirp.DriverSlirp4netns, netslirp.DriverPasta} {
				begin := time.Now()
				_, err := scripted(t, t.Context(), driver, row.script)
				wants(t, err, fmt.Sprintf("--net %s: %s %s", driver, driver, row.want))
				if took := time.Since(begin); took > 4*time.Second {
					t.Errorf("it took %s", took)
				}
				const most = 4096
				if err != nil && len(err.Error()) > most {
					t.Errorf("the error has %d bytes", len(err.Error()))
				}
			}
		})
	}
}

// A program that closes its descriptors and goes on is given up with the
// context.
func TestNeverReady(t *testing.T) {
	why := errors.New("the container has ended")
	ctx, cancel := context.WithCancelCause(t.Context())
	stop := time.AfterFunc(100*time.Millisecond, func() { cancel(why) })
	defer stop.Stop()
	_, err := scripted(t, ctx, netslirp.DriverSlirp4netns, "exec 3>&- ; exec sleep 30")
	if !errors.Is(err, why) {
		t.Errorf("got %v", err)
	}
}

func TestSaysReady(t *testing.T) {
	p, err := scripted(t, t.Context(), netslirp.DriverSlirp4netns, "echo before >&2; printf 1 >&3; read x <&4; echo after >&2; exit 7")
	if err != nil {
		t.Fatal(err)
	}
	_ = p.held.Close() // as when this process ends
	err = p.Wait()
	p.Stop()
	wants(t, err, "slirp4netns ended: exit status 7")
	wants(t, err, "after")
}

func wants(t *testing.T, err error, text string) {
	t.Helper()
	if err == nil || !strings.Contains(err.Error(), text) {
		t.Errorf("%q is missing in: %v", text, err)
	}
}
