package tests

import (
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// netProcess is what serves a container's network.
const netProcess = "bryo-net"

// The network lives as long as its container, and neither outlives the other in
// silence.
func TestNetLife(t *testing.T) {
	if !inWorld(t) {
		return
	}
	w := newWorld(t, veth)
	w.step("network killed", networkKilled)
	w.step("network killed without TUN", func(t *testing.T, w *world) {
		w.withoutTUN(w.closed())
		networkKilled(t, w)
	})
	w.step("container killed", containerKilled)
	w.step("killed while it starts", killedEarly)
	w.step("all killed in one moment", allKilled)
	w.step("ended while it starts", endedEarly)
	w.step("many runs", manyRuns)
	w.step("at once", runsAtOnce)
	w.step("what it may do", confinedNet)
	w.step("idle", idleNet)
}

// server finds the process that serves a container's network. The next one of
// its name makes the connections to published ports.
func (w *world) server() process {
	w.t.Helper()
	w.find(os.Getpid(), netProcess)
	var first process
	for _, p := range family(os.Getpid()) {
		if p.name == netProcess && p.state != 'Z' && (first.pid == 0 || p.pid < first.pid) {
			first = p
		}
	}
	return first
}

// networkKilled sees that the command goes on, without the network.
func networkKilled(t *testing.T, w *world) {
	const script = `
netsite dial ` + peerAddr4 + `:80 > /dev/null; echo ready
while [ -e /sys/class/net/eth0 ] && ip link show eth0 | grep -q LOWER_UP; do sleep 0.02; done
echo gone
netsite dial ` + peerAddr4 + `:80
exit 7`
	c := w.publish(nil, "sh", "-c", script)
	c.out.await(t, "ready")
	w.server().kill()
	c.out.await(t, "gone")
	if code := w.wait(c.cmd); code != 7 || !strings.Contains(c.out.String(), peerAddr4+":80 unreachable") {
		t.Errorf("exit code %d, %s", code, c.out)
	}
	w.nothingLeft()
}

// containerKilled sees that nobody serves a container that is gone.
func containerKilled(t *testing.T, w *world) {
	pidfile := filepath.Join(w.dir, "killed.pid")
	for _, victim := range []string{"bryo", "PID 1", "command"} {
		_ = os.Remove(pidfile)
		c := w.publish([]string{"--pidfile", pidfile, "-p", "8130:7"}, "sh", "-c", "netsite dial "+peerAddr4+":80; echo ready; exec sleep 1000")
		c.out.await(t, "ready")
		server := w.server()
		switch victim {
		case "bryo":
			_ = c.cmd.Process.Kill()
		case "PID 1":
			_ = unix.Kill(w.pid(pidfile), unix.SIGKILL)
		case "command":
			w.find(os.Getpid(), "sleep").kill()
		}
		start := time.Now()
		_ = c.cmd.Wait()
		holds(func() bool { return ended(server.pid) })
		quick(t, victim+" was killed, and the end of "+netProcess, start, 3*time.Second)
		w.nothingLeft()
	}
}

// ended says whether a process has come to its end.
func ended(pid int) bool {
	for _, p := range family(os.Getpid()) {
		if p.pid == pid {
			return p.state == 'Z'
		}
	}
	return true
}

func killedEarly(t *testing.T, w *world) {
	rounds := 10
	if soak() {
		rounds = 300
	}
	for range rounds {
		c := w.publish([]string{"-p", "8131:7"}, "sleep", "1000")
		time.Sleep(time.Duration(rand.IntN(80)) * time.Millisecond)
		_ = c.cmd.Process.Kill()
		_ = c.cmd.Wait()
	}
	w.nothingLeft()
	if t.Failed() {
		return
	}
	// The port is free again.
	w.prints(w.box([]string{"-p", "8131:7"}, "echo", "moss"), "moss\n")
}

// allKilled leaves nobody who could remove anything: the next run does.
func allKilled(t *testing.T, w *world) {
	socket := filepath.Join(w.dir, "all.sock")
	flags := []string{"--port-socket", socket, "-p", "8133:7"}
	had := abandoned(t)
	c := w.publish(flags, "netsite", "echo", "0.0.0.0:7")
	c.speaks("tcp", "127.0.0.1:8133", dialHere)
	all := append(family(c.cmd.Process.Pid), process{pid: c.cmd.Process.Pid})
	for _, signal := range []unix.Signal{unix.SIGSTOP, unix.SIGKILL} {
		for _, p := range all {
			_ = unix.Kill(p.pid, signal)
		}
	}
	_ = c.cmd.Wait()
	w.nothingLeft()
	left := slices.DeleteFunc(abandoned(t), func(path string) bool { return slices.Contains(had, path) })
	if _, err := os.Lstat(socket); err != nil || len(left) == 0 {
		t.Fatalf("left are %q and the socket (%v): nothing is to be seen", left, err)
	}
	again := w.publish(flags, "netsite", "echo", "0.0.0.0:7")
	again.speaks("tcp", "127.0.0.1:8133", dialHere)
	for _, path := range left {
		if _, err := os.Lstat(path); err == nil {
			t.Errorf("%s is still there", path)
		}
	}
	// While one has the socket, another gets it no more than before.
	if got := w.box([]string{"--port-socket", socket}, "echo", "it ran"); got.code != 125 || got.out != "" || !strings.Contains(got.err, "\nfix: ") {
		t.Errorf("a socket that is in use: %+v, want a refusal", got)
	}
	again.speaks("tcp", "127.0.0.1:8133", dialHere)
	again.end()
	if _, err := os.Lstat(socket); err == nil {
		t.Error("the socket is left behind")
	}
}

// abandoned are the directories of published ports that no process has locked.
func abandoned(t *testing.T) []string {
	t.Helper()
	names, _ := filepath.Glob(filepath.Join(os.TempDir(), netProcess+"-*"))
	return slices.DeleteFunc(names, func(path string) bool {
		dir, err := os.Open(path)
		if err != nil {
			return true
		}
		defer func() { _ = dir.Close() }()
		return unix.Flock(int(dir.Fd()), unix.LOCK_EX|unix.LOCK_NB) != nil
	})
}

// endedEarly asks bryo to end while it waits for a network that does not come.
func endedEarly(t *testing.T, w *world) {
	path, err := exec.LookPath("slirp4netns")
	if err != nil {
		t.Skip("no slirp4netns here that could be silent")
	}
	silent := filepath.Join(w.dir, "silent")
	if err := os.WriteFile(silent, []byte("#!/bin/sh\nexec sleep 1000\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	w.cover(path, silent)
	w.bryo("ps") // which makes directories that stay
	before := w.files()
	pidfile := filepath.Join(w.dir, "ended.pid")
	flags := []string{"--net", "slirp4netns", "-p", "8134:7", "--pidfile", pidfile}
	for _, row := range []struct {
		name    string
		signals []unix.Signal
		args    []string // before bryo's
		more    []string // flags
		code    int
	}{
		{"SIGINT", []unix.Signal{unix.SIGINT}, nil, nil, 130},
		{"SIGTERM", []unix.Signal{unix.SIGTERM}, nil, nil, 143},
		{"SIGHUP", []unix.Signal{unix.SIGHUP}, nil, nil, 129},
		{"detached, SIGINT", []unix.Signal{unix.SIGINT}, nil, []string{"-d"}, 130},
		{"detached, SIGTERM", []unix.Signal{unix.SIGTERM}, nil, []string{"-d", "--restart", "always"}, 143},
		{"others wait", []unix.Signal{unix.SIGUSR1, unix.SIGWINCH, unix.SIGTERM}, nil, nil, 143},
		{"ignored", []unix.Signal{unix.SIGHUP, unix.SIGINT, unix.SIGTERM}, []string{"env", "--ignore-signal=HUP", "--ignore-signal=INT"}, nil, 143},
		{"detached, ignored", []unix.Signal{unix.SIGHUP, unix.SIGTERM}, []string{"env", "--ignore-signal=HUP"}, []string{"-d"}, 143},
	} {
		cmd := w.boxed(append(row.more, flags...), w.root, "echo", "it ran")
		if row.args != nil {
			cmd = w.ordinary(row.args[0], append(row.args[1:], cmd.Args[slices.Index(cmd.Args, w.bin):]...)...)
		}
		out := w.start(cmd)
		w.find(cmd.Process.Pid, "sleep")
		start := time.Now()
		for _, s := range row.signals {
			_ = cmd.Process.Signal(s)
			time.Sleep(20 * time.Millisecond)
		}
		code := w.wait(cmd)
		quick(t, row.name+": the end", start, 2*time.Second)
		if code != row.code || out.String() != "" {
			t.Errorf("%s: ended with %d, want %d, and said %q", row.name, code, row.code, out)
		}
		if got := w.bryo("ps", "-qa"); got.code != 0 || got.out != "" {
			t.Errorf("%s: left %+v", row.name, got)
		}
		w.nothingLeft()
	}
	if after := w.files(); fmt.Sprint(after) != fmt.Sprint(before) {
		t.Errorf("files: %v, before %v", after, before)
	}
}

// manyRuns sees that none of them leaves a process or a file behind.
func manyRuns(_ *testing.T, w *world) {
	before := w.files()
	for range 20 {
		w.prints(w.box([]string{"-p", "8132:80"}, "echo", "moss"), "moss\n")
	}
	w.nothingLeft()
	if after := w.files(); fmt.Sprint(after) != fmt.Sprint(before) {
		w.t.Errorf("files: %v, before %v", after, before)
	}
}

func runsAtOnce(t *testing.T, w *world) {
	var group sync.WaitGroup
	results := make([]outcome, 8)
	for i := range results {
		cmd := w.boxed(nil, w.root, "wget", "-q", "-O", "-", "http://web.test/hello")
		group.Go(func() { results[i] = w.end(cmd) })
	}
	group.Wait()
	for _, got := range results {
		w.prints(got, "hello from outside\n")
	}
	w.nothingLeft()
	if t.Failed() {
		t.Log("eight containers at once")
	}
}

// confinedNet looks at what the process gave up.
func confinedNet(t *testing.T, w *world) {
	c := w.publish(nil, "sh", "-c", "netsite dial "+peerAddr4+":80; echo ready; exec sleep 1000")
	defer c.end()
	c.out.await(t, "ready")
	server := w.server()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", server.pid))
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{
		"CapEff": "0000000000000000", "CapPrm": "0000000000000000", "CapBnd": "", "NoNewPrivs": "1", "Seccomp": "2",
	} {
		_, rest, _ := strings.Cut(string(text), name+":\t")
		got, _, _ := strings.Cut(rest, "\n")
		if want != "" && got != want {
			t.Errorf("%s of %s is %s, want %s", name, netProcess, got, want)
		}
	}
}

// idleNet has no memory to spare for a network that nobody uses.
func idleNet(t *testing.T, w *world) {
	c := w.publish(nil, "sh", "-c", "echo ready; exec sleep 1000")
	defer c.end()
	c.out.await(t, "ready")
	server := w.server()
	time.Sleep(time.Second / 2)
	const most = 8 << 10 // the bench has the aim, this a bound
	if got := private(server.pid); got > most {
		t.Errorf("%d KiB when idle, want at most %d", got, most)
	} else {
		t.Logf("%d KiB when idle", got)
	}
}
