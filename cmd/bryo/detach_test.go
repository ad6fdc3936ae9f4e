package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"reflect"
	"testing"

	"bryo/rootless"
)

// What is kept of a container makes the same container again.
func TestSpecIsKept(t *testing.T) {
	file := filepath.Join(t.TempDir(), "env")
	if err := os.WriteFile(file, []byte("A=1\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{
		{"host"},
		{"host", "sh", "-c", "exit 1"},
		{"--userns", "single", "--net", "none", "/root", "a"},
		{"--userns", "keep-id:1000,1000", "--net", "host", "/root"},
		{"--uidmap", "0:1000:1", "--gidmap", "0:1000:1", "/root"},
		{"--pid", "host", "--ipc", "join:12", "--time", "join:/proc/1/ns/time", "/root"},
		{"--time-offset", "monotonic=+1d,boottime=-1h", "--sysctl", "net.ipv4.ip_forward=1", "/root"},
		{"--read-only", "--ephemeral", "-v", "/a:/b:ro", "--mount", "type=tmpfs,dst=/x", "--tmpfs", "/y:size=1m", "--device", "/dev/null", "--shm-size", "1m", "/root"},
		{"-u", "1:2", "--group-add", "5", "-w", "/tmp", "--entrypoint", "x", "--ulimit", "nofile=10:20", "--umask", "077", "--stop-signal", "INT", "/root"},
		{"--cap-add", "net_raw", "--cap-drop", "all", "--as-pid-1", "--tty", "--nest", "-e", "A=ä\"", "--env-file", file, "-l", "a=b", "/root"},
		{"-p", "[::1]:8080-8081:80-81/udp", "--allow", "*.example.org:443/tcp", "--deny", "10.0.0.0/8", "--host-loopback=5432", "--dns", "::1", "--dns-search", "x.org", "/root"},
		{"--add-host", "a:1.2.3.4", "--net-rate", "1m:2m", "--net-log", "/l", "--pcap", "/p", "--net-mtu", "1280", "--port-socket", "/s", "-h", "x", "--domainname", "y", "/root"},
	} {
		r, err := parseRun(args, streams{err: os.Stderr})
		if err != nil {
			t.Fatal(args, err)
		}
		text, err := json.Marshal(r.spec)
		if err != nil {
			t.Fatal(args, err)
		}
		var again rootless.Spec
		if err := json.Unmarshal(text, &again); err != nil {
			t.Error(args, err)
			continue
		}
		if !reflect.DeepEqual(again, r.spec) {
			t.Errorf("%q:\n%#v\nis not\n%#v", args, again, r.spec)
		}
	}
}
