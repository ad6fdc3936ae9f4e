package shelf

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
	"bryo/fsroot/tree"
)

// Gone is what was removed.
type Gone struct {
	Names []string // that lead to nothing any more
	IDs   []string // of images
	Bytes int64    // of their layers' files
	Busy  bool     // somebody adds an image: layers go when images are removed the next time
}

// errUsed means that an image cannot be removed now.
var errUsed = errors.New("it is in use")

// Remove takes a name from its image, and removes that if it was the last one. An
// image that is named by its id goes with all names, if it has several only by force.
func Remove(s *image.Shelf, text string, force bool) (*Gone, error) {
	found, err := s.Lookup(text)
	if err != nil && isDamaged(s, text) {
		found, err = &image.Image{ID: text}, nil
	}
	if err != nil {
		return nil, err
	}
	name := s.NameOf(found, text)
	switch {
	case name != "" && len(found.Names) > 1:
		return &Gone{Names: []string{name}}, s.Untag(name)
	case len(found.Names) > 1 && !force:
		return nil, fmt.Errorf("image %s has %d names: %s\nfix: remove it by each of them, or use --force", text, len(found.Names), strings.Join(found.Names, ", "))
	}
	gone := &Gone{}
	err = gone.remove(s, found)
	if errors.Is(err, errUsed) {
		return nil, fmt.Errorf("image %s: %w", text, err)
	}
	return gone, err
}

// remove removes an image that nobody uses: first what leads to it.
func (g *Gone) remove(s *image.Shelf, found *image.Image) error {
	containers, free, err := s.Users(found.ID)
	if err != nil {
		return err
	}
	if free != nil {
		defer free.Close()
	}
	switch {
	case len(containers) > 0:
		return fmt.Errorf("%w by %s\nfix: remove what uses it first: bryo rm %s", errUsed, strings.Join(containers, ", "), strings.Join(containers, " "))
	case free == nil:
		return fmt.Errorf("%w by a container that runs\nfix: end that first", errUsed)
	}
	names, err := s.Drop(found.ID)
	if err != nil {
		return err
	}
	g.Names = append(g.Names, names...)
	g.IDs = append(g.IDs, found.ID)
	return nil
}

// isDamaged says whether an id is that of an image whose record nobody can read.
func isDamaged(s *image.Shelf, id string) bool {
	_, damaged, _ := s.List()
	return slices.Contains(damaged, id)
}

// Prune removes images that have no name and that nobody uses, or all that nobody
// uses; and what else nobody needs.
func Prune(s *image.Shelf, all bool) (*Gone, error) {
	gone := &Gone{}
	if err := s.ReleaseGone(); err != nil {
		return gone, err
	}
	images, _, err := s.List()
	if err != nil {
		return gone, err
	}
	for _, i := range images {
		if len(i.Names) > 0 && !all {
			continue
		}
		if err := gone.remove(s, i); err != nil && !errors.Is(err, errUsed) {
			return gone, err
		}
	}
	if err := gone.Sweep(s); err != nil {
		return gone, err
	}
	return gone, gone.giveUp(s)
}

// giveUp removes what there is of images that broke off while they were
// downloaded. Who downloads is adding an image.
func (g *Gone) giveUp(s *image.Shelf) error {
	lock, err := s.Removing()
	if err != nil || lock == nil {
		g.Busy = g.Busy || err == nil
		return err
	}
	defer lock.Close()
	downloads, err := s.OpenFile(image.DownloadsDir, unix.O_RDONLY|unix.O_DIRECTORY)
	if errors.Is(err, unix.ENOENT) {
		return nil
	}
	if err != nil {
		return err
	}
	defer downloads.Close()
	return tree.InRoot(int(downloads.Fd())).Clear()
}

// Sweep removes what no image needs.
func (g *Gone) Sweep(s *image.Shelf) error {
	lock, err := s.Removing()
	if err != nil {
		return err
	}
	if lock == nil {
		g.Busy = true
		return nil
	}
	err = g.discard(s)
	return errors.Join(err, lock.Close(), empty(s))
}

// needed is what the images of a shelf need: names of layers, and digests.
type needed map[string]bool

func needs(s *image.Shelf) (needed, error) {
	images, damaged, err := s.List()
	if err != nil {
		return nil, err
	}
	if len(damaged) > 0 { // nobody knows what they need
		return nil, fmt.Errorf("the records of images are damaged: %s\nfix: remove them: bryo rmi %s", strings.Join(damaged, ", "), strings.Join(damaged, " "))
	}
	n := needed{}
	for _, i := range images {
		n[i.ID], n[strings.TrimPrefix(i.Digest, "sha256:")] = true, true
		for _, name := range i.Layers {
			n[name] = true
		}
		for _, id := range i.DiffIDs {
			n[image.LayerName(id)] = true
			n[id] = true
		}
	}
	return n, nil
}

// discard moves away what nobody needs. Nobody adds anything meanwhile.
func (g *Gone) discard(s *image.Shelf) error {
	n, err := needs(s)
	if err != nil {
		return err
	}
	maps, err := s.Names(image.AllLayers)
	if err != nil {
		return err
	}
	for _, m := range maps {
		if err := g.discardLayers(s, filepath.Join(image.AllLayers, m), n); err != nil {
			return err
		}
	}
	return errors.Join(discardFiles(s, image.BlobsDir, func(name string) bool { return n[name] }),
		discardFiles(s, image.ImagesDir, func(name string) bool { return !strings.Contains(name, image.HalfFile) }),
		discardFiles(s, image.DigestsDir, func(name string) bool { return n[s.Readlink(image.DigestsDir+"/"+name)] }))
}

func discardFiles(s *image.Shelf, dir string, needed func(name string) bool) error {
	names, err := s.Names(dir)
	for _, name := range names {
		if !needed(name) {
			err = errors.Join(err, s.Unlink(filepath.Join(dir, name)))
		}
	}
	return err
}

func (g *Gone) discardLayers(s *image.Shelf, dir string, n needed) error {
	names, err := s.Names(dir)
	if err != nil {
		return err
	}
	left := 0
	for _, name := range names {
		layer, isRecord := strings.CutSuffix(name, image.RecordEnd)
		at := filepath.Join(dir, name)
		switch {
		case name == mapFile:
		case n[layer]:
			left++
		case isRecord || strings.Contains(name, image.HalfFile):
			err = errors.Join(err, s.Unlink(at))
		default:
			var r record
			if s.ReadJSON(filepath.Join(dir, strings.SplitN(name, ".", 2)[0]+image.RecordEnd), &r) == nil { //nolint:mnd // the name and its end
				g.Bytes += r.Bytes
			}
			err = errors.Join(err, throw(s, at))
		}
	}
	if left == 0 && err == nil {
		err = errors.Join(s.Unlink(filepath.Join(dir, mapFile)), os.NewSyscallError("rmdir", unix.Unlinkat(s.Fd(), dir, unix.AT_REMOVEDIR)))
	}
	return err
}

// throw moves a directory away from where it has a meaning.
func throw(s *image.Shelf, name string) error {
	const tries = 10000
	for n := range tries {
		to := filepath.Join(image.TrashDir, filepath.Base(name)+"-"+strconv.Itoa(n))
		err := unix.Renameat2(s.Fd(), name, s.Fd(), to, unix.RENAME_NOREPLACE)
		if !errors.Is(err, unix.EEXIST) {
			return os.NewSyscallError("rename", err)
		}
	}
	return fmt.Errorf("remove %s: %w", name, unix.EEXIST)
}

// empty removes what was thrown away, also by others that were killed; whoever
// does so now is left to it.
func empty(s *image.Shelf) (err error) {
	trash, err := s.OpenFile(image.TrashDir, unix.O_RDONLY|unix.O_DIRECTORY)
	if err != nil {
		return err
	}
	defer trash.Close()
	if err := unix.Flock(int(trash.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		if errors.Is(err, unix.EWOULDBLOCK) {
			return nil
		}
		return os.NewSyscallError("flock", err)
	}
	if err := tree.InRoot(int(trash.Fd())).Clear(); err != nil {
		return fmt.Errorf("remove layers: %w", err)
	}
	return nil
}
