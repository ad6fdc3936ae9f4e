package tree

import (
	"archive/tar"
	"errors"
	"io"
	"os"
	"path"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Layering is how a tree becomes a layer of an image. Names are in order, so that
// the same tree is the same layer wherever it lies; extended attributes, pipes
// and devices are in it, and none of bryo's own notes.
type Layering struct {
	Upper  bool      // the tree is a layer of an overlay file system: its whiteouts become an image's
	Before time.Time // no file is younger; zero for any time
	Report *Report

	// Newest is the latest time in the layer.
	Newest time.Time
}

// What is remembered of a layer: of names of files with several, and of names of
// directories that are open.
const (
	mostLayerLinks = 1 << 20
	mostLayerNamed = 64 << 20
	mostOrdered    = 256 << 20
	mostXattrBytes = 512 << 10 // of a file; readers have a limit of a megabyte for its records
)

// date gives the time of a file in full, or the latest that is allowed.
func (l *Layering) date(h *tar.Header) {
	h.Format = tar.FormatPAX
	if !l.Before.IsZero() && h.ModTime.After(l.Before) {
		h.ModTime = l.Before
	}
	if h.ModTime.After(l.Newest) {
		l.Newest = h.ModTime
	}
}

// addOrdered writes a directory.
func (p *packer) addOrdered(in *os.File, st *unix.Stat_t, h *tar.Header, as string, depth int) error {
	opaque, err := p.describe(int(in.Fd()), st, h, as)
	if err != nil {
		return err
	}
	if err := p.out.WriteHeader(h); err != nil {
		return err
	}
	if opaque {
		if err := p.whiteOut(path.Join(as, opaqueName)); err != nil {
			return err
		}
	}
	names, err := p.readOrdered(in)
	if err != nil {
		return pathError("read", p.shown(as), err)
	}
	before := p.ordered
	for _, name := range names {
		p.ordered += len(name)
	}
	for _, name := range names {
		if err := p.addChild(int(in.Fd()), name, path.Join(as, name), depth+1); err != nil {
			return err
		}
	}
	p.ordered = before
	return nil
}

func (p *packer) addChild(dir int, name, as string, depth int) error {
	switch {
	case strings.HasPrefix(name, whiteout):
		return p.leaveOut(as, depth, "in an image its name means that another one is removed")
	case len(as)+1 > longestPath:
		return pathError("pack", p.shown(as), unix.ENAMETOOLONG)
	}
	if err := p.add(dir, name, as, depth); !errors.Is(err, unix.ENOENT) {
		return err
	}
	return nil // it was removed meanwhile
}

var errOrdered = errors.New("there are too many names in it, and in those above")

// readOrdered reads the names of a directory, in the order of their bytes.
func (p *packer) readOrdered(in *os.File) (all []string, err error) {
	const some, each = 256, 32 // bytes that a name takes beside its own
	sum := p.ordered
	for {
		names, err := in.Readdirnames(some)
		for _, name := range names {
			sum += len(name) + each
		}
		if sum > mostOrdered {
			return nil, errOrdered
		}
		all = append(all, names...)
		if errors.Is(err, io.EOF) {
			slices.Sort(all)
			return all, nil
		}
		if err != nil {
			return nil, err
		}
	}
}

// opaqueName is in a directory of which lower layers have nothing left.
const opaqueName = whiteout + opaque

// whiteOut writes a name that means what is to be removed.
func (p *packer) whiteOut(as string) error {
	h := &tar.Header{Typeflag: tar.TypeReg, Name: as, Format: tar.FormatPAX, Mode: 0o644, ModTime: time.Unix(0, 0)}
	return p.out.WriteHeader(h)
}

// addSpecial writes what is neither file nor directory nor link.
func (p *packer) addSpecial(st *unix.Stat_t, h *tar.Header, depth int) error {
	as := h.Name
	device := uint64(st.Rdev) //nolint:unconvert,nolintlint // its width depends on the architecture
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFIFO:
		h.Typeflag = tar.TypeFifo
		if is, err := p.again(h, st, as); is || err != nil {
			return err
		}
		h.Typeflag = tar.TypeFifo
	case unix.S_IFCHR:
		if device == 0 {
			if p.Layer.Upper {
				return p.whiteOut(hidden(as))
			}
			return p.leaveOut(as, depth, "it is the mark of overlay file systems for what is removed")
		}
		h.Typeflag = tar.TypeChar
	case unix.S_IFBLK:
		h.Typeflag = tar.TypeBlock
	default:
		return p.leaveOut(as, depth, "it is a socket")
	}
	if h.Typeflag != tar.TypeFifo {
		h.Devmajor, h.Devminor = int64(unix.Major(device)), int64(unix.Minor(device))
	}
	return p.out.WriteHeader(h)
}

// Notes of overlay file systems that are mounted in a user namespace:
// Documentation/filesystems/overlayfs.rst.
const (
	overlayWhiteout = "user.overlay.whiteout"
	overlayRedirect = "user.overlay.redirect"
	overlayMetacopy = "user.overlay.metacopy"
)

var errElsewhere = errors.New("its content is in another layer, under another name")

// describe adds what a file has beside its content. It says whether a directory is
// opaque, or a file stood for something else, which has been written.
func (p *packer) describe(fd int, st *unix.Stat_t, h *tar.Header, as string) (written bool, err error) {
	names, err := xattrNames(fd)
	if err != nil {
		return false, pathError("list the attributes of", p.shown(as), err)
	}
	isDir := st.Mode&unix.S_IFMT == unix.S_IFDIR
	if p.Layer.Upper {
		if written, err = p.overlaid(fd, names, st, as); err != nil || written && !isDir {
			return written, err
		}
	}
	if slices.Contains(names, rootlessOwner) {
		if n := p.disownedFile(fd, st, h); n.Kind != 0 {
			return true, p.addStandIn(st, h, n)
		}
	}
	sum := 0
	for _, name := range names {
		if settable(name) {
			sum += p.attribute(fd, name, mostXattrBytes-sum, h)
		}
	}
	return written, nil
}

// attribute adds an extended attribute, if there is as much room, and returns how
// much it takes.
func (p *packer) attribute(fd int, name string, room int, h *tar.Header) int {
	value, err := readXattr(fd, name)
	size := len(name) + len(value)
	switch {
	case errors.Is(err, unix.ENODATA): // it was removed meanwhile
	case err != nil || strings.Contains(name, "=") || size > room:
		// Capabilities of another map of ids cannot be read: EOVERFLOW.
		p.Layer.Report.xattr(name, 1)
	default:
		setRecord(h, paxXattr+name, string(value))
		return size
	}
	return 0
}

func setRecord(h *tar.Header, key, value string) {
	if h.PAXRecords == nil {
		h.PAXRecords = map[string]string{}
	}
	h.PAXRecords[key] = value
}

// overlaid is describe for what an overlay file system notes with its files.
func (p *packer) overlaid(fd int, names []string, st *unix.Stat_t, as string) (whiteOut bool, err error) {
	has := func(name string) bool { return slices.Contains(names, name) }
	isDir := st.Mode&unix.S_IFMT == unix.S_IFDIR
	switch {
	case has(overlayRedirect), has(overlayMetacopy):
		return false, pathError("pack", p.shown(as), errElsewhere)
	case has(overlayWhiteout) && !isDir && st.Size == 0:
		return true, p.whiteOut(hidden(as))
	case has(overlayOpaque) && isDir:
		value, err := readXattr(fd, overlayOpaque)
		return err == nil && string(value) == "y", nil
	}
	return false, nil
}

// hidden is the name that means that another one is removed.
func hidden(as string) string { return path.Join(path.Dir(as), whiteout+path.Base(as)) }

func readXattr(fd int, name string) ([]byte, error) {
	const most = 64 << 10 // xattr(7)
	value := make([]byte, most)
	n, err := unix.Fgetxattr(fd, name, value)
	if err != nil {
		return nil, err
	}
	return value[:n], nil
}
