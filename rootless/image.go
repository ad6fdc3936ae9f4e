package rootless

import (
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"

	"bryo/fsroot"
	"bryo/fsroot/image"
	"bryo/netslirp"
)

// ImageRoot is a root file system that is layers of an image, with what the
// container writes on top.
type ImageRoot struct {
	Name     string   // as it was asked for
	ID       string   // of the image
	Shelf    string   // absolute: has the layers, for each map of ids
	Layers   []string // their names, the lowest first
	Own      string   // absolute: the container's own directory
	Flat     bool     `json:",omitempty"` // that has a copy of all, instead of what is written
	Volatile bool     `json:",omitempty"` // what is written is not kept
	Volumes  []string `json:",omitempty"` // directories of their own, in the order of those in Own
}

// Where a container's own directory has its parts.
const (
	UpperDir  = "upper"   // what it writes
	WorkDir   = "work"    // overlay's
	FlatDir   = "root"    // ImageRoot.Flat
	VolumeDir = "volumes" // named by numbers
)

// Volume is where the container's own directory has the directory of a volume.
func (r *ImageRoot) Volume(i int) string { return fmt.Sprintf("%s/%s/%d", r.Own, VolumeDir, i) }

// IDMap is the map of ids that a container of this Spec has, as idmap.Maps.Text.
func IDMap(spec *Spec, facts *Facts) (string, error) {
	pl := &Plan{Self: facts.Self, Helpers: facts.Helpers}
	err := compileIDs(spec, facts, pl)
	return pl.IDs.Maps.Text(), err
}

// Given is what the user said himself where the zero value of a Spec cannot tell.
type Given struct {
	Entrypoint bool // also that there is none
	PublishAll bool // the image's exposed ports
}

// Adopt has the image's word count where the user has given none, as podman does:
// an entrypoint of his own leaves out the image's command, too; of variables and
// labels his come last.
func (spec *Spec) Adopt(c *image.Config, given Given) error {
	if err := c.Check(); err != nil {
		return err
	}
	p := &spec.Process
	if !given.Entrypoint {
		p.Entrypoint = c.Entrypoint
		if len(p.Args) == 0 {
			p.Args = c.Cmd
		}
	}
	p.Env = slices.Concat(c.Env, p.Env)
	if p.User == "" {
		p.User = c.User
	}
	if p.Dir == "" && c.WorkingDir != "" {
		p.Dir, p.MakeDir = path.Join("/", c.WorkingDir), true
	}
	if p.StopSignal == "" {
		p.StopSignal = c.StopSignal
	}
	var labels []string
	for _, key := range slices.Sorted(maps.Keys(c.Labels)) {
		labels = append(labels, key+"="+c.Labels[key])
	}
	spec.Labels = lastOfEach(append(labels, spec.Labels...))
	spec.adoptVolumes(c.Volumes)
	if !given.PublishAll {
		return nil
	}
	return spec.adoptPorts(c.ExposedPorts)
}

// adoptVolumes mounts a directory of the container's own for each volume, where
// the user has mounted nothing.
func (spec *Spec) adoptVolumes(volumes map[string]struct{}) {
	root := spec.Root.Image
	for _, volume := range slices.Sorted(maps.Keys(volumes)) {
		target := path.Join("/", volume)
		taken := slices.ContainsFunc(spec.Mounts, func(m fsroot.Mount) bool { return m.Target == target })
		if target == "/" || taken || fsroot.Made(target) {
			continue
		}
		root.Volumes = append(root.Volumes, target)
		spec.Mounts = append(spec.Mounts, fsroot.Volume(root.Volume(len(root.Volumes)-1), target))
	}
}

// adoptPorts publishes, at ports that are free, what the user has not published.
func (spec *Spec) adoptPorts(ports map[string]struct{}) error {
	for _, port := range slices.Sorted(maps.Keys(ports)) {
		if strings.Contains(port, ":") {
			return fmt.Errorf("the image exposes %q, which is no port", port)
		}
		exposed, err := netslirp.ParsePublish(port)
		if err != nil {
			return fmt.Errorf("the image exposes %q, which is no port: %w", port, err)
		}
		if len(spec.Net.Publish)+len(exposed) > mostPorts {
			return fmt.Errorf("the image exposes more than %d ports\nfix: publish those that are needed with --publish, and leave out --publish-all", mostPorts)
		}
		for _, e := range exposed {
			published := slices.ContainsFunc(spec.Net.Publish, func(p netslirp.Publish) bool {
				return p.ChildPort == e.ChildPort && p.Protocol == e.Protocol
			})
			if !published {
				spec.Net.Publish = append(spec.Net.Publish, e)
			}
		}
	}
	return nil
}

// compileImage decides how layers become the root.
func compileImage(spec *Spec, facts *Facts, pl *Plan) error {
	from := spec.Root.Image
	if spec.Process.MakeDir && spec.Process.Dir != "/" {
		pl.Root.Dirs = []fsroot.Dir{{Path: spec.Process.Dir}} // whose it is compileProcess says
	}
	if from == nil || from.Flat {
		return nil
	}
	if len(from.Layers) > fsroot.MostLayers {
		return fmt.Errorf("image %s has %d layers; overlay takes at most %d\nfix: unpack it, and run the directory: bryo unpack", from.Name, len(from.Layers), fsroot.MostLayers)
	}
	pl.Root.Stack = &fsroot.Stack{Dir: facts.Root.Layers, Layers: from.Layers, Volatile: from.Volatile}
	if top := facts.Root.Top; top != nil {
		uid, hasUID := pl.IDs.Maps.UID.ToContainer(top.Owner.UID)
		gid, hasGID := pl.IDs.Maps.GID.ToContainer(top.Owner.GID)
		if !hasUID || !hasGID {
			uid, gid = pl.Builder()
		}
		pl.Root.Stack.Top = &fsroot.Top{Owner: fsroot.Owner{UID: uid, GID: gid}, Mode: top.Mode, Notes: top.Notes}
	}
	return nil
}
