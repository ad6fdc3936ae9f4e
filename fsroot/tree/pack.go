package tree

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"bryo/idmap"
)

// deepest is how many directories may lie in each other where each takes up to two
// descriptors; one takes mostNames.
const deepest = 400

// Of files with several names so many are remembered, by names of so many bytes
// together; of others each name becomes a file.
const (
	mostLinks = 1 << 16
	mostNamed = 8 << 20
)

// Packing is how a tree becomes a stream.
type Packing struct {
	Owner   func(uid, gid uint32) (int, int) // as the stream shall have them; nil for as they are
	Skipped func(unsafePath, why string)     // what cannot be in the stream
	Holes   bool                             // are told as only Unpack reads them
	Layer   *Layering                        // the stream is one of an image; nil for others

	// Noted is the map of ids that the tree is read in: owners outside of it are
	// those that are noted. Nil for not to look at notes.
	Noted *idmap.Maps
}

// Pack writes what a path leads to, with all that is below it. In the stream
// it has the name as, which may be ".". A link at the end of the path is
// followed if a slash comes behind it.
func (t Tree) Pack(w io.Writer, unsafePath, as string, how Packing) error {
	out := tar.NewWriter(w)
	p := &packer{Packing: how, out: out, links: map[file]string{}, stood: map[string]bool{}, from: unsafePath, as: as}
	dir, name, err := t.parent(unsafePath)
	if strings.HasSuffix(unsafePath, "/") || strings.HasSuffix(unsafePath, "/.") || name == "/" {
		if err == nil {
			_ = unix.Close(dir)
		}
		dir, err = t.open(unsafePath, unix.O_RDONLY|unix.O_DIRECTORY)
		name = "."
	}
	if err != nil {
		return pathError("open", unsafePath, err)
	}
	defer unix.Close(dir)
	if how.Layer != nil {
		if p.noted, err = readDevices(dir); err != nil {
			return pathError("open", unsafePath, err)
		}
	}
	if err := p.add(dir, name, as, 0); err != nil {
		return err
	}
	if how.Layer != nil {
		if err := p.addNoted(dir); err != nil {
			return err
		}
	}
	return out.Close()
}

// file is an inode.
type file struct{ device, inode uint64 }

type packer struct {
	Packing

	out       *tar.Writer
	links     map[file]string // names in the stream of files with several
	linkBytes int             // of these names
	from, as  string          // where the stream begins, and what that is called in it
	ordered   int             // bytes of names of the directories that are open
	zeros     int64           // written for holes
	device    uint64          // that is known not to be the kernel's own
	noted     []*tar.Header   // devices that unpack could not make
	stood     map[string]bool // those of them that empty files stand for
}

// shown is where a name in the stream comes from.
func (p *packer) shown(as string) string {
	return path.Join(p.from, strings.TrimPrefix(path.Join("/", as), path.Join("/", p.as)))
}

// add writes what a name of a directory is; in the stream it is called as.
func (p *packer) add(dir int, name, as string, depth int) error {
	if depth > mostNames {
		return fmt.Errorf("%s: more than %d directories in each other", p.shown(as), mostNames)
	}
	fd, err := openAt(dir, name, unix.O_PATH)
	if err != nil {
		return pathError("open", p.shown(as), err)
	}
	var st unix.Stat_t
	kernels := false
	if err = unix.Fstat(fd, &st); err == nil {
		kernels, err = p.kernels(fd, st.Dev)
	}
	if err == nil && st.Mode&unix.S_IFMT == unix.S_IFLNK && !kernels {
		h := p.header(&st, as)
		p.disownedLink(dir, name, &st, h)
		err = p.addLink(fd, &st, h)
	}
	if err = errors.Join(err, unix.Close(fd)); err != nil {
		return p.named("stat", as, err)
	}
	if kernels {
		return p.leaveOut(as, depth, "the kernel makes it up")
	}
	return p.addKind(dir, name, &st, as, depth)
}

// addKind is add for all but links, which are written.
func (p *packer) addKind(dir int, name string, st *unix.Stat_t, as string, depth int) error {
	switch kind := st.Mode & unix.S_IFMT; {
	case kind == unix.S_IFLNK:
		return nil
	case kind == unix.S_IFREG:
		return p.addFile(dir, name, as)
	case kind == unix.S_IFDIR:
		return p.addDir(dir, name, as, depth)
	case p.Layer != nil:
		h := p.header(st, as)
		p.disownedLink(dir, name, st, h)
		return p.addSpecial(st, h, depth)
	default:
		return p.leaveOut(as, depth, "it is a device, a pipe or a socket")
	}
}

// named gives an error a path, if it has none.
func (p *packer) named(op, as string, err error) error {
	if _, has := errors.AsType[*os.PathError](err); has {
		return err
	}
	return pathError(op, p.shown(as), err)
}

// leaveOut tells what is not in the stream; that it is all of it, is an error.
func (p *packer) leaveOut(as string, depth int, why string) error {
	if depth == 0 {
		return fmt.Errorf("%s is not copied: %s", p.shown(as), why)
	}
	p.Skipped(p.shown(as), why)
	return nil
}

// kernels says whether a file is one of those that look empty, or do something
// when they are read: those of /proc and its like.
func (p *packer) kernels(fd int, device uint64) (bool, error) {
	if device == p.device {
		return false, nil
	}
	var st unix.Statfs_t
	if err := unix.Fstatfs(fd, &st); err != nil {
		return false, err
	}
	if slices.Contains(kernelKinds(), int64(st.Type)) { //nolint:unconvert,nolintlint // its width depends on the architecture
		return true, nil
	}
	p.device = device
	return false, nil
}

// kernelKinds are file systems that have no files of anybody's: statfs(2).
func kernelKinds() []int64 {
	const mqueue, configfs, fusectl = 0x19800202, 0x62656570, 0x65735543
	return []int64{
		unix.PROC_SUPER_MAGIC, unix.SYSFS_MAGIC, unix.CGROUP_SUPER_MAGIC, unix.CGROUP2_SUPER_MAGIC, unix.DEVPTS_SUPER_MAGIC,
		unix.DEBUGFS_MAGIC, unix.TRACEFS_MAGIC, unix.SECURITYFS_MAGIC, unix.BPF_FS_MAGIC, unix.PSTOREFS_MAGIC, unix.EFIVARFS_MAGIC,
		unix.BINFMTFS_MAGIC, unix.NSFS_MAGIC, mqueue, configfs, fusectl,
	}
}

func (p *packer) header(st *unix.Stat_t, as string) *tar.Header {
	const bits = 0o7777
	h := &tar.Header{Name: as, Mode: int64(st.Mode & bits), ModTime: time.Unix(st.Mtim.Unix()), Uid: int(st.Uid), Gid: int(st.Gid)}
	if p.Owner != nil {
		h.Uid, h.Gid = p.Owner(st.Uid, st.Gid)
	}
	if p.Layer != nil {
		p.Layer.date(h)
	}
	return h
}

// again writes another name of a file that is in the stream already, and says
// whether it is one.
func (p *packer) again(h *tar.Header, st *unix.Stat_t, as string) (bool, error) {
	if st.Nlink < 2 { //nolint:mnd // names
		return false, nil
	}
	id := file{st.Dev, st.Ino}
	if first, known := p.links[id]; known {
		h.Typeflag, h.Linkname = tar.TypeLink, first
		return true, p.out.WriteHeader(h)
	}
	links, bytes := mostLinks, mostNamed
	if p.Layer != nil {
		links, bytes = mostLayerLinks, mostLayerNamed
	}
	if len(p.links) < links && p.linkBytes+len(as) <= bytes {
		p.links[id], p.linkBytes = as, p.linkBytes+len(as)
	}
	return false, nil
}

func (p *packer) addFile(dir int, name, as string) error {
	fd, err := openAt(dir, name, unix.O_RDONLY)
	if err != nil {
		return pathError("open", p.shown(as), err)
	}
	in := os.NewFile(uintptr(fd), as)
	defer in.Close()
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return pathError("stat", p.shown(as), err)
	}
	if st.Mode&unix.S_IFMT != unix.S_IFREG {
		p.Skipped(p.shown(as), "it was replaced meanwhile")
		return nil
	}
	h := p.header(&st, as)
	if p.Layer != nil {
		if written, err := p.describe(fd, &st, h, as); written || err != nil {
			return err
		}
	} else if n := p.disownedFile(fd, &st, h); n.Kind != 0 {
		p.Skipped(p.shown(as), "it stands for a device")
		return nil
	}
	if is, err := p.again(h, &st, as); is || err != nil {
		return err
	}
	h.Typeflag, h.Size = tar.TypeReg, st.Size
	// What is written behind the size that was told is left out.
	if err := p.writeFile(in, h); err != nil {
		return pathError("read", p.shown(as), err)
	}
	return nil
}

func (p *packer) addDir(dir int, name, as string, depth int) error {
	fd, err := openAt(dir, name, unix.O_RDONLY|unix.O_DIRECTORY)
	if err != nil {
		return pathError("open", p.shown(as), err)
	}
	in := os.NewFile(uintptr(fd), as)
	defer in.Close()
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return pathError("stat", p.shown(as), err)
	}
	h := p.header(&st, as+"/")
	h.Typeflag = tar.TypeDir
	if p.Layer != nil {
		return p.addOrdered(in, &st, h, as, depth)
	}
	p.disownedFile(fd, &st, h)
	if err := p.out.WriteHeader(h); err != nil {
		return err
	}
	for {
		const some = 256
		names, err := in.Readdirnames(some)
		for _, n := range names {
			if err := p.add(fd, n, path.Join(as, n), depth+1); err != nil && !errors.Is(err, unix.ENOENT) { // it was removed meanwhile
				return err
			}
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

func (p *packer) addLink(fd int, st *unix.Stat_t, h *tar.Header) error {
	target, err := readlink(fd)
	if err != nil {
		return pathError("readlink", p.shown(h.Name), err)
	}
	if p.Layer != nil {
		if is, err := p.again(h, st, h.Name); is || err != nil {
			return err
		}
	}
	h.Typeflag, h.Linkname = tar.TypeSymlink, target
	return p.out.WriteHeader(h)
}
