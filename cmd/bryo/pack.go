package main

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/pflag"
	"golang.org/x/sys/unix"

	"bryo/fsroot"
	"bryo/fsroot/image"
	"bryo/fsroot/order"
	"bryo/fsroot/tree"
	"bryo/idmap"
	"bryo/rootless"
	"bryo/rootless/state"
)

// An image is made by bryo-image, as root of the user's map of ids, which reads
// the directory and writes to a layout, or to a file that bryo gives its name in
// the end:
//
//	bryo pack, as the user                        bryo-image, as root of the map
//	opens DIRECTORY, and what IMAGE is to be ---> reads the one, writes the other
//	<- what could not be in it, as JSON --------- ends
//	gives it its name
const packAbout = `ROOT is a directory with a root file system, or the name of a detached container: what it has written is a layer of its own.
While that runs, pause it, so that its files belong together.

IMAGE is oci:DIR[:TAG], an image layout, which keeps its other images; or FILE[:NAME], an archive that podman load, docker load and skopeo read; or -, such an archive to standard output.

Files have the owners that they have in your map of ids, with modes, times, hard links, extended attributes and capabilities; owners and devices that unpack or --squash noted are as they were, if every root has such devices.
Sockets, and files whose names begin with .wh., cannot be in an image and are left out.
The same directory gives the same image, byte by byte. If SOURCE_DATE_EPOCH is set, no file is younger than that.
On an error nothing is left.`

func packExamples() []string {
	return []string{
		"bryo pack debian oci:layout:debian",
		"bryo pack --entrypoint '[\"/usr/sbin/nginx\", \"-g\", \"daemon off;\"]' --expose 80 web web.tar:web:1.0",
		"bryo pack debian - | podman load",
	}
}

type packOptions struct {
	spec  rootless.Spec
	order order.Pack
}

func newPackOptions() *packOptions {
	return &packOptions{order: order.Pack{Compression: "gzip", OS: "linux", Architecture: runtime.GOARCH}}
}

func packFlags(o *packOptions, s streams) *pflag.FlagSet {
	flags := verbFlags("pack", s)
	mapFlag(flags, &o.spec)
	flags.Var(&value{kind: "COMPRESSION", text: "gzip", set: func(text string) error { o.order.Compression = text; return checkCompression(text) }}, "compression", "of layers: gzip, zstd or none")
	flags.Var(&value{kind: "OS/ARCH[/VARIANT]", set: o.setPlatform}, "platform", "what it is for; by default this machine")
	for _, i := range instructions() {
		flags.VarP(&value{kind: i.kind, set: func(text string) error { return i.set(&o.order.Config, text) }}, i.flag, i.short, i.usage)
	}
	flags.VarP(&value{kind: "INSTRUCTION", set: o.change}, "change", "c", "the same as in a Dockerfile, as: CMD [\"/bin/sh\"]")
	return flags
}

func packSyntax() *pflag.FlagSet { return packFlags(newPackOptions(), streams{}) }

func checkCompression(name string) error {
	switch name {
	case "gzip", "zstd", "none":
		return nil
	}
	return errors.New("want gzip, zstd or none")
}

func (o *packOptions) setPlatform(text string) error {
	p, err := image.ParsePlatform(text)
	o.order.OS, o.order.Architecture, o.order.Variant = p.OS, p.Architecture, p.Variant
	return err
}

// runPack makes an image of a root file system.
func runPack(args []string, s streams) int {
	o := newPackOptions()
	flags := packFlags(o, s)
	if err := parse(flags, args); err != nil {
		return report(s, err)
	}
	const operands = 2
	if flags.NArg() != operands {
		return report(s, errors.New("pack takes a directory or a container, and the image that is made of it\nfix: bryo pack debian oci:layout:debian"))
	}
	from, image := flags.Arg(0), flags.Arg(1)
	if _, err := os.Lstat(from); errors.Is(err, unix.ENOENT) && state.CheckName(from) == nil {
		return report(s, o.packContainer(from, image, s))
	}
	return report(s, o.packDir(from, image, s))
}

func (o *packOptions) packDir(dir, image string, s streams) error {
	if dir == "" {
		return errors.New("the directory has no name; was a variable not set?")
	}
	helper, err := o.helper(s)
	if err != nil {
		return err
	}
	defer helper.close()
	root, err := fsroot.OpenRoot(dir)
	if err != nil {
		return fmt.Errorf("%s: %w", dir, err)
	}
	defer root.Close()
	if err := sameMap(root.IDMap(), helper.plan.IDs.Maps); err != nil {
		return fmt.Errorf("%s %w", dir, err)
	}
	o.order.Upper, o.order.IDMap = []bool{false}, notesMap(root.IDMap(), helper.plan.IDs.Maps)
	return o.pack(helper, []int{root.Descriptor()}, image, s)
}

// helper is bryo-image, which reads and changes no owners.
func (o *packOptions) helper(s streams) (*imageHelper, error) {
	h, err := newImageHelper(&o.spec, s)
	if err == nil {
		h.plan.Process.Caps = 1 << unix.CAP_DAC_OVERRIDE
	}
	return h, err
}

// sameMap wants owners to mean what they did when they were set. The note is
// anybody's to write: one that means nothing is none.
func sameMap(note string, ours idmap.Maps) error {
	noted, err := idmap.ParseMaps(note)
	if err != nil || ours.UID.Includes(noted.UID) && ours.GID.Includes(noted.GID) {
		return nil //nolint:nilerr // see above
	}
	return fmt.Errorf("was made under another map of ids, in which its files have other owners: %s\nfix: give that with --userns, or as a user who has it", visible(note))
}

// notesMap is the map of ids that notes of other owners are judged by: also where
// there are more ids now, a root that was made under one has notes of all others.
func notesMap(note string, ours idmap.Maps) string {
	if noted, err := idmap.ParseMaps(note); err == nil && noted.RootAlone() {
		return noted.Text()
	}
	return ours.Text()
}

// pack makes an image of layers, before which there may be the configuration of the
// image that they are of.
func (o *packOptions) pack(helper *imageHelper, layers []int, image string, s streams) (err error) {
	if o.order.Before, err = sourceDate(os.Getenv("SOURCE_DATE_EPOCH")); err != nil {
		return err
	}
	to, err := parseTarget(image)
	if err != nil {
		return err
	}
	out, err := to.open(helper, s)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, out.close()) }()
	o.order.Tag, o.order.Archive = to.tag, !to.layout
	outcome, err := helper.run("pack", helper.ends, append([]int{out.descriptor()}, layers...), o.order.String())
	if err == nil {
		err = out.finish()
	}
	if err != nil {
		return errors.Join(err, out.discard())
	}
	warn(s, packWarnings(&outcome.Report))
	return nil
}

// sourceDate reads what reproducible builds set: the specification of
// SOURCE_DATE_EPOCH wants an error for what is no number.
func sourceDate(text string) (*time.Time, error) {
	if text == "" {
		return nil, nil //nolint:nilnil // it is not set
	}
	seconds, err := strconv.ParseInt(text, 10, 64)
	if err != nil || seconds < 0 {
		return nil, fmt.Errorf("SOURCE_DATE_EPOCH is %q, and not a number of seconds", text)
	}
	when := time.Unix(seconds, 0)
	return &when, nil
}

// packWarnings tells what is not in the image.
func packWarnings(r *tree.Report) (lines []string) {
	for _, left := range r.Left {
		lines = append(lines, visible(left)+": it is left out")
	}
	if more := r.LeftSum - len(r.Left); more > 0 {
		lines = append(lines, fmt.Sprintf("%d more are left out", more))
	}
	return append(lines, attributeWarnings(r)...)
}

// target is where an image goes.
type target struct {
	path, tag string // the path is - for standard output
	layout    bool
}

func parseTarget(text string) (t target, err error) {
	t.layout = strings.HasPrefix(text, layoutTransport)
	text, _ = cutTransport(text)
	t.path = text
	if _, err := os.Lstat(text); err != nil { // else it is named as it is
		t.path, t.tag, _ = strings.Cut(text, ":")
	}
	switch {
	case t.path == "":
		return t, errors.New("the image has no name; was a variable not set?")
	case t.layout && t.path == "-":
		return t, errors.New("standard output takes an archive, no layout\nfix: write - alone")
	case t.layout && t.tag == "":
		t.tag = "latest"
	case !t.layout && t.tag != "": // which who loads it parses
		if _, err := image.ParseLocal(t.tag); err != nil {
			return t, err
		}
	}
	return t, nil
}

func (t *target) open(helper *imageHelper, s streams) (destination, error) {
	switch {
	case t.layout:
		return openLayout(t.path, helper)
	case t.path == "-":
		return openPiped(s)
	}
	return openArchive(t.path)
}

// destination is what is being made.
type destination interface {
	descriptor() int
	finish() error // all is well
	discard() error
	close() error
}

func (r *newDir) descriptor() int { return r.fd }

// openLayout opens a layout, whose lock it holds, or begins a new one.
func openLayout(path string, helper *imageHelper) (destination, error) {
	err := vacant(path)
	if err == nil {
		return newRoot(path, helper)
	}
	f, openErr := os.OpenFile(path, unix.O_RDONLY|unix.O_DIRECTORY, 0)
	if openErr != nil {
		return nil, openErr
	}
	var st unix.Stat_t
	if unix.Fstatat(int(f.Fd()), "oci-layout", &st, unix.AT_SYMLINK_NOFOLLOW) != nil {
		return nil, errors.Join(fmt.Errorf("%s is neither empty nor an image layout\nfix: name another directory", path), f.Close())
	}
	if err := lockLayout(f, unix.LOCK_EX); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return layoutDir{f}, nil
}

// lockLayout keeps a layout's index from being written by two that do not know of
// each other: who packs has the lock alone, and those who download share it.
func lockLayout(dir *os.File, how int) error {
	if err := unix.Flock(int(dir.Fd()), how|unix.LOCK_NB); err != nil {
		return fmt.Errorf("%s: %w\nfix: wait for the other one that writes to it", dir.Name(), err)
	}
	return nil
}

// layoutDir is a layout that has images. What is added has its name when it is
// complete, so that there is nothing to undo.
type layoutDir struct{ *os.File }

func (d layoutDir) descriptor() int { return int(d.Fd()) }
func (d layoutDir) finish() error   { return nil }
func (d layoutDir) discard() error  { return nil }
func (d layoutDir) close() error    { return d.Close() }
