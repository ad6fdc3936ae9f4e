package main

import (
	"net/netip"
	"strings"
	"testing"

	"bryo/netslirp"
)

func somePorts(t *testing.T) (list []netslirp.Published) {
	t.Helper()
	for id, text := range []string{"8080:80", "8443:443", "8053:53/udp", "[::1]:8080:80", "9090:443"} {
		parsed, err := netslirp.ParsePublish(text)
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, netslirp.Published{ID: id + 1, Publish: parsed[0]})
	}
	return list
}

func TestPortIsMeant(t *testing.T) {
	for text, want := range map[string]string{
		"1": "1", "8080:80": "1", "127.0.0.1:8080:80/tcp": "1", "127.0.0.1::80": "1", "[::1]:8080:80": "4", "[::1]::80": "4", "53/udp": "3",
	} {
		if got, err := meant(somePorts(t), text); err != nil || strings.Join(got, " ") != want {
			t.Errorf("%s: %v, %v, want %s", text, got, err, want)
		}
	}
	for text, want := range map[string]string{
		"6": "no port has the number 6", "80": "no port has the number 80", "8080:81": "is not published", "8080:80/udp": "is not published", "127.0.0.1::443": "may be each of 2",
		"8080-8081:80-81": "8081:81/tcp is not published", "x": "is no port",
	} {
		if got, err := meant(somePorts(t), text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, %v, want %s", text, got, err, want)
		}
	}
}

func TestPortLines(t *testing.T) {
	want := "80/tcp -> 127.0.0.1:8080\n443/tcp -> 127.0.0.1:8443\n53/udp -> 127.0.0.1:8053\n80/tcp -> [::1]:8080\n443/tcp -> 127.0.0.1:9090\n"
	if got := portLines(somePorts(t)); got != want {
		t.Errorf("%s", got)
	}
	one := []netslirp.Published{{ID: 12, Publish: netslirp.Publish{Protocol: netslirp.TCP, HostIP: netip.MustParseAddr("::"), HostPort: 1, ChildPort: 2}}}
	if got := portTable(one); got != "ID  PORT\n12  [::]:1:2/tcp\n" {
		t.Errorf("%s", got)
	}
}

func TestOutput(t *testing.T) {
	for _, row := range []struct{ script, out, errs, fault string }{
		{"echo a", "a\n", "", ""},
		{"echo a >&2; exit 3", "", "a\n", ""},
		{"exit 3", "", "", "exit status 3"},
		{"kill -9 $$", "", "", "signal: killed"},
	} {
		out, errs, err := output("/bin/sh", []string{"sh", "-c", row.script})
		if string(out) != row.out || string(errs) != row.errs || (err == nil) != (row.fault == "") || err != nil && !strings.Contains(err.Error(), row.fault) {
			t.Errorf("%s: %q, %q, %v", row.script, out, errs, err)
		}
	}
}
