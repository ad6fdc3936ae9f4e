package main

import (
	"errors"
	"fmt"

	"github.com/spf13/pflag"

	"bryo/fsroot/image"
)

const pullAbout = `IMAGE is what unpack takes: an image layout oci:DIR[:TAG], an archive of an image, or an archive of files, which becomes an image of one layer.
Its name is what it says itself, or what its file is called; a name of a registry is not taken from another image.
The image's id is printed.

Images are kept below $XDG_DATA_HOME/bryo, or ~/.local/share/bryo.
Images share layers: those that are there are not read again.`

func pullExamples() []string {
	return []string{"bryo pull oci:layout:web", "podman save web | bryo pull -", "bryo pull --name debian debian.tar.zst"}
}

func pullFlags(o *shelving, s streams) *pflag.FlagSet {
	flags := verbFlags("pull", s)
	flags.Var(one(&o.name, "NAME", asIs), "name", "the image's name, instead of its own")
	sizeFlags(flags, &o.spec, &o.bytes, &o.files)
	return flags
}

func pullSyntax() *pflag.FlagSet { return pullFlags(newShelving(), streams{}) }

// runPull puts an image on the shelf.
func runPull(args []string, s streams) int {
	o := newShelving()
	flags := pullFlags(o, s)
	if err := parse(flags, args); err != nil {
		return report(s, err)
	}
	if flags.NArg() != 1 {
		return report(s, errors.New("pull takes one image\nfix: bryo pull oci:layout:web"))
	}
	text := flags.Arg(0)
	if !isLocal(text) {
		return report(s, fmt.Errorf("there is no file %s\nfix: name an archive, or oci:DIR", text))
	}
	shelf, err := image.Open()
	if err != nil {
		return report(s, err)
	}
	defer shelf.Close()
	added, err := o.local(shelf, text, s)
	if err != nil {
		return report(s, err)
	}
	return write(s, added.ID+"\n")
}
