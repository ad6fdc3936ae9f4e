package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"bryo/fsroot/image"
	"bryo/idmap"
	"bryo/rootless"
	"bryo/rootless/state"
)

// checkSave refuses --save where nothing is kept that could be.
func (r *request) checkSave() error {
	root := &r.spec.Root
	switch {
	case r.root.save == "":
		return nil
	case r.detach.On:
		return errors.New("--save is for a container in the foreground\nfix: bryo pack CONTAINER IMAGE, when it has done its work")
	case root.ReadOnly || root.Ephemeral:
		return errors.New("--save keeps what is written, and --read-only and --ephemeral do not\nfix: leave one of them out")
	}
	return nil
}

func parseSave(text string) (string, error) {
	_, err := image.ParseLocal(text)
	return text, err
}

// saveIf makes an image of what the container has written, on top of its own, which
// the shelf has; if it has run, and that was asked for.
func (i *imageRoot) saveIf(ran bool, spec *rootless.Spec, s streams) error {
	if i == nil || i.save == "" || !ran {
		return nil
	}
	const saveDir = "save"
	root, ids := spec.Root.Image, spec.IDs
	to, err := i.own.mkdir(saveDir, privateMode)
	if err != nil {
		return err
	}
	defer to.Close()
	o := newPackOptions()
	o.spec.IDs, o.order.Compression = ids, "none"
	helper, err := o.helper(s)
	if err != nil {
		return err
	}
	defer helper.close()
	from, err := openSaved(i.shelf, i.Image, root)
	if err != nil {
		return err
	}
	defer from.close()
	o.order.Upper = []bool{!root.Flat}
	if o.order.Tag = "latest"; !root.Flat {
		o.order.Kept, o.order.Tag = i.DiffIDs, ""
	}
	o.order.IDMap = helper.maps()
	outcome, err := helper.run("pack", helper.ends, append([]int{int(to.Fd())}, from.fds()...), o.order.String())
	if err != nil {
		return err
	}
	warn(s, packWarnings(&outcome.Report))
	shelving := newShelving()
	shelving.spec.IDs, shelving.name = ids, i.save
	_, err = shelving.add(i.shelf, to, o.order.Tag, "", s)
	return err
}

// notPacked says what a name is instead of a container's.
func notPacked(name string, err error) error {
	switch {
	case isImage(name):
		return fmt.Errorf("%s is an image of the shelf, and no container\nfix: bryo run -d --name NAME %s true, and pack NAME", name, name)
	case errors.Is(err, state.ErrNotFound):
		return fmt.Errorf("%s is no directory, and no container\nfix: mend the path, or bryo ps -a lists your containers", name)
	}
	return err
}

// saved is what an image of a container is made of: the configuration of its own
// image, layers of that, and what it wrote.
type saved struct{ files []*os.File }

// openSaved opens what a container wrote, behind its image's configuration.
func openSaved(shelf *image.Shelf, from *image.Image, root *rootless.ImageRoot) (*saved, error) {
	config, err := shelf.OpenBlob(from.ID)
	if err != nil {
		return nil, err
	}
	written := rootless.UpperDir
	if root.Flat {
		written = rootless.FlatDir
	}
	dir, err := openWritten(filepath.Join(root.Own, written))
	if err != nil {
		return nil, errors.Join(fmt.Errorf("what the container wrote: %w", err), config.Close())
	}
	return &saved{[]*os.File{config, dir}}, nil
}

// openWritten opens a directory that may be closed to the user.
func openWritten(path string) (*os.File, error) {
	fd, err := unix.Open(path, unix.O_PATH|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: path, Err: err}
	}
	return os.NewFile(uintptr(fd), path), nil
}

// insert puts layers below what the container wrote.
func (f *saved) insert(dir *os.File, names []string) error {
	top := len(f.files) - 1
	written := f.files[top]
	for n, name := range names {
		fd, err := unix.Openat(int(dir.Fd()), name, unix.O_PATH|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
		if err != nil {
			return fmt.Errorf("layer %s: %w", name, err)
		}
		f.files[top+n] = os.NewFile(uintptr(fd), name)
		f.files = append(f.files, written)
	}
	return nil
}

func (f *saved) fds() (fds []int) {
	for _, file := range f.files {
		fds = append(fds, int(file.Fd()))
	}
	return fds
}

func (f *saved) close() {
	for _, file := range f.files {
		_ = file.Close()
	}
}

// packContainer makes an image of a container that is detached.
func (o *packOptions) packContainer(name, to string, s streams) error {
	entry, record, err := oneContainer(name)
	if err != nil {
		return notPacked(name, err)
	}
	plan, err := entry.Plan()
	if err != nil {
		return err
	}
	config, err := entry.Config()
	if err != nil {
		return err
	}
	if !record.Supervisor.Lives() {
		if err := keepStopped(entry); err != nil {
			return err
		}
	}
	o.spec.IDs = config.Spec.IDs
	root := config.Spec.Root.Image
	if root != nil {
		return o.packImage(root, plan.IDs.Maps, to, s)
	}
	if plan.Root.Host || plan.Root.Layer {
		return fmt.Errorf("container %s keeps nothing of what it writes\nfix: name its directory, or run an image", record.Name)
	}
	return o.packDir(plan.Root.Root.Path, to, s)
}

// packImage makes an image of a container's layers, one of which it wrote.
func (o *packOptions) packImage(root *rootless.ImageRoot, maps idmap.Maps, to string, s streams) error {
	helper, err := o.helper(s)
	if err != nil {
		return err
	}
	defer helper.close()
	if helper.maps() != maps.Text() {
		return fmt.Errorf("the container was made under another map of ids: %s\nfix: run it anew", maps.Text())
	}
	shelf, err := image.OpenPath(root.Shelf)
	if err != nil {
		return err
	}
	defer shelf.Close()
	below, err := shelf.Record(root.ID)
	if err != nil {
		return err
	}
	from, err := openSaved(shelf, below, root)
	if err != nil {
		return err
	}
	defer from.close()
	o.order.Upper, o.order.IDMap = []bool{!root.Flat}, helper.maps()
	if !root.Flat {
		layers, err := shelf.OpenLayers(below, helper.maps())
		if err != nil {
			return err
		}
		defer layers.Close()
		if err := from.insert(layers, below.Layers); err != nil {
			return err
		}
		for range below.Layers {
			o.order.Upper = append(o.order.Upper, true)
		}
	}
	return o.pack(helper, from.fds(), to, s)
}
