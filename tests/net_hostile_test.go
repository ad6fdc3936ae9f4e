package tests

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// A container that does its worst harms neither its own network for long, nor
// the process that serves it.
func TestNetHostile(t *testing.T) {
	if !inWorld(t) {
		return
	}
	w := newWorld(t, veth)
	w.step("TUN", hostile)
	w.step("veth", func(t *testing.T, w *world) {
		w.withoutTUN(w.closed())
		hostile(t, w)
	})
	w.step("a crowd", crowded)
	w.step("many flows", manyFlows)
	w.step("its own device", ownDevice)
}

// hello is a last word of a container whose network works.
const hello = "wget -q -O - http://" + peerAddr4 + "/hello"

// memory watches a process: the most private memory that it had, in KiB.
func memory(pid int, stop <-chan struct{}) <-chan int {
	most := make(chan int)
	go func() {
		peak := 0
		for {
			peak = max(peak, private(pid))
			select {
			case <-stop:
				most <- peak
				return
			case <-time.After(20 * time.Millisecond):
			}
		}
	}()
	return most
}

func hostile(t *testing.T, w *world) {
	const raw = "NET_RAW"
	frames, syns := 20000, 5000
	if soak() {
		frames *= 50
	}
	script := fmt.Sprintf("netsite garbage %d; netsite flood %s:80 %d; netsite flood %s:%s %d; netsite flood %s:80 %d; %s; netsite lookup v6.test",
		frames, peerAddr4, syns, peerAddr4, deadPort, syns, silentAddr, syns, hello)
	got := w.watch([]string{"--cap-add", raw}, script, 128<<10)
	for _, want := range []string{"sent ", "flooded 5000\n", "hello from outside\n", "v6.test " + peerAddr6} {
		if !strings.Contains(got, want) {
			t.Errorf("no %q in\n%s", want, got)
		}
	}
}

// watch runs a script in a container and bounds the memory, in KiB, of the
// process that serves its network.
func (w *world) watch(flags []string, script string, most int) string {
	w.t.Helper()
	cmd := w.boxed(flags, w.root, "sh", "-c", "echo ready; read line; "+script)
	in, err := cmd.StdinPipe()
	if err != nil {
		w.t.Fatal(err)
	}
	out := w.start(cmd)
	out.await(w.t, "ready\n")
	server := w.server()
	stop := make(chan struct{})
	peak := memory(server.pid, stop)
	_, _ = in.Write([]byte("\n"))
	_ = in.Close()
	if code := w.wait(cmd); code != 0 {
		w.t.Errorf("exit code %d: %s", code, out)
	}
	close(stop)
	if got := <-peak; got > most {
		w.t.Errorf("%s took %d KiB, want at most %d", netProcess, got, most)
	} else {
		w.t.Logf("%s took %d KiB", netProcess, got)
	}
	w.nothingLeft()
	return out.String()
}

// crowded opens as many connections as the limits of files allow.
func crowded(t *testing.T, w *world) {
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	const spare = 200
	count := min(10000, int(min(limit.Max, 1<<20))-spare)
	got := w.watch(nil, fmt.Sprintf("netsite crowd %s:%s %d; %s", peerAddr4, crowdPort, count, hello), 400<<10)
	if !strings.Contains(got, fmt.Sprintf("opened %d\n", count)) || !strings.Contains(got, "hello from outside\n") {
		t.Errorf("%d connections: %s", count, got)
	}
}

// manyFlows asks from many ports, which are as many flows.
func manyFlows(t *testing.T, w *world) {
	const script = "netsite ask $(for i in $(seq 1 2000); do echo " + peerAddr4 + ":7; done) | sort | uniq -c; " + hello
	got := w.watch(nil, script, 200<<10)
	if !strings.Contains(got, "2000 "+peerAddr4+":7 answer") || !strings.Contains(got, "hello from outside\n") {
		t.Errorf("%s", got)
	}
}

// ownDevice has the container do to its device what it may with a capability.
func ownDevice(t *testing.T, w *world) {
	const script = `
ip link set eth0 down; netsite dial ` + peerAddr4 + `:80; ip link set eth0 up
ip route add default via 10.0.2.2 2> /dev/null
` + hello + `
ip link set eth0 mtu 1280; ` + hello + `
ip link set eth0 mtu 1500; ip addr add 10.9.8.7/24 dev eth0; ip route add ` + farAddr4 + ` dev eth0 src 10.9.8.7
netsite dial ` + farAddr4 + `:80 > /dev/null; ` + hello + `
ip link del eth0; netsite dial ` + peerAddr4 + `:80; echo end`
	got := w.box([]string{"--cap-add", "NET_ADMIN", "--cap-add", "NET_RAW"}, "sh", "-c", script)
	if got.code != 0 || strings.Count(got.out, "hello from outside\n") != 3 || strings.Count(got.out, " unreachable ") < 1 || !strings.HasSuffix(got.out, "end\n") {
		t.Errorf("%+v", got)
	}
	w.nothingLeft()
}
