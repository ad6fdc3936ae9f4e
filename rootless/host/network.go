package host

import (
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"bryo/netslirp"
	"bryo/rootless"
)

// network finds what connects a network namespace.
func network() rootless.NetFacts {
	facts := rootless.NetFacts{Program: Companion("bryo-net")}
	if err := netslirp.ProbeTun(); err != nil {
		facts.NoTUN = err.Error()
	}
	return facts
}

// Companion is another executable of bryo's, beside this one or in
// ../libexec/bryo; "" if there is none.
func Companion(name string) string {
	self, err := os.Readlink("/proc/self/exe")
	if err != nil {
		return ""
	}
	dir := filepath.Dir(self)
	for _, path := range []string{filepath.Join(dir, name), filepath.Join(dir, "..", "libexec", "bryo", name)} {
		if unix.Access(path, unix.X_OK) == nil {
			return path
		}
	}
	return ""
}
