package host

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"

	"bryo/fsroot"
	"bryo/idmap"
	"bryo/rootless"
)

// probeRoot looks at the root file system as the user sees it.
func probeRoot(spec *rootless.Spec, facts *rootless.Facts) error {
	from := spec.Root.Image
	if from != nil && !from.Flat {
		return probeImage(spec, facts)
	}
	err := probeDir(spec, facts)
	if err == nil && from != nil { // a copy, which has no note
		facts.Root.IDMap, err = rootless.IDMap(spec, facts)
	}
	return err
}

// probeDir looks at a root that is one directory.
func probeDir(spec *rootless.Spec, facts *rootless.Facts) (err error) {
	path := spec.Root.Path
	if spec.Root.Host {
		path = "/"
	}
	root, err := fsroot.OpenRoot(path)
	if err != nil {
		return fmt.Errorf("root file system %s: %w%s", path, err, rootHint(err))
	}
	defer func() { err = errors.Join(err, root.Close()) }()
	r := &facts.Root
	if r.Source, err = root.Source(path); err != nil {
		return err
	}
	if r.Source.Path, err = fsroot.Absolute(path); err != nil {
		return err
	}
	r.IDMap = root.IDMap()
	if err := readAccounts(root, r, spec.Process.User); err != nil {
		return err
	}
	if r.Passwd == nil {
		r.Empty = root.Empty()
		r.Foreign = !r.Empty && foreign(spec, root)
	}
	if len(spec.Process.Args)+len(spec.Process.Entrypoint) == 0 {
		r.Shell = shell(root, r.Passwd)
	}
	return probeLayer(spec, facts, root)
}

// foreign says whether a directory is no root file system, before a launch
// makes mount points in somebody's project.
func foreign(spec *rootless.Spec, root *fsroot.Root) bool {
	if len(spec.Mounts) > 0 {
		return false // the programs may come from there
	}
	has := []string{"bin", "usr", "sbin"}
	if argv := slices.Concat(spec.Process.Entrypoint, spec.Process.Args); len(argv) > 0 && strings.Contains(argv[0], "/") {
		has = append(has, path.Join("/", spec.Process.Dir, argv[0]), argv[0])
	}
	return !slices.ContainsFunc(has, root.Has)
}

// shell is what runs when no command is given: root's own, else bash, else sh.
func shell(root files, passwd []byte) string {
	candidates := []string{"/bin/bash", "/bin/sh"}
	if account, err := rootless.Look(passwd, nil, "0", nil); err == nil && account.Shell != "" {
		candidates = append([]string{account.Shell}, candidates...)
	}
	for _, path := range candidates {
		if root.Has(path) {
			return path
		}
	}
	return ""
}

// probeLayer finds out whether mount points are missing where none can be
// made, and what an overlay would hide.
func probeLayer(spec *rootless.Spec, facts *rootless.Facts, root *fsroot.Root) error {
	r := &facts.Root
	fixed := spec.Root.Host || spec.Root.ReadOnly || !root.Writable() && !yields(spec, facts, root)
	if fixed {
		for _, target := range rootless.MountPoints(spec) {
			if !root.Has(target) {
				r.Missing = append(r.Missing, target)
			}
		}
	}
	if !spec.Root.Ephemeral && len(r.Missing) == 0 {
		return nil
	}
	below, err := fsroot.Submounts(r.Source.Path)
	if err == nil && len(below) > 0 {
		r.Entries, err = root.Entries(below)
	}
	return err
}

// yields is false without a map of ids, which is an error that others tell.
func yields(spec *rootless.Spec, facts *rootless.Facts, root *fsroot.Root) bool {
	text, err := rootless.IDMap(spec, facts)
	if err != nil {
		return false
	}
	maps, err := idmap.ParseMaps(text)
	return err == nil && root.Yields(maps)
}

// refuseBelow refuses sources with mounts below them where the kernel cannot
// set attributes on those (before 5.12).
func refuseBelow(spec *rootless.Spec, facts *rootless.Facts) error {
	const reason = "this kernel has no mount_setattr to restrict"
	root := facts.Root.Source.Path
	below, err := fsroot.Submounts(root)
	if err != nil {
		return err
	}
	for _, path := range below {
		if !fsroot.Made(path) {
			return fmt.Errorf("root file system %s: %s %s, which is mounted below it\nfix: use a directory without other mounts, or a kernel from 5.12 on",
				root, reason, strings.TrimSuffix(root, "/")+path)
		}
	}
	for i := range spec.Mounts {
		m := &spec.Mounts[i]
		if m.Type != fsroot.Bind || m.Shallow || !facts.Sources[m.Source].Dir {
			continue
		}
		below, err := fsroot.Submounts(facts.Sources[m.Source].Path)
		if err != nil {
			return err
		}
		if len(below) > 0 {
			return fmt.Errorf("mount %s on %s: %s %s%s, which is mounted below it\nfix: mount what is needed of it by itself, or use a kernel from 5.12 on",
				m.Source, m.Target, reason, facts.Sources[m.Source].Path, below[0])
		}
	}
	return nil
}

func readAccounts(root files, r *rootless.RootFacts, user string) (err error) {
	for file, data := range map[string]*[]byte{"/etc/passwd": &r.Passwd, "/etc/group": &r.Group} {
		if *data, err = root.ReadFile(file, largestAccounts); err != nil && !errors.Is(err, fs.ErrNotExist) && user != "" {
			return err
		}
	}
	return nil
}
