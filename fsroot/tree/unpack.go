package tree

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path"
	"slices"

	"golang.org/x/sys/unix"
)

// Unpacking is how a stream becomes a tree.
type Unpacking struct {
	Owners  bool                         // set them, and bits that give them to who executes a file
	Skipped func(unsafePath, why string) // what was left out
	Foreign func(uid, gid int)           // owners that cannot be set: nobody's here
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

	tree Tree
	buf  []byte
	dirs []madeDir // whose attributes are set last
}

type madeDir struct {
	path   string
	id     file
	header *tar.Header
}

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
	u.dirs = append(u.dirs, madeDir{to, file{st.Dev, st.Ino}, h})
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
			err = u.attributes(fd, d.header)
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
	if u.buf == nil {
		const chunk = 64 << 10
		u.buf = make([]byte, 2*chunk)
	}
	err = copySparse(fd, in, u.buf)
	if err == nil {
		err = u.attributes(fd, h)
	}
	return errors.Join(err, out.Close())
}

// copySparse writes to an empty file. It makes holes of what is zeros, as a
// file has them that is larger than any disk. The second half of buf is zeros.
func copySparse(fd int, in io.Reader, buf []byte) error {
	chunk, zeros := buf[:len(buf)/2], buf[len(buf)/2:]
	for size, hole := int64(0), false; ; {
		n, err := io.ReadFull(in, chunk)
		size += int64(n)
		switch {
		case errors.Is(err, io.EOF) && hole:
			return unix.Ftruncate(fd, size)
		case errors.Is(err, io.EOF):
			return nil
		case err != nil && (n == 0 || !errors.Is(err, io.ErrUnexpectedEOF)): // an archive that is cut off
			return err
		}
		if hole = n == len(chunk) && bytes.Equal(chunk, zeros); hole {
			continue
		}
		if err := writeAt(fd, chunk[:n], size-int64(n)); err != nil {
			return err
		}
	}
}

func writeAt(fd int, data []byte, at int64) error {
	for len(data) > 0 {
		n, err := unix.Pwrite(fd, data, at)
		if err != nil && !errors.Is(err, unix.EINTR) {
			return err
		}
		n = max(n, 0)
		data, at = data[n:], at+int64(n)
	}
	return nil
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
	return u.own(fd, h)
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

// attributes sets owner, mode and time, in the order in which none undoes another.
func (u *unpacker) attributes(fd int, h *tar.Header) error {
	const permissions, all = 0o777, 0o7777
	mode := uint32(h.Mode) & permissions
	if u.Owners {
		if err := u.own(fd, h); err != nil {
			return err
		}
		mode = uint32(h.Mode) & all
	}
	if err := unix.Fchmod(fd, mode); err != nil {
		return err
	}
	when := unix.NsecToTimespec(h.ModTime.UnixNano())
	return unix.UtimesNanoAt(fd, "", []unix.Timespec{when, when}, unix.AT_EMPTY_PATH)
}

// own lets files whose owner is not in the map of ids stay with who makes them.
func (u *unpacker) own(fd int, h *tar.Header) error {
	err := error(unix.EINVAL)
	if isID(h.Uid) && isID(h.Gid) {
		err = unix.Fchownat(fd, "", h.Uid, h.Gid, unix.AT_EMPTY_PATH)
	}
	if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.EPERM) {
		u.Foreign(h.Uid, h.Gid)
		h.Mode &= 0o777
		return nil
	}
	return err
}

// isID leaves out what the kernel would take for another one, or for none.
func isID(id int) bool { return id >= 0 && id < math.MaxUint32 }
