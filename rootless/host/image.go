package host

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"

	"bryo/fsroot"
	"bryo/fsroot/image"
	"bryo/idmap"
	"bryo/rootless"
)

// files is how a root file system is read before it is mounted.
type files interface {
	Has(unsafePath string) bool
	ReadFile(unsafePath string, limit int) ([]byte, error)
}

// probeImage looks at a root of layers as overlay will show it.
func probeImage(spec *rootless.Spec, facts *rootless.Facts) (err error) {
	from, r := spec.Root.Image, &facts.Root
	maps, err := rootless.IDMap(spec, facts)
	if err != nil {
		return err
	}
	r.IDMap = maps // or there are no layers
	dir := filepath.Join(from.Shelf, image.LayersDir(maps))
	if r.Source, err = fsroot.OpenSource(from.Own); err != nil {
		return removed(err)
	}
	r.Layers, err = fsroot.OpenSource(dir)
	if err == nil {
		err = probeLayers(spec, r, dir)
	}
	if errors.Is(err, fs.ErrNotExist) {
		return &OtherMapError{Image: from.Name}
	}
	return err
}

// removed says what it means that there is no directory of the container's own.
func removed(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return errors.New("what the container wrote was removed\nfix: bryo rm the container, and run the image again")
	}
	return err
}

// OtherMapError is an image whose layers are not there under a container's map of ids.
type OtherMapError struct{ Image string }

func (e *OtherMapError) Error() string {
	return fmt.Sprintf("the layers of image %s were made under another map of ids than this container's\nfix: have them made for this one, too: bryo pull --userns MAP, or say the --userns of then", e.Image)
}

func probeLayers(spec *rootless.Spec, r *rootless.RootFacts, dir string) (err error) {
	from := spec.Root.Image
	layers := slices.Clone(from.Layers)
	slices.Reverse(layers)
	u := &fsroot.Union{}
	defer func() { err = errors.Join(err, u.Close()) }()
	if err := u.Add(from.Own, rootless.UpperDir); err != nil {
		return removed(err)
	}
	if err := u.Add(dir, layers...); err != nil {
		return err
	}
	if r.Top, err = top(u, len(layers) > 0); err != nil {
		return err
	}
	if err := readAccounts(u, r, spec.Process.User); err != nil {
		return err
	}
	if len(spec.Process.Args)+len(spec.Process.Entrypoint) == 0 {
		r.Shell = shell(u, r.Passwd)
	}
	return nil
}

// FreshMode marks a directory that nothing was written to: nobody gives it to a
// root directory.
const FreshMode = 0o1700

// top is the root directory of the topmost layer, if upper is fresh.
func top(u *fsroot.Union, layers bool) (*rootless.Top, error) {
	const bits, usual = 0o7777, 0o755
	upper, err := u.Stat(0)
	if err != nil || upper.Mode&bits != FreshMode {
		return nil, err
	}
	if !layers {
		return &rootless.Top{Owner: idmap.Identity{UID: upper.Uid, GID: upper.Gid}, Mode: usual}, nil
	}
	st, err := u.Stat(1)
	return &rootless.Top{Owner: idmap.Identity{UID: st.Uid, GID: st.Gid}, Mode: st.Mode & bits, Notes: u.Notes(1)}, err
}
