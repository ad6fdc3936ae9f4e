package host

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/moby/sys/mountinfo"
	"golang.org/x/sys/unix"

	"bryo/netslirp"
	"bryo/rootless/cgroup"
)

const tunPath = "/dev/net/tun"

// examine tries what a topic needs; "" is everything.
func examine(topic string) *symptoms {
	s := &symptoms{}
	s.lookUser()
	s.lookKernel()
	s.lookGuard()
	if topic == "" || topic == onIDs {
		s.lookRanges()
	}
	s.tryUserns()
	s.tun = lookTun()
	s.lookNetwork()
	s.runtime = lookDirectory(os.Getenv("XDG_RUNTIME_DIR"))
	s.home = lookDirectory(dataHome())
	s.image = lookImage()
	s.cgroup = cgroup.Probe(Companion("bryo-cgroup"))
	return s
}

// dataHome is where images are kept, or where the directory for them would be
// made: the XDG base directory specification.
func dataHome() string {
	dir := os.Getenv("XDG_DATA_HOME")
	if !filepath.IsAbs(dir) {
		return os.Getenv("HOME")
	}
	for dir != "/" && unix.Access(dir, unix.F_OK) != nil {
		dir = filepath.Dir(dir)
	}
	return dir
}

func sysctl(name string) string {
	return strings.TrimSpace(readText("/proc/sys/" + strings.ReplaceAll(name, ".", "/")))
}

func (s *symptoms) lookKernel() {
	k := &s.kernel
	var name unix.Utsname
	if unix.Uname(&name) == nil {
		k.release = unix.ByteSliceToString(name.Release[:])
	}
	k.usernsFile = unix.Access("/proc/self/ns/user", unix.F_OK) == nil
	k.maxUserns = sysctl("user.max_user_namespaces")
	k.debianClone = sysctl("kernel.unprivileged_userns_clone")
	mounts, err := mountinfo.GetMounts(nil)
	if err != nil {
		return
	}
	k.chrooted = true
	for _, m := range mounts {
		switch {
		case m.Mountpoint == "/":
			k.chrooted = false
		case m.Mountpoint == "/proc" && m.FSType == "proc":
			k.procMounted = true
			k.procReadOnly = strings.Contains(","+m.Options+",", ",ro,")
		// A mount over a directory that is always empty hides nothing.
		case strings.HasPrefix(m.Mountpoint, "/proc/") && m.Mountpoint != "/proc/sys/fs/binfmt_misc":
			k.procOvermount = append(k.procOvermount, m.Mountpoint)
		}
	}
}

func (s *symptoms) lookGuard() {
	g := &s.guard
	set, err := unix.PrctlRetInt(unix.PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0)
	g.noNewPrivs = err == nil && set == 1
	g.boundingSet = ^uint64(0)
	for line := range strings.Lines(readText("/proc/self/status")) {
		key, value, _ := strings.Cut(line, ":")
		value = strings.TrimSpace(value)
		switch key {
		case "Seccomp":
			g.seccomp = value == "2"
		case "CapBnd":
			if bits, err := strconv.ParseUint(value, 16, 64); err == nil {
				g.boundingSet = bits
			}
		}
	}
	g.appArmor = strings.TrimSpace(readText("/sys/module/apparmor/parameters/enabled")) == "Y"
	g.restricted = sysctl("kernel.apparmor_restrict_unprivileged_userns") == "1"
	g.seLinux = strings.TrimSpace(readText("/sys/fs/selinux/enforce")) == "1"
	g.label = appArmorLabel(unix.Getpid())
}

// appArmorLabel is the profile of a process: apparmor(7). The older file is
// every security module's.
func appArmorLabel(pid int) string {
	dir := "/proc/" + strconv.Itoa(pid) + "/attr/"
	label := readText(dir + "apparmor/current")
	if label == "" && readText("/sys/module/apparmor/parameters/enabled") != "" {
		label = readText(dir + "current")
	}
	return strings.TrimSpace(oneLine(label))
}

func lookTun() tun {
	var stat unix.Stat_t
	t := tun{exists: unix.Stat(tunPath, &stat) == nil}
	t.isTun = stat.Mode&unix.S_IFMT == unix.S_IFCHR && stat.Rdev == unix.Mkdev(10, 200) //nolint:mnd // devices.txt
	t.errno = errnoOf(netslirp.ProbeTun())
	return t
}

func lookDirectory(path string) directory {
	d := directory{path: path}
	if path == "" {
		return d
	}
	var stat unix.Stat_t
	d.errno = errnoOf(unix.Stat(path, &stat))
	if d.errno == 0 && stat.Mode&unix.S_IFMT != unix.S_IFDIR {
		d.errno = unix.ENOTDIR
	}
	d.owner = stat.Uid
	d.writable = unix.Access(path, unix.W_OK|unix.X_OK) == nil
	var fs unix.Statfs_t
	if err := unix.Statfs(path, &fs); err != nil {
		return d
	}
	d.noexec = fs.Flags&unix.ST_NOEXEC != 0
	d.network = networkName(uint32(fs.Type))
	d.mount = mountPoint(path)
	return d
}

// networkName names a network file system by its number, which statfs(2)
// gives signed or unsigned: on those subordinate ids mean nothing to the server.
func networkName(kind uint32) string {
	for _, n := range []struct {
		number uint32
		name   string
	}{
		{unix.NFS_SUPER_MAGIC, "NFS"},
		{unix.CIFS_SUPER_MAGIC, "CIFS"},
		{unix.SMB2_SUPER_MAGIC, "SMB"},
		{unix.SMB_SUPER_MAGIC, "SMB"},
		{unix.AFS_SUPER_MAGIC, "AFS"},
		{unix.AFS_FS_MAGIC, "AFS"},
		{unix.CODA_SUPER_MAGIC, "Coda"},
		{unix.CEPH_SUPER_MAGIC, "Ceph"},
		{unix.V9FS_MAGIC, "9P"},
		{unix.OCFS2_SUPER_MAGIC, "OCFS2"},
		{0x0bd00bd0, "Lustre"},
		{0x47504653, "GPFS"},
		{0x01161970, "GFS2"},
		{0x19830326, "BeeGFS"},
	} {
		if kind == n.number {
			return n.name
		}
	}
	return ""
}

// mountPoint is where the file system with this path is mounted, the path
// itself when mountinfo does not tell.
func mountPoint(path string) string {
	resolved, err := filepath.EvalSymlinks(path)
	if err != nil {
		return path
	}
	mounts, err := mountinfo.GetMounts(mountinfo.ParentsFilter(resolved))
	if err != nil {
		return path
	}
	deepest := ""
	for _, m := range mounts {
		if len(m.Mountpoint) >= len(deepest) {
			deepest = m.Mountpoint
		}
	}
	if deepest == "" {
		return path
	}
	return deepest
}
