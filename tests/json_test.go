package tests

import (
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"testing"
)

// TestJSONOfContainers has what scripts read keep its keys.
func TestJSONOfContainers(t *testing.T) {
	if !ordinary(t) {
		return
	}
	s := newSite(t)
	odd := "a \"quoted\"\nline\t\x1b[31m ä"
	s.keeps("runs", []string{"-p", "127.0.0.1::80", "--net", "user"}, "sleep", "1000")
	s.keeps("ended", nil, "sh", "-c", "exit 3", odd)
	s.keeps("killed", nil, "sleep", "1000")
	s.bryo("wait", "ended")
	s.bryo("kill", "killed")
	always := []string{"Boot", "Command", "Created", "Entrance", "ExitCode", "Finished", "ID", "Init", "Name", "Root", "Started", "Status", "Supervisor"}
	status := map[string]string{"runs": "running", "ended": "exited", "killed": "exited"}

	check := func(verb string, args, keys []string, want int) {
		got := s.bryo(args...)
		var list []map[string]any
		if err := json.Unmarshal([]byte(got.out), &list); err != nil || len(list) != want || got.code != 0 || got.err != "" {
			t.Fatalf("%s: %+v, %v", verb, got, err)
		}
		for _, c := range list {
			name, _ := c["Name"].(string)
			for _, key := range keys {
				if _, there := c[key]; !there {
					t.Errorf("%s: %s has no %s, but %v", verb, name, key, slices.Sorted(maps.Keys(c)))
				}
			}
			if c["Status"] != status[name] {
				t.Errorf("%s: %s is %v, want %s", verb, name, c["Status"], status[name])
			}
			if ports, there := c["Ports"]; there != (name == "runs") {
				t.Errorf("%s: %s has the ports %v", verb, name, ports)
			}
			if command, _ := c["Command"].(string); name == "ended" && !strings.HasSuffix(command, odd) {
				t.Errorf("%s: the command is %q", verb, command)
			}
		}
	}
	check("ps", []string{"ps", "--json"}, always, 1)
	check("ps -a", []string{"ps", "-a", "--json"}, always, 3)
	check("inspect", []string{"inspect", "runs", "ended", "killed"}, append([]string{"Options", "Plan", "Dir"}, always...), 3)

	// What a terminal shows has no such characters.
	if got := s.bryo("ps", "-a"); strings.ContainsAny(got.out, "\x1b\t") || strings.Count(got.out, "\n") != 4 {
		t.Errorf("ps -a: %q", got.out)
	}
	if got := s.bryo("top", "runs"); strings.Contains(got.out, "\x1b") {
		t.Errorf("top: %q", got.out)
	}
}
