package host

import "fmt"

func (s *symptoms) runtimeFinding() Finding {
	f := Finding{Topic: onRuntime, Level: Note}
	r := &s.runtime
	switch {
	case r.path == "":
		f.ID = "no-runtime-dir"
		f.Cause = "XDG_RUNTIME_DIR is not set: nothing is kept there yet, but other programs may need it"
		f.Fix = "log in by pam_systemd (ssh, machinectl shell; not su), or: sudo loginctl enable-linger " + quote(s.userName())
	case r.errno != 0:
		f.ID, f.Level = "runtime-dir-unusable", Degraded
		f.Cause = "XDG_RUNTIME_DIR is " + r.path + ": " + r.errno.Error()
		f.Fix = "unset XDG_RUNTIME_DIR"
	case r.owner != s.user.uid || !r.writable:
		f.ID, f.Level = "runtime-dir-unusable", Degraded
		f.Cause = fmt.Sprintf("XDG_RUNTIME_DIR is %s, which uid %d owns and you cannot use (su or sudo)", r.path, r.owner)
		f.Fix = "unset XDG_RUNTIME_DIR"
	default:
		return Finding{ID: "runtime-dir", Topic: onRuntime, Cause: "XDG_RUNTIME_DIR is yours"}
	}
	return f
}

func (s *symptoms) homeFinding() Finding {
	f := Finding{Topic: onHome, Level: Degraded}
	const elsewhere = "keep data on a local file system: export XDG_DATA_HOME=/var/tmp/$USER, TMPDIR for unpacking"
	d := &s.home
	switch {
	case d.path == "" || d.errno != 0:
		f.ID = "no-home"
		f.Cause = "neither HOME nor XDG_DATA_HOME is a directory: images can be kept nowhere"
		f.Fix = "export HOME or XDG_DATA_HOME"
	case d.noexec:
		f.ID = "noexec-home"
		f.Cause = "no program can be executed below " + d.path + ": " + d.mount + " is mounted noexec"
		f.Fix = elsewhere
		f.Script = "mount -o remount,exec " + quote(d.mount) + "\n"
	case d.network != "":
		f.ID = "network-home"
		f.Cause = d.path + " is on " + d.network + ", which knows neither subordinate ids nor overlay layers"
		f.Fix = elsewhere
	case !d.writable:
		f.ID = "read-only-home"
		f.Cause = "you cannot write to " + d.path + ": images can be kept nowhere"
		f.Fix = elsewhere
	default:
		return Finding{ID: "home", Topic: onHome, Cause: d.path + " can hold root file systems"}
	}
	return f
}
