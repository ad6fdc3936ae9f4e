package main

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"

	"bryo/fsroot/fetch"
	"bryo/fsroot/image"
	"bryo/rootless/launch"
)

// An image of a registry comes in two steps, of which only the second has the
// map of ids, and only the first the network:
//
//	bryo                    bryo-image fetch            bryo-image import
//	opens the shelf ------> downloads what it lacks
//	                        to a layout on it --------> makes layers of it
//	removes the layout <------------------------------- and gives it its name

// pulling is how an image comes out of a registry.
type pulling struct {
	shelving

	request fetch.Request
	quiet   bool
}

func newPulling() *pulling { return &pulling{shelving: *newShelving()} }

// registry puts an image of a registry on the shelf. What there is of it stays
// if it breaks off, and nobody takes layers away from it meanwhile.
func (o *pulling) registry(shelf *image.Shelf, text string, s streams) (*image.Image, error) {
	reference, err := image.Parse(text)
	if err != nil {
		return nil, err
	}
	adding, err := shelf.Adding()
	if err != nil {
		return nil, err
	}
	defer adding.Close()
	layout, err := shelf.Download(reference.String() + " " + o.request.Platform)
	if err != nil {
		return nil, err
	}
	defer layout.Close()
	helper, err := newImageHelper(&o.spec, s)
	if err != nil {
		return nil, err
	}
	defer helper.close()
	if o.request.Have, err = shelf.Digests(helper.maps()); err != nil {
		return nil, err
	}
	o.request.Reference, o.request.Name = reference.String(), fetched
	if _, err := o.fetch(layout, s); err != nil {
		return nil, err
	}
	if o.name == "" {
		o.name = reference.String()
	}
	added, err := o.addBy(helper, shelf, layout, fetched, "", s)
	if _, ended := errors.AsType[*launch.EndedError](err); ended {
		return nil, err
	}
	return added, errors.Join(err, os.RemoveAll(layout.Name())) //nolint:gosec,nolintlint // it was made here
}

// fetched is what a download is called in its layout: there may be one of another
// time, which the same name has led to.
const fetched = "fetched"

// toLayout downloads to a directory of the user's.
func (o *pulling) toLayout(text, layout string, s streams) (manifest string, err error) {
	reference, err := image.Parse(text)
	if err != nil {
		return "", err
	}
	path, is := strings.CutPrefix(layout, layoutTransport)
	if !is || path == "" {
		return "", fmt.Errorf("%q is no layout\nfix: bryo pull %s oci:DIRECTORY", layout, text)
	}
	o.request.Reference, o.request.Name = reference.String(), reference.Tag
	if i := strings.LastIndexByte(path, ':'); i > strings.LastIndexByte(path, '/') {
		if path, o.request.Name = path[:i], path[i+1:]; path == "" || o.request.Name == "" {
			return "", fmt.Errorf("%q: the directory or the name is missing\nfix: oci:DIRECTORY or oci:DIRECTORY:NAME", layout)
		}
	}
	made, err := makeDirectory(path)
	if err != nil {
		return "", err
	}
	dir, err := os.OpenFile(path, os.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return "", err
	}
	defer dir.Close()
	if err := lockLayout(dir, unix.LOCK_SH); err != nil {
		return "", err
	}
	got, err := o.fetch(dir, s)
	if err != nil {
		if made {
			_ = os.Remove(path) // unless there is something to go on with
		}
		return "", err
	}
	return got.Manifest, nil
}

func makeDirectory(path string) (made bool, err error) {
	const mode = 0o755
	err = os.Mkdir(path, mode)
	if errors.Is(err, unix.EEXIST) {
		return false, nil
	}
	return err == nil, err
}
