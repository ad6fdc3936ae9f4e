package main

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"

	"github.com/spf13/pflag"
	"golang.org/x/sys/unix"

	"bryo/fsroot/tree"
)

// An image is unpacked by bryo-image, as root of the user's map of ids, to a
// directory beside the one that was named, which gets its name when all is well.
//
//	bryo unpack, as the user                      bryo-image, as root of the map
//	opens IMAGE, makes .DIR.bryo-unpack --------> writes below it
//	<- what became otherwise, as JSON ----------- ends
//	renames it to DIR, or has it removed

const unpackAbout = `IMAGE is an archive of files, plain or compressed by gzip, zstd, xz or bzip2; or oci:DIR[:TAG], an image layout; or an archive of a layout or of docker save or podman save, with :TAG behind it if it has several images; or -, an archive of either kind from standard input.
DIRECTORY is made, or is empty.

Files belong to the users of the image, in your map of ids, and have their modes, times, extended attributes and capabilities.
Owners that are not in the map are noted in user.rootlesscontainers.
Devices cannot be made without root: they are left out, and noted; where root is the only id, empty files stand for them.
Of these and such owners bryo run --squash makes what they are meant to be, by itself for a root unpacked under one id.
On an error nothing is left.`

func unpackExamples() []string {
	return []string{
		"bryo unpack debian.tar.zst debian",
		"bryo unpack oci:layout:web web",
		"podman save web | bryo unpack - web",
	}
}

func unpackFlags(o *extraction, s streams) *pflag.FlagSet {
	flags := verbFlags("unpack", s)
	o.flags(flags)
	return flags
}

func unpackSyntax() *pflag.FlagSet { return unpackFlags(newExtraction(), streams{}) }

// runUnpack makes a root file system of an image.
func runUnpack(args []string, s streams) int {
	o := newExtraction()
	flags := unpackFlags(o, s)
	if err := parse(flags, args); err != nil {
		return report(s, err)
	}
	const operands = 2
	if flags.NArg() != operands {
		return report(s, errors.New("unpack takes an image, and the directory that it goes to\nfix: bryo unpack debian.tar debian"))
	}
	return report(s, o.unpack(flags.Arg(0), flags.Arg(1), s))
}

func (o *extraction) unpack(image, dir string, s streams) (err error) {
	helper, err := newImageHelper(&o.spec, s)
	if err != nil {
		return err
	}
	defer helper.close()
	in, reference, err := openImage(image, s)
	if err != nil {
		return err
	}
	defer in.Close()
	root, err := newRoot(dir, helper)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, root.close()) }()
	outcome, err := helper.run("unpack", helper.ends, []int{root.fd, int(in.Fd())}, o.words(reference, helper)...)
	if err == nil {
		err = root.finish()
	}
	if err != nil {
		return errors.Join(err, root.discard())
	}
	warn(s, unpackWarnings(&outcome.Report))
	return nil
}

// openImage opens what a name of an image means, and says which of several is
// meant.
func openImage(image string, s streams) (f *os.File, reference string, err error) {
	if image == "-" {
		return s.in, "", nil
	}
	image, _ = cutTransport(image)
	if image == "" {
		return nil, "", errors.New("the image has no name; was a variable not set?")
	}
	const flags = unix.O_RDONLY | unix.O_CLOEXEC | unix.O_NOCTTY
	f, err = os.OpenFile(image, flags, 0) //nolint:gosec,nolintlint // the user names it
	if !errors.Is(err, unix.ENOENT) {
		return f, "", err
	}
	for i := len(image) - 1; i > 0; i-- { // a reference may have colons, too: the longest file name counts
		if image[i] == ':' {
			if f, err := os.OpenFile(image[:i], flags, 0); err == nil { //nolint:gosec,nolintlint // the same
				return f, image[i+1:], nil
			}
		}
	}
	return nil, "", fmt.Errorf("%w\nfix: name an archive, or an image layout as oci:DIR or oci:DIR:TAG", err)
}

// unpackWarnings tells what is otherwise than the image says.
func unpackWarnings(r *tree.Report) (lines []string) {
	if r.Omitted > 0 {
		fate := "are left out"
		if r.Squash {
			fate = "are empty files"
		}
		lines = append(lines, fmt.Sprintf("%d devices %s, as %s: only root can make them", r.Omitted, fate, visible(r.Devices[0])))
	}
	if r.Unknown > 0 {
		lines = append(lines, fmt.Sprintf("%d entries of a kind that nobody knows are left out", r.Unknown))
	}
	if r.Foreign > 0 {
		line := fmt.Sprintf("%d files are root's, as their own ids are not in your map", r.Foreign)
		if noted := r.Foreign - r.Unrecorded; noted > 0 {
			line += fmt.Sprintf("; %d are noted in user.rootlesscontainers", noted)
			if r.Squash {
				line += ", which bryo run shows (--squash)"
			}
		}
		if r.Setuid > 0 {
			line += fmt.Sprintf("; %d have lost set-user-ID bits", r.Setuid)
		}
		lines = append(lines, line)
	} else if r.Squash {
		lines = append(lines, "root is the only id, and bryo run has it look like many (--squash)")
	}
	lines = append(lines, attributeWarnings(r)...)
	if r.Unnoted {
		lines = append(lines, "the map of ids is not noted: the file system has no extended attributes for it")
	}
	return lines
}

func attributeWarnings(r *tree.Report) (lines []string) {
	for _, name := range slices.Sorted(maps.Keys(r.Xattrs)) {
		lines = append(lines, fmt.Sprintf("%d files are without their attribute %s", r.Xattrs[name], visible(name)))
	}
	return lines
}
