package ns

import (
	"fmt"
	"strings"
)

// Sysctl is a kernel parameter of a namespace: sysctl(8)'s name and value.
type Sysctl struct{ Name, Value string }

// ParseSysctl reads NAME=VALUE. The name may be written with dots or slashes.
func ParseSysctl(text string) (Sysctl, error) {
	name, value, found := strings.Cut(text, "=")
	name = strings.Trim(strings.ReplaceAll(name, "/", "."), ".")
	if !found || name == "" || strings.Contains(name, "..") || strings.ContainsAny(text, "\x00\n") {
		return Sysctl{}, fmt.Errorf("sysctl %q: write NAME=VALUE, as net.ipv4.ip_forward=1", text)
	}
	return Sysctl{name, value}, nil
}

// Path is the parameter's file below /proc/sys.
func (s Sysctl) Path() string { return strings.ReplaceAll(s.Name, ".", "/") }

// Kind is the kind of namespace that the parameter belongs to; ok is false
// for one of the whole host.
func (s Sysctl) Kind() (k Kind, ok bool) {
	for _, row := range []struct {
		prefix string
		kind   Kind
	}{
		{"net.", Net},
		{"kernel.msg", IPC},
		{"kernel.sem", IPC},
		{"kernel.shm", IPC},
		{"fs.mqueue.", IPC},
		{"user.", User},
	} {
		if strings.HasPrefix(s.Name, row.prefix) {
			return row.kind, true
		}
	}
	return 0, false
}

// Check refuses a parameter whose namespace is not the container's own.
func (s Sysctl) Check(set Set) error {
	k, ok := s.Kind()
	switch {
	case s.Name == "kernel.hostname" || s.Name == "kernel.domainname":
		return fmt.Errorf("sysctl %s: use --hostname or --domainname", s.Name)
	case !ok:
		return fmt.Errorf("sysctl %s belongs to the whole host; a container sets net.*, kernel.{msg,sem,shm}*, fs.mqueue.* and user.*", s.Name)
	case set[k].Mode != Own:
		return fmt.Errorf("sysctl %s needs the container's own %s namespace; leave out --%s %s", s.Name, k.File(), k.Flag(), set[k])
	}
	return nil
}
