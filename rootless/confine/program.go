package confine

import (
	"encoding/binary"

	"golang.org/x/sys/unix"

	"bryo/rootless/program"
)

// SetLimits adds the calls that set resource limits.
func SetLimits(p *program.Program, limits []Limit) {
	for _, l := range limits {
		p.Step("set limit", ResourceName(l.Resource))
		value := binary.NativeEndian.AppendUint64(nil, l.Soft)
		value = binary.NativeEndian.AppendUint64(value, l.Hard)
		p.Syscall(unix.SYS_PRLIMIT64, program.Num(0), program.Num(l.Resource), program.Blob(string(value)))
	}
}

// JoinKeyring gives the process a session keyring of its own, so that the
// caller's keys stay out of reach: keyctl(2). A kernel without keyrings has
// none to hide, and where a filter forbids keyctl nobody inside can call it.
func JoinKeyring(p *program.Program) {
	p.Step("join", "a new session keyring")
	p.Syscall(unix.SYS_KEYCTL, program.Num(unix.KEYCTL_JOIN_SESSION_KEYRING))
	p.Tolerate(program.Errno(unix.ENOSYS), program.Errno(unix.EPERM))
}

// LoadFilter installs a seccomp filter, which stays: seccomp(2). The process has
// no_new_privs, or else CAP_SYS_ADMIN, until execve.
func LoadFilter(p *program.Program, s *Seccomp) {
	if len(s.Filter) == 0 {
		return
	}
	p.Step("load", "the seccomp filter")
	filter := p.Vector(program.Num(s.Instructions()), program.Blob(string(s.Filter))) // struct sock_fprog
	p.Syscall(unix.SYS_SECCOMP, program.Num(unix.SECCOMP_SET_MODE_FILTER), program.Num(0), filter)
}

// LoadListener is LoadFilter for a filter that asks: whoever has the listener
// answers. With killable a call that is being answered is broken off by no signal but
// those that end the process (Linux 5.19).
func LoadListener(p *program.Program, s *Seccomp, killable bool) (listener program.Arg) {
	flags := unix.SECCOMP_FILTER_FLAG_NEW_LISTENER
	if killable {
		flags |= unix.SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV
	}
	p.Step("load", "the filter that asks")
	filter := p.Vector(program.Num(s.Instructions()), program.Blob(string(s.Filter))) // struct sock_fprog
	return p.SyscallResult("listener", unix.SYS_SECCOMP, program.Num(unix.SECCOMP_SET_MODE_FILTER), program.Num(flags), filter)
}

// DropBounding takes the capabilities that are not kept out of the bounding
// set. It needs CAP_SETPCAP.
func DropBounding(p *program.Program, keep Caps) {
	p.Step("drop", "capabilities from the bounding set")
	for n := range uint64(lastCap + 1) {
		if keep&(1<<n) == 0 {
			p.Prctl(unix.PR_CAPBSET_DROP, n)
			p.Tolerate(program.Errno(unix.EINVAL)) // newer than the kernel
		}
	}
}

// SetCaps makes caps the effective and permitted set; inheritable and ambient
// are left empty.
func SetCaps(p *program.Program, caps Caps) { setCaps(p, caps, 0) }

// forFilters is what it takes to load filters without no_new_privs. It is not
// in the bounding set unless it was granted, so that execve takes it away:
// capabilities(7).
const forFilters Caps = 1 << unix.CAP_SYS_ADMIN

// KeepCapsOverExec lets a process that is not user 0 keep every capability
// over the next execve: they become inheritable and ambient.
func KeepCapsOverExec(p *program.Program) {
	p.Step("keep", "capabilities over execve")
	setCaps(p, AllCaps, AllCaps)
	for n := range uint64(lastCap + 1) {
		p.Prctl(unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_RAISE, n)
		p.Tolerate(program.Errno(unix.EINVAL))
	}
}

// SetCapsToFilter is SetCaps for a process that is going to load filters without
// no_new_privs; its next execve leaves it caps.
func SetCapsToFilter(p *program.Program, caps Caps) { setCaps(p, caps|forFilters, 0) }

// SetAmbient gives a process that is no longer user 0, and kept its
// capabilities, exactly these over the next execve. With filters it may load
// filters without no_new_privs before that.
func SetAmbient(p *program.Program, caps Caps, filters bool) {
	held := caps
	if filters {
		held |= forFilters
	}
	setCaps(p, held, caps)
	for n := range uint64(lastCap + 1) {
		if caps&(1<<n) != 0 {
			p.Prctl(unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_RAISE, n)
		}
	}
}

func setCaps(p *program.Program, caps, inheritable Caps) {
	const version3 = 0x20080522
	header := binary.NativeEndian.AppendUint32(nil, version3)
	header = binary.NativeEndian.AppendUint32(header, 0) // this process
	var data []byte
	for shift := 0; shift <= 32; shift += 32 {
		for _, set := range []Caps{caps, caps, inheritable} { // effective, permitted, inheritable
			data = binary.NativeEndian.AppendUint32(data, uint32(set>>shift))
		}
	}
	p.Step("set", "capabilities")
	p.Syscall(unix.SYS_CAPSET, program.Blob(string(header)), program.Blob(string(data)))
}

// NoNewPrivs forbids that an execve ever grants more: no set-user-ID, no file
// capabilities. A seccomp filter needs it, too.
func NoNewPrivs(p *program.Program) {
	p.Step("set", "no_new_privs")
	p.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1)
}

// Numbers of landlock(7) that have no name in x/sys.
const (
	rulePathBeneath = unix.LANDLOCK_RULE_PATH_BENEATH
	ruleNetPort     = 2
	rulesetSize     = 24
)

// MakeLandlock adds the calls that make a ruleset, if there is anything to
// restrict. Paths are looked up here, in the process's root: it is the
// container's, and no link in it leads a rule elsewhere.
func MakeLandlock(p *program.Program, l *Landlock) (ruleset program.Arg) {
	if !l.Restricts() {
		return ruleset
	}
	p.Step("make", "the Landlock rules")
	attributes := p.Vector(program.Num(l.Files), program.Num(l.Net), program.Num(uint64(l.Scope)))
	ruleset = p.SyscallResult("ruleset", unix.SYS_LANDLOCK_CREATE_RULESET, attributes, program.Num(rulesetSize), program.Num(0))
	for _, r := range l.Rules {
		p.Step("allow", r.String())
		if r.Path != "" {
			allowPath(p, ruleset, r, l.Files)
			continue
		}
		port := p.Vector(program.Num(r.port()), program.Num(uint64(r.Port))) // struct landlock_net_port_attr
		p.Syscall(unix.SYS_LANDLOCK_ADD_RULE, ruleset, program.Num(ruleNetPort), port, program.Num(0))
	}
	return ruleset
}

// allowPath allows first what can be done to a file, and then what can be done
// in a directory: a file is refused that.
func allowPath(p *program.Program, ruleset program.Arg, r LandlockRule, handled uint64) {
	const fdAt, size = 8, 16 // struct landlock_path_beneath_attr
	files, dirs := r.letters()
	path := p.Openat2("path", program.CWD(), r.Path, unix.O_PATH|unix.O_CLOEXEC, 0, unix.RESOLVE_NO_SYMLINKS|unix.RESOLVE_NO_MAGICLINKS)
	for _, access := range []uint64{files & handled, dirs & handled} {
		if access == 0 {
			continue
		}
		rule := p.Buffer("beneath", size, string(binary.NativeEndian.AppendUint64(nil, access)))
		p.SyscallResult("parent", unix.SYS_FCNTL, path, program.Num(unix.F_DUPFD_CLOEXEC), program.Num(0))
		p.Into(rule.At(fdAt))
		p.Syscall(unix.SYS_LANDLOCK_ADD_RULE, ruleset, program.Num(rulePathBeneath), rule.At(0), program.Num(0))
		if access == dirs&handled {
			p.Tolerate(program.Errno(unix.EINVAL))
		}
	}
}

// RestrictSelf puts a ruleset into effect, for good: landlock_restrict_self(2).
// The process has no_new_privs, or else CAP_SYS_ADMIN.
func RestrictSelf(p *program.Program, l *Landlock, ruleset program.Arg) {
	if l.Restricts() {
		p.Step("restrict", "by Landlock")
		p.Syscall(unix.SYS_LANDLOCK_RESTRICT_SELF, ruleset, program.Num(0))
	}
}
