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
	for _, c := range []struct {
		args []string
		keys []string
		want int
	}{
		{[]string{"ps", "--json"}, always, 1},
		{[]string{"ps", "-a", "--json"}, always, 3},
		{[]string{"inspect", "runs", "ended", "killed"}, append([]string{"Options", "Plan", "Dir"}, always...), 3},
	} {
		got := s.bryo(c.args...)
		var list []map[string]any
		if err := json.Unmarshal([]byte(got.out), &list); err != nil || len(list) != c.want || got.code != 0 || got.err != "" {
			t.Fatalf("%q: %+v, %v", c.args, got, err)
		}
		for _, container := range list {
			name, _ := container["Name"].(string)
			has(t, container, c.keys)
			if container["Status"] != status[name] {
				t.Errorf("%q: %s is %v, want %s", c.args, name, container["Status"], status[name])
			}
			if ports, there := container["Ports"]; there != (name == "runs") {
				t.Errorf("%q: %s has the ports %v", c.args, name, ports)
			}
			if command, _ := container["Command"].(string); name == "ended" && !strings.HasSuffix(command, odd) {
				t.Errorf("%q: the command is %q", c.args, command)
			}
		}
	}
}

func has(t *testing.T, container map[string]any, keys []string) {
	t.Helper()
	for _, key := range keys {
		if _, there := container[key]; !there {
			t.Errorf("%v has no %s, but %v", container["Name"], key, slices.Sorted(maps.Keys(container)))
		}
	}
}

// TestOddNamesInTables: what a terminal shows has no characters that move the
// cursor.
func TestOddNamesInTables(t *testing.T) {
	if !ordinary(t) {
		return
	}
	s := newSite(t)
	s.keeps("runs", nil, "sh", "-c", "read x || sleep 1000", "a \"quoted\"\nline\t\x1b[31m ä")
	if got := s.bryo("ps", "-a"); strings.ContainsAny(got.out, "\x1b\t") || strings.Count(got.out, "\n") != 2 {
		t.Errorf("ps -a: %q", got.out)
	}
	if got := s.bryo("top", "runs"); strings.Contains(got.out, "\x1b") {
		t.Errorf("top: %q", got.out)
	}
}
