package tests

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

// Programs that people use, in containers, find the network that they know.
func TestNetPrograms(t *testing.T) {
	if !inWorld(t) {
		return
	}
	w := newWorld(t, veth)
	w.step("curl", curl)
	w.step("wget", wget)
	w.step("busybox", busyboxClients)
	w.step("dig", dig)
	w.step("names", names)
	w.step("resolv.conf changes", resolvers)
	w.step("iperf3", iperf3)
	w.step("apt-get", aptGet)
	w.step("ping", ping)
}

// megabytes is how much large transfers move.
const megabytes = 32 << 20

func curl(_ *testing.T, w *world) {
	w.prints(w.hosted(nil, "curl", "-sS", "http://web.test/hello"), "hello from outside\n")
	w.prints(w.hosted(nil, "curl", "-sS", "-4", "http://web.test/hello"), "hello from outside\n")
	w.prints(w.hosted(nil, "curl", "-sS", "-6", "http://web.test/hello"), "hello from outside\n")
	w.prints(w.hosted(nil, "curl", "-sS", "http://["+farAddr6+"]/hello"), "hello from outside\n")
	w.prints(w.hosted(nil, "curl", "-sS", "http://intranet/hello"), "hello from outside\n") // by the search list
	refused := w.hosted(nil, "curl", "-sS", "http://web.test:"+deadPort+"/")
	const couldNotConnect, noSuchName = 7, 6
	if refused.code != couldNotConnect || !strings.Contains(refused.err, "refused") && !strings.Contains(refused.err, "onnect to") {
		w.t.Errorf("a port that nobody has: %+v", refused)
	}
	if unknown := w.hosted(nil, "curl", "-sS", "http://nobody.test/"); unknown.code != noSuchName {
		w.t.Errorf("a name that nobody has: %+v", unknown)
	}
	script := fmt.Sprintf("curl -sS 'http://web.test/blob?n=%d' | sha256sum; head -c %d /dev/zero | curl -sS -T - http://web.test/sink", megabytes, megabytes)
	got := w.hosted(nil, "bash", "-c", script)
	sum := strings.Fields(receipt(megabytes))[1]
	zeros := fmt.Sprintf("%d %x\n", megabytes, sha256.Sum256(make([]byte, megabytes)))
	w.prints(got, sum+"  -\n"+zeros)
}

func wget(_ *testing.T, w *world) {
	w.prints(w.hosted(nil, "wget", "-q", "-O", "-", "--tries=1", "http://web.test/hello"), "hello from outside\n")
	w.prints(w.hosted(nil, "wget", "-q", "-6", "-O", "-", "--tries=1", "http://web.test/hello"), "hello from outside\n")
}

func busyboxClients(_ *testing.T, w *world) {
	w.prints(w.box(nil, "wget", "-q", "-O", "-", "http://web.test/hello"), "hello from outside\n")
	w.finds(w.box(nil, "nslookup", "v6.test"), peerAddr6)
	w.prints(w.box(nil, "sh", "-c", "echo moss | nc "+peerAddr4+" "+echoPort), "moss\n")
	// The network as the README has it.
	w.finds(w.box(nil, "ip", "addr", "show", "eth0"), "10.0.2.100/24", "fd00::100/64", "mtu 1500")
	w.finds(w.box(nil, "ip", "route"), "default via 10.0.2.2 dev eth0")
	w.finds(w.box(nil, "ip", "-6", "route"), "default via fd00::2 dev eth0")
	w.finds(w.box([]string{"--net-mtu", "9000"}, "ip", "link", "show", "eth0"), "mtu 9000")
}

func dig(t *testing.T, w *world) {
	short := []string{"dig", "+short", "+tries=2", "+time=5"}
	for _, row := range []struct {
		args []string
		want string
	}{
		{[]string{"web.test"}, peerAddr4 + "\n"},
		{[]string{"web.test", "AAAA"}, peerAddr6 + "\n"},
		{[]string{"+tcp", "web.test"}, peerAddr4 + "\n"},
		{[]string{"@10.0.2.3", "web.test"}, peerAddr4 + "\n"},
		{[]string{"@fd00::3", "web.test"}, peerAddr4 + "\n"},
		{[]string{"@fd00::3", "+tcp", "web.test", "AAAA"}, peerAddr6 + "\n"},
		{[]string{"nobody.test"}, ""},
		{[]string{"@" + farAddr4, "who.test"}, farAddr4 + "\n"}, // any server, not only ours
	} {
		got := w.hosted(nil, append(short, row.args...)...)
		if got.code != 0 || got.out != row.want {
			t.Errorf("dig %s: %+v, want %q", strings.Join(row.args, " "), got, row.want)
		}
	}
	// What does not fit into a datagram is asked for again.
	long := w.hosted(nil, "dig", "+short", "+bufsize=1232", "big.test", "TXT")
	if lines := strings.Count(long.out, "\n"); lines != 20 {
		t.Errorf("a long answer has %d lines, want 20: %+v", lines, long)
	}
	if w.services.dns.of("tcp big.test. TXT") == 0 {
		t.Error("the resolver was not asked by TCP")
	}
	w.finds(w.hosted(nil, "dig", "nobody.test"), "NXDOMAIN")
}

func names(_ *testing.T, w *world) {
	w.prints(w.box([]string{"--add-host", "moss:" + thirdAddr}, "netsite", "lookup", "moss"), "moss "+thirdAddr+"\n")
	w.finds(w.box([]string{"--add-host", "moss:" + thirdAddr}, "wget", "-q", "-O", "-", "http://moss/hello"), "hello from outside")
	w.prints(w.box([]string{"--dns", farAddr4}, "netsite", "lookup", "who.test"), "who.test "+farAddr4+"\n")
	w.prints(w.box([]string{"--dns-search", "example.org"}, "netsite", "lookup", "a.b"), "a.b "+farAddr4+"\n")
	w.finds(w.box([]string{"--dns-search", "example.org"}, "cat", "/etc/resolv.conf"), "search example.org", "nameserver 10.0.2.3", "nameserver fd00::3")
}

// resolvers changes the host's resolvers while containers run, to a stub on
// the loopback device too.
func resolvers(t *testing.T, w *world) {
	defer w.resolve("search corp.test\nnameserver " + peerAddr4 + "\n")
	cmd := w.boxed(nil, w.root, "sh", "-c", "while :; do nslookup -type=a who.test | tail -n 3; sleep 0.2; done")
	out := w.start(cmd)
	out.await(t, peerAddr4)
	w.resolve("nameserver " + farAddr4 + "\n")
	out.await(t, farAddr4)
	_ = cmd.Process.Kill()
	_ = cmd.Wait()

	stub := here{}
	const address = "127.0.0.53:53"
	serveDNS(t, stub.packets(t, address), stub.listen(t, address), &hits{})
	w.resolve("nameserver 127.0.0.53\noptions edns0 trust-ad\nsearch example.org\n")
	w.prints(w.box(nil, "netsite", "lookup", "who.test", "a.b"), "who.test 127.0.0.53\na.b "+farAddr4+"\n")
	w.prints(w.hosted(nil, "dig", "+short", "+tcp", "who.test"), "127.0.0.53\n")
	// The stub is there for questions alone.
	w.words(nil, "dial", map[string]string{"127.0.0.53:53": "refused", "10.0.2.2:53": "refused"})
	// A resolver that is gone is an error soon, not silence.
	w.resolve("nameserver 127.0.0.54\n")
	start := time.Now()
	if got := w.hosted(nil, "dig", "+tries=1", "+time=10", "web.test"); !strings.Contains(got.out, "SERVFAIL") && !strings.Contains(got.out, "REFUSED") {
		t.Errorf("a resolver that is gone: %+v", got)
	}
	quick(t, "a resolver that is gone", start, 9*time.Second)
}

func iperf3(t *testing.T, w *world) {
	if _, err := exec.LookPath("iperf3"); err != nil {
		t.Skip("no iperf3 here")
	}
	server := w.ordinary("iperf3", "-s", "-p", "5201", "--forceflush")
	var out *tail
	w.outside.must(t, func() error { out = w.start(server); return nil })
	defer func() {
		_ = server.Process.Kill()
		_ = server.Wait()
	}()
	out.await(t, "listening")
	for _, flags := range [][]string{{}, {"-R"}, {"-P", "4"}, {"-u", "-b", "20M", "-l", "1400"}, {"-c", peerAddr6}} {
		got := w.hosted(nil, append([]string{"iperf3", "-J", "-t", "1", "-c", peerAddr4, "-p", "5201"}, flags...)...)
		var report struct {
			End struct {
				Received struct {
					Rate float64 `json:"bits_per_second"`
				} `json:"sum_received"`
				Sum struct {
					Rate float64 `json:"bits_per_second"`
				} `json:"sum"`
			} `json:"end"`
		}
		err := json.Unmarshal([]byte(got.out), &report)
		const least = 5e6 // it works; how fast it is, the bench says
		rate := max(report.End.Received.Rate, report.End.Sum.Rate)
		if err != nil || got.code != 0 || rate < least {
			t.Errorf("iperf3 %v: %v, exit code %d, %.0f bit/s\n%.500s%s", flags, err, got.code, rate, got.out, got.err)
		}
	}
}

// aptGet has a repository of one package.
func aptGet(t *testing.T, w *world) {
	if _, err := exec.LookPath("dpkg-deb"); err != nil {
		t.Skip("no dpkg-deb here")
	}
	w.repository()
	const script = `
mkdir -p /tmp/apt/state/lists/partial /tmp/apt/cache/archives/partial
echo 'deb [trusted=yes] http://web.test/apt ./' > /tmp/apt/sources.list
cat > /tmp/apt/conf << E
Dir::Etc::parts "-"; Dir::Etc::main "-"; Dir::Etc::sourcelist "/tmp/apt/sources.list"; Dir::Etc::sourceparts "-";
Dir::State "/tmp/apt/state"; Dir::Cache "/tmp/apt/cache"; Dir::State::status "/dev/null"; APT::Sandbox::User "root";
E
export APT_CONFIG=/tmp/apt/conf
apt-get -q update && cd /tmp && apt-get -q download moss && dpkg-deb --field moss_1_all.deb Package`
	got := w.hosted([]string{"-w", "/tmp"}, "bash", "-c", script)
	if got.code != 0 || !strings.HasSuffix(got.out, "\nmoss\n") {
		t.Errorf("apt-get: %+v", got)
	}
}

// repository puts a package and what lists it where the HTTP server serves it.
func (w *world) repository() {
	w.t.Helper()
	dir := filepath.Join(w.dir, "apt")
	const control = "Package: moss\nVersion: 1\nArchitecture: all\nMaintainer: nobody <nobody@localhost>\nDescription: a green thing\n"
	pack := fmt.Sprintf("mkdir -p %[1]s moss/DEBIAN && printf '%[2]s' > moss/DEBIAN/control && dpkg-deb --build --root-owner-group moss %[1]s/moss_1_all.deb", dir, strings.ReplaceAll(control, "\n", `\n`))
	if got := w.sh(pack); got.code != 0 {
		w.t.Fatalf("%+v", got)
	}
	deb, err := os.ReadFile(filepath.Join(dir, "moss_1_all.deb"))
	if err != nil {
		w.t.Fatal(err)
	}
	list := fmt.Sprintf("%sFilename: ./moss_1_all.deb\nSize: %d\nSHA256: %x\n\n", control, len(deb), sha256.Sum256(deb))
	var packed bytes.Buffer
	zip := gzip.NewWriter(&packed)
	_, _ = zip.Write([]byte(list))
	_ = zip.Close()
	release := fmt.Sprintf("Date: Thu, 01 Jan 2026 00:00:00 UTC\nSuite: moss\nSHA256:\n %x %d Packages\n %x %d Packages.gz\n",
		sha256.Sum256([]byte(list)), len(list), sha256.Sum256(packed.Bytes()), packed.Len())
	for name, text := range map[string]string{"Packages": list, "Packages.gz": packed.String(), "Release": release} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			w.t.Fatal(err)
		}
	}
	w.services.files.Handle("GET /apt/", http.StripPrefix("/apt/", http.FileServer(http.Dir(dir))))
}

// ping works where the host lets the user ping, and says what is wrong where
// it does not.
func ping(t *testing.T, w *world) {
	const who = "/proc/sys/net/ipv4/ping_group_range"
	raw := []string{"--cap-add", "NET_RAW"}
	start := time.Now()
	got := w.hosted(raw, "ping", "-c", "1", "-W", "15", peerAddr4)
	if got.code == 0 || !strings.Contains(got.out, "rohibited") && !strings.Contains(got.out, "filtered") && !strings.Contains(got.out, "nreachable") {
		t.Errorf("where the host forbids it, which a new one does, ping says: %+v", got)
	}
	quick(t, "a ping that is forbidden", start, 12*time.Second)
	group := strconv.Itoa(os.Getgid())
	if err := os.WriteFile(who, []byte(group+" "+group), 0o644); err != nil {
		t.Skip("the host's pings cannot be allowed: ", err)
	}
	for _, addr := range []string{peerAddr4, peerAddr6, farAddr4, "web.test"} {
		w.finds(w.hosted(raw, "ping", "-c", "2", "-i", "0.2", "-W", "5", addr), "2 received")
	}
	w.finds(w.hosted(raw, "ping", "-c", "1", "-W", "5", "-s", "4000", peerAddr4), "4008 bytes from", "1 received")
	w.finds(w.box(raw, "ping", "-c", "1", "-W", "5", peerAddr4), "1 packets received")
	for _, addr := range []string{unreachableAddr, metadataAddr, hostAddr4} {
		if got := w.hosted(raw, "ping", "-c", "1", "-W", "2", addr); got.code == 0 {
			t.Errorf("ping %s: %+v", addr, got)
		}
	}
}
