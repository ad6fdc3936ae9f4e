package fsroot

import (
	"fmt"
	"path"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"bryo/fsroot/owner"
)

// FileID is what tells files apart: statx(2)'s device and inode.
type FileID struct {
	Major, Minor uint32
	Inode        uint64
}

// Source is a file or directory of the host as the parent found it.
type Source struct {
	Path string // absolute, clean
	ID   FileID
	Dir  bool
	Kept uint64 // MS_* that the host's mount has: they are locked, see legacy.go
}

// ProcMode is what the container's /proc is.
type ProcMode uint8

// A container in a PID namespace of its own, or a joined one, has a fresh
// /proc; in the host's it has the host's.
const (
	FreshProc ProcMode = iota
	HostProc
)

// SysMode is what the container's /sys is.
type SysMode uint8

// A fresh sysfs needs a network namespace of the container's own; otherwise
// /sys is empty.
const (
	FreshSys SysMode = iota
	EmptySys
)

// File is a file whose content bryo writes, as /etc/hosts.
type File struct {
	Target  string
	Content string
	Lax     bool // left out where the target is not there already
}

// Dir is a directory that is made where the root has none, as an image's working
// directory, for whoever is to work in it.
type Dir struct {
	Path string
	Owner
}

// Stack is a root that is layers of an image, stacked by overlay, with what the
// container writes on top: Plan.Root is the container's own directory, which has
// upper and work for it. With Plan.Layer it goes to memory instead.
type Stack struct {
	Dir      Source   // has the layers
	Layers   []string // their names there, the lowest first
	Volatile bool     // nobody reads upper again, so that nothing has to reach the disk
	Top      *Top     `json:",omitempty"` // of the topmost layer, which upper becomes like that is new
}

// Top is the root directory of a layer.
type Top struct {
	Owner
	Mode  uint32
	Notes []owner.Attr `json:",omitempty"`
}

// Owner is a user and a group of the container.
type Owner struct{ UID, GID uint32 }

// MostLayers is how many a stack can have: as many as have names that fit in
// the 255 bytes that fsconfig(2) takes for an option.
const MostLayers = 127

// Attached is a user's mount with what the parent found of its source.
type Attached struct {
	Mount

	From Source
}

// Plan is a container's root file system.
type Plan struct {
	Root       Source
	Host       bool    // the root is the host's own
	ReadOnly   bool    // no writes to the root's files
	SetUID     bool    // set-user-ID programs of the root count
	Layer      bool    // writes go to an overlay in memory that ends with the container
	Stack      *Stack  `json:",omitempty"` // the root is layers of an image
	Copy       bool    // the layer is a copy in memory: the kernel has no overlay here
	Entries    []Entry // Layer: what the root is put together from, if it cannot be one overlay
	Proc       ProcMode
	Sys        SysMode
	Cgroup     bool     // the container's cgroups, read-only, are at /sys/fs/cgroup
	Throttles  []string // processors' directories of thermal events, below /sys
	HostIPC    bool     // /dev/shm is the host's, and there are no message queues
	ShmSize    uint64   // bytes
	Devices    []Device
	Console    bool // a pty stands for /dev/console
	TTYGroup   bool // gid 5 is mapped
	Mounts     []Attached
	Files      []File
	Dirs       []Dir `json:",omitempty"`
	Sysctls    []Setting
	BestEffort bool // go without a mask that the kernel refuses
	Legacy     bool // no mount_setattr: attributes are set by mount(2)
}

// Setting is a file below /proc/sys and what is written to it. One that limits
// is a control.
type Setting struct {
	Path, Value string
	Limits      bool `json:",omitempty"`
}

// Order sorts mounts so that none hides one below it: by depth, and otherwise
// as given. Two on one target are refused.
func Order(mounts []Attached) ([]Attached, error) {
	sorted := slices.Clone(mounts)
	slices.SortStableFunc(sorted, func(a, b Attached) int {
		return depth(a.Target) - depth(b.Target)
	})
	seen := make(map[string]bool, len(sorted))
	for _, m := range sorted {
		if seen[m.Target] {
			return nil, fmt.Errorf("two mounts on %s; leave one out", m.Target)
		}
		seen[m.Target] = true
	}
	return sorted, nil
}

// depth is how many names a clean path has.
func depth(target string) int { return strings.Count(strings.TrimSuffix(target, "/"), "/") }

// scratch is a directory that is writable in a container whose root is
// read-only.
type scratch struct {
	target string
	part   uint64 // of the machine's memory, which it may fill one part of
}

func scratches() []scratch { return []scratch{{"/run", 8}, {"/tmp", 4}, {"/var/tmp", 8}} }

// Scratch is the mounts that stand in for writable directories where the root
// is read-only; a user's own mount on one of them wins. memory is the machine's,
// in bytes.
func Scratch(host bool, asked []Attached, memory uint64) []Attached {
	all := scratches()
	if host {
		all = all[:2] // and the sockets in them: a bus, an agent, a daemon
	}
	var mounts []Attached
	for _, s := range all {
		taken := slices.ContainsFunc(asked, func(m Attached) bool { return Under(s.target, m.Target) })
		if !taken {
			mounts = append(mounts, Attached{Mount: Mount{
				Type: Tmpfs, Target: s.target, Attributes: defaultAttributes, Size: memory / s.part, Mode: stickyMode,
			}})
		}
	}
	return mounts
}

// Hide is a mount that stands before a directory of the host's; a user's own on
// the same one wins.
func Hide(target string, asked []Attached, memory uint64) []Attached {
	if target == "" || slices.ContainsFunc(asked, func(m Attached) bool { return m.Target == target }) {
		return nil
	}
	const part, mode = 8, 0o700
	return []Attached{{Mount: Mount{Type: Tmpfs, Target: target, Attributes: defaultAttributes, Size: memory / part, Mode: mode}}}
}

// Under says whether target lies at or below dir.
func Under(target, dir string) bool {
	return target == dir || strings.HasPrefix(target, strings.TrimSuffix(dir, "/")+"/")
}

// parents lists the directories above a path of the root, outermost first,
// without the root itself: a, a/b for /a/b/c.
func parents(target string) []string {
	var dirs []string
	for dir := path.Dir(strings.TrimPrefix(target, "/")); dir != "."; dir = path.Dir(dir) {
		dirs = append(dirs, dir)
	}
	slices.Reverse(dirs)
	return dirs
}

// attributes hold for the root file system: no devices of its own, and unless
// told no set-user-ID programs.
func (pl *Plan) attributes() uint64 {
	if pl.SetUID {
		return unix.MOUNT_ATTR_NODEV
	}
	return unix.MOUNT_ATTR_NODEV | unix.MOUNT_ATTR_NOSUID
}
