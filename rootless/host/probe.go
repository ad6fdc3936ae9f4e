package host

import (
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"bryo/fsroot"
	"bryo/idmap"
	"bryo/netslirp"
	"bryo/rootless"
	"bryo/rootless/cgroup"
	"bryo/rootless/confine"
	"bryo/rootless/ns"
	"bryo/rootless/tty"
)

// How much of a file is read.
const (
	largestAccounts = 4 << 20 // passwd and group of a root file system
	largestResolver = 64 << 10
)

// Probe finds out what Compile needs to know for this Spec, and no more: it is
// paid by every start.
func Probe(spec *rootless.Spec) (*rootless.Facts, error) {
	facts := &rootless.Facts{
		Self:   idmap.Identity{UID: uint32(unix.Getuid()), GID: uint32(unix.Getgid())},
		Kernel: kernel(spec),
		Limits: limits(spec.Process.Limits),
		Memory: memory(), OOMScore: oomScore(), RuntimeDir: runtimeDir(spec),
	}
	var err error
	if facts.ID, err = NewID(); err != nil {
		return nil, err
	}
	if facts.Joined, facts.JoinedIDs, err = join(spec.Namespaces); err != nil {
		return nil, err
	}
	if err := probeIDs(spec, facts); err != nil {
		return nil, err
	}
	if facts.Sources, err = sources(spec.Mounts); err != nil {
		return nil, err
	}
	probeNetwork(spec, facts)
	if spec.Namespaces[ns.Net].Mode != ns.Host {
		facts.Throttles = throttles(os.DirFS("/sys"))
	}
	if spec.Limits.Any() {
		facts.Cgroup = cgroup.Probe(Companion("bryo-cgroup"))
		facts.Kernel.CountsInside = since(5, 14)
	}
	if spec.Process.Terminal {
		facts.Window, _ = tty.SizeOf(0) // input that is no terminal has no size
	}
	if err := probeRoot(spec, facts); err != nil {
		return nil, err
	}
	if spec.Squash == rootless.SquashOn || facts.Root.IDMap != "" {
		facts.Kernel.Killable = killable()
	}
	if !facts.Kernel.MountSetattr {
		return facts, refuseBelow(spec, facts)
	}
	return facts, nil
}

// probeNetwork finds what names are looked up with, and what connects an own
// network.
func probeNetwork(spec *rootless.Spec, facts *rootless.Facts) {
	switch net := spec.Namespaces[ns.Net]; {
	case net.Mode == ns.Host:
		facts.Resolver, facts.Hosts = text("/etc/resolv.conf"), text("/etc/hosts")
	case net.Mode == ns.Join && net.PID != 0:
		facts.Resolver, facts.Hosts = textInside(net.PID, "/etc/resolv.conf"), textInside(net.PID, "/etc/hosts")
	case net.Mode == ns.Own && spec.Net.Driver != netslirp.DriverNone:
		facts.Resolver = text("/etc/resolv.conf")
		facts.Net = network()
	}
}

// textInside is a small file as another container has it; "" if it hides it.
func textInside(pid int, path string) string {
	text, err := ReadInside(pid, path)
	if err != nil {
		return ""
	}
	return text
}

// ReadInside reads a small regular file as a container has it.
func ReadInside(pid int, path string) (text string, err error) {
	root, err := fsroot.OpenRoot(fmt.Sprintf("/proc/%d/root", pid))
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, root.Close()) }()
	data, err := root.ReadFile(path, largestResolver)
	return string(data), err
}

// ProbeIDs finds out only what concerns id maps.
func ProbeIDs(spec *rootless.Spec) (*rootless.Facts, error) {
	facts := &rootless.Facts{Self: idmap.Identity{UID: uint32(unix.Getuid()), GID: uint32(unix.Getgid())}}
	return facts, probeIDs(spec, facts)
}

// ProbeExec finds out what one more command in a container needs; pid is a
// process there.
func ProbeExec(spec *rootless.Spec, exec *rootless.ExecSpec, pid int) (facts *rootless.Facts, err error) {
	facts = &rootless.Facts{
		Self:   idmap.Identity{UID: uint32(unix.Getuid()), GID: uint32(unix.Getgid())},
		Limits: limits(spec.Process.Limits),
		Kernel: rootless.Kernel{NoNewPrivs: noNewPrivs()}, OOMScore: oomScore(),
	}
	if exec.Terminal {
		facts.Window, _ = tty.SizeOf(0) // input that is no terminal has no size
	}
	if spec.Limits.Any() {
		facts.Cgroup.Program = Companion("bryo-cgroup")
		facts.Cgroup.Entered, _ = cgroup.Of(pid)
	}
	root, err := fsroot.OpenRoot(fmt.Sprintf("/proc/%d/root", pid))
	if err != nil {
		return nil, fmt.Errorf("the container's root: %w", err)
	}
	defer func() { err = errors.Join(err, root.Close()) }()
	named := exec.User
	if named == "" {
		named = spec.Process.User
	}
	return facts, readAccounts(root, &facts.Root, named)
}

// NewID is a random name for a container, 12 hexadecimal digits.
func NewID() (string, error) {
	var random [6]byte
	if _, err := unix.Getrandom(random[:], 0); err != nil {
		return "", os.NewSyscallError("getrandom", err)
	}
	return hex.EncodeToString(random[:]), nil
}

// kernel asks for a call by making it with arguments that it refuses: a
// kernel, or a filter, that does not have it says ENOSYS.
func kernel(spec *rootless.Spec) rootless.Kernel {
	const invalid = -1
	setattr := !errors.Is(unix.MountSetattr(invalid, "", 0, &unix.MountAttr{}), unix.ENOSYS)
	return rootless.Kernel{
		MountSetattr: setattr,
		Overlay:      setattr, // came a release earlier
		Landlock:     landlock(spec),
		NoNewPrivs:   noNewPrivs(),
		TimeOnExec:   spec.Offsets != (ns.Offsets{}) && since(6, 2),
	}
}

// landlock is the version of the kernel's interface, if it is needed.
func landlock(spec *rootless.Spec) int {
	if len(spec.Process.Landlock) == 0 && spec.Exposed() == 0 {
		return 0
	}
	version, _, errno := unix.Syscall(unix.SYS_LANDLOCK_CREATE_RULESET, 0, 0, unix.LANDLOCK_CREATE_RULESET_VERSION)
	if errno != 0 {
		return 0 // it is not built in, or not in lsm=
	}
	return int(version)
}

// noNewPrivs says whether this process has it.
func noNewPrivs() bool {
	set, err := unix.PrctlRetInt(unix.PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0)
	return err != nil || set != 0
}

// killable asks for a flag of seccomp(2) by giving it without a filter.
func killable() bool {
	const flags = unix.SECCOMP_FILTER_FLAG_NEW_LISTENER | unix.SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV
	_, _, errno := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, flags, 0)
	return errno == unix.EFAULT
}

// since says whether the kernel is of this release or a later one.
func since(major, minor int) bool {
	var name unix.Utsname
	if unix.Uname(&name) != nil {
		return false
	}
	var m, n int
	if _, err := fmt.Sscanf(unix.ByteSliceToString(name.Release[:]), "%d.%d", &m, &n); err != nil {
		return false
	}
	return m > major || (m == major && n >= minor)
}

// runtimeDir is where sockets and the state of containers are, if the root shows it.
func runtimeDir(spec *rootless.Spec) string {
	dir := os.Getenv("XDG_RUNTIME_DIR")
	if info, err := os.Stat(dir); !spec.Root.Host || err != nil || !info.IsDir() || !path.IsAbs(dir) || path.Clean(dir) == "/" {
		return ""
	}
	return path.Clean(dir)
}

// memory is the machine's, in bytes.
func memory() uint64 {
	var info unix.Sysinfo_t
	if unix.Sysinfo(&info) != nil {
		return 0
	}
	return info.Totalram * uint64(info.Unit)
}

// oomScore is the adjustment of this process, and of those that it makes.
func oomScore() int {
	text, err := os.ReadFile("/proc/self/oom_score_adj")
	if err != nil {
		return 0
	}
	n, _ := strconv.Atoi(strings.TrimSpace(string(text))) // what is no number is none
	return n
}

// limits are the user's hard limits, as far as a container has limits.
func limits(asked []confine.Limit) map[int]uint64 {
	most := make(map[int]uint64)
	add := func(resource int) {
		var limit unix.Rlimit
		if unix.Getrlimit(resource, &limit) == nil {
			most[resource] = limit.Max
		}
	}
	add(unix.RLIMIT_NOFILE)
	add(unix.RLIMIT_NPROC)
	for _, l := range asked {
		add(l.Resource)
	}
	return most
}

func probeIDs(spec *rootless.Spec, facts *rootless.Facts) error {
	if spec.IDs.Mode == idmap.Single || len(facts.Joined) > 0 {
		return nil
	}
	facts.Name = idmap.Name(facts.Self.UID)
	var err error
	if facts.UIDs, facts.GIDs, err = idmap.Ranges(facts.Self, facts.Name); err != nil {
		return err
	}
	if len(facts.UIDs) == 0 {
		if !idmap.Has(idmap.UID, facts.Self.UID, facts.Name) {
			facts.FreeUIDs = firstFree(text("/etc/subuid"))
		}
		if !idmap.Has(idmap.GID, facts.Self.UID, facts.Name) {
			facts.FreeGIDs = firstFree(text("/etc/subgid"))
		}
	}
	for kind, path := range map[idmap.Kind]*string{idmap.UID: &facts.Helpers.UID, idmap.GID: &facts.Helpers.GID} {
		if *path, err = idmap.Helper(kind); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

// sources looks at what is to be mounted.
func sources(mounts []fsroot.Mount) (map[string]fsroot.Source, error) {
	found := make(map[string]fsroot.Source, len(mounts))
	for i := range mounts {
		m := &mounts[i]
		if m.Type == fsroot.Tmpfs {
			continue
		}
		if m.OfDescriptor() && !m.Inherited() {
			return nil, fmt.Errorf("mount %s on %s: bryo was not given that descriptor\nfix: have it open when bryo is executed, and not close-on-exec", m.Source, m.Target)
		}
		source, err := fsroot.OpenSource(m.Source)
		if err != nil {
			return nil, fmt.Errorf("mount %s on %s: %w%s", m.Source, m.Target, err, sourceHint(err))
		}
		if m.Type == fsroot.Overlay && !source.Dir {
			return nil, fmt.Errorf("mount %s on %s: an overlay needs a directory", m.Source, m.Target)
		}
		found[m.Source] = source
	}
	return found, nil
}

func sourceHint(err error) string {
	switch {
	case strings.Contains(err.Error(), "\nfix: "):
		return ""
	case errors.Is(err, fs.ErrNotExist):
		return "\nfix: make it first, or mend the path"
	case errors.Is(err, fs.ErrPermission):
		return "\nfix: mount something that you can reach yourself: bryo has no more rights than you"
	default:
		return ""
	}
}

// throttles are the directories of thermal events that processors have in a
// sysfs; those of many makes have none.
func throttles(sys fs.FS) []string {
	const first, all = "devices/system/cpu/cpu0/thermal_throttle", "devices/system/cpu/cpu[0-9]*/thermal_throttle"
	if _, err := fs.Stat(sys, first); err != nil {
		return nil
	}
	found, err := fs.Glob(sys, all)
	if err != nil {
		return []string{first} // it is no bad pattern
	}
	return found
}

func text(path string) string {
	data, err := os.ReadFile(path)
	if err != nil || len(data) > largestResolver {
		return ""
	}
	return string(data)
}
