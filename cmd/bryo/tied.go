package main

import (
	"golang.org/x/sys/unix"

	"bryo/rootless"
	"bryo/rootless/ns"
	"bryo/rootless/state"
)

// tiedTo is the command of an init whose end takes nobody down, since the PID
// namespace is not the container's own. A signal at its parent's end ties the
// command to it, which it may refuse: PR_SET_PDEATHSIG(2const).
func tiedTo(init int, plan *rootless.Plan) (state.Process, error) {
	if plan.Namespaces[ns.PID].Mode == ns.Own || !plan.Process.Init {
		return state.Process{}, nil
	}
	return state.FirstChild(init)
}

// abandon ends the command of a container that nobody will know of.
func abandon(init int, plan *rootless.Plan) {
	if tied, err := tiedTo(init, plan); err == nil {
		_ = signalProcess(&state.Record{}, tied, unix.SIGKILL) // the error why is told
	}
}

// untie ends a command that its init has left behind, or is about to.
func (v *supervisor) untie() {
	if r, err := v.entry.Record(); err == nil && mine(r) == nil {
		_ = killTied(r) // whoever stops or removes the container tries again
	}
}

// killLeft ends the command that a container without a supervisor has left behind.
func killLeft(e *state.Entry) error {
	r, err := e.Record()
	if err == nil && !r.Supervisor.Lives() {
		err = killTied(r)
	}
	return goneIsFine(err)
}

func killTied(r *state.Record) error { return signalProcess(r, r.Tied, unix.SIGKILL) }
