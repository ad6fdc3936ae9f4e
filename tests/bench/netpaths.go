package main

import (
	"fmt"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
)

// Ports of the fake host's loopback. Nothing else listens there.
const (
	servedPort     = 5201
	iperf3Port     = 5202
	bryoPublished  = 5301
	pastaPublished = 5302
)

// Names of the ways from a container to the host, and back.
const (
	hostPath   = "host loopback"
	bryoPath   = "bryo, --net user"
	splicePath = "pasta, splice"
	tapPath    = "pasta, tap"
	slirpPath  = "slirp4netns, MTU 65520"
	bryoPort   = "bryo, -p"
	pastaPort  = "pasta, -t"
)

// bryoRelay begins the name of the process that bryo's network is.
const bryoRelay = "bryo-net"

// pastaRelay begins the name of pasta's process, which is that of the executable
// that it becomes for the processor: passt.avx2 or pasta.avx2.
const pastaRelay = "pas"

// netPath is a way between an agent and the host's loopback.
type netPath struct {
	name     string
	is       string   // the executable, looked up in PATH
	argv     []string // what follows it, before the agent
	inside   string   // the agent's executable
	address  string   // of the host's server, as seen by the agent
	address6 string   // the same over IPv6, if that is measured
	iperf3   string   // the same of iperf3's server
	port     int      // published: the agent serves there
	relay    string   // what the name of the process that moves the data begins with
	cloning  uintptr  // namespaces that the tool wants to be made for it
	attached []string // a second process, which takes the agent's pid and a device
}

// netPaths returns all ways. The first is the host's own.
func netPaths(p plan) []netPath {
	beside := filepath.Join(filepath.Dir(p.Dir), "bin", "bench")
	root := site{p.Dir}.root()
	served, iperf3 := strconv.Itoa(servedPort), strconv.Itoa(iperf3Port)
	loopback, loopback6, iperf3Here := "127.0.0.1:"+served, "[::1]:"+served, "127.0.0.1:"+iperf3
	bryo := func(options ...string) []string {
		argv := append([]string{"run", "--userns", "single", "--net", "user", "-v", "/usr:/usr:ro"}, options...) // iperf3 is there
		return append(argv, root)
	}
	pasta := func(inward, outward string) []string {
		return []string{
			"--config-net", "-q", "-f", "-t", inward, "-u", inward, "-T", outward, "-U", outward, "--",
		}
	}
	return []netPath{
		{name: hostPath, inside: beside, address: loopback, address6: loopback6, iperf3: iperf3Here},
		{
			name: bryoPath, is: p.Tool, argv: bryo("--host-loopback"), inside: "/bin/bench",
			address: "10.0.2.2:" + served, address6: "[fd00::2]:" + served, iperf3: "10.0.2.2:" + iperf3, relay: bryoRelay,
		},
		{
			name: splicePath, is: "pasta", argv: pasta("none", served+","+iperf3), inside: beside,
			address: loopback, address6: loopback6, iperf3: iperf3Here, relay: pastaRelay,
		},
		{
			name: tapPath, is: "pasta", argv: pasta("none", "none"), inside: beside,
			address: upstream + ":" + served, relay: pastaRelay,
		},
		{
			name: slirpPath, inside: beside, cloning: syscall.CLONE_NEWNET, relay: "slirp4netns",
			attached: []string{"slirp4netns", "-c", "-m", "65520"}, address: "10.0.2.2:" + served,
		},
		{
			name: bryoPort, is: p.Tool, inside: "/bin/bench", port: bryoPublished, relay: bryoRelay,
			argv: bryo("-p", fmt.Sprintf("127.0.0.1:%d:%d", bryoPublished, bryoPublished),
				"-p", fmt.Sprintf("127.0.0.1:%d:%d/udp", bryoPublished, bryoPublished)),
			address: fmt.Sprintf("127.0.0.1:%d", bryoPublished),
		},
		{
			name: pastaPort, is: "pasta", argv: pasta(strconv.Itoa(pastaPublished), "none"), inside: beside,
			port: pastaPublished, relay: pastaRelay, address: fmt.Sprintf("127.0.0.1:%d", pastaPublished),
		},
	}
}

// over is which ways a test is made on, and how.
type over int

const (
	outward over = iota
	outward6
	published
	byIperf3
)

// netTest is one thing that is measured on each path.
type netTest struct {
	key, title, unit string
	do               string
	workers          int
	scale            float64
	over             over
	least            map[string]float64 // what bryo must reach of a path
}

func netTests() []netTest {
	pasta := func(least float64) map[string]float64 { return map[string]float64{splicePath: least, tapPath: least} }
	with := func(all map[string]float64, path string, least float64) map[string]float64 {
		all[path] = least
		return all
	}
	port := map[string]float64{pastaPort: 1.2}
	splice := map[string]float64{splicePath: 1}
	const gbit, kilo = 1e9, 1e3
	return []netTest{
		{"out", "TCP out of the container, 1 stream", "Gbit/s", "out", 1, gbit, outward, with(with(pasta(1), slirpPath, 5), hostPath, 0.45)},
		{"in", "TCP into the container, over a connection it made, 1 stream", "Gbit/s", "in", 1, gbit, outward, with(pasta(1), slirpPath, 1.8)},
		{"out4", "TCP out of the container, 4 streams", "Gbit/s", "out", 4, gbit, outward, pasta(1)},
		{"in4", "TCP into the container, over connections it made, 4 streams", "Gbit/s", "in", 4, gbit, outward, pasta(1)},
		{"out6", "TCP out of the container over IPv6, 1 stream", "Gbit/s", "out", 1, gbit, outward6, splice},
		{"in6", "TCP into the container over IPv6, over a connection it made, 1 stream", "Gbit/s", "in", 1, gbit, outward6, splice},
		{"iperf3", "iperf3 out of the container, 1 stream", "Gbit/s", "iperf3", 1, gbit, byIperf3, splice},
		{"iperf3-R", "iperf3 -R into the container, 1 stream", "Gbit/s", "iperf3-R", 1, gbit, byIperf3, splice},
		{"rr", "round trips of a byte over one connection", "1000/s", "rr", 1, kilo, outward, pasta(0.9)},
		{"crr", "new connections, a byte each, one at a time", "1000/s", "crr", 1, kilo, outward, pasta(0.9)},
		{"crr16", "new connections, a byte each, 16 at a time", "1000/s", "crr", 16, kilo, outward, pasta(0.9)},
		{"udp", "datagrams of 1400 bytes that arrive, sent without a pause", "1000/s", "udp", 1, kilo, outward, pasta(1)},
		{"port-in", "TCP to a published port, 1 stream", "Gbit/s", "out", 1, gbit, published, port},
		{"port-out", "TCP from a published port, 1 stream", "Gbit/s", "in", 1, gbit, published, port},
		{"port-crr", "new connections to a published port, one at a time", "1000/s", "crr", 1, kilo, published, nil},
		{"port-udp", "datagrams of 1400 bytes to a published port that arrive, sent without a pause", "1000/s", "udp", 1, kilo, published, map[string]float64{pastaPort: 1}},
	}
}

// takes tells which paths a test is made on.
func (t netTest) takes(p netPath) bool { return t.address(p) != "" }

// address is where the test's client finds its server by a path, if it does.
func (t netTest) address(p netPath) string {
	switch {
	case t.over == outward6:
		return p.address6
	case t.over == byIperf3:
		return p.iperf3
	case (t.over == published) == (p.port > 0):
		return p.address
	default:
		return ""
	}
}

// base is the row of bryo in the test's table.
func (t netTest) base() string {
	if t.over == published {
		return bryoPort
	}
	return bryoPath
}

// moves holds for tests whose processor time per byte is worth a table. That of
// iperf3 has gone with it.
func (t netTest) moves() bool { return t.scale == 1e9 && t.over != byIperf3 }

// chosen leaves the paths whose names contain one of the words; no words, all.
func chosen(paths []netPath, words []string) []netPath {
	return slices.DeleteFunc(paths, func(p netPath) bool {
		return len(words) > 0 && !slices.ContainsFunc(words, func(word string) bool { return strings.Contains(p.name, word) })
	})
}
