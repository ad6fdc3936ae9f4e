package rootless

import (
	"net/netip"

	"bryo/fsroot"
	"bryo/idmap"
	"bryo/netslirp"
	"bryo/rootless/cgroup"
	"bryo/rootless/confine"
	"bryo/rootless/ns"
)

// Spec is what the user asked for. The zero value of every field is the safe
// default; only Root.Path or Root.Host must be set.
type Spec struct {
	Root       RootSpec
	Process    ProcessSpec
	Namespaces ns.Set
	Net        NetSpec
	IDs        idmap.Spec
	Offsets    ns.Offsets
	Sysctls    []ns.Sysctl
	Mounts     []fsroot.Mount
	Devices    []fsroot.Device
	ShmSize    uint64 // bytes of /dev/shm, 0 for 64 MiB
	Limits     cgroup.Limits
	Hostname   string // "" for the container's id
	Domainname string
	Labels     []string // KEY=VALUE
	BestEffort bool     // go without a control that the kernel refuses
	Squash     SquashChoice
}

// NetSpec is how a network namespace of the container's own is connected.
type NetSpec struct {
	Driver       netslirp.Driver // "" for lo alone
	MTU          uint32          // 0 for 1500, or what a driver likes best
	Nameservers  []netip.Addr
	Search       []string
	Hosts        []HostName // more lines of /etc/hosts
	HostLoopback netslirp.Loopback
	Rules        []netslirp.Rule
	Rate         netslirp.Rate
	LogFile      string
	PcapFile     string
	Publish      []netslirp.Publish
	PortSocket   string
}

// HostName is a line of hosts(5).
type HostName struct {
	Name string
	Addr netip.Addr
}

// RootSpec is the root file system that was asked for.
type RootSpec struct {
	Path      string
	Image     *ImageRoot `json:",omitempty"` // instead
	Host      bool       // the host's own root, read-only
	ReadOnly  bool
	Ephemeral bool // writes are thrown away
}

// ProcessSpec is the command that was asked for.
type ProcessSpec struct {
	Args       []string // COMMAND [ARG...]
	Entrypoint []string // stands before Args
	Env        []string // KEY=VALUE, a later one wins
	User       string   // USER[:GROUP], names or ids; "" for root, or the kept id
	Groups     []string // supplementary groups besides the user's own
	Dir        string   // working directory; "" for /
	MakeDir    bool     `json:",omitempty"` // it is an image's, and made if it is missing
	Umask      *uint32  // nil for 0022
	Limits     []confine.Limit
	Caps       confine.CapChange
	Landlock   []confine.LandlockRule
	Seccomp    string // default, docker, strict, off, or a profile's file; "" for default
	StopSignal string // what bryo stop sends; "" for TERM
	AsPID1     bool   // the command is PID 1, without bryo's init
	Terminal   bool   // on a pseudo-terminal of its own
	Nest       bool   // may make user namespaces
	NewPrivs   bool   // execve may grant more, by set-user-ID programs and file capabilities
}
