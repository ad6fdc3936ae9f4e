package host

import (
	"strings"

	"golang.org/x/sys/unix"

	"bryo/rootless/ns"
)

func (s *symptoms) kernelFindings() []Finding {
	var found []Finding
	for i := range s.kinds {
		if !s.kinds[i].worked() {
			found = append(found, kindFinding(&s.kinds[i]))
		}
	}
	if f, bad := s.callFinding(); bad {
		found = append(found, f)
	}
	if s.inside.landlock.errno != 0 {
		found = append(found, Finding{
			ID: "no-landlock", Topic: onKernel, Level: Note, Seen: s.inside.landlock.seen(),
			Cause: "this kernel has no Landlock, one of several layers around the network process",
			Fix:   "run linux 5.13 or newer with landlock in the lsm= list",
		})
	}
	if len(found) == 0 && s.inside.ran.tried {
		found = append(found, Finding{
			ID: "kernel-calls", Topic: onKernel,
			Cause: "linux " + s.kernel.release + " has every system call and namespace that bryo uses",
		})
	}
	return found
}

func kindFinding(t *kindTrial) Finding {
	f := Finding{Topic: onKernel, Level: Degraded, Seen: t.seen()}
	if t.kind == ns.Mount {
		f.Level = Unusable
	}
	name := t.kind.File()
	host := "use --" + t.kind.Flag() + " host"
	f.ID = "no-" + name + "-namespace"
	f.Cause = "a new " + name + " namespace is refused: " + t.seen()
	f.Fix = host
	if t.errno == unix.EINVAL {
		f.Cause = "this kernel has no " + name + " namespaces"
		f.Fix = host + ", or a kernel that has them"
	}
	if t.errno == unix.ENOSPC {
		sysctl := "user.max_" + name + "_namespaces"
		f.ID = "max-" + name + "-namespaces"
		f.Cause = sysctl + " is reached: no " + name + " namespace can be made"
		f.Fix = "sudo sysctl -w " + sysctl + "=28633, or " + host
		f.Script = setSysctl(sysctl, "28633")
	}
	return f
}

// callFinding tells a call that the kernel lacks from one that a filter
// refuses: ENOSYS is an answer of both, so the release decides.
func (s *symptoms) callFinding() (Finding, bool) {
	if s.inside.ran.signal == unix.SIGSYS {
		return Finding{
			ID: "seccomp-calls", Topic: onKernel, Level: Unusable, Seen: s.inside.ran.seen(),
			Cause: "a seccomp filter kills a process for a system call that bryo needs", Fix: seccompFix(),
		}, true
	}
	var missing, refused []string
	level := Note
	for i := range s.inside.calls {
		t := &s.inside.calls[i]
		switch {
		case s.lacks(t):
			missing = append(missing, t.name)
		case s.filters(t):
			refused = append(refused, t.name)
		default:
			continue
		}
		level = max(level, t.without)
	}
	f := Finding{Topic: onKernel, Level: level}
	switch {
	case len(refused) > 0:
		f.ID = "seccomp-calls"
		f.Cause = "a seccomp filter refuses " + strings.Join(refused, ", ")
		f.Fix = seccompFix()
	case len(missing) > 0:
		f.ID = "missing-calls"
		f.Cause = "linux " + s.kernel.release + " has no " + strings.Join(missing, ", ")
		f.Fix = "run linux 5.10 or newer"
		if level < Unusable {
			f.Fix = "nothing breaks: bryo goes a longer way; newer kernels have them"
		}
	default:
		return Finding{}, false
	}
	return f, true
}

func (s *symptoms) lacks(t *callTrial) bool {
	return t.errno == unix.ENOSYS && (!s.guard.seccomp || older(s.kernel.release, t.major, t.minor))
}

// filters goes by answers that root of a user namespace gets from no kernel
// that has the call.
func (s *symptoms) filters(t *callTrial) bool {
	return s.guard.seccomp && (t.errno == unix.ENOSYS || t.errno == unix.EPERM || t.errno == unix.EACCES)
}

func (s *symptoms) mountFindings() []Finding {
	in := &s.inside
	if !in.tmpfs.tried {
		return nil
	}
	if in.tmpfs.errno != 0 {
		// AppArmor's refusal is told among the user namespaces' findings.
		return []Finding{{
			ID: "mount-refused", Topic: onMount, Level: Unusable, Seen: in.tmpfs.seen(),
			Cause: "root of a user namespace may not mount a tmpfs: " + in.tmpfs.seen(),
			Fix:   "see what the kernel's log says: sudo dmesg | tail",
		}}
	}
	found := []Finding{{ID: "overlay-works", Topic: onMount, Cause: "tmpfs and overlay can be mounted in a user namespace"}}
	if in.overlay.errno != 0 {
		found[0] = Finding{
			ID: "no-overlay", Topic: onMount, Level: Degraded, Seen: in.overlay.seen(),
			Cause: "this kernel mounts no overlay in a user namespace: " + in.overlay.seen(),
			Fix:   "run linux 5.11 or newer with overlay; until then layers are copied",
		}
		if in.overlay.errno == unix.ENODEV {
			found[0].Cause = "the overlay module is not loaded, and a user cannot load it"
			found[0].Fix = "sudo modprobe overlay"
			found[0].Script = loadModule("overlay")
		}
	}
	if in.proc.tried {
		found = append(found, s.procFinding())
	}
	return found
}

// procFinding is about a fresh /proc, which the kernel gives only to who sees
// all of another one.
func (s *symptoms) procFinding() Finding {
	f := Finding{Topic: onProc, Level: Degraded, Seen: s.inside.proc.seen()}
	const inherit = "use --pid host, or unmask /proc outside: --security-opt unmask=all (podman), systempaths=unconfined (Docker), procMount Unmasked (Kubernetes)"
	switch {
	case s.inside.proc.errno == 0:
		return Finding{ID: "proc-mounts", Topic: onProc, Cause: "a fresh /proc can be mounted"}
	case len(s.kernel.procOvermount) > 0:
		f.ID = "masked-proc"
		f.Cause = "parts of /proc are hidden here (" + short(s.kernel.procOvermount) + "), so that the kernel gives no fresh one"
		f.Fix = inherit
	case s.kernel.procReadOnly:
		f.ID = "read-only-proc"
		f.Cause = "/proc is read-only here, so that the kernel gives no fresh one"
		f.Fix = inherit
	case !s.kernel.procMounted:
		f.ID = "no-proc"
		f.Cause = "/proc is not mounted here, so that the kernel gives no fresh one"
		f.Fix = "sudo mount -t proc none /proc"
		f.Script = "mount -t proc none /proc\n"
	default:
		f.ID = "proc-refused"
		f.Cause = "the kernel refuses a fresh /proc: " + s.inside.proc.seen()
		f.Fix = "use --pid host"
	}
	return f
}

// short names the first few.
func short(paths []string) string {
	if len(paths) > 3 {
		return strings.Join(paths[:3], ", ") + ", ..."
	}
	return strings.Join(paths, ", ")
}
