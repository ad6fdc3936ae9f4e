package rootless

import (
	"bryo/fsroot"
	"bryo/idmap"
	"bryo/netslirp"
	"bryo/rootless/cgroup"
	"bryo/rootless/confine"
	"bryo/rootless/ns"
	"bryo/rootless/tty"
)

// Plan is a container in which everything is decided. It prints as JSON.
type Plan struct {
	ID         string
	Namespaces ns.Set
	Joined     []Joined
	IDs        idmap.Choice
	Self       idmap.Identity // the user on the host
	Helpers    Helpers
	Offsets    string // for /proc/PID/timens_offsets
	Root       fsroot.Plan
	Network    Network
	Hostname   string // "" leaves the host's
	Domainname string
	Process    Process
	Squash     *Squash `json:",omitempty"` // one id looks like many; nil for no
	Cgroup     cgroup.Plan
	OOMScore   int `json:",omitempty"` // oom_score_adj that all of it gets; 0 leaves it
	Labels     []string
	Terminal   tty.Size // Process.Terminal: its size at first
	Entered    int      `json:",omitempty"` // bryo exec: a pidfd of the container's PID 1
	Describe   bool     // the launch notes the namespaces' inodes
	Warnings   []string // one line each
	BestEffort bool     // go without a control that the kernel refuses
	GivenUp    []string `json:",omitempty"` // those that it did refuse, known before the launch or after it
}

// Network is how the container's network namespace is connected.
type Network struct {
	Loopback bool // bring lo up

	// Config is bryo-net's, which is executed from Program unless the driver is
	// DriverNone.
	Config   netslirp.Config
	Program  string
	LogFile  string
	PcapFile string
}

// Lasts says that bryo-net has something to finish when the container ends, and
// has to be waited for.
func (n *Network) Lasts() bool { return n.Config.Waits() || n.Config.Log || n.Config.Pcap }

// Process is the command and what it may do.
type Process struct {
	Argv       []string
	Paths      []string // what execve is tried with, in order
	Env        []string
	Dir        string
	UID, GID   uint32
	Groups     []uint32
	SetGroups  bool // setgroups(2) is allowed in this user namespace
	Umask      uint32
	Limits     []confine.Limit
	Caps       confine.Caps // the bounding set; root has them all
	Ambient    confine.Caps // what a user other than root was explicitly given
	Landlock   confine.Landlock
	Seccomp    confine.Seccomp
	StopSignal string
	NewPrivs   bool // no no_new_privs
	Init       bool // bryo's init is PID 1
	Terminal   bool
}

// Lasts says that something has to be done when the container ends.
func (pl *Plan) Lasts() bool { return pl.Network.Lasts() || pl.Cgroup.Lasts() }

// Builder is who makes the inside of the container: root, or, where that is
// not mapped, the user.
func (pl *Plan) Builder() (uid, gid uint32) {
	if pl.RootInside() {
		return 0, 0
	}
	uid, _ = pl.IDs.Maps.UID.ToContainer(pl.Self.UID)
	gid, _ = pl.IDs.Maps.GID.ToContainer(pl.Self.GID)
	return uid, gid
}

// RootInside says whether id 0 is mapped, for users and groups.
func (pl *Plan) RootInside() bool {
	return pl.IDs.Maps.UID.Covers(0) && pl.IDs.Maps.GID.Covers(0)
}
