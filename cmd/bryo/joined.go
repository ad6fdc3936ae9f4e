package main

import (
	"errors"
	"fmt"
	"slices"

	"golang.org/x/sys/unix"

	"bryo/rootless"
	"bryo/rootless/ns"
	"bryo/rootless/state"
)

// joined are the detached containers whose namespaces are joined by name.
type joined []joinedContainer

type joinedContainer struct {
	name   string // as it was written
	record *state.Record
	pidfd  int // of its entrance: while that lives, its number is nobody else's
}

// named gives namespaces that are joined by a container's name the id of a
// process that has them. The caller closes what it returns, also on an error.
func named(spec *rootless.Spec) (*rootless.Spec, joined, error) {
	var inits joined
	found := *spec
	for _, k := range ns.All() {
		source := &found.Namespaces[k]
		if source.Name == "" {
			continue
		}
		i := slices.IndexFunc(inits, func(c joinedContainer) bool { return c.name == source.Name })
		if i < 0 {
			c, err := openJoined(source.Name)
			if err != nil {
				return nil, inits, fmt.Errorf("--%s %s: %w", k.Flag(), source, err)
			}
			i, inits = len(inits), append(inits, c)
		}
		source.PID = inits[i].record.Entrance.PID
	}
	return &found, inits, nil
}

func openJoined(name string) (c joinedContainer, err error) {
	c.name = name
	if _, c.record, err = oneContainer(name); err != nil {
		return c, err
	}
	if c.pidfd, err = c.record.Entrance.Open(); errors.Is(err, state.ErrGone) {
		err = errNotRunning(c.record)
	}
	return c, err
}

// stayed says that all of them still run, so that what was opened by number is
// theirs.
func (j joined) stayed() error {
	for _, c := range j {
		if ended(c.pidfd, 0) {
			return errNotRunning(c.record)
		}
	}
	return nil
}

func (j joined) close() {
	for _, c := range j {
		_ = unix.Close(c.pidfd)
	}
}
