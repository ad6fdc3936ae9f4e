package main

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"bryo/fsroot"
	"bryo/rootless"
	"bryo/rootless/state"
)

// copied opens the root that is copied from or to, or has it stacked from the layers
// of an image.
func copied(entry *state.Entry, record *state.Record, plan *rootless.Plan, path string) (root int, stacked bool, err error) {
	root, running, err := rootOf(record, plan)
	if err != nil || running {
		return root, false, err
	}
	stacked = plan.Root.Stack != nil
	err = refuseMounted(record, plan.Root.Mounts, path)
	if err == nil && stacked {
		err = keepStopped(entry)
	}
	if err != nil {
		return -1, false, errors.Join(err, unix.Close(root))
	}
	return root, stacked, nil
}

// refuseMounted refuses a path that is below a mount or a volume when its container
// runs: what is there without it is not what the container has. Links that lead to
// one are not looked for.
func refuseMounted(r *state.Record, mounts []fsroot.Attached, path string) error {
	path = filepath.Join("/", path)
	for i := range mounts {
		target := mounts[i].Target
		if path == target || strings.HasPrefix(path, strings.TrimSuffix(target, "/")+"/") {
			return fmt.Errorf("container %s does not run, and has a mount at %s when it does\nfix: bryo start %s first", r.Name, target, r.Name)
		}
	}
	return nil
}

// keepStopped keeps a container from being started as long as this process lives:
// a stack is for one at a time.
func keepStopped(e *state.Entry) error {
	if err := e.Lock(); err != nil {
		return err
	}
	r, err := e.Record()
	if err == nil && r.Supervisor.Lives() {
		err = fmt.Errorf("container %s is being started\nfix: try again", r.Name)
	}
	return err
}

// rootOf opens the root of a container that runs, or the directory that it
// has when it does.
func rootOf(r *state.Record, plan *rootless.Plan) (root int, running bool, err error) {
	const flags = unix.O_PATH | unix.O_DIRECTORY | unix.O_CLOEXEC
	entrance, err := r.Entrance.Open()
	if err == nil {
		defer unix.Close(entrance)
		root, err := unix.Open(fmt.Sprintf("/proc/%d/root", r.Entrance.PID), flags, 0)
		if err == nil && !ended(entrance, 0) {
			return root, true, nil
		}
		if err == nil {
			_ = unix.Close(root)
			err = errNotRunning(r)
		}
		return -1, false, fmt.Errorf("the container's root: %w", err)
	}
	if plan.Root.Host || plan.Root.Layer {
		return -1, false, fmt.Errorf("container %s does not run, and what it wrote went with it\nfix: bryo start %s", r.Name, r.Name)
	}
	root, err = unix.Open(plan.Root.Root.Path, flags, 0)
	if err != nil {
		return -1, false, fmt.Errorf("the root file system %s: %w", plan.Root.Root.Path, err)
	}
	return root, false, nil
}
