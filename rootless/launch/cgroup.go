package launch

import (
	"errors"
	"strconv"

	"golang.org/x/sys/unix"

	"bryo/rootless/cgroup"
	"bryo/rootless/program"
)

// limit makes the container's cgroup, or opens the one that a command enters.
// Only a process of the same delegated tree may put others into it: systemd puts
// this one there first.
func (l *launch) limit() (err error) {
	pl := &l.plan.Cgroup
	if !pl.On() {
		return nil
	}
	if !pl.Settled() {
		if err := askSystemd(pl); err != nil {
			return err
		}
	}
	l.group, err = pl.Make()
	return err
}

func askSystemd(pl *cgroup.Plan) error {
	argv := []string{"bryo-cgroup", "scope", pl.Socket, pl.Unit, strconv.Itoa(unix.Getpid())}
	if pl.Entered != "" {
		argv[1] = "enter"
	}
	h, err := startHelper(pl.Program, argv)
	if err != nil {
		return err
	}
	return h.wait()
}

// clone makes the child, in its cgroup from the first moment.
func (l *launch) clone(namespaces uint64) (*program.Child, error) {
	group := -1
	if l.group != nil {
		group = l.group.FD
		defer l.group.Born()
	}
	child, err := program.StartIn(l.setup, namespaces, l.errors.write.fd(), group)
	if err != nil {
		return nil, errors.Join(err, l.ungroup())
	}
	return child, nil
}

// ungroup removes the cgroup of a container that did not come to be.
func (l *launch) ungroup() error {
	if l.group == nil {
		return nil
	}
	err := l.group.Remove()
	l.group = nil
	return err
}

// keepGroup hands over the cgroup if it has to be removed later.
func (l *launch) keepGroup() *cgroup.Group {
	group := l.group
	if group == nil || !l.plan.Cgroup.Lasts() {
		return nil
	}
	l.group = nil
	return group
}
