package host

import "slices"

// Level says how much of bryo a finding takes away.
type Level uint8

// The levels, in the order of their weight.
const (
	// OK is something that was tried and works.
	OK Level = iota
	// Note is something that bryo gets around by itself, or that few miss.
	Note
	// Degraded is something that works only with other flags, or not at all.
	Degraded
	// Unusable means that no container starts.
	Unusable
)

// String returns the level as --json has it.
func (l Level) String() string {
	switch l {
	case OK:
		return "ok"
	case Note:
		return "note"
	case Degraded:
		return "degraded"
	case Unusable:
	}
	return "unusable"
}

// The topics, which group findings by what a user was after.
const (
	onUserns  = "userns"  // making a user namespace, and the map of one id
	onIDs     = "ids"     // subordinate ids, newuidmap and newgidmap
	onKernel  = "kernel"  // system calls and kinds of namespaces
	onMount   = "mount"   // tmpfs and overlay
	onProc    = "proc"    // a fresh /proc
	onNetwork = "network" // what bryo-net needs
	onRuntime = "runtime" // $XDG_RUNTIME_DIR
	onHome    = "home"    // where data is kept
	onImages  = "images"  // what bryo-image needs
	onCgroup  = "cgroup"  // limits for all processes of a container together
)

// Topics lists what Diagnose can be asked for, in the order it looks.
func Topics() []string {
	return []string{onUserns, onIDs, onKernel, onMount, onProc, onNetwork, onRuntime, onHome, onImages, onCgroup}
}

// Finding is one fact about the host: what works, or the one cause of what
// does not.
type Finding struct {
	ID     string // stable, in kebab case
	Topic  string // one of Topics
	Level  Level
	Cause  string // one line
	Fix    string // one line for the user; empty when there is nothing to do
	Script string // shell lines for the administrator; may be empty
	Seen   string // what was tried and what the kernel said; may be empty
}

// Advice is a user's error in at most three lines: what was being done and why
// it is refused, the fix, and where to read more.
func (f *Finding) Advice(what string) []string {
	lines := []string{what + ": " + f.Cause}
	if f.Fix != "" {
		lines = append(lines, "fix: "+f.Fix)
	}
	return append(lines, "more: bryo doctor "+f.Topic)
}

// Worst returns the highest level among findings, which is the verdict.
func Worst(findings []Finding) Level {
	worst := OK
	for i := range findings {
		worst = max(worst, findings[i].Level)
	}
	return worst
}

// about keeps what concerns a topic. Whatever makes bryo unusable does so for
// every topic, and explains why nothing more was tried.
func about(topic string, all []Finding) []Finding {
	if topic == "" {
		return all
	}
	return slices.DeleteFunc(all, func(f Finding) bool {
		return f.Topic != topic && f.Level != Unusable
	})
}
