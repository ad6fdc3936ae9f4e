package state

import (
	"bryo/fsroot"
	"bryo/idmap"
	"bryo/rootless"
	"bryo/rootless/cgroup"
	"bryo/rootless/ns"
)

// Entrance reads those parts of what the container was asked to be, and of what
// was decided, that a command needs which enters it. To read all of it takes
// four times as long: most of that goes into learning the types.
func (e *Entry) Entrance() (*rootless.Spec, *rootless.Plan, error) {
	var asked struct {
		ID   string
		Spec struct {
			Root    rootless.RootSpec
			Process rootless.ProcessSpec
			IDs     struct{ Mode idmap.Mode }
			Limits  cgroup.Limits
		}
	}
	if err := e.read(configFile, &asked); err != nil {
		return nil, nil, err
	}
	if asked.ID != e.ID {
		return nil, nil, e.damaged(configFile, errOther)
	}
	spec := &rootless.Spec{Root: asked.Spec.Root, Process: asked.Spec.Process, IDs: idmap.Spec{Mode: asked.Spec.IDs.Mode}, Limits: asked.Spec.Limits}
	var decided struct {
		ID         string
		Namespaces ns.Set
		IDs        idmap.Choice
		Self       idmap.Identity
		Root       struct{ Host bool }
		Hostname   string
		Process    rootless.Process
		Squash     *rootless.Squash
		BestEffort bool
		Cgroup     cgroup.Plan
	}
	if err := e.read(planFile, &decided); err != nil {
		return nil, nil, err
	}
	return spec, &rootless.Plan{
		ID: decided.ID, Namespaces: decided.Namespaces, IDs: decided.IDs, Self: decided.Self,
		Root: fsroot.Plan{Host: decided.Root.Host}, Hostname: decided.Hostname, Process: decided.Process, Squash: decided.Squash, BestEffort: decided.BestEffort, Cgroup: decided.Cgroup,
	}, nil
}
