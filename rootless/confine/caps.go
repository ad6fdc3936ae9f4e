package confine

import (
	"fmt"
	"strings"

	"golang.org/x/sys/unix"
)

// Caps is a set of capabilities, bit n for capability n.
type Caps uint64

// lastCap is the newest capability of capabilities(7). The kernel refuses to
// drop a number that it does not know, which is no loss.
const lastCap = unix.CAP_LAST_CAP

// AllCaps is every capability.
const AllCaps Caps = 1<<(lastCap+1) - 1

func capNames() []string {
	return []string{
		"CHOWN", "DAC_OVERRIDE", "DAC_READ_SEARCH", "FOWNER", "FSETID", "KILL", "SETGID", "SETUID", "SETPCAP",
		"LINUX_IMMUTABLE", "NET_BIND_SERVICE", "NET_BROADCAST", "NET_ADMIN", "NET_RAW", "IPC_LOCK", "IPC_OWNER",
		"SYS_MODULE", "SYS_RAWIO", "SYS_CHROOT", "SYS_PTRACE", "SYS_PACCT", "SYS_ADMIN", "SYS_BOOT", "SYS_NICE",
		"SYS_RESOURCE", "SYS_TIME", "SYS_TTY_CONFIG", "MKNOD", "LEASE", "AUDIT_WRITE", "AUDIT_CONTROL", "SETFCAP",
		"MAC_OVERRIDE", "MAC_ADMIN", "SYSLOG", "WAKE_ALARM", "BLOCK_SUSPEND", "AUDIT_READ", "PERFMON", "BPF",
		"CHECKPOINT_RESTORE",
	}
}

// ParseCap reads a capability's name, with or without CAP_, in any case, or ALL.
func ParseCap(name string) (Caps, error) {
	upper := strings.TrimPrefix(strings.ToUpper(name), "CAP_")
	if upper == "ALL" {
		return AllCaps, nil
	}
	for i, known := range capNames() {
		if known == upper {
			return 1 << i, nil
		}
	}
	return 0, fmt.Errorf("capability %q is unknown; names are in capabilities(7), as NET_RAW or all", name)
}

// Names lists the set's capabilities as CAP_*.
func (c Caps) Names() []string {
	var names []string
	for i, name := range capNames() {
		if c&(1<<i) != 0 {
			names = append(names, "CAP_"+name)
		}
	}
	return names
}

// DefaultCaps is what a command has unless told: what package managers and
// servers need to change owners and users and to open low ports. With one id
// only, file capabilities cannot be written and SETFCAP goes too.
func DefaultCaps(manyIDs bool) Caps {
	c := Caps(1<<unix.CAP_CHOWN | 1<<unix.CAP_DAC_OVERRIDE | 1<<unix.CAP_FOWNER | 1<<unix.CAP_FSETID | 1<<unix.CAP_KILL |
		1<<unix.CAP_SETGID | 1<<unix.CAP_SETUID | 1<<unix.CAP_SETPCAP | 1<<unix.CAP_NET_BIND_SERVICE)
	if manyIDs {
		c |= 1 << unix.CAP_SETFCAP
	}
	return c
}

// CapChange is what --cap-add and --cap-drop ask for.
type CapChange struct{ Add, Drop Caps }

// Of is the set that results. Dropping wins over the defaults, and adding over
// dropping all, as in podman.
func (c CapChange) Of(defaults Caps) Caps {
	if c.Drop == AllCaps {
		return c.Add
	}
	return (defaults | c.Add) &^ c.Drop
}
