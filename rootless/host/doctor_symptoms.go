package host

import (
	"golang.org/x/sys/unix"

	"bryo/idmap"
	"bryo/rootless/cgroup"
	"bryo/rootless/ns"
)

// symptoms is what was seen on the host. The check files fill it in by trying;
// the finding files conclude from it, and touch nothing.
type symptoms struct {
	user   user
	kernel kernelFacts
	guard  guard

	alone attempt // a child in a user namespace
	// bare is clone3 without arguments, tried when alone fails. The kernel
	// answers EINVAL, whatever a user may do; anything else is a seccomp
	// filter, which cannot look at the arguments.
	bare   unix.Errno
	kinds  []kindTrial
	inside inside

	ranges  ranges
	helpers [2]helper // newuidmap, newgidmap
	install string    // the command that installs them here

	tun     tun
	network connection
	runtime directory // $XDG_RUNTIME_DIR
	home    directory // where data is kept
	image   imageProgram
	cgroup  cgroup.Facts
}

// user is who asks.
type user struct {
	uid, gid  uint32
	name      string // "" when no source knows it
	passwdGID uint32 // of the passwd entry
	inPasswd  bool   // passwdGID is known
	program   string // path of this executable
	dumpable  bool   // false: /proc/self belongs to root
}

// kernelFacts is what the kernel says of itself and of its limits.
type kernelFacts struct {
	release       string // uname -r
	usernsFile    bool   // /proc/self/ns/user is there
	maxUserns     string // sysctl user.max_user_namespaces; "" unknown
	debianClone   string // sysctl kernel.unprivileged_userns_clone; "" absent
	chrooted      bool   // this process's root is no mount
	procMounted   bool
	procReadOnly  bool
	procOvermount []string // mounts below /proc that hide some of it
}

// guard is what stands between a user and the kernel.
type guard struct {
	noNewPrivs  bool
	seccomp     bool   // a filter is installed
	boundingSet uint64 // capabilities that a setuid program may get
	appArmor    bool   // it is enabled
	restricted  bool   // sysctl kernel.apparmor_restrict_unprivileged_userns is 1
	label       string // AppArmor's profile of this process
	childLabel  string // and of a child in a user namespace
	seLinux     bool   // it is enforcing
}

// attempt is one thing that was tried. The zero value was not.
type attempt struct {
	tried  bool
	errno  unix.Errno // 0: it worked
	call   string     // which system call failed
	signal unix.Signal
}

func (a attempt) worked() bool  { return a.tried && a.errno == 0 && a.signal == 0 }
func (a attempt) refused() bool { return a.errno == unix.EPERM || a.errno == unix.EACCES }

// seen puts the attempt in words.
func (a attempt) seen() string {
	switch {
	case a.signal != 0:
		return "killed by " + unix.SignalName(a.signal)
	case a.errno != 0:
		return a.call + ": " + a.errno.Error()
	}
	return ""
}

// kindTrial is a namespace that was made together with a user namespace.
type kindTrial struct {
	kind ns.Kind
	attempt
}

// inside is what was tried as root of a user namespace.
type inside struct {
	ran      attempt // the child itself; a signal says that it was killed
	mapIDs   attempt
	tmpfs    attempt
	overlay  attempt
	proc     attempt
	tun      attempt
	calls    []callTrial
	landlock attempt
}

// callTrial is a system call that was made with arguments that it refuses.
type callTrial struct {
	call
	errno unix.Errno // EINVAL or the like when the call is there
}

// ranges is what the host grants of subordinate ids.
type ranges struct {
	uids, gids uint64 // how many, without the user's own
	source     string // where nsswitch.conf keeps them: "files", or a directory
	err        string // why they could not be read
	free       uint32 // the first id behind all ranges of the files
}

// helper is newuidmap or newgidmap.
type helper struct {
	name     string
	path     string    // "" when there is none that can be executed
	want     idmap.Map // nil: there is nothing that it could map
	owner    uint32
	setuid   bool
	fileCaps bool   // it has a security.capability attribute
	nosuid   string // the mount point when that is mounted nosuid
	run      bool   // it was started for a waiting child
	refused  unix.Errno
	status   int    // its exit status
	stderr   string // its first line
	wrote    bool   // the kernel shows the map
}

// tun is /dev/net/tun as seen from here.
type tun struct {
	errno  unix.Errno // of opening it for what bryo-net needs
	isTun  bool       // it is the character device 10:200
	exists bool
}

// usable says that a launch takes it.
func (t *tun) usable() bool { return t.exists && t.isTun && t.errno == 0 }

// connection is what else connects a container.
type connection struct {
	program string   // bryo-net by absolute path; "" if it is missing
	others  []string // slirp4netns and pasta, where they are installed
	ping    attempt  // at a socket of icmp(7)
	veth    attempt  // at what stands in for the tun device; only without that
}

// directory is one that bryo keeps something in.
type directory struct {
	path     string // "" when none is configured
	errno    unix.Errno
	owner    uint32
	writable bool
	noexec   bool
	network  string // the network file system it is on
	mount    string // the mount point
}
