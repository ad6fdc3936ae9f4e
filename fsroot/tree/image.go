package tree

import (
	"archive/tar"
	"errors"
	"fmt"
	"hash/maphash"
	"io"
	"path"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"bryo/fsroot/owner"
	"bryo/idmap"
)

// Limits are how much an image may make, however small it looks.
type Limits struct {
	Bytes   int64 // of all files together, holes among them
	Entries int
}

// The longest path that an archive may name, and how many names it may have.
const (
	longestPath = unix.PathMax - 1
	mostNames   = 512
)

// Image is a tree that is made of an image's layers, the lowest first. Layers
// are hostile, and see to links and names that lead elsewhere; but nobody else
// writes to the tree meanwhile.
type Image struct {
	// Report is what became otherwise than the image says.
	Report Report

	tree     Tree
	idMap    string
	left     *Budget
	bytes    int64       // of all files
	alone    *alone      // nil for one above those that are there
	layer    int         // how many are finished
	top      *tar.Header // the root's own entry
	inherits bool        // some directory has a default ACL
	at       openDir
	dirs     []layerDir // whose attributes are set at the end of the layer
	buf      []byte

	// What this layer has made, which its whiteouts do not concern: hashes of
	// names and the directories that they are in.
	upper map[uint64]struct{}
	seed  maphash.Seed
}

// layerDir is a directory of the layer.
type layerDir struct {
	path   string
	id     file
	header *tar.Header
}

// openDir is the directory that the last entry was in. The next one mostly is, too.
type openDir struct {
	path  string // "" for none
	fd    int
	inode uint64
	plain bool // what is made in it has the mode and the owner that it is made with
}

// NewImage begins with an empty directory. It takes away the umask of the
// process, as the modes are the image's to say.
func NewImage(fd int, limits Limits) *Image { return newImage(fd, limits.Budget()) }

func newImage(fd int, budget *Budget) *Image {
	const chunk = 128 << 10
	unix.Umask(0)
	return &Image{tree: InRoot(fd), left: budget, buf: make([]byte, 2*chunk), seed: maphash.MakeSeed()}
}

// Under says which map of ids the tree is made under. Where root is the only one,
// an empty file stands for each device, which is noted with it.
func (m *Image) Under(idMap string) *Image {
	maps, err := idmap.ParseMaps(idMap)
	m.idMap, m.Report.Squash = idMap, err == nil && maps.RootAlone()
	return m
}

// Apply adds a layer: an archive in which names with the prefix .wh. remove
// what is below, as the image specification has it.
func (m *Image) Apply(r io.Reader) error { return m.apply(r, true) }

// Unpack adds an archive that is no layer: all names mean themselves.
func (m *Image) Unpack(r io.Reader) error { return m.apply(r, false) }

func (m *Image) apply(r io.Reader, whiteouts bool) (err error) {
	defer func() {
		m.leave()
		m.layer++
	}()
	m.dirs, m.upper = nil, nil
	if m.layer > 0 && whiteouts {
		m.upper = map[uint64]struct{}{}
	}
	in := tar.NewReader(r)
	for {
		h, err := in.Next()
		if errors.Is(err, io.EOF) {
			return m.finishDirs()
		}
		if err != nil {
			return fmt.Errorf("read the archive: %w", err)
		}
		if err := m.entry(in, h, whiteouts); err != nil {
			return fmt.Errorf("%s: %w", h.Name, err)
		}
	}
}

func (m *Image) entry(in io.Reader, h *tar.Header, whiteouts bool) error {
	if h.Typeflag == tar.TypeXGlobalHeader {
		return nil
	}
	to := path.Clean("/" + h.Name)
	if len(h.Name) > longestPath || strings.Count(to, "/") > mostNames {
		return unix.ENAMETOOLONG
	}
	if m.left.entries.Add(-1) < 0 {
		return errors.New("the image has more files than are allowed")
	}
	if to == "/" {
		return m.root(h)
	}
	dir, name := path.Split(to)
	if err := m.enter(path.Clean(dir)); err != nil {
		return err
	}
	if unsafeName, is := strings.CutPrefix(name, whiteout); is && whiteouts {
		return m.whiteOut(unsafeName)
	}
	if err := m.make(in, h, name, to); err != nil {
		return err
	}
	m.mark(name)
	return nil
}

func (m *Image) root(h *tar.Header) error {
	if h.Typeflag != tar.TypeDir {
		return errors.New("a file cannot take the place of the root directory")
	}
	m.top = h
	return nil
}

// Finish gives the root its own attributes, which let others enter it, and notes
// what was not made, and the map of ids that its owners are meant in.
func (m *Image) Finish() error {
	const usual = 0o755
	h := m.top
	if h == nil {
		h = &tar.Header{Typeflag: tar.TypeDir, Mode: usual, ModTime: time.Now()}
	}
	fd, err := m.tree.open(".", unix.O_RDONLY|unix.O_DIRECTORY)
	if err != nil {
		return err
	}
	err = m.note(fd)
	m.Report.Unnoted = err != nil
	return errors.Join(m.attributes(fd, h, 0, false), unix.Close(fd))
}

func (m *Image) make(in io.Reader, h *tar.Header, name, to string) error {
	switch h.Typeflag {
	case tar.TypeDir:
		return m.makeDir(h, name, to)
	case tar.TypeReg, tar.TypeRegA, tar.TypeGNUSparse, tar.TypeCont: //nolint:staticcheck // old archives have it
		return m.makeFile(in, h, name)
	case tar.TypeSymlink:
		return m.makeLink(h, name)
	case tar.TypeLink:
		return m.makeName(h, name)
	case tar.TypeFifo:
		return m.makePipe(h, name)
	case tar.TypeChar, tar.TypeBlock:
		m.Report.device(h, to)
		if m.Report.Squash {
			return m.makeDevice(h, name)
		}
	default:
		m.Report.Unknown++
	}
	return nil
}

// enter opens the directory that an entry is in, made if no layer has had it.
func (m *Image) enter(dir string) error {
	if m.at.path == dir {
		return nil
	}
	m.leave()
	fd, err := m.open(dir)
	if err != nil {
		return err
	}
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return errors.Join(err, unix.Close(fd))
	}
	plain := st.Mode&unix.S_ISGID == 0
	if m.inherits && plain {
		_, err := unix.Fgetxattr(fd, aclDefault, nil)
		plain = errors.Is(err, unix.ENODATA)
	}
	m.at = openDir{dir, fd, st.Ino, plain}
	return m.markAbove(dir)
}

func (m *Image) open(dir string) (int, error) {
	fd, err := m.tree.open(dir, unix.O_RDONLY|unix.O_DIRECTORY)
	covered := m.alone != nil && errors.Is(err, unix.ENOTDIR)
	if !errors.Is(err, unix.ENOENT) && !covered {
		return fd, err
	}
	above, err := m.open(path.Dir(dir))
	if err != nil {
		return -1, err
	}
	defer unix.Close(above)
	white, err := m.uncover(above, path.Base(dir))
	if err != nil {
		return -1, err
	}
	const mode = 0o755
	err = unix.Mkdirat(above, path.Base(dir), mode)
	switch {
	case errors.Is(err, unix.EEXIST) && covered:
		return -1, unix.ENOTDIR
	case errors.Is(err, unix.EEXIST):
		return -1, fmt.Errorf("%s is a link that leads to nothing", dir)
	case err != nil:
		return -1, err
	}
	return m.openMade(dir, white)
}

// openMade opens a directory that was made without an entry for it, in the place
// of a whiteout or of nothing.
func (m *Image) openMade(dir string, white bool) (int, error) {
	fd, err := m.tree.open(dir, unix.O_RDONLY|unix.O_DIRECTORY)
	if err != nil {
		return -1, err
	}
	if white {
		err = setOpaque(fd)
	} else {
		err = m.imply(fd, dir)
	}
	if err != nil {
		return -1, errors.Join(err, unix.Close(fd))
	}
	return fd, nil
}

func (m *Image) leave() {
	if m.at.path != "" {
		_ = unix.Close(m.at.fd)
	}
	m.at = openDir{}
}

// replaced does what makes a name, and once more without what has it already.
func (m *Image) replaced(name string, do func() error) error {
	err := do()
	if !errors.Is(err, unix.EEXIST) {
		return err
	}
	if err := m.remove(m.at.fd, name); err != nil {
		return err
	}
	return do()
}

// remove removes what a layer replaces or leaves out. The directory that is
// open stays: it can be none of those.
func (m *Image) remove(dir int, name string) error {
	r := &remover{top: m.tree.fd}
	return errors.Join(r.remove(dir, name, 0), r.finish())
}

func (m *Image) makeDir(h *tar.Header, name, to string) error {
	const private = 0o700
	err := unix.Mkdirat(m.at.fd, name, private)
	existed := errors.Is(err, unix.EEXIST)
	var st unix.Stat_t
	if err == nil || existed {
		err = unix.Fstatat(m.at.fd, name, &st, unix.AT_SYMLINK_NOFOLLOW)
	}
	if err == nil && existed && st.Mode&unix.S_IFMT != unix.S_IFDIR {
		if err := m.remove(m.at.fd, name); err != nil {
			return err
		}
		if err := m.makeDir(h, name, to); err != nil {
			return err
		}
		return m.hideLower(m.at.fd, name) // as what was in its place did
	}
	if err != nil {
		return err
	}
	m.explicit(st.Ino)
	m.dirs = append(m.dirs, layerDir{to, file{st.Dev, st.Ino}, h})
	return nil
}

func (m *Image) makeFile(in io.Reader, h *tar.Header, name string) error {
	if h.Size < 0 || m.left.bytes.Add(-h.Size) < 0 {
		return errors.New("the image's files are larger than is allowed")
	}
	m.bytes += h.Size
	mode := uint32(h.Mode) & 0o777 //nolint:mnd // rwx of all
	fd, err := m.create(name, mode)
	if err != nil {
		return err
	}
	size, err := copySparse(fd, in, m.buf, 0)
	if err == nil && size >= int64(len(m.buf)/2) { // it may end in a hole
		err = unix.Ftruncate(fd, size)
	}
	if err == nil {
		err = m.attributes(fd, h, mode, m.at.plain)
	}
	return errors.Join(err, unix.Close(fd))
}

// create makes an empty file, and opens it for writing.
func (m *Image) create(name string, mode uint32) (fd int, err error) {
	err = m.replaced(name, func() (err error) {
		fd, err = unix.Openat(m.at.fd, name, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW|unix.O_CLOEXEC, mode)
		return err
	})
	return fd, err
}

func (m *Image) makeLink(h *tar.Header, name string) error {
	if err := m.replaced(name, func() error { return unix.Symlinkat(h.Linkname, m.at.fd, name) }); err != nil {
		return err
	}
	return m.special(h, name, !m.at.plain)
}

// special sets what links and pipes are not made with.
func (m *Image) special(h *tar.Header, name string, owned bool) (err error) {
	foreign := false
	if h.Uid != 0 || h.Gid != 0 || owned {
		if foreign, err = chown(m.at.fd, name, h); err != nil {
			return err
		}
	}
	m.countXattrs(h)
	if err := unix.UtimesNanoAt(m.at.fd, name, times(h), unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return err
	}
	if foreign {
		m.disownAt(name, h)
	}
	return nil
}

// makeName gives a file of the image another name.
func (m *Image) makeName(h *tar.Header, name string) error {
	from, base, err := m.tree.parent(h.Linkname)
	if err != nil {
		return err
	}
	defer unix.Close(from)
	if base == "/" {
		return unix.EPERM // and no name to look up
	}
	if white, err := m.isWhiteout(from, base); white || err != nil {
		return errors.Join(unix.ENOENT, err)
	}
	err = unix.Linkat(from, base, m.at.fd, name, 0)
	if !errors.Is(err, unix.EEXIST) {
		return err
	}
	var of, there unix.Stat_t
	if err := errors.Join(unix.Fstatat(from, base, &of, unix.AT_SYMLINK_NOFOLLOW), unix.Fstatat(m.at.fd, name, &there, unix.AT_SYMLINK_NOFOLLOW)); err != nil {
		return err
	}
	if (file{of.Dev, of.Ino}) == (file{there.Dev, there.Ino}) {
		return nil
	}
	return m.replaced(name, func() error { return unix.Linkat(from, base, m.at.fd, name, 0) })
}

// makeDevice makes what stands for a device.
func (m *Image) makeDevice(h *tar.Header, name string) error {
	if !isID(h.Uid) || !isID(h.Gid) {
		return fmt.Errorf("the owner %d:%d has no id", h.Uid, h.Gid)
	}
	const private = 0o600
	fd, err := m.create(name, private)
	if err != nil {
		return err
	}
	kind := uint32(unix.S_IFCHR)
	if h.Typeflag == tar.TypeBlock {
		kind = unix.S_IFBLK
	}
	n := owner.Note{UID: uint32(h.Uid), GID: uint32(h.Gid), Kind: kind, Device: unix.Mkdev(uint32(h.Devmajor), uint32(h.Devminor))}
	const bits = 0o777
	_ = owner.Opened(fd).Write(n) // the root has a list of devices, too
	return errors.Join(unix.Fchmod(fd, uint32(h.Mode)&bits), unix.UtimesNanoAt(fd, "", times(h), unix.AT_EMPTY_PATH), unix.Close(fd))
}

func (m *Image) makePipe(h *tar.Header, name string) error {
	mode := uint32(h.Mode) & 0o777 //nolint:mnd // rwx of all
	if err := m.replaced(name, func() error { return unix.Mkfifoat(m.at.fd, name, mode) }); err != nil {
		return err
	}
	return m.special(h, name, true)
}

// finishDirs sets the attributes of the layer's directories, as far as it has
// not replaced them itself.
func (m *Image) finishDirs() error {
	for _, d := range m.dirs {
		fd, err := m.tree.open(d.path, unix.O_RDONLY|unix.O_DIRECTORY)
		if err != nil {
			continue
		}
		var st unix.Stat_t
		err = unix.Fstat(fd, &st)
		if err == nil && (file{st.Dev, st.Ino}) == d.id {
			if m.layer > 0 {
				err = clearXattrs(fd)
			}
			err = errors.Join(err, m.attributes(fd, d.header, 0, false))
		}
		if err = errors.Join(err, unix.Close(fd)); err != nil {
			return pathError("set the attributes of", d.path, err)
		}
	}
	return nil
}
