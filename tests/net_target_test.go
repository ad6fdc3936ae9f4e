package tests

import (
	"fmt"
	"maps"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// Connections go where they may, and end inside as they do outside.
func TestNetTargets(t *testing.T) {
	if !inWorld(t) {
		return
	}
	w := newWorld(t, veth)
	w.step("the world is what it seems", truth)
	w.step("outcomes", outcomes)
	w.step("halves and resets", halves)
	w.step("datagrams", datagrams)
	w.step("never by default", never)
	w.step("unusual forms", forms)
	w.step("host loopback", hostLoopback)
}

// quick bounds a time that is to be short, on a machine that may be slow.
func quick(t *testing.T, what string, start time.Time, most time.Duration) {
	t.Helper()
	if took := time.Since(start); took > most {
		t.Errorf("%s took %v", what, took)
	}
}

// here is the host's side of the world: what a place is outside.
type here struct{}

func (here) listen(t *testing.T, addr string) net.Listener {
	t.Helper()
	listener, err := net.Listen("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	return listener
}

func (here) packets(t *testing.T, addr string) net.PacketConn {
	t.Helper()
	packets, err := net.ListenPacket("udp", addr)
	if err != nil {
		t.Fatal(err)
	}
	return packets
}

// words has a container dial or ask each address, and checks in which word it
// ends. Words that would do as well stand behind a bar.
func (w *world) words(flags []string, verb string, want map[string]string) {
	w.t.Helper()
	addrs := slices.Sorted(maps.Keys(want))
	got := w.box(flags, append([]string{"netsite", verb}, addrs...)...)
	if lines := strings.Count(got.out, "\n"); got.code != 0 || lines != len(addrs) {
		w.t.Errorf("netsite %s %v: %+v", verb, addrs, got)
		return
	}
	for line := range strings.Lines(got.out) {
		fields := strings.Fields(line)
		if !slices.Contains(strings.Split(want[fields[0]], "|"), fields[1]) {
			w.t.Errorf("%v %s %s: %s, want %s", flags, verb, fields[0], strings.Join(fields[1:], " "), want[fields[0]])
		}
	}
}

// truth checks that what containers are refused is there for others.
func truth(t *testing.T, w *world) {
	for _, addr := range []string{
		metadataAddr + ":80", peerAddr4 + ":80", farAddr4 + ":80", "[" + farAddr6 + "]:80",
		"127.0.0.1:" + housePort, "[::1]:" + housePort, hostAddr4 + ":" + housePort, "[" + hostAddr6 + "]:" + housePort,
	} {
		conn, err := net.DialTimeout("tcp", addr, longestWait)
		if err != nil {
			t.Error(err)
			continue
		}
		_ = conn.Close()
	}
	conn, err := w.outside.dial("tcp", hostAddr4+":"+housePort)
	if err != nil {
		t.Fatal(err)
	}
	_ = conn.Close()
}

func outcomes(t *testing.T, w *world) {
	w.words(nil, "dial", map[string]string{
		peerAddr4 + ":80":                 "open",
		"[" + peerAddr6 + "]:80":          "open",
		farAddr4 + ":80":                  "open",
		"[" + farAddr6 + "]:80":           "open",
		peerAddr4 + ":" + deadPort:        "refused",
		"[" + peerAddr6 + "]:" + deadPort: "refused",
		unreachableAddr + ":80":           "unreachable",
	})
	w.words(nil, "ask", map[string]string{
		peerAddr4 + ":7":                  "answer",
		"[" + farAddr6 + "]:7":            "answer",
		peerAddr4 + ":" + deadPort:        "refused",
		"[" + peerAddr6 + "]:" + deadPort: "refused",
		silentAddr + ":7":                 "silence",
		unreachableAddr + ":7":            "unreachable|silence", // which Linux keeps from most programs
	})
	// A refusal comes at once. The best of a few is the network's own time.
	dead := peerAddr4 + ":" + deadPort
	got := w.box(nil, "netsite", "dial", dead, dead, dead, dead, dead)
	best := int64(1 << 20)
	for line := range strings.Lines(got.out) {
		fields := strings.Fields(line)
		took, err := strconv.ParseInt(fields[len(fields)-1], 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		best = min(best, took)
	}
	const most = 50
	if best > most {
		t.Errorf("a refusal takes %d ms: %+v", best, got)
	}
	// Nobody answers: the client waits as long as it likes, and is not told that
	// it is connected.
	start := time.Now()
	if got := w.box(nil, "sh", "-c", "timeout 1 netsite dial "+silentAddr+":80"); got.out != "" {
		t.Errorf("connected to nobody: %+v", got)
	}
	quick(t, "giving up after a second", start, 10*time.Second)
}

func halves(_ *testing.T, w *world) {
	for _, addr := range []string{peerAddr4, "[" + peerAddr6 + "]"} {
		for _, n := range []int64{0, 1, 1460, megabytes} {
			size := strconv.FormatInt(n, 10)
			w.prints(w.box(nil, "netsite", "give", addr+":"+sumPort, size), "gave "+size+"\n")
			w.take(nil, addr, n)
		}
	}
	w.prints(w.box(nil, "netsite", "read", peerAddr4+":"+resetPort), "reset\n")
}

// take has a container read what a server sends that closes its half then, and
// answer on the other. It goes on until the answer is there: what a container
// sends as it ends may be lost with it.
func (w *world) take(flags []string, addr string, n int64) {
	w.t.Helper()
	cmd := w.boxed(flags, w.root, "sh", "-c", fmt.Sprintf("netsite take %s:%s %d; read line", addr, pourPort, n))
	in, err := cmd.StdinPipe()
	if err != nil {
		w.t.Fatal(err)
	}
	out := w.start(cmd)
	select {
	case got := <-w.services.sums:
		if got != receipt(n) {
			w.t.Errorf("%s, %d bytes: the server that had closed its half got %q", addr, n, got)
		}
	case <-time.After(longestCommand):
		w.t.Errorf("%s, %d bytes: the server that had closed its half got nothing", addr, n)
	}
	_ = in.Close()
	w.wait(cmd)
	if want := fmt.Sprintf("took %d\n", n); out.String() != want {
		w.t.Errorf("printed %q, want %q", out, want)
	}
}

func datagrams(t *testing.T, w *world) {
	for _, n := range []int{1, 1472, 1473, 9000, 60000} {
		size := strconv.Itoa(n)
		for _, addr := range []string{peerAddr4 + ":7", "[" + peerAddr6 + "]:7"} {
			w.prints(w.box(nil, "netsite", "datagram", addr, size), size+" answer\n")
		}
	}
	if w.services.of("udp "+peerAddr4+":7") == 0 {
		t.Error("nothing came")
	}
}

// forbidden are the addresses that no container reaches unless told. Not among
// them are those that the kernel of the container takes for its own.
func forbidden() []string {
	return []string{"10.0.2.2", hostAddr4, metadataAddr, "169.254.1.1", "fd00::2", hostAddr6}
}

// own are addresses that the container's kernel takes for its own.
func own() []string { return []string{"127.0.0.1", "127.1.2.3", "0.0.0.0", "::1", "::"} }

// never tries them by address and by names that lead there.
func never(t *testing.T, w *world) {
	before, house := w.services.of("tcp "+metadataAddr+":80"), w.house.all()
	tcp, udp := map[string]string{}, map[string]string{}
	for _, addr := range slices.Concat(forbidden(), own()) {
		tcp[net.JoinHostPort(addr, housePort)] = "refused"
		tcp[net.JoinHostPort(addr, "80")] = "refused"
		udp[net.JoinHostPort(addr, housePort)] = "refused|unreachable|forbidden"
	}
	for _, name := range []string{"metadata.example.org", "localhost.example.org"} {
		tcp[net.JoinHostPort(name, housePort)] = "refused"
		tcp[net.JoinHostPort(name, "80")] = "refused"
	}
	w.words(nil, "dial", tcp)
	w.words(nil, "ask", udp)
	// A rule does not open them either: it says where else one may go.
	w.words([]string{"--allow", "*"}, "dial", tcp)
	w.words([]string{"--allow", "*.example.org", "--allow", "0.0.0.0/0", "--allow", "::/0"}, "dial", tcp)
	if got := w.services.of("tcp " + metadataAddr + ":80"); got != before {
		t.Errorf("the metadata server was reached %d times", got-before)
	}
	w.ip(nil, "addr add 198.51.100.200/32 dev lo")
	cmd := w.boxed(nil, w.root, "sh", "-c", "echo ready; read line; netsite dial 198.51.100.201:"+housePort+" 198.51.100.200:"+housePort)
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out := w.start(cmd)
	out.await(t, "ready")
	// An address that the host gets later is its own as well.
	w.ip(nil, "addr add 198.51.100.201/32 dev lo")
	_, _ = in.Write([]byte("\n"))
	_ = in.Close()
	w.wait(cmd)
	if strings.Count(out.String(), " refused ") != 2 {
		t.Errorf("addresses that the host got in the meantime: %s", out)
	}
	if got := w.house.all(); !maps.Equal(got, house) {
		t.Errorf("the host's own servers were reached: %v, before %v", got, house)
	}
}

// forms are addresses that mean others.
func forms(t *testing.T, w *world) {
	house := w.house.all()
	w.words(nil, "dial", map[string]string{
		"[::ffff:127.0.0.1]:" + housePort:         "refused",
		"[::ffff:169.254.169.254]:80":             "refused",
		"[::ffff:10.0.2.2]:" + housePort:          "refused",
		"[::ffff:" + hostAddr4 + "]:" + housePort: "refused",
		"[::127.0.0.1]:" + housePort:              "refused|unreachable|forbidden",
		"[64:ff9b::7f00:1]:" + housePort:          "refused|unreachable|forbidden",
		"[64:ff9b::a9fe:a9fe]:80":                 "refused|unreachable|forbidden",
		"[2002:7f00:1::1]:" + housePort:           "refused|unreachable|forbidden",
		"[fe80::1%eth0]:" + housePort:             "refused|unreachable|forbidden",
	})
	if got := w.house.all(); !maps.Equal(got, house) {
		t.Errorf("the host's own servers were reached: %v, before %v", got, house)
	}
}

func hostLoopback(t *testing.T, w *world) {
	acceptLoop(t, here{}.listen(t, "127.0.0.1:8081"), w.house, echoConn)
	open := map[string]string{
		"10.0.2.2:" + housePort: "open", "[fd00::2]:" + housePort: "open", "10.0.2.2:8081": "open",
		"10.0.2.2:" + deadPort: "refused", hostAddr4 + ":" + housePort: "refused", metadataAddr + ":80": "refused",
		"[" + hostAddr6 + "]:" + housePort: "refused", "10.0.2.3:" + housePort: "refused",
	}
	w.words([]string{"--host-loopback"}, "dial", open)
	w.words([]string{"--host-loopback"}, "ask", map[string]string{"10.0.2.2:" + housePort: "answer", "[fd00::2]:" + housePort: "answer"})
	listed := maps.Clone(open)
	listed["10.0.2.2:8081"] = "refused"
	w.words([]string{"--host-loopback=" + housePort}, "dial", listed)
	if w.house.of("tcp 127.0.0.1:"+housePort) == 0 || w.house.of("tcp [::1]:"+housePort) == 0 {
		t.Errorf("it is not the loopback device that was reached: %v", w.house.all())
	}
}

// private is the private memory of a process in KiB: proc_pid_status(5).
func private(pid int) int {
	text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	_, rest, _ := strings.Cut(string(text), "RssAnon:")
	if fields := strings.Fields(rest); len(fields) > 0 {
		n, _ := strconv.Atoi(fields[0])
		return n
	}
	return 0
}
