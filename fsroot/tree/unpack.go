package tree

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"bryo/fsroot/owner"
)

// Unpacking is how a stream becomes a tree.
type Unpacking struct {
	Owners  bool                         // set them, and bits that give them to who executes a file
	Skipped func(unsafePath, why string) // what was left out
	Foreign func(uid, gid int)           // owners that cannot be set: nobody's here
	Holes   bool                         // the stream is Pack's, which tells them
	Noted   bool                         // owners are notes
}

// Unpack makes what a stream has, below the path at; "." of the stream becomes
// that itself. Files and links take the place of what is there. A directory
// that is there stays as it is and is added to.
func (t Tree) Unpack(r io.Reader, at string, how Unpacking) error {
	u := &unpacker{Unpacking: how, tree: t}
	in := tar.NewReader(r)
	for {
		h, err := in.Next()
		if errors.Is(err, io.EOF) {
			_, err := io.Copy(io.Discard, r) // tar(1) fills its last block
			return errors.Join(err, u.finishDirs())
		}
		if err != nil {
			return fmt.Errorf("read the archive: %w", err)
		}
		to := path.Join("/", at, path.Clean("/"+h.Name))
		if err := u.entry(in, h, to, at); err != nil {
			return err
		}
	}
}

var errReplaced = errors.New("it was replaced meanwhile")

type unpacker struct {
	Unpacking

	tree   Tree
	buf    []byte
	zeros  int64     // of sparse files
	dirs   []madeDir // whose attributes are set last
	dirSum int       // bytes that these need
}

type madeDir struct {
	path string
	id   file
	attributes
}

// attributes are what a file of the stream has beside its content.
type attributes struct {
	mode     int64
	uid, gid int
	when     time.Time
}

func attributesOf(h *tar.Header) attributes { return attributes{h.Mode, h.Uid, h.Gid, h.ModTime} }

func (u *unpacker) entry(in io.Reader, h *tar.Header, to, at string) error {
	if to == "/" {
		if h.Typeflag != tar.TypeDir {
			return errors.New("a file cannot take the place of a root directory")
		}
		return nil
	}
	dir, name, err := u.parent(to)
	if err != nil {
		return pathError("open", path.Dir(to), err)
	}
	defer unix.Close(dir)
	switch h.Typeflag {
	case tar.TypeDir:
		err = u.makeDir(dir, name, to, h)
	case tar.TypeReg, tar.TypeRegA, tar.TypeGNUSparse: //nolint:staticcheck // old archives have it
		err = u.makeFile(in, dir, name, h)
	case tar.TypeSymlink:
		err = u.makeLink(dir, name, h)
	case tar.TypeLink:
		err = u.makeName(dir, name, path.Join("/", at, path.Clean("/"+h.Linkname)))
	case tar.TypeXGlobalHeader:
	default:
		u.Skipped(to, "it is a device, a pipe or a socket")
	}
	if err != nil {
		return pathError("make", to, err)
	}
	return nil
}

// parent opens the directory above, made if the stream has not had it.
func (u *unpacker) parent(to string) (dir int, name string, err error) {
	dir, name, err = u.tree.parent(to)
	if !errors.Is(err, unix.ENOENT) {
		return dir, name, err
	}
	above, base, err := u.parent(path.Dir(to))
	if err != nil {
		return -1, "", err
	}
	defer unix.Close(above)
	const mode = 0o755
	if err := unix.Mkdirat(above, base, mode); err != nil && !errors.Is(err, unix.EEXIST) {
		return -1, "", err
	}
	return u.tree.parent(to)
}

// makeDir makes a directory that only its owner can enter until it is complete.
func (u *unpacker) makeDir(dir int, name, to string, h *tar.Header) error {
	const private, others = 0o700, 0o077
	err := unix.Mkdirat(dir, name, private)
	if errors.Is(err, unix.EEXIST) {
		if !u.tree.IsDir(to) {
			return unix.ENOTDIR
		}
		return nil
	}
	if err != nil {
		return err
	}
	fd, err := openAt(dir, name, unix.O_RDONLY|unix.O_DIRECTORY)
	if err != nil {
		return err
	}
	made := os.NewFile(uintptr(fd), name)
	defer made.Close()
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return err
	}
	// It is given away later: another one that has something in it must not be.
	if names, _ := made.Readdirnames(1); len(names) > 0 || int(st.Uid) != os.Geteuid() || st.Mode&others != 0 {
		return errReplaced
	}
	return u.remember(madeDir{to, file{st.Dev, st.Ino}, attributesOf(h)})
}

// remember keeps what a directory is to have. How many there are, who made them
// inside decides.
func (u *unpacker) remember(d madeDir) error {
	const most, size = 128 << 20, 104 // of a madeDir
	if u.dirSum += len(d.path) + size; u.dirSum > most {
		return fmt.Errorf("more than %d bytes of directories' names are to be remembered\nfix: copy fewer directories at once", most)
	}
	u.dirs = append(u.dirs, d)
	return nil
}

// finishDirs sets the attributes of directories, the innermost first.
func (u *unpacker) finishDirs() error {
	for _, d := range slices.Backward(u.dirs) {
		fd, err := u.tree.open(d.path, unix.O_RDONLY|unix.O_DIRECTORY)
		if err != nil {
			continue // somebody has moved it
		}
		var st unix.Stat_t
		err = unix.Fstat(fd, &st)
		if err == nil && (file{st.Dev, st.Ino}) == d.id {
			err = u.set(fd, d.attributes)
		}
		if err = errors.Join(err, unix.Close(fd)); err != nil {
			return pathError("set the attributes of", d.path, err)
		}
	}
	return nil
}

// clearName removes what has a name, unless it is a directory.
func clearName(dir int, name string) error {
	if err := unix.Unlinkat(dir, name, 0); err != nil && !errors.Is(err, unix.ENOENT) {
		return err
	}
	return nil
}

func (u *unpacker) makeFile(in io.Reader, dir int, name string, h *tar.Header) error {
	fd, err := createFile(dir, name)
	if err != nil {
		return err
	}
	out := os.NewFile(uintptr(fd), name)
	err = u.content(out, in, h)
	if err == nil {
		err = u.set(fd, attributesOf(h))
	}
	return errors.Join(err, out.Close())
}

// write puts what is read at an offset, and says where it ends.
func (u *unpacker) write(out *os.File, in io.Reader, size int64) (int64, error) {
	const chunk = 64 << 10
	if u.buf == nil {
		u.buf = make([]byte, 2*chunk)
	}
	return copySparse(int(out.Fd()), in, u.buf, size)
}

// createFile makes a new file. One that is mounted on cannot be replaced, and
// gets another content.
func createFile(dir int, name string) (int, error) {
	err := clearName(dir, name)
	if errors.Is(err, unix.EBUSY) {
		return truncated(dir, name)
	}
	if err != nil {
		return -1, err
	}
	const private = 0o600
	return unix.Openat(dir, name, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW|unix.O_CLOEXEC, private)
}

func truncated(dir int, name string) (int, error) {
	fd, err := openAt(dir, name, unix.O_WRONLY)
	if err != nil {
		return -1, err
	}
	var st unix.Statx_t
	if err = unix.Statx(fd, "", unix.AT_EMPTY_PATH, unix.STATX_BASIC_STATS, &st); err == nil &&
		(st.Mode&unix.S_IFMT != unix.S_IFREG || st.Attributes&unix.STATX_ATTR_MOUNT_ROOT == 0) {
		err = unix.EBUSY
	}
	if err == nil {
		err = unix.Ftruncate(fd, 0)
	}
	if err != nil {
		return -1, errors.Join(err, unix.Close(fd))
	}
	return fd, nil
}

func (u *unpacker) makeLink(dir int, name string, h *tar.Header) error {
	if err := clearName(dir, name); err != nil {
		return err
	}
	if err := unix.Symlinkat(h.Linkname, dir, name); err != nil {
		return err
	}
	if !u.Owners {
		return nil
	}
	fd, err := openAt(dir, name, unix.O_PATH)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	var st unix.Stat_t
	if err = unix.Fstat(fd, &st); err == nil && st.Mode&unix.S_IFMT != unix.S_IFLNK {
		err = errReplaced
	}
	if err != nil {
		return err
	}
	a := attributesOf(h)
	if u.Noted {
		return errors.Join(unix.Fchownat(fd, "", 0, 0, unix.AT_EMPTY_PATH), u.note(&a, func(n owner.Note) error { return writeLinkNote(dir, name, n) }))
	}
	return u.own(fd, &a)
}

// makeName gives a file of the tree another name.
func (u *unpacker) makeName(dir int, name, of string) error {
	from, base, err := u.tree.parent(of)
	if err != nil {
		return err
	}
	defer unix.Close(from)
	if err := clearName(dir, name); err != nil {
		return err
	}
	return unix.Linkat(from, base, dir, name, 0)
}

// set sets owner, mode and time, in the order in which none undoes another.
func (u *unpacker) set(fd int, a attributes) error {
	const permissions, all = 0o777, 0o7777
	mode := uint32(a.mode) & permissions
	if u.Owners {
		own := u.own
		if u.Noted {
			own = func(fd int, a *attributes) error { return u.note(a, owner.Opened(fd).Write) }
		}
		if err := own(fd, &a); err != nil {
			return err
		}
		mode = uint32(a.mode) & all
	}
	if err := unix.Fchmod(fd, mode); err != nil {
		return err
	}
	when := unix.NsecToTimespec(a.when.UnixNano())
	return unix.UtimesNanoAt(fd, "", []unix.Timespec{when, when}, unix.AT_EMPTY_PATH)
}

// note has a file of root's, the only one there is, belong to somebody else, where
// there is room for that.
func (u *unpacker) note(a *attributes, write func(owner.Note) error) error {
	if !isID(a.uid) || !isID(a.gid) {
		return fmt.Errorf("the owner %d:%d has no id", a.uid, a.gid)
	}
	n := owner.Note{UID: uint32(a.uid), GID: uint32(a.gid)}
	err := write(n)
	if errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.E2BIG) {
		a.mode &= 0o777
		if n != (owner.Note{}) {
			u.Foreign(a.uid, a.gid)
		}
		return nil
	}
	return err
}

// own lets files whose owner is not in the map of ids stay with who makes them.
func (u *unpacker) own(fd int, a *attributes) error {
	err := error(unix.EINVAL)
	if isID(a.uid) && isID(a.gid) {
		err = unix.Fchownat(fd, "", a.uid, a.gid, unix.AT_EMPTY_PATH)
	}
	if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.EPERM) {
		u.Foreign(a.uid, a.gid)
		a.mode &= 0o777
		return nil
	}
	return err
}

// isID leaves out what the kernel would take for another one, or for none.
func isID(id int) bool { return id >= 0 && id < math.MaxUint32 }
