package shelf

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"bryo/fsroot/image"
	"bryo/fsroot/tree"
)

// layers is the directory of the layers under a map of ids.
type layers struct {
	shelf *image.Shelf
	path  string // below the shelf
	dir   *os.File
	boot  string // this run of the machine
}

// record is what is known of a layer.
type record struct {
	tree.Layer

	DiffID string
}

// Behind a layer's name: one that is being made. A finished one has the machine's
// run there until it is on the disk, for which all layers of an image wait together.
const halfEnd = ".half"

// mapFile is beside the layers.
const mapFile = "map"

const dirMode = 0o755 // nobody else can enter the shelf

func openLayers(s *image.Shelf, idMap, boot string) (*layers, error) {
	l := &layers{shelf: s, path: image.LayersDir(idMap), boot: boot}
	err := s.Mkdir(l.path)
	if err == nil {
		l.dir, err = s.OpenFile(l.path, unix.O_RDONLY|unix.O_DIRECTORY)
	}
	if err != nil {
		return nil, err
	}
	name := filepath.Join(l.path, mapFile)
	if !there(s.Fd(), name) {
		err = s.WriteFile(name, []byte(idMap))
	}
	if err != nil {
		return nil, errors.Join(err, l.dir.Close())
	}
	return l, nil
}

func there(dir int, name string) bool {
	var st unix.Stat_t
	return unix.Fstatat(dir, name, &st, unix.AT_SYMLINK_NOFOLLOW) == nil
}

func (l *layers) fd() int { return int(l.dir.Fd()) }

func (l *layers) fresh(name string) string { return name + "." + l.boot }

// has says whether a layer is complete.
func (l *layers) has(name string) bool {
	return there(l.fd(), name) || there(l.fd(), l.fresh(name))
}

// half is a layer that is being made.
type half struct {
	*layers

	name string
	dir  *os.File // locked
}

// begin waits until nobody else makes the layer, and begins it. It is nil if the
// layer is there then.
func (l *layers) begin(name string) (*half, error) {
	const tries = 1000 // others may make and remove it
	for range tries {
		if l.has(name) {
			return nil, nil //nolint:nilnil // nothing is to be done
		}
		h, err := l.lock(name)
		if h != nil || err != nil {
			return h, err
		}
	}
	return nil, fmt.Errorf("layer %s: others make it and remove it without end", name)
}

// lock makes a directory for the layer, or takes one that somebody left. It is nil
// if that is not the layer's any more.
func (l *layers) lock(name string) (*half, error) {
	err := unix.Mkdirat(l.fd(), name+halfEnd, dirMode)
	if err != nil && !errors.Is(err, unix.EEXIST) {
		return nil, fmt.Errorf("make a layer: %w", err)
	}
	fd, err := unix.Openat(l.fd(), name+halfEnd, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if errors.Is(err, unix.ENOENT) {
		return nil, nil //nolint:nilnil // the caller tries again
	}
	if err != nil {
		return nil, fmt.Errorf("open a layer: %w", err)
	}
	h := &half{l, name, os.NewFile(uintptr(fd), name)}
	mine, err := image.Lock(h.dir, l.fd(), name+halfEnd)
	if err == nil && mine && l.has(name) { // who is waiting behind this one finds the layer, too
		mine, err = false, unix.Unlinkat(l.fd(), name+halfEnd, unix.AT_REMOVEDIR)
	}
	if err == nil && mine {
		err = tree.InRoot(fd).Clear()
	}
	if err != nil || !mine {
		return nil, errors.Join(err, h.dir.Close())
	}
	return h, nil
}

// finish gives a layer that is complete its name. Without one it is removed.
func (h *half) finish(name string, r *record) error {
	err := h.shelf.WriteJSON(filepath.Join(h.path, name+image.RecordEnd), r)
	if err == nil {
		err = unix.Renameat2(h.fd(), h.name+halfEnd, h.fd(), h.fresh(name), unix.RENAME_NOREPLACE)
	}
	if errors.Is(err, unix.EEXIST) { // somebody else has made it
		return h.discard()
	}
	if err != nil {
		return errors.Join(fmt.Errorf("finish a layer: %w", err), h.discard())
	}
	return h.dir.Close()
}

func (h *half) discard() error {
	err := tree.InRoot(int(h.dir.Fd())).Clear()
	if err == nil {
		err = unix.Unlinkat(h.fd(), h.name+halfEnd, unix.AT_REMOVEDIR)
	}
	return errors.Join(err, h.dir.Close())
}

// add makes a layer, if it is not there.
func (l *layers) add(name, diffID string, fill func(fd int) (tree.Layer, error)) error {
	h, err := l.begin(name)
	if h == nil || err != nil {
		return err
	}
	r := &record{DiffID: diffID}
	if r.Layer, err = fill(int(h.dir.Fd())); err != nil {
		return errors.Join(err, h.discard())
	}
	return h.finish(name, r)
}

// settle gives layers their own names, once they are on the disk.
func (l *layers) settle(names []string) error {
	synced := false
	for _, name := range names {
		if there(l.fd(), name) {
			continue
		}
		if !synced {
			if err := unix.Syncfs(l.fd()); err != nil {
				return os.NewSyscallError("syncfs", err)
			}
			synced = true
		}
		err := unix.Renameat(l.fd(), l.fresh(name), l.fd(), name)
		if err != nil && !there(l.fd(), name) { // nobody else has
			return fmt.Errorf("finish layer %s: %w", name, err)
		}
	}
	if synced {
		return os.NewSyscallError("fsync", unix.Fsync(l.fd()))
	}
	return nil
}

// record reads what is known of a layer.
func (l *layers) record(name string) (*record, error) {
	r := &record{}
	return r, l.shelf.ReadJSON(filepath.Join(l.path, name+image.RecordEnd), r)
}
