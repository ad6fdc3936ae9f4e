package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/spf13/pflag"

	"bryo/fsroot/image"
	"bryo/fsroot/tree"
	"bryo/rootless"
	"bryo/rootless/launch"
)

// An image comes on the shelf by bryo-image, as root of the user's map of ids,
// which can write to the shelf alone:
//
//	bryo, as the user                             bryo-image, as root of the map
//	opens IMAGE and the shelf ------------------> makes the layers that are missing
//	<- the image's id, what became otherwise ---- and gives it its names

// extraction is what an image may become, and whose its files are.
type extraction struct {
	spec  rootless.Spec
	bytes int64
	files uint64
}

// newExtraction has the limits that hold unless others are told.
func newExtraction() *extraction {
	const bytes, files = 64 << 30, 1 << 20
	return &extraction{bytes: bytes, files: files}
}

func (o *extraction) flags(flags *pflag.FlagSet) {
	mapFlag(flags, &o.spec)
	flags.Var(&value{kind: "SIZE", text: "64g", set: func(text string) (err error) { o.bytes, err = parseSize(text); return err }}, "max-size", "how large all files together may be")
	flags.Var(&value{kind: "NUMBER", text: strconv.FormatUint(o.files, 10), set: func(text string) (err error) { o.files, err = strconv.ParseUint(text, 10, 32); return err }}, "max-files", "how many files there may be")
}

// mapFlag is for what has a map of ids and no container.
func mapFlag(flags *pflag.FlagSet, spec *rootless.Spec) {
	flags.Var(&value{kind: "MAP", set: func(text string) error { return setUserns(spec, text) }}, "userns", "id map: auto, single, keep-id[:UID,GID]")
}

// words are what bryo-image wants to know of an image that it reads.
func (o *extraction) words(reference string, helper *imageHelper) []string {
	return []string{reference, strconv.FormatInt(o.bytes, 10), strconv.FormatUint(o.files, 10), helper.maps()}
}

// shelving is how an image comes on the shelf.
type shelving struct {
	extraction

	name string // instead of the image's own
}

func newShelving() *shelving { return &shelving{extraction: *newExtraction()} }

// local puts an image of a file or a directory on the shelf.
func (o *shelving) local(shelf *image.Shelf, text string, s streams) (*image.Image, error) {
	in, reference, err := openImage(text, s)
	if err != nil {
		return nil, err
	}
	defer in.Close()
	return o.add(shelf, in, reference, stem(in.Name()), s)
}

// stem is what an image in a file is called if it does not say so itself.
func stem(path string) string {
	name := strings.ToLower(filepath.Base(path))
	for _, end := range []string{".gz", ".tgz", ".zst", ".xz", ".bz2", ".tar", ".oci"} {
		name = strings.TrimSuffix(name, end)
	}
	return name
}

// add puts an image that is open on the shelf.
func (o *shelving) add(shelf *image.Shelf, in *os.File, reference, stem string, s streams) (*image.Image, error) {
	helper, err := newImageHelper(&o.spec, s)
	if err != nil {
		return nil, err
	}
	defer helper.close()
	return o.addBy(helper, shelf, in, reference, stem, s)
}

func (o *shelving) addBy(helper *imageHelper, shelf *image.Shelf, in *os.File, reference, stem string, s streams) (*image.Image, error) {
	name := o.name
	if name != "" {
		full, err := image.ParseLocal(name)
		if err != nil {
			return nil, err
		}
		name = full.String()
	}
	outcome, err := helper.run("import", helper.ends, []int{shelf.Fd(), int(in.Fd())}, append(o.words(reference, helper), name, stem)...)
	if _, ended := errors.AsType[*launch.EndedError](err); ended {
		warn(s, []string{"layers that were finished are kept for the next time; bryo prune --images removes them"})
	}
	if err != nil {
		return nil, err
	}
	warn(s, append(unpackWarnings(&outcome.Report), othersWarnings(outcome)...))
	return shelf.Lookup(outcome.ID)
}

func othersWarnings(outcome *tree.Outcome) (lines []string) {
	for _, name := range outcome.Names {
		lines = append(lines, fmt.Sprintf("%s is left to another image: bryo tag %.12s %s gives it to this one", name, outcome.ID, name))
	}
	return lines
}

// errNoArchive is for a name that nobody gives an image of a registry.
func errNoArchive(text string) error {
	return fmt.Errorf("there is no file %s\nfix: name an archive, or oci:DIR; or write %s:latest if it is in a registry", text, text)
}

// namesArchive holds for what nobody calls an image in a registry.
func namesArchive(text string) bool {
	for _, end := range []string{".tar", ".tar.gz", ".tgz", ".tar.zst", ".tar.xz", ".tar.bz2"} {
		if strings.HasSuffix(text, end) {
			return true
		}
	}
	return false
}

// isLocal tells an image of a file or a directory from one of a registry.
func isLocal(text string) bool {
	if _, is := cutTransport(text); is || strings.HasPrefix(text, "/") || strings.HasPrefix(text, "./") || strings.HasPrefix(text, "../") {
		return true
	}
	info, err := os.Stat(text) //nolint:gosec,nolintlint // the user names it
	return text == "-" || err == nil && info.Mode().IsRegular()
}

// cutTransport takes away what podman and skopeo write before an image of a file
// or a directory: containers-transports(5).
func cutTransport(text string) (path string, found bool) {
	for _, transport := range []string{layoutTransport, "oci-archive:", "docker-archive:"} {
		if path, found = strings.CutPrefix(text, transport); found {
			break
		}
	}
	return path, found
}

// layoutTransport is that of an image layout.
const layoutTransport = "oci:"
