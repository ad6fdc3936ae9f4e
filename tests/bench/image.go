package main

import (
	"errors"
	"os"
)

// Rows of imageStarts.
const (
	bryoImage  = "bryo, image"
	bryoLayers = "bryo, image of 20 layers"
)

// imageTarget is what an image on the shelf may take of the time of a directory.
const imageTarget = 1.3

// imageStarts measures how long a container of Debian's files takes to run true, of
// a directory and of images on the shelf.
func (b *bench) imageStarts(bryo string, rounds int) section {
	s := section{Title: "run true in Debian's files", Unit: "ms", Rows: []row{
		{Tool: bryoImage},
		{Tool: "bryo, directory", Base: bryoImage, Target: imageTarget},
		{Tool: bryoLayers},
		{Tool: "the same directory", Base: bryoLayers, Target: imageTarget},
	}}
	dir, err := os.MkdirTemp("", "bryo-bench-")
	if err == nil {
		err = b.script(dir, bryo, imageScript)
	}
	defer func() { _ = b.script(dir, bryo, `cd / && exec "$1" unshare rm -rf "$2"`) }()
	if err != nil {
		for i := range s.Rows {
			s.Rows[i].Missing = err.Error()
		}
		return s
	}
	b.say("%s: %d rounds", s.Title, rounds)
	roots := []string{"debian", dir + "/tree", "layers", dir + "/tree"}
	faults := make([]fault, len(roots))
	for range rounds {
		for _, i := range b.shuffled(len(roots)) {
			took, err := b.timed([]string{"/usr/bin/env", "XDG_DATA_HOME=" + dir, bryo, "run", "--net", "none", roots[i], "true"})
			if faults[i].count(errors.Join(err, b.ctx.Err())) {
				continue
			}
			s.Rows[i].Samples = append(s.Rows[i].Samples, took.Seconds()*1e3)
		}
	}
	for i, f := range faults {
		f.tell(&s.Rows[i], rounds)
	}
	return s
}

// imageScript makes a directory, and images on a shelf.
const imageScript = `exec >&2
	export XDG_DATA_HOME=$2
	files=/var/cache/bryo-test/rootfs/debian.tar
	"$1" unpack $files tree
	"$1" pull --name debian $files
	umoci init --layout layout && umoci new --image layout:web
	umoci raw add-layer --image layout:web $files
	for i in $(seq 19); do
		mkdir -p layer/srv
		echo $i > layer/srv/$i
		tar -C layer -cf layer.tar srv
		umoci raw add-layer --image layout:web layer.tar
	done
	"$1" pull --name layers oci:layout:web`
