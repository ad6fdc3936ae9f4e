package rootless

import (
	"bryo/fsroot"
	"bryo/fsroot/owner"
	"bryo/idmap"
	"bryo/rootless/cgroup"
	"bryo/rootless/confine"
	"bryo/rootless/ns"
	"bryo/rootless/tty"
)

// Facts is what Compile needs to know of the host and of the root file
// system. Package host finds them out; a test invents them.
type Facts struct {
	ID   string // the container's id: 12 hexadecimal digits
	Self idmap.Identity
	Name string // the user's login name, "" if there is none
	UIDs []idmap.Range
	GIDs []idmap.Range
	// Where a range could begin that the user lacks, behind all others; 0 for a
	// kind of which there is one.
	FreeUIDs, FreeGIDs uint32
	Helpers            Helpers
	Kernel             Kernel
	Root               RootFacts
	Sources            map[string]fsroot.Source // of the mounts, by the path in the Spec
	Seccomp            confine.Seccomp
	Throttles          []string       // processors' directories of thermal events, below /sys
	Limits             map[int]uint64 // hard limits by RLIMIT_*
	Memory             uint64         // bytes; 0 where nothing depends on it
	RuntimeDir         string         // with the host's root: where sockets and the state of containers are; "" for none
	OOMScore           int            // bryo's own oom_score_adj: proc_pid_oom_score_adj(5)
	Net                NetFacts
	Cgroup             cgroup.Facts // only if limits are asked for
	// /etc/resolv.conf and /etc/hosts of the host, or of the container whose
	// network is joined: that one may write what it likes.
	Resolver, Hosts string
	Neighbours      []string     // names of the containers whose network is joined
	Window          tty.Size     // of bryo's own terminal
	JoinedIDs       idmap.Choice // the maps of the joined user namespace
	Joined          []Joined     // as Spec.Namespaces.Joined, the user namespace first
}

// NetFacts is what the host has for connecting a network namespace.
type NetFacts struct {
	Program string // bryo-net by absolute path; "" if it is missing
	NoTUN   string // why /dev/net/tun cannot be opened; "" if it can
}

// Helpers are newuidmap and newgidmap, by absolute path; "" if missing.
type Helpers struct{ UID, GID string }

// Kernel is what the running kernel can do.
type Kernel struct {
	TimeOnExec   bool // execve enters a new time namespace, 6.2
	MountSetattr bool // mount_setattr, 5.12
	Overlay      bool // overlay in a user namespace, 5.11
	Landlock     int  // version of its interface, 0 for none: landlock(7)
	NoNewPrivs   bool // bryo itself has it already, and cannot give it up: prctl(2)
	CountsInside bool // RLIMIT_NPROC counts by user namespace, 5.14
	Killable     bool // calls that are being answered are not broken off by signals, 5.19
}

// RootFacts is what the root file system holds.
type RootFacts struct {
	Source fsroot.Source
	Layers fsroot.Source // what has the layers of an image; Source is the container's own directory then
	// The root directory of the topmost layer, if the one that the container writes
	// to has been made only now.
	Top     *Top
	Empty   bool
	Foreign bool           // something else: no programs, and not the command
	Missing []string       // mount points that are not there and cannot be made in place
	Entries []fsroot.Entry // of a root that cannot be one overlay
	IDMap   string         // that is noted with it, by idmap.Maps.Text; anybody may have written it
	Passwd  []byte         // /etc/passwd, nil if there is none
	Group   []byte         // /etc/group
	Shell   string         // the first shell there is, "" for none
}

// Top is who on the host has a directory, its mode, and what is noted with it.
type Top struct {
	Owner idmap.Identity
	Mode  uint32
	Notes []owner.Attr
}

// Joined is a namespace of another process, opened.
type Joined struct {
	Kind ns.Kind
	FD   int
}
