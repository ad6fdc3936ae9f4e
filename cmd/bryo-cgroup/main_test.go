package main

import (
	"net"
	"path/filepath"
	"strings"
	"testing"

	"github.com/godbus/dbus/v5"
)

func TestNothingToDoByHand(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "bus")
	for _, c := range []struct{ args, says string }{
		{"", "nothing to do by hand"},
		{"scope " + socket, "nothing to do by hand"},
		{"scope " + socket + " bryo-1.scope 0", `"0" is no process`},
		{"scope " + socket + " bryo-1.scope -1", `"-1" is no process`},
		{"scope " + socket + " bryo-1.scope 4294967297", "is no process"},
		{"scope " + socket + " bryo-1.scope 1", "no such file"},
	} {
		if err := carryOut(t.Context(), strings.Fields(c.args)); err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%q: %v, want %q", c.args, err, c.says)
		}
	}
}

// What answers is the user's own, and counts processes as bryo does.
func TestPeer(t *testing.T) {
	listener, err := net.Listen("unix", filepath.Join(t.TempDir(), "bus")) //nolint:noctx // it is there at once
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	var dialer net.Dialer
	mine, err := dialer.DialContext(t.Context(), "unix", listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer mine.Close()
	if err := check(mine); err != nil {
		t.Error(err)
	}
	one, other := net.Pipe()
	defer other.Close()
	defer one.Close()
	if check(one) == nil {
		t.Error("nobody knows who is at a pipe's other end")
	}
}

func TestResultOf(t *testing.T) {
	const job = dbus.ObjectPath("/org/freedesktop/systemd1/job/7")
	body := func(path dbus.ObjectPath, result string) []any { return []any{uint32(7), path, "bryo-1.scope", result} }
	for _, c := range []struct {
		name   string
		body   []any
		result string
		is     bool
	}{
		{face + ".JobRemoved", body(job, "done"), "done", true},
		{face + ".JobRemoved", body(job, "failed"), "failed", true},
		{face + ".JobRemoved", body(job+"0", "done"), "done", false},
		{face + ".UnitNew", body(job, "done"), "", false},
		{face + ".JobRemoved", []any{uint32(7), job}, "", false},
		{face + ".JobRemoved", []any{uint32(7), "text", "bryo-1.scope", "done"}, "done", false},
	} {
		if result, is := resultOf(&dbus.Signal{Name: c.name, Body: c.body}, job); is != c.is || result != c.result {
			t.Errorf("%s %v: %q, %t", c.name, c.body, result, is)
		}
	}
}
