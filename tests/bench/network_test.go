package main

import (
	"bytes"
	"encoding/json"
	"io"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"
)

// served starts a server on a free port of loopback.
func served(t *testing.T) string {
	t.Helper()
	// The same port must be free for TCP and UDP.
	for range 10 {
		first, err := listen("127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		address := first.tcp.Addr().String()
		if err := first.close(); err != nil {
			t.Fatal(err)
		}
		s, err := listen(address)
		if err != nil {
			continue
		}
		t.Cleanup(func() { _ = s.close() })
		return address
	}
	t.Fatal("no port found")
	return ""
}

func TestAgentDoesEachOrder(t *testing.T) {
	address := served(t)
	for _, o := range []order{
		{Do: "ready"},
		{Do: "out"},
		{Do: "out", Workers: 3},
		{Do: "in"},
		{Do: "rr"},
		{Do: "crr"},
		{Do: "crr", Workers: 4},
		{Do: "udp"},
		{Do: "load", Workers: 6},
	} {
		o.Address, o.Millis = address, 50
		t.Run(o.Do, func(t *testing.T) {
			begin := time.Now()
			a, err := o.obey()
			if err != nil {
				t.Fatal(err)
			}
			if o.Do != "ready" && a.Value <= 0 {
				t.Errorf("got %+v, want a figure", a)
			}
			if moves := o.Do == "out" || o.Do == "in" || o.Do == "udp"; moves != (a.Bytes > 0) {
				t.Errorf("got %v bytes", a.Bytes)
			}
			if a.Lost < 0 || a.Lost > 1 {
				t.Errorf("lost a share of %v", a.Lost)
			}
			if took := time.Since(begin); took > o.limit() {
				t.Errorf("took %v", took)
			}
		})
	}
}

func TestAgentTellsWhatWentWrong(t *testing.T) {
	s, err := listen("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	closed := s.tcp.Addr().String()
	if err := s.close(); err != nil {
		t.Fatal(err)
	}
	orders, answers := bytes.Buffer{}, bytes.Buffer{}
	in := json.NewEncoder(&orders)
	for _, o := range []order{
		{Do: "out", Address: closed, Millis: 50, Workers: 8},
		{Do: "serve", Address: "127.0.0.1"},
		{Do: "dance"},
	} {
		if err := in.Encode(o); err != nil {
			t.Fatal(err)
		}
	}
	if err := agent(&orders, &answers); err != nil {
		t.Fatal(err)
	}
	out := json.NewDecoder(&answers)
	for _, want := range []string{"8 of 8: ", "ip:port", "no such order: dance"} {
		a := answer{}
		if err := out.Decode(&a); err != nil || !strings.Contains(a.Error, want) || strings.Contains(a.Error, "\n") {
			t.Errorf("got %+v, %v, want one line with %q", a, err, want)
		}
	}
}

func TestNetworkPathsAndTests(t *testing.T) {
	paths := netPaths(plan{Dir: "/x/base", Tool: "/x/bin/bryo"})
	for _, test := range netTests() {
		names := []string{}
		for _, p := range paths {
			if test.takes(p) {
				names = append(names, p.name)
			}
		}
		if len(names) < 2 || !strings.Contains(strings.Join(names, "\n"), test.base()) {
			t.Errorf("%s is made on %q", test.key, names)
		}
		for name := range test.least {
			if !strings.Contains(strings.Join(names, "\n"), name) {
				t.Errorf("%s has a target against %q, where it is not made", test.key, name)
			}
		}
	}
	if got := chosen(netPaths(plan{}), []string{"pasta", "host"}); len(got) != 4 {
		t.Errorf("chose %d paths, want 4", len(got))
	}
	if got := chosen(netPaths(plan{}), nil); len(got) != len(paths) {
		t.Errorf("chose %d paths, want all", len(got))
	}
}

func TestNetworkFlags(t *testing.T) {
	for _, test := range []struct {
		args string
		want string // of the error
	}{
		{"", ""},
		{"-net-only out,memory -net-paths pasta -net-rounds 9 -net-time 2s", ""},
		{"-net-only dance", "not one of out, in"},
		{"-net-rounds 0", "positive"},
		{"-net-time 1h", "from 10ms to 20s"},
	} {
		p, err := parse(strings.Fields(test.args), io.Discard)
		if (err != nil) != (test.want != "") || err != nil && !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %v, want %q", test.args, err, test.want)
		}
		if err == nil && test.args != "" && (p.Net.wants("in") || !p.Net.wants("memory") || p.Net.Rounds != 9) {
			t.Errorf("%s: got %+v", test.args, p.Net)
		}
	}
}

func TestParsePrivate(t *testing.T) {
	for _, test := range []struct {
		name, text string
		want       int
		fails      bool
	}{
		{"both", "x\nRss: 99 kB\nPrivate_Clean:   176 kB\nPrivate_Dirty: 19660 kB\nPrivate_Hugetlb: 7 kB\n", 19660, false},
		{"one", "Private_Clean: 176 kB\n", 0, true},
		{"no number", "Private_Dirty: x kB\n", 0, true},
		{"nothing", "", 0, true},
	} {
		got, err := parsePrivate(test.text)
		if got != test.want && err == nil || (err != nil) != test.fails {
			t.Errorf("%s: got %d, %v", test.name, got, err)
		}
	}
	if mb, err := private([]int{os.Getpid()}); err != nil || mb <= 0 {
		t.Errorf("this process has %v MB of its own, %v", mb, err)
	}
	if _, err := private(nil); err == nil {
		t.Error("nothing is weighed without an error")
	}
}

func TestProcessorTime(t *testing.T) {
	const line = "7 (a) b) S 1 7 7 0 -1 4194560 1 0 0 0 12 30 99 99 20 0 1 0"
	if got, err := parseTime(line); err != nil || got != 420*time.Millisecond {
		t.Errorf("got %v, %v, want 420ms", got, err)
	}
	for _, text := range []string{"", "7 (a) S 1", strings.Replace(line, "12", "x", 1)} {
		if _, err := parseTime(text); err == nil {
			t.Errorf("%q parses", text)
		}
	}
	before := map[int]time.Duration{1: 5, 2: 7, 9: 1}
	if got := since(before, map[int]time.Duration{1: 6, 2: 9, 3: 4}); got != 7 {
		t.Errorf("got %v, want 7: 1 and 2 grew by 3, 3 is new, 9 has gone", got)
	}
}

// TestFakeHost measures host loopback alone, as the least that every machine has
// that lets a user make namespaces.
func TestFakeHost(t *testing.T) {
	if text, err := exec.Command("unshare", "-Urn", "ip", "link", "add", "up0", "type", "veth", "peer", "name", "up1").CombinedOutput(); err != nil {
		t.Skipf("no network namespace with a pair of devices: %v: %s", err, firstLine(string(text)))
	}
	file := t.TempDir() + "/bench"
	if text, err := exec.Command("go", "build", "-o", file, ".").CombinedOutput(); err != nil {
		t.Skipf("build the bench: %v: %s", err, text)
	}
	cmd := exec.Command(file, "-only", "net", "-net-rounds", "1", "-net-time", "50ms", "-net-paths", hostPath, "-net-only", "out,rr,port-in")
	text, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, text)
	}
	for _, want := range []string{"host loopback", "Gbit/s", "1000/s", "s/GB", "left behind: no process"} {
		if !strings.Contains(string(text), want) {
			t.Errorf("no %q in:\n%s", want, text)
		}
	}
	if strings.Contains(string(text), "missing") {
		t.Errorf("something is missing:\n%s", text)
	}
}
