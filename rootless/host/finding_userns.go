package host

import (
	"strings"

	"golang.org/x/sys/unix"
)

// findings concludes from what was seen. What explains a failure comes first,
// and what could not be tried for it says nothing.
func (s *symptoms) findings() []Finding {
	var all []Finding
	add := func(f ...Finding) { all = append(all, f...) }
	add(s.usernsFinding())
	blocked := all[0].Level == Unusable
	add(s.idFindings(blocked)...)
	if !blocked {
		kernel := s.kernelFindings()
		add(kernel...)
		// Calls that are refused are the mounts that fail.
		if Worst(kernel) != Unusable {
			add(s.mountFindings()...)
		}
	}
	add(s.networkFindings()...)
	add(s.runtimeFinding(), s.homeFinding(), s.imageFinding())
	add(s.cgroupFindings()...)
	for i := range all {
		f := &all[i]
		// Paths and programs' words must not end a line or reach a terminal.
		f.Cause, f.Fix, f.Seen = oneLine(f.Cause), oneLine(f.Fix), oneLine(f.Seen)
	}
	return all
}

func (s *symptoms) usernsFinding() Finding {
	if !s.alone.worked() {
		return s.cloneRefused()
	}
	switch in := &s.inside; {
	case in.mapIDs.tried && in.mapIDs.errno != 0:
		return s.mapRefused()
	case in.tmpfs.refused() && s.underAppArmor():
		return s.appArmor("apparmor-mount", "mounts in a user namespace", in.tmpfs)
	}
	return Finding{ID: "userns-works", Topic: onUserns, Cause: "user namespaces can be made, and one id mapped"}
}

// cloneRefused finds the one reason for an errno that has many:
// clone(2), user_namespaces(7).
func (s *symptoms) cloneRefused() Finding {
	f := Finding{Topic: onUserns, Level: Unusable, Seen: s.alone.seen()}
	switch errno := s.alone.errno; {
	case errno == unix.ENOSYS && older(s.kernel.release, 5, 3):
		f.ID, f.Topic = "missing-calls", onKernel
		f.Cause = "linux " + s.kernel.release + " has no clone3"
		f.Fix = "run linux 5.10 or newer"
	case s.guard.seccomp && s.bare != unix.EINVAL:
		f.ID = "seccomp-userns"
		f.Cause = "a seccomp filter refuses clone3, which makes the namespaces"
		f.Fix = seccompFix()
	case errno == unix.ENOSPC || errno == unix.EUSERS:
		s.limitReached(&f)
	case errno == unix.EAGAIN:
		f.ID = "process-limit"
		f.Cause = "no more processes are allowed (ulimit -u, or pids.max of the control group)"
		f.Fix = "end some processes, or raise the limit"
	case errno == unix.EINVAL && !s.kernel.usernsFile:
		f.ID = "no-user-namespaces"
		f.Cause = "this kernel is built without user namespaces (CONFIG_USER_NS)"
		f.Fix = "run a kernel that has them"
	case errno == unix.EPERM:
		s.notPermitted(&f)
	default:
		s.blameModule(&f)
	}
	return f
}

func (s *symptoms) notPermitted(f *Finding) {
	switch {
	case s.kernel.debianClone == "0":
		f.ID = "unprivileged-userns-clone"
		f.Cause = "kernel.unprivileged_userns_clone is 0: only root may make user namespaces"
		f.Fix = "sudo sysctl -w kernel.unprivileged_userns_clone=1"
		f.Script = setSysctl("kernel.unprivileged_userns_clone", "1")
	case s.kernel.chrooted:
		f.ID = "chroot"
		f.Cause = "this is a chroot, in which the kernel makes no user namespaces"
		f.Fix = "enter the directory with pivot_root, or start bryo outside"
	default:
		s.blameModule(f)
	}
}

// blameModule is for a refusal that no setting explains: a security module.
func (s *symptoms) blameModule(f *Finding) {
	switch {
	case s.alone.refused() && s.underAppArmor():
		*f = s.appArmor("apparmor-userns", "new user namespaces", s.alone)
	case s.alone.errno == unix.EACCES && s.guard.seLinux:
		f.ID = "selinux-userns"
		f.Cause = "SELinux refuses new user namespaces"
		f.Fix = "allow user_namespace create: sudo ausearch -m avc -ts recent | audit2allow -M bryo"
	default:
		f.ID = "userns-refused"
		f.Cause = "the kernel refuses a user namespace: " + f.Seen
		f.Fix = "see what the kernel's log says: sudo dmesg | tail"
	}
}

func (s *symptoms) limitReached(f *Finding) {
	if s.kernel.maxUserns != "0" {
		f.ID = "user-namespaces-used-up"
		f.Cause = "no more user namespaces are allowed here, or they are nested 32 deep"
		f.Fix = "end some, start bryo further outside, or raise user.max_user_namespaces"
		return
	}
	f.ID = "max-user-namespaces"
	f.Cause = "user.max_user_namespaces is 0: no user namespace can be made"
	f.Fix = "sudo sysctl -w user.max_user_namespaces=28633"
	f.Script = setSysctl("user.max_user_namespaces", "28633")
}

// mapRefused is about a namespace that could be made but not given one id.
func (s *symptoms) mapRefused() Finding {
	f := Finding{Topic: onUserns, Level: Unusable, Seen: s.inside.mapIDs.seen()}
	switch {
	case !s.kernel.procMounted:
		f.ID = "no-proc"
		f.Cause = "/proc is not mounted, through which ids are mapped"
		f.Fix = "sudo mount -t proc none /proc"
		f.Script = "mount -t proc none /proc\n"
	case s.inside.mapIDs.errno == unix.EROFS:
		f.ID = "read-only-proc"
		f.Cause = "/proc is read-only, through which ids are mapped"
		f.Fix = "start the outer container with a writable /proc"
	case !s.user.dumpable:
		f.ID = "bryo-unreadable"
		f.Cause = "you may not read the bryo executable, so that its files in /proc are root's"
		f.Fix = "sudo chmod a+r " + quote(s.user.program)
		f.Script = "chmod a+r " + quote(s.user.program) + "\n"
	case s.inside.mapIDs.refused() && s.underAppArmor():
		return s.appArmor("apparmor-uid-map", "the id map of a user namespace", s.inside.mapIDs)
	default:
		f.ID = "id-map-refused"
		f.Cause = "the kernel refuses a map of one id: " + f.Seen
		f.Fix = "see what the kernel's log says: sudo dmesg | tail"
	}
	return f
}

// underAppArmor reports whether AppArmor can be what refuses. CapEff reads
// full under its restriction: only the attempts tell.
func (s *symptoms) underAppArmor() bool {
	g := &s.guard
	return g.appArmor && (g.restricted || confined(g.label) || confined(g.childLabel))
}

// confined reads a label such as "docker-default (enforce)".
func confined(label string) bool {
	return label != "" && label != "unconfined" && !strings.HasSuffix(label, "(unconfined)")
}

func (s *symptoms) appArmor(id, what string, a attempt) Finding {
	f := Finding{ID: id, Topic: onUserns, Level: Unusable, Seen: a.seen()}
	if label, _, _ := strings.Cut(s.guard.label, " ("); confined(s.guard.label) && !s.guard.restricted {
		f.Cause = "AppArmor's profile " + label + " refuses " + what
		f.Fix = "add a \"userns,\" rule to it; in a container: --security-opt apparmor=unconfined outside"
		return f
	}
	f.Cause = "AppArmor refuses " + what + " to programs without a profile"
	f.Fix = "give bryo a profile: bryo doctor --fix-script " + onUserns + " | sudo sh"
	f.Script = appArmorScript(s.user.program)
	return f
}

func seccompFix() string {
	return "outside: --nest (bryo), --security-opt seccomp=unconfined (Docker, podman), seccompProfile Unconfined (Kubernetes), no RestrictNamespaces= or SystemCallFilter= (systemd)"
}

// older compares the first two numbers of uname's release.
func older(release string, major, minor int) bool {
	first, rest, _ := strings.Cut(release, ".")
	a, b := leadingNumber(first), leadingNumber(rest)
	return a < major || a == major && b < minor
}

func leadingNumber(s string) int {
	n := 0
	for _, c := range s {
		if c < '0' || c > '9' {
			break
		}
		n = 10*n + int(c-'0')
	}
	return n
}
