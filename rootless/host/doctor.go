// Package host asks the host that bryo runs on. Probe finds out what a plan
// needs to know, and is paid by every start. Diagnose is for when something
// does not work: it tries what a launch does and names the cause.
//
// The check files try things out and fill in symptoms; the finding files
// conclude from those and are pure.
package host

import (
	"path"
	"runtime"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// Diagnose tries on this host what a launch needs, and names the cause of what
// does not work: one finding for each cause, none for its consequences. With a
// topic it keeps to that, and to what makes bryo unusable altogether; "" is
// everything. It makes child processes in namespaces of their own, starts
// newuidmap and newgidmap for one of them, and leaves nothing behind.
func Diagnose(topic string) []Finding {
	// A parent-death signal follows the thread that made the child.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	return about(topic, examine(topic).findings())
}

// Cause looks for what explains a failed launch, under a topic from Topic:
// the heaviest finding. It is false when what was tried works by now, or when
// the failure is none of the host's.
func Cause(topic string) (Finding, bool) {
	if topic == "" {
		return Finding{}, false
	}
	return heaviest(Diagnose(topic))
}

func heaviest(all []Finding) (Finding, bool) {
	worst := Worst(all)
	if worst < Degraded {
		return Finding{}, false
	}
	for i := range all {
		if all[i].Level == worst {
			return all[i], true
		}
	}
	return Finding{}, false
}

// Topic is where Cause should look after the step of a launch failed with
// errno; "" when the host is not to blame. A step is that of program.Failure,
// "clone3" for a program.CloneError, or the path of newuidmap or newgidmap
// (with errno 0) for its refusal.
func Topic(step string, errno unix.Errno) string {
	if errno == unix.ENOSYS && step != "clone3" {
		return onKernel
	}
	topic := ""
	for word := range strings.FieldsSeq(step) {
		topic = topicOf(path.Base(word), topic)
	}
	if topic == onIDs || topic == onUserns || topic == onNetwork || topic == onRuntime || topic == onCgroup {
		return topic
	}
	// The other errnos speak of the user's own arguments, as ENOENT does.
	if slices.Contains([]unix.Errno{unix.EPERM, unix.EACCES, unix.ENODEV, unix.EINVAL, unix.EOPNOTSUPP, unix.ENOSPC}, errno) {
		return topic
	}
	return ""
}

// topicOf reads a word of a step's name behind what the words before it said:
// "mount" is a beginning that "/proc" makes more precise.
func topicOf(word, before string) string {
	switch word {
	case "newuidmap", "newgidmap":
		return onIDs
	case "clone3", "ids":
		return onUserns
	case "bryo-cgroup":
		return onCgroup
	case "tun":
		return onNetwork
	case "proc":
		return onProc
	case "seccomp", "landlock":
		return onKernel
	case "state":
		return onRuntime
	case "mount", "overlay", "tmpfs", "layer":
		return onMount
	case "execute":
		return onHome
	}
	return before
}
