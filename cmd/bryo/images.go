package main

import (
	"errors"
	"fmt"
	"io/fs"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/pflag"

	"bryo/fsroot/image"
	"bryo/fsroot/tree"
	"bryo/rootless"
)

func imagesFlags(s streams) (flags *pflag.FlagSet, asJSON, quiet *bool) {
	flags = verbFlags("images", s)
	return flags, flags.Bool("json", false, "print JSON"), flags.BoolP("quiet", "q", false, "print ids alone")
}

func imagesSyntax() *pflag.FlagSet {
	flags, _, _ := imagesFlags(streams{})
	return flags
}

// shownImage is an image as JSON has it.
type shownImage struct {
	*image.Image

	Names []string
}

// runImages lists the images on the shelf.
func runImages(args []string, s streams) int {
	flags, asJSON, quiet := imagesFlags(s)
	err := parse(flags, args)
	if err == nil && flags.NArg() > 0 {
		err = errors.New("images takes no names\nfix: bryo images")
	}
	var images []*image.Image
	if err == nil {
		images, err = listImages(s)
	}
	if err != nil {
		return report(s, err)
	}
	var b strings.Builder
	switch {
	case *asJSON:
		list := []shownImage{}
		for _, i := range images {
			list = append(list, shownImage{i, append([]string{}, i.Names...)})
		}
		return writeJSON(s, list)
	case *quiet:
		for _, i := range images {
			b.WriteString(i.ID + "\n")
		}
	default:
		imageTable(&b, images, time.Now())
	}
	return write(s, b.String())
}

func listImages(s streams) ([]*image.Image, error) {
	shelf, err := image.Existing()
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer shelf.Close()
	images, damaged, err := shelf.List()
	for _, id := range damaged {
		warn(s, []string{fmt.Sprintf("the record of image %s is damaged; bryo rmi %s removes it", id, id)})
	}
	return images, err
}

func imageTable(b *strings.Builder, images []*image.Image, now time.Time) {
	w := tabwriter.NewWriter(b, 0, 0, 2, ' ', 0) //nolint:mnd // spaces between columns
	fmt.Fprintln(w, "NAME\tID\tCREATED\tSIZE")
	for _, i := range images {
		created := "-"
		if !i.Created.IsZero() {
			created = age(now.Sub(i.Created)) + " ago"
		}
		for _, name := range namesOrNone(i) {
			fmt.Fprintf(w, "%s\t%.12s\t%s\t%s\n", name, i.ID, created, size(uint64(i.Size)))
		}
	}
	_ = w.Flush() // a Builder takes everything
}

func namesOrNone(i *image.Image) []string {
	if len(i.Names) == 0 {
		return []string{"<none>"}
	}
	return i.Names
}

// isImage says whether a name leads to an image of the shelf.
func isImage(name string) bool {
	shelf, err := image.Existing()
	if err != nil {
		return false
	}
	defer shelf.Close()
	_, err = shelf.Lookup(name)
	return err == nil
}

// imageNames are those of the shelf, as far as they can be read.
func imageNames() (names []string) {
	shelf, err := image.Existing()
	if err != nil {
		return nil
	}
	defer shelf.Close()
	images, _, _ := shelf.List()
	for _, i := range images {
		for _, name := range i.Names {
			names = append(names, image.Familiar(name))
		}
	}
	return names
}

// runTag gives an image more names.
func runTag(args []string, s streams) int {
	flags := verbFlags("tag", s)
	err := parse(flags, args)
	const least = 2
	if err == nil && flags.NArg() < least {
		err = errors.New("tag takes an image and its new names\nfix: bryo tag REF NAME")
	}
	if err == nil {
		err = tagImage(flags.Args())
	}
	return report(s, err)
}

func tagImage(args []string) (err error) {
	shelf, err := image.Open()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(withRoom(shelf, err), shelf.Close()) }()
	found, err := shelf.Lookup(args[0])
	if err != nil {
		return err
	}
	var names []image.Reference
	for _, text := range args[1:] {
		name, err := image.ParseLocal(text)
		if err == nil && name.Digest != "" {
			err = fmt.Errorf("%q: a digest is no name to give\nfix: leave the digest out", text)
		}
		if err != nil {
			return err
		}
		names = append(names, name)
	}
	for _, name := range names {
		if err := shelf.Tag(found, name); err != nil {
			return err
		}
	}
	return nil
}

const rmiAbout = `REF is a name, which is taken from its image, or the image's id or its beginning.
An image goes with its last name, and what no other image needs of its layers with it.
One that a container is of stays until that is removed.`

func rmiFlags(s streams) (flags *pflag.FlagSet, force *bool) {
	flags = verbFlags("rmi", s)
	return flags, flags.BoolP("force", "f", false, "with an id: also an image of several names")
}

func rmiSyntax() *pflag.FlagSet {
	flags, _ := rmiFlags(streams{})
	return flags
}

// runRmi takes images off the shelf.
func runRmi(args []string, s streams) int {
	flags, force := rmiFlags(s)
	err := parse(flags, args)
	if err == nil && flags.NArg() == 0 {
		err = errors.New("no image was named\nfix: bryo images lists yours")
	}
	if err != nil {
		return report(s, err)
	}
	return report(s, onShelf(s, "remove", append([]string{strconv.FormatBool(*force)}, flags.Args()...)))
}

// pruneImages removes images that nobody uses.
func pruneImages(all bool, s streams) int {
	return report(s, onShelf(s, "prune", []string{strconv.FormatBool(all)}))
}

// onShelf has bryo-image remove something, and tells what.
func onShelf(s streams, verb string, args []string) error {
	shelf, err := image.Open()
	if err != nil {
		return err
	}
	defer shelf.Close()
	helper, err := newImageHelper(&rootless.Spec{}, s)
	if err != nil {
		return err
	}
	defer helper.close()
	outcome, err := helper.run(verb, helper.ends, []int{shelf.Fd()}, args...)
	err = withRoom(shelf, err)
	if outcome == nil {
		return err
	}
	return errors.Join(err, toldRemoved(outcome, s))
}

func toldRemoved(outcome *tree.Outcome, s streams) error {
	var b strings.Builder
	for _, name := range outcome.Names {
		b.WriteString(name + "\n")
	}
	for _, id := range outcome.IDs {
		b.WriteString(id + "\n")
	}
	if outcome.Busy {
		warn(s, []string{"an image is being added: what it may need stays; bryo prune --images removes it later"})
	}
	if write(s, b.String()) != exitOK {
		return errors.New("what was removed could not be told")
	}
	return nil
}
