package main

import (
	"encoding/json"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"bryo/netslirp"
	"bryo/netslirp/stack"
)

func TestFlowLog(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	file, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	log := &flowLog{file: file}
	start := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	log.add(stack.Record{
		Start: start, End: start.Add(time.Second / 2), Name: "web.test", Verdict: netslirp.Allow, Sent: 7,
		Flow: stack.Flow{Protocol: netslirp.TCP, Source: netip.MustParseAddrPort("10.0.2.100:40000"), Destination: netip.MustParseAddrPort("192.0.2.1:80")},
	})
	before := time.Now()
	log.refused("tracker.test\n\"")
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(string(text), "\n")
	const flow = `{"time":"2026-01-02T03:04:05Z","seconds":0.5,"protocol":"tcp","source":"10.0.2.100:40000","destination":"192.0.2.1:80",` +
		`"name":"web.test","verdict":"allow","sent":7,"received":0}`
	if len(lines) != 3 || lines[0] != flow {
		t.Fatalf("wrote\n%s", text)
	}
	var got flowLine
	if err := json.Unmarshal([]byte(lines[1]), &got); err != nil {
		t.Fatal(err)
	}
	if got.Time.Before(before.Add(-time.Second)) || got.Protocol != "dns" || got.Name != "tracker.test\n\"" || got.Verdict != "deny" {
		t.Errorf("a refused name gives %s", lines[1])
	}
	if strings.Contains(lines[1], "source") || strings.Contains(lines[1], "destination") {
		t.Errorf("it has addresses: %s", lines[1])
	}
}
