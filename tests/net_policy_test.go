package tests

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// What a container may reach can be said, is kept to, and can be looked at.
func TestNetPolicy(t *testing.T) {
	if !inWorld(t) {
		return
	}
	w := newWorld(t, veth)
	w.step("addresses", addressRules)
	w.step("domains", domainRules)
	w.step("one registry and nothing else", oneRegistry)
	w.step("short answers", shortAnswers)
	w.step("mistakes", ruleMistakes)
	w.step("log", netLog)
	w.step("pcap", pcap)
	w.step("pipes", netPipes)
	w.step("rate", netRate)
}

func addressRules(t *testing.T, w *world) {
	const open, shut = "open", "refused"
	peer80, peer7, peer6, far80, far6 := peerAddr4+":80", peerAddr4+":7", "["+peerAddr6+"]:80", farAddr4+":80", "["+farAddr6+"]:80"
	for _, row := range []struct {
		name  string
		flags []string
		want  map[string]string
	}{
		{"none", nil, map[string]string{peer80: open, peer6: open, far80: open}},
		{"an address denied", []string{"--deny", farAddr4}, map[string]string{peer80: open, far80: shut, far6: open}},
		{"a network denied", []string{"--deny", "198.51.100.0/24"}, map[string]string{peer80: open, far80: shut}},
		{"a port denied", []string{"--deny", "*:80"}, map[string]string{peer80: shut, peer6: shut, peer7: open}},
		{"a range denied", []string{"--deny", "*:1-79,9000-10000"}, map[string]string{peer80: open, peer7: shut, peerAddr4 + ":9001": shut}},
		{"a network allowed", []string{"--allow", "192.0.2.0/24"}, map[string]string{peer80: open, far80: shut, far6: shut}},
		{"ports allowed", []string{"--allow", "192.0.2.0/24:80,9001/tcp"}, map[string]string{peer80: open, peer7: shut, peerAddr4 + ":9001": open}},
		{"version 6", []string{"--allow", "2001:db8::/64"}, map[string]string{peer80: shut, peer6: open, far6: shut}},
		{"version 6 with a port", []string{"--allow", "[2001:db8:1::7]:80"}, map[string]string{far6: open, "[" + farAddr6 + "]:7": shut}},
		{"the first match", []string{"--deny", farAddr4, "--allow", "*"}, map[string]string{peer80: open, far80: shut}},
		{"the first match, the other way", []string{"--allow", farAddr4, "--deny", "198.51.100.0/24"}, map[string]string{far80: open, peer80: shut}},
		{"another protocol", []string{"--deny", "*/udp"}, map[string]string{peer80: open}},
	} {
		t.Run(row.name, func(t *testing.T) { w.at(t).words(row.flags, "dial", row.want) })
	}
	w.words([]string{"--deny", "*/udp"}, "ask", map[string]string{peer7: "refused|unreachable|forbidden"})
	w.words([]string{"--allow", "192.0.2.0/24:7/udp"}, "ask", map[string]string{peer7: "answer", farAddr4 + ":7": "refused|unreachable|forbidden"})
	// Our own DNS is no destination: names resolve whatever is denied.
	w.prints(w.box([]string{"--deny", "*/udp"}, "netsite", "lookup", "v6.test"), "v6.test "+peerAddr6+"\n")
}

func domainRules(_ *testing.T, w *world) {
	far, third := "registry.example.org", "other.example.net"
	const shut = "refused|unresolved" // a name that may not be reached is as good as none
	below := []string{"--allow", "*.example.org:80"}
	w.words(below, "dial", map[string]string{far + ":80": "open", "a.b.example.org:80": "open", third + ":80": shut})
	w.words(below, "dial", map[string]string{"example.org:80": shut, "web.test:80": shut})
	// The address alone says nothing, until a name was resolved to it.
	w.words(below, "dial", map[string]string{farAddr4 + ":80": "refused", "[" + farAddr6 + "]:80": "refused"})
	const script = "netsite lookup registry.example.org; netsite dial " + farAddr4 + ":80 [" + farAddr6 + "]:80 " + farAddr4 + ":7"
	w.finds(w.box(below, "sh", "-c", script), farAddr4+":80 open", "["+farAddr6+"]:80 open", farAddr4+":7 refused")
	w.words([]string{"--deny", third}, "dial", map[string]string{third + ":80": shut, far + ":80": "open", "web.test:80": "open"})
	w.words([]string{"--allow", "EXAMPLE.org"}, "dial", map[string]string{"example.org:80": "open", far + ":80": shut})
	// A name may lead to where nobody may go.
	w.words([]string{"--allow", "*.example.org"}, "dial", map[string]string{"rebind.example.org:" + housePort: "refused", "metadata.example.org:80": "refused"})
	// Answers that others give do not count.
	const elsewhere = "nslookup -type=a registry.example.org " + thirdAddr + "; netsite dial " + farAddr4 + ":80"
	w.finds(w.box([]string{"--allow", "*.example.org:80", "--allow", thirdAddr + ":53"}, "sh", "-c", elsewhere), farAddr4+":80 refused")
}

// oneRegistry is what CI runners ask for.
func oneRegistry(_ *testing.T, w *world) {
	flags := []string{"--allow", "registry.example.org:80/tcp"}
	w.prints(w.hosted(flags, "curl", "-sS", "http://registry.example.org/hello"), "hello from outside\n")
	w.prints(w.hosted(flags, "curl", "-sS", "-6", "http://registry.example.org/hello"), "hello from outside\n")
	for _, url := range []string{"http://web.test/hello", "http://" + peerAddr4 + "/", "http://example.org/", "http://registry.example.org:9001/", "http://[" + peerAddr6 + "]/", "http://10.0.2.2:8080/"} {
		if got := w.hosted(flags, "curl", "-sS", "-m", "10", url); got.code == 0 || strings.Contains(got.err, "imed out") {
			w.t.Errorf("curl %s: %+v, want a refusal", url, got)
		}
	}
}

// shortAnswers leave time to connect: that they are forgotten in the end, the
// DNS' own tests see.
func shortAnswers(_ *testing.T, w *world) {
	const script = "netsite lookup brief.example.org; sleep 2; netsite dial " + farAddr4 + ":80"
	w.finds(w.box([]string{"--allow", "*.example.org"}, "sh", "-c", script), farAddr4+":80 open")
}

func ruleMistakes(t *testing.T, w *world) {
	for _, flags := range [][]string{
		{"--allow", ""},
		{"--allow", "300.1.2.3"},
		{"--allow", "192.0.2.0/33"},
		{"--deny", "*:0-70000"},
		{"--deny", "*:9-8"},
		{"--allow", "*/sctp"},
		{"--allow", "a..example.org"},
		{"--allow", "x*.example.org"},
		{"--net-rate", "fast"},
		{"--dns", "web.test"},
		{"--add-host", "moss"},
		{"--net-mtu", "12"},
		{"--host-loopback=0"},
		{"-p", "80:"},
		{"-p", "8000-8001:80"},
		{"--net", "none", "-p", "8090:80"},
		{"--net", "host", "--allow", "*"},
		{"--net", "none", "--net-mtu", "1400"},
		{"--net", "host", "--dns-search", "corp.test"},
		{"--net", "host", "--add-host", "moss:192.0.2.7"},
		{"--net", "moss"},
	} {
		got := w.box(flags, "echo", "it ran")
		lines := strings.Count(got.err, "\n")
		if got.code != 125 || got.out != "" || !strings.HasPrefix(got.err, "bryo: ") || lines > 3 {
			t.Errorf("%q: %+v, want a refusal of one to three lines", flags, got)
		}
	}
}

// netLog has a line for each flow, whether allowed or not.
func netLog(t *testing.T, w *world) {
	file := filepath.Join(w.dir, "net.log")
	const script = "netsite lookup web.test Other.Example.NET; netsite dial web.test:80 " + farAddr4 + ":80; netsite give " + peerAddr4 + ":" + sumPort + " 100000; netsite ask " + peerAddr4 + ":7"
	if got := w.box([]string{"--net-log", file, "--deny", farAddr4, "--deny", "other.example.net"}, "sh", "-c", script); got.code != 0 {
		t.Fatalf("%+v", got)
	}
	w.nothingLeft() // it has written all
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		var entry map[string]any
		if err := json.Unmarshal([]byte(line), &entry); err != nil {
			t.Errorf("%v: %s", err, line)
		}
	}
	for _, want := range [][]string{
		{"tcp", peerAddr4, "allow", "80"},
		{"tcp", farAddr4, "deny", "80"},
		{"tcp", peerAddr4, "allow", sumPort, "100000"}, // bytes
		{"udp", peerAddr4, "allow"},
		{`"protocol":"dns"`, `"name":"other.example.net"`, `"verdict":"deny"`, `"time":"20`},
	} {
		if !hasLine(string(text), want) {
			t.Errorf("no line with %q in\n%s", want, text)
		}
	}
	if hasLine(string(text), []string{"dns", "allow"}) || hasLine(string(text), []string{"dns", "web.test"}) {
		t.Errorf("a question that was answered, in\n%s", text)
	}
	if info, err := os.Stat(file); err != nil || info.Mode().Perm()&0o077 != 0 {
		t.Errorf("others can read what a container does: %v, %v", info.Mode(), err)
	}
}

// netPipes are no files: without a reader the run is refused instead of waiting
// for one, and with one it gets all lines.
func netPipes(t *testing.T, w *world) {
	pipe := filepath.Join(w.dir, "pipe")
	if err := unix.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, flag := range []string{"--net-log", "--pcap"} {
		start := time.Now()
		got := w.box([]string{flag, pipe}, "echo", "it ran")
		quick(t, flag+" to a pipe without a reader", start, 3*time.Second)
		if got.code != 125 || got.out != "" || !strings.Contains(got.err, "nobody reads") || !strings.Contains(got.err, "\nfix: ") || strings.Count(got.err, "\n") > 3 {
			t.Errorf("%s: %+v, want a refusal with a fix", flag, got)
		}
	}
	reader, err := os.OpenFile(pipe, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = reader.Close() }()
	w.finds(w.box([]string{"--net-log", pipe}, "netsite", "dial", peerAddr4+":80"), "open")
	w.nothingLeft()
	if text, err := io.ReadAll(reader); err != nil || !hasLine(string(text), []string{peerAddr4, "allow"}) {
		t.Errorf("through the pipe came %q, %v", text, err)
	}
}

// hasLine says whether a line has all words.
func hasLine(text string, words []string) bool {
	for line := range strings.Lines(text) {
		all := true
		for _, word := range words {
			all = all && strings.Contains(line, word)
		}
		if all {
			return true
		}
	}
	return false
}

func pcap(t *testing.T, w *world) {
	file := filepath.Join(w.dir, "net.pcap")
	const script = "netsite dial " + peerAddr4 + ":80 [" + peerAddr6 + "]:80; netsite ask " + peerAddr4 + ":7; netsite lookup web.test"
	if got := w.box([]string{"--pcap", file}, "sh", "-c", script); got.code != 0 {
		t.Fatalf("%+v", got)
	}
	w.nothingLeft()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	packets, err := readPcap(text)
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]int{}
	for _, p := range packets {
		seen[flowOf(p)]++
	}
	for _, flow := range []string{
		"6 10.0.2.100>" + peerAddr4, "6 " + peerAddr4 + ">10.0.2.100",
		"6 fd00::100>" + peerAddr6, "6 " + peerAddr6 + ">fd00::100",
		"17 10.0.2.100>" + peerAddr4, "17 " + peerAddr4 + ">10.0.2.100",
		"17 10.0.2.100>10.0.2.3", "17 10.0.2.3>10.0.2.100",
	} {
		if seen[flow] == 0 {
			t.Errorf("no packet %s among %v", flow, seen)
		}
	}
	w.othersRead(file)
}

// othersRead has the programs that people use read a file of packets.
func (w *world) othersRead(file string) {
	w.t.Helper()
	for _, reader := range [][]string{{"tcpdump", "-n", "-r", file}, {"tshark", "-n", "-r", file}, {"capinfos", file}} {
		if _, err := exec.LookPath(reader[0]); err != nil {
			continue
		}
		got := w.end(w.ordinary(reader[0], reader[1:]...))
		if got.code != 0 || strings.Contains(got.err, "cut short") || reader[0] != "capinfos" && !strings.Contains(got.out, peerAddr4) {
			w.t.Errorf("%s: %+v", reader[0], got)
		}
	}
}

// readPcap reads a file of packets: draft-ietf-opsawg-pcap, and -pcapng.
func readPcap(text []byte) ([][]byte, error) {
	const (
		micro, nano, ng = 0xa1b2c3d4, 0xa1b23c4d, 0x0a0d0d0a
		fileHeader      = 24
		packetHeader    = 16
		enhanced        = 6
		rawLink         = 101
	)
	if len(text) < fileHeader {
		return nil, fmt.Errorf("%d bytes are no pcap file", len(text))
	}
	word := func(at int) int { return int(binary.LittleEndian.Uint32(text[at:])) }
	var packets [][]byte
	switch word(0) {
	case micro, nano:
		if link := word(20); link != rawLink {
			return nil, fmt.Errorf("link type %d", link)
		}
		for at := fileHeader; at < len(text); {
			length := word(at + 8)
			packets = append(packets, text[at+packetHeader:at+packetHeader+length])
			at += packetHeader + length
		}
	case ng:
		for at := 0; at < len(text); at += word(at + 4) {
			if word(at) == enhanced {
				packets = append(packets, text[at+28:at+28+word(at+20)])
			}
		}
	default:
		return nil, fmt.Errorf("magic %#x", word(0))
	}
	return packets, nil
}

// flowOf names what a packet belongs to: "6 10.0.2.100>192.0.2.1".
func flowOf(p []byte) string {
	const least4, least6 = 20, 40
	switch {
	case len(p) >= least4 && p[0]>>4 == 4:
		from, _ := netip.AddrFromSlice(p[12:16])
		to, _ := netip.AddrFromSlice(p[16:20])
		return fmt.Sprintf("%d %s>%s", p[9], from, to)
	case len(p) >= least6 && p[0]>>4 == 6:
		from, _ := netip.AddrFromSlice(p[8:24])
		to, _ := netip.AddrFromSlice(p[24:40])
		return fmt.Sprintf("%d %s>%s", p[6], from, to)
	}
	return hex.EncodeToString(bytes.TrimSpace(p[:min(len(p), 16)]))
}

// netRate checks that it takes about as long as said.
func netRate(t *testing.T, w *world) {
	const size, rate, slack = 3 << 20, 1 << 20, 2 // the bucket may be full at first
	least := time.Duration(size/rate-slack) * time.Second
	limited := func(name string, move func()) {
		start := time.Now()
		move()
		if took := time.Since(start); took < least || took > longestWait {
			t.Errorf("%s: %d bytes took %v", name, size, took)
		}
	}
	limited("out", func() {
		got := w.box([]string{"--net-rate", "1M:1G"}, "netsite", "give", peerAddr4+":"+sumPort, strconv.Itoa(size))
		w.prints(got, fmt.Sprintf("gave %d\n", size))
	})
	limited("in", func() { w.take([]string{"--net-rate", "1G:1M"}, peerAddr4, size) })
}
