package unpack

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// DockerManifest is a list of Saved.
const DockerManifest = "manifest.json"

// Saved is an image in an archive of docker save, or of podman save.
type Saved struct {
	Config   string
	RepoTags []string
	Layers   []string
}

// fromSaved finds an image in such an archive.
func fromSaved(b blobs, reference string) (*Image, error) {
	data, err := readAll(b, DockerManifest)
	if err != nil {
		return nil, err
	}
	var list []Saved
	if err := json.Unmarshal(data, &list); err != nil {
		return nil, fmt.Errorf("%s: %w", DockerManifest, err)
	}
	saved, err := chosen(list, reference)
	if err != nil {
		return nil, err
	}
	config, err := readAll(b, saved.Config)
	if err != nil {
		return nil, fmt.Errorf("the image's configuration: %w", err)
	}
	ids, err := diffIDs(config, len(saved.Layers))
	if err != nil {
		return nil, err
	}
	image := &Image{Config: config, Names: saved.RepoTags, Layers: make([]Layer, len(ids)), from: b}
	for i, name := range saved.Layers {
		image.Layers[i] = Layer{name: name, size: -1, DiffID: ids[i]}
	}
	return image, nil
}

func chosen(list []Saved, reference string) (Saved, error) {
	var names []string
	for _, image := range list {
		names = append(names, image.RepoTags...)
		isIt := func(name string) bool { return name == reference || strings.HasSuffix(name, "/"+reference) }
		if reference != "" && slices.ContainsFunc(image.RepoTags, isIt) {
			return image, nil
		}
	}
	switch {
	case reference != "":
		return Saved{}, errNoImage(reference, names)
	case len(list) == 0:
		return Saved{}, errors.New("the archive has no image")
	case len(list) > 1:
		return Saved{}, errSeveral(len(list), names)
	}
	return list[0], nil
}
