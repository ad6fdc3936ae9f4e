package main

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"bryo/fsroot"
	"bryo/idmap"
	"bryo/rootless"
	"bryo/rootless/host"
	"bryo/rootless/launch"
	"bryo/rootless/ns"
	"bryo/rootless/state"
)

// Containers that share a network find each other by name, on the loopback that
// they share: their /etc/hosts have a line for each. Who shares it is what the
// kernel says of those that run. The files are the containers' own; they are
// rewritten from inside, as far as bryo made them, when one comes, goes or has
// another name.
//
// A container in the foreground has no name, and knows those that were there
// before it. A supervisor that is killed leaves a name until the next change.

const hostsFile = "/etc/hosts"

// networkOf is the inode of a network namespace; 0 if there is none.
func networkOf(source ns.Source) uint64 {
	path := source.Path
	if source.PID != 0 {
		path = fmt.Sprintf("/proc/%d/ns/net", source.PID)
	}
	var st unix.Stat_t
	if unix.Stat(path, &st) != nil {
		return 0
	}
	return st.Ino
}

// sharing are the containers that run in a network.
func sharing(store *state.Store, network uint64) (list []*state.Record, err error) {
	records, _, err := store.List()
	if err != nil {
		return nil, err
	}
	for _, r := range records {
		if (r.Status == state.Running || r.Status == state.Paused) && r.Entrance.Lives() && networkOf(ns.Source{PID: r.Entrance.PID}) == network {
			list = append(list, r)
		}
	}
	return list, nil
}

func namesOf(records []*state.Record) (names []string) {
	for _, r := range records {
		names = append(names, r.Name)
	}
	return names
}

// neighbours are the names of the containers in a network that is joined. That
// they are not known keeps no container from running.
func neighbours(source ns.Source) []string {
	network := networkOf(source)
	store, err := state.Open()
	if source.Mode != ns.Join || network == 0 || err != nil {
		return nil
	}
	records, err := sharing(store, network)
	if err != nil {
		return nil
	}
	return namesOf(records)
}

// warnStranded tells which containers are in the network of one that was stopped:
// nothing connects it any more, also not when that one is started again.
func warnStranded(s streams, e *state.Entry, stopped *state.Record) {
	if !stopped.Shared {
		return
	}
	if plan, err := e.Plan(); err != nil || plan.Namespaces[ns.Net].Mode != ns.Own {
		return // the network is another's, or it is forgotten with its container
	}
	store, err := state.Open()
	if err != nil {
		return
	}
	if left, _ := sharing(store, stopped.Network); len(left) > 0 {
		names := strings.Join(namesOf(left), " ")
		warn(s, []string{fmt.Sprintf("the network that %s shared has ended with it: bryo restart %s", stopped.Name, names)})
	}
}

// tellNeighbours brings the files of all that share a network up to date.
func tellNeighbours(network uint64) error {
	if network == 0 {
		return nil
	}
	store, err := state.Open()
	if err != nil {
		return err
	}
	return store.Exclusive(func() error {
		records, err := sharing(store, network)
		names := namesOf(records)
		if len(names) == 1 {
			names = nil // alone
		}
		errs := []error{err}
		for _, r := range records {
			if err := tellNeighbour(store, r, names); err != nil && !errors.Is(err, state.ErrNotFound) {
				errs = append(errs, fmt.Errorf("%s of container %s: %w", hostsFile, r.Name, err))
			}
		}
		return errors.Join(errs...)
	})
}

func tellNeighbour(store *state.Store, r *state.Record, names []string) error {
	entry, err := store.Find(r.ID)
	if err != nil {
		return err
	}
	if len(names) > 0 && !r.Shared {
		if err := entry.Change(func(r *state.Record) error { r.Shared = true; return nil }); err != nil {
			return err
		}
	}
	plan, err := entry.Plan()
	if err != nil {
		return err
	}
	if !slices.ContainsFunc(plan.Root.Files, func(f fsroot.File) bool { return f.Target == hostsFile }) {
		return nil
	}
	entrance, err := r.Entrance.Open()
	if err != nil {
		return nil // it has ended
	}
	defer unix.Close(entrance)
	now, err := host.ReadInside(r.Entrance.PID, hostsFile)
	if err != nil {
		return err // its own doing
	}
	next := rootless.WithNeighbours(now, names)
	if next == now {
		return nil
	}
	to := &rootless.Plan{Namespaces: plan.Namespaces, IDs: idmap.Choice{Maps: plan.IDs.Maps, Setgroups: plan.IDs.Setgroups}, Self: plan.Self, Entered: entrance}
	to.Process.SetGroups = plan.IDs.Setgroups
	return launch.Rewrite(to, hostsFile, next)
}
