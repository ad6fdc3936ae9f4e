package rootless

import (
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"bryo/netslirp"
	"bryo/rootless/confine"
	"bryo/rootless/ns"
)

// Root inside may trace other processes only where it does not see the one that
// connects published ports.
func TestTracing(t *testing.T) {
	const refused = "--cap-add sys_ptrace and --pid host"
	tracing := func(s *Spec, _ *Facts) { s.Process.Caps.Add = 1 << unix.CAP_SYS_PTRACE }
	everything := func(s *Spec, _ *Facts) { s.Process.Caps.Add = confine.AllCaps }
	network := func(s *Spec, f *Facts) {
		s.Net.Driver, f.Net.Program = netslirp.DriverUser, "/usr/libexec/bryo/bryo-net"
	}
	publishing := both(network, func(s *Spec, _ *Facts) { s.Net.Publish = []netslirp.Publish{{HostPort: 8080, ChildPort: 80}} })
	later := both(network, func(s *Spec, _ *Facts) { s.Net.PortSocket = "ports" })
	seeing := host(ns.PID)
	for _, row := range []struct {
		name   string
		change func(*Spec, *Facts)
		want   string
	}{
		{"published ports", both(seeing, both(publishing, tracing)), refused},
		{"every capability", both(seeing, both(publishing, everything)), refused},
		{"another user inside", both(seeing, both(publishing, both(tracing, func(s *Spec, _ *Facts) { s.Process.User = "ann" }))), refused},
		{"ports that are published later", both(seeing, both(later, tracing)), refused},
		{"another container's ports", both(seeing, both(join(ns.Net), tracing)), refused},
		{"no ports", both(seeing, both(network, tracing)), ""},
		{"processes of its own", both(publishing, tracing), ""},
		{"another container's processes", both(join(ns.PID), tracing), ""},
		{"no tracing", both(seeing, publishing), ""},
		{"no tracing, and containers inside", both(seeing, both(publishing, func(s *Spec, _ *Facts) { s.Process.Nest = true })), ""},
	} {
		spec, facts := good()
		row.change(spec, facts)
		_, err := Compile(spec, facts)
		switch {
		case row.want == "" && err != nil:
			t.Errorf("%s: %v", row.name, err)
		case row.want != "" && (err == nil || !strings.Contains(err.Error(), row.want) || !strings.Contains(err.Error(), "\nfix: ")):
			t.Errorf("%s: %v, want %q and a fix", row.name, err, row.want)
		}
	}
}
