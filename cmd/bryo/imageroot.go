package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"bryo/fsroot/image"
	"bryo/idmap"
	"bryo/rootless"
	"bryo/rootless/host"
	"bryo/rootless/launch"
	"bryo/rootless/state"
)

// rootWord is what ROOTFS means.
type rootWord struct {
	image   string // a name of the shelf, or of a registry
	archive string // a local image, which goes on the shelf first
	pull    string // when a registry is asked: "", missing, always or never
	given   rootless.Given
	save    string // the name of an image that keeps what is written; or ""
}

// setRoot takes ROOTFS as it was written; tellRoot says what it means.
func (r *request) setRoot(text string) error {
	if text == "" {
		return errors.New("the path of the root file system is empty\nfix: bryo run DIRECTORY [COMMAND]; was a variable not set?")
	}
	if text == "host" {
		r.spec.Root.Host = true
	} else {
		r.spec.Root.Path = text
	}
	return nil
}

// tellRoot tells a directory from an image: what is there counts first.
func (r *request) tellRoot() error {
	text := r.spec.Root.Path
	if text == "" {
		return nil
	}
	_, gone := os.Lstat(text) //nolint:gosec,nolintlint // the user names it
	asPath := strings.ContainsRune("/.", rune(text[0])) || !errors.Is(gone, unix.ENOENT) && !errors.Is(gone, unix.ENOTDIR)
	info, err := os.Stat(text) //nolint:gosec,nolintlint // the user names it
	switch {
	case err == nil && info.IsDir():
		return nil
	case err == nil, isLocal(text) && !asPath, asPath && tagged(text):
		r.root.archive = text
	case asPath:
		return nil // and the error names it
	default:
		if err := namesImage(text); err != nil {
			return err
		}
		r.root.image = text
	}
	r.spec.Root.Path = ""
	return nil
}

// namesImage says whether a text that is no path can be the name of an image.
func namesImage(text string) error {
	_, err := image.Parse(text)
	switch {
	case namesArchive(text):
		return errNoArchive(text)
	case err != nil && !strings.Contains(text, "://"):
		return fmt.Errorf("%s is no directory that is there, and no name of an image\nfix: mend the path, or write a name as in debian, or registry.example/team/web:1.2", text)
	}
	return err
}

// tagged says whether a path is that of an image, with a tag behind it.
func tagged(text string) bool {
	f, _, err := openImage(text, streams{})
	return err == nil && f.Close() == nil
}

func parsePull(text string) (string, error) {
	switch text {
	case pullMissing, pullAlways, pullNever:
		return text, nil
	}
	return "", fmt.Errorf("%q: write missing, always or never", text)
}

// When a registry is asked.
const (
	pullMissing = "missing"
	pullAlways  = "always"
	pullNever   = "never"
)

const privateMode = 0o700

// imageRoot is an image in use.
type imageRoot struct {
	*image.Image

	shelf *image.Shelf
	held  *os.File // while it is open, the image stays
	own   *own     // of this container
	save  string   // the name of an image that keeps what is written; or ""
	left  bool     // another process removes that
}

// takeImage finds the image that was asked for, or gets it, and has its word
// count. It is nil for another root file system.
func (r *request) takeImage(get bool, s streams) (i *imageRoot, err error) {
	if err := r.tellRoot(); err != nil {
		return nil, err
	}
	if r.root.image == "" && r.root.archive == "" {
		return nil, r.refuseImageFlags()
	}
	shelf, err := image.Open()
	if err != nil {
		return nil, err
	}
	i = &imageRoot{shelf: shelf, save: r.root.save}
	defer func() {
		if err != nil {
			err = withRoom(shelf, err)
			i.close()
		}
	}()
	if i.Image, err = r.find(shelf, get, s); err != nil {
		return i, err
	}
	if i.held, err = shelf.Hold(i.Image); err != nil {
		return i, err
	}
	name := r.root.image
	if name == "" {
		name = r.root.archive
	}
	r.spec.Root.Image = &rootless.ImageRoot{Name: name, ID: i.ID, Shelf: shelf.Path(), Layers: i.Layers}
	return i, nil
}

// refuseImageFlags refuses what means nothing without an image.
func (r *request) refuseImageFlags() error {
	switch {
	case r.root.save != "":
		return errors.New("--save goes with an image\nfix: a directory keeps what is written by itself; bryo pack makes an image of it")
	case r.root.given.PublishAll:
		return errors.New("--publish-all goes with an image, which says what ports it has\nfix: say --publish PORT")
	case r.root.pull != "":
		return errors.New("--pull goes with an image's name\nfix: leave it out")
	}
	return nil
}

// find finds the image on the shelf, and gets it first where that is asked for, or
// where its layers are not there under the map of ids that is.
func (r *request) find(shelf *image.Shelf, get bool, s streams) (*image.Image, error) {
	name := r.root.image
	switch {
	case r.root.archive != "":
		added, err := r.shelved(shelf, r.root.archive, s)
		if err != nil {
			err = fmt.Errorf("%s: %w", r.root.archive, err)
		}
		return added, err
	case get && r.root.pull == pullAlways:
		return r.shelved(shelf, name, s)
	}
	found, err := shelf.Lookup(name)
	get = get && r.root.pull != pullNever
	if errors.Is(err, image.ErrNotFound) {
		return r.missing(shelf, get, s)
	}
	if err == nil {
		err = r.mapped(shelf, found)
	}
	if _, other := errors.AsType[*host.OtherMapError](err); other && get && ofRegistry(found, name) {
		return r.shelved(shelf, name, s)
	}
	return found, err
}

// missing gets an image that is not on the shelf, or says what it could have meant.
func (r *request) missing(shelf *image.Shelf, get bool, s streams) (*image.Image, error) {
	name := r.root.image
	if !get {
		return nil, fmt.Errorf("image %s is not here, and %s is no directory\nfix: bryo pull %s, or mend the path", name, name, name)
	}
	added, err := r.shelved(shelf, name, s)
	if err != nil {
		err = fmt.Errorf("%s is no directory, and no image that is here: %w", name, err)
	}
	return added, err
}

// ofRegistry says whether an image has a name of a registry, and not one that was
// given to it here.
func ofRegistry(found *image.Image, name string) bool {
	reference, err := image.Parse(name)
	return err == nil && !reference.IsLocal() && slices.Contains(found.Names, reference.String())
}

// mapped says whether an image is there under the map of ids that was asked for. Of
// the usual one plan finds out, which has to look for it anyway.
func (r *request) mapped(shelf *image.Shelf, found *image.Image) error {
	if r.spec.IDs.Mode == idmap.Auto {
		return nil
	}
	facts, err := host.ProbeIDs(&r.spec)
	if err != nil {
		return err
	}
	maps, err := rootless.IDMap(&r.spec, facts)
	if err != nil {
		return err
	}
	dir, err := shelf.OpenLayers(found, maps)
	if errors.Is(err, image.ErrOtherMap) {
		return &host.OtherMapError{Image: r.root.image}
	}
	if err != nil {
		return err
	}
	return dir.Close()
}

// adopt has the image's word count, and gives the container its own directory. What
// one in the foreground writes is not kept.
func (r *request) adopt(i *imageRoot, name string, s streams) error {
	return withRoom(i.shelf, r.adoptIn(i, name, s))
}

func (r *request) adoptIn(i *imageRoot, name string, s streams) error {
	root := r.spec.Root.Image
	root.Own, root.Volatile = filepath.Join(i.shelf.Path(), ownDirs, name), !r.detach.On
	if err := r.spec.Adopt(&i.Config, r.root.given); err != nil {
		return fmt.Errorf("image %s: %w", root.Name, err)
	}
	if signal := r.spec.Process.StopSignal; signal != "" {
		var err error
		if r.spec.Process.StopSignal, err = parseSignal(signal); err != nil {
			return fmt.Errorf("image %s: its stop signal: %w", root.Name, err)
		}
	}
	var err error
	if i.own, err = makeOwn(i.shelf.Path(), name); err != nil {
		return err
	}
	if !host.Stacks(i.own.fd()) {
		return r.flatten(i, s)
	}
	for name, mode := range map[string]uint32{rootless.UpperDir: host.FreshMode, rootless.WorkDir: privateMode} {
		dir, err := i.own.mkdir(name, mode)
		if err != nil {
			return err
		}
		_ = dir.Close()
	}
	return r.fillVolumes(i, s)
}

// flatten stands in for an overlay: the container gets a copy of all.
func (r *request) flatten(i *imageRoot, s streams) error {
	warn(s, []string{"overlay cannot write to " + i.own.path + " here: the container gets a copy of the whole image, which takes a while"})
	root := r.spec.Root.Image
	root.Flat = true
	r.spec.Root.Path = filepath.Join(root.Own, rootless.FlatDir)
	to, err := i.own.mkdir(rootless.FlatDir, privateMode)
	if err != nil {
		return err
	}
	defer to.Close()
	if err := r.merge(i, to, "/", s); err != nil {
		return err
	}
	return r.fillVolumes(i, s)
}

// fillVolumes makes the directories of volumes, with what the image has there.
func (r *request) fillVolumes(i *imageRoot, s streams) error {
	root := r.spec.Root.Image
	if len(root.Volumes) == 0 {
		return nil
	}
	const usual = 0o755
	all, err := i.own.mkdir(rootless.VolumeDir, usual)
	if err != nil {
		return err
	}
	defer all.Close()
	for n, volume := range root.Volumes {
		dir, err := i.own.mkdir(fmt.Sprintf("%s/%d", rootless.VolumeDir, n), usual)
		if err != nil {
			return err
		}
		err = errors.Join(r.merge(i, dir, volume, s), dir.Close())
		if err != nil {
			return fmt.Errorf("volume %s: %w", volume, err)
		}
	}
	return nil
}

// merge copies what the image has at a path, under the container's map of ids.
func (r *request) merge(i *imageRoot, to *os.File, path string, s streams) error {
	helper, err := newImageHelper(&rootless.Spec{IDs: r.spec.IDs}, s)
	if err != nil {
		return err
	}
	defer helper.close()
	layers, err := i.shelf.OpenLayers(i.Image, helper.maps())
	if errors.Is(err, image.ErrOtherMap) {
		err = &host.OtherMapError{Image: r.spec.Root.Image.Name}
	}
	if err != nil {
		return err
	}
	defer layers.Close()
	return helper.merge([]int{int(to.Fd()), int(layers.Fd())}, path, i.Layers)
}

// keep has the image and what the container writes stay as long as its state.
func (i *imageRoot) keep(e *state.Entry) error {
	if i == nil {
		return nil
	}
	err := i.own.belongsTo(e.Path(""))
	if err == nil {
		err = i.shelf.Keep(i.Image, e.ID, e.Path(""))
	}
	i.own.close()
	i.own = nil
	return err
}

// close gives the image up, and what is not kept of the container.
func (i *imageRoot) close() {
	if i == nil {
		return
	}
	if i.held != nil {
		_ = i.held.Close()
	}
	i.own.close()
	_ = i.shelf.Close()
}

// leave has another process remove the container's own directory when it has ended,
// also if this one is killed. Both have it locked; this one's successor holds the
// image, too, as long as the container runs. What is to be saved is left to this one.
func (i *imageRoot) leave(c *launch.Container) error {
	if i == nil || i.save != "" {
		return nil
	}
	argv := []string{"bryo", discardVerb, strconv.Itoa(launch.FirstKept), i.own.path}
	if err := c.After([]int{i.own.fd()}, argv, os.Environ()); err != nil {
		return fmt.Errorf("have removed what the container will write: %w", err)
	}
	for _, fd := range []int{i.own.fd(), int(i.held.Fd())} { // for the supervisor
		if _, err := unix.FcntlInt(uintptr(fd), unix.F_SETFD, 0); err != nil {
			return os.NewSyscallError("fcntl", err)
		}
	}
	i.left = true
	return nil
}

// runDiscard is not for people. It removes the own directory of a container in the
// foreground that has ended:
//
//	bryo discard FD PATH
func runDiscard(args []string, s streams) int {
	const operands = 2
	if len(args) != operands {
		return usage(s, "bryo run has this done; there is nothing to do by hand")
	}
	fd, err := parseFD(args[0])
	if err != nil {
		return report(s, err)
	}
	unix.CloseOnExec(fd)
	o := &own{os.NewFile(uintptr(fd), args[1]), args[1]}
	return report(s, o.remove(false, s))
}

// discard removes the container's own directory.
func (i *imageRoot) discard(s streams) error {
	if i == nil || i.own == nil || i.left {
		return nil
	}
	err := i.own.remove(false, s)
	i.own = nil
	return err
}

// shelved puts an image on the shelf, under the map of ids that was asked for.
func (r *request) shelved(shelf *image.Shelf, name string, s streams) (*image.Image, error) {
	o := newPulling()
	o.spec.IDs = r.spec.IDs
	if r.root.archive != "" {
		return o.local(shelf, name, s)
	}
	return o.registry(shelf, name, s)
}
