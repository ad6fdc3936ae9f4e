package host

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"

	"bryo/fsroot"
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
	if r.Source, err = fsroot.OpenSource(from.Own); err == nil {
		r.Layers, err = fsroot.OpenSource(from.Dir)
	}
	if errors.Is(err, fs.ErrNotExist) {
		err = fmt.Errorf("%w\nfix: bryo rm this container, and run the image again: what it wrote, or the image, was removed", err)
	}
	if err != nil {
		return fmt.Errorf("the layers of image %s: %w", from.Name, err)
	}
	layers := slices.Clone(from.Layers)
	slices.Reverse(layers)
	u := &fsroot.Union{}
	defer func() { err = errors.Join(err, u.Close()) }()
	if err := errors.Join(u.Add(from.Own, rootless.UpperDir), u.Add(from.Dir, layers...)); err != nil {
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
