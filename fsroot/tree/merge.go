package tree

import (
	"errors"
	"io"
	"os"
	"strings"

	"golang.org/x/sys/unix"

	"bryo/fsroot"
)

// Merge copies what layers show as one, from a path in them on, into a directory
// that is empty and nobody else's. A path that they have not is an empty
// directory; one that is no directory is an error.
func Merge(to int, layers *fsroot.Union, unsafePath string) error {
	from, err := layers.OpenDir(unsafePath)
	if errors.Is(err, unix.ENOENT) {
		return nil
	}
	if err != nil {
		return pathError("open", unsafePath, err)
	}
	unix.Umask(0) // modes are the layers' to say
	m := &merger{links: map[file]string{}, top: to}
	defer closeAll(from)
	return m.dir(to, from, "", 0)
}

// merger copies directories that several layers have as one.
type merger struct {
	top   int             // where everything goes
	links map[file]string // where files with several names went
}

// dir copies a directory that is open in some layers, the topmost first.
func (m *merger) dir(to int, from []int, at string, depth int) error {
	if depth > deepest {
		return pathError("copy", at, unix.ENAMETOOLONG)
	}
	seen := map[string]struct{}{}
	for i := range from {
		names, err := readNames(from[i])
		if err != nil {
			return pathError("read", at, err)
		}
		for _, name := range names {
			if _, hidden := seen[name]; hidden {
				continue
			}
			seen[name] = struct{}{}
			if err := m.entry(to, from[i:], name, at, depth); err != nil {
				return err
			}
		}
	}
	fd, err := openAt(from[0], ".", unix.O_RDONLY|unix.O_DIRECTORY)
	if err == nil {
		err = errors.Join(m.attributes(to, fd), unix.Close(fd))
	}
	if err != nil {
		return pathError("copy", at, err)
	}
	return nil
}

func readNames(dir int) ([]string, error) {
	fd, err := openAt(dir, ".", unix.O_RDONLY|unix.O_DIRECTORY)
	if err != nil {
		return nil, err
	}
	in := os.NewFile(uintptr(fd), ".")
	defer in.Close()
	return in.Readdirnames(-1)
}

// entry copies what the first of the layers has.
func (m *merger) entry(to int, from []int, name, at string, depth int) (err error) {
	at += "/" + name
	fd, err := openAt(from[0], name, unix.O_PATH)
	if err != nil {
		return pathError("open", at, err)
	}
	defer func() { err = errors.Join(err, unix.Close(fd)) }()
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return pathError("stat", at, err)
	}
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFDIR:
		return m.subdir(to, from, name, at, depth)
	case unix.S_IFREG:
		err = m.file(to, from[0], name, at, &st)
	case unix.S_IFLNK:
		err = m.link(to, fd, name, &st)
		noteLink(to, from[0], name)
	case unix.S_IFIFO:
		if err = unix.Mknodat(to, name, st.Mode, 0); err == nil {
			err = m.attributesOf(to, name, &st)
			noteLink(to, from[0], name)
		}
	default: // a whiteout; layers have no other devices
	}
	if err != nil {
		return pathError("copy", at, err)
	}
	return nil
}

func (m *merger) subdir(to int, from []int, name, at string, depth int) error {
	dirs, err := fsroot.Merged(from, name)
	if err != nil {
		return pathError("open", at, err)
	}
	defer closeAll(dirs)
	const private = 0o700
	if err := unix.Mkdirat(to, name, private); err != nil {
		return pathError("make", at, err)
	}
	made, err := openAt(to, name, unix.O_RDONLY|unix.O_DIRECTORY)
	if err != nil {
		return pathError("open", at, err)
	}
	return errors.Join(m.dir(made, dirs, at, depth+1), unix.Close(made))
}

func closeAll(fds []int) {
	for _, fd := range fds {
		_ = unix.Close(fd)
	}
}

func (m *merger) file(to, dir int, name, at string, st *unix.Stat_t) (err error) {
	id := file{st.Dev, st.Ino}
	if first, known := m.links[id]; known && st.Nlink > 1 {
		return unix.Linkat(m.top, first, to, name, 0)
	}
	fd, err := openAt(dir, name, unix.O_RDONLY)
	if err != nil {
		return err
	}
	in := os.NewFile(uintptr(fd), name)
	defer func() { err = errors.Join(err, in.Close()) }()
	const private = 0o600
	made, err := unix.Openat(to, name, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW|unix.O_CLOEXEC, private)
	if err != nil {
		return err
	}
	out := os.NewFile(uintptr(made), name)
	defer func() { err = errors.Join(err, out.Close()) }()
	if err := clone(out, in, st.Size); err != nil {
		return err
	}
	if st.Nlink > 1 {
		m.links[id] = strings.TrimPrefix(at, "/")
	}
	return m.attributes(int(out.Fd()), int(in.Fd()))
}

// clone copies a file, by sharing its blocks where the file system can.
func clone(out, in *os.File, size int64) error {
	if unix.IoctlFileClone(int(out.Fd()), int(in.Fd())) == nil {
		return nil
	}
	list, err := pieces(int(in.Fd()), size)
	if err != nil {
		return err
	}
	for _, piece := range list {
		if _, err := out.Seek(piece.offset, io.SeekStart); err != nil {
			return err
		}
		if _, err := io.Copy(out, io.NewSectionReader(in, piece.offset, piece.length)); err != nil {
			return err
		}
	}
	return out.Truncate(size)
}

func (m *merger) link(to, fd int, name string, st *unix.Stat_t) error {
	target, err := readlink(fd)
	if err == nil {
		err = unix.Symlinkat(target, to, name)
	}
	if err == nil {
		err = unix.Fchownat(to, name, int(st.Uid), int(st.Gid), unix.AT_SYMLINK_NOFOLLOW)
	}
	if err != nil {
		return err
	}
	return unix.UtimesNanoAt(to, name, []unix.Timespec{st.Atim, st.Mtim}, unix.AT_SYMLINK_NOFOLLOW)
}

// noteLink gives a link or a pipe the note that is kept in its directory.
func noteLink(to, from int, name string) {
	if n, noted := readLinkNote(from, name, false); noted {
		_ = writeLinkNote(to, name, n) // there may be no room
	}
}

// attributesOf is attributes for what cannot be opened without waiting.
func (m *merger) attributesOf(to int, name string, st *unix.Stat_t) error {
	const all = 0o7777
	return errors.Join(
		unix.Fchownat(to, name, int(st.Uid), int(st.Gid), unix.AT_SYMLINK_NOFOLLOW),
		unix.Fchmodat(to, name, st.Mode&all, 0), // it was made as no link
		unix.UtimesNanoAt(to, name, []unix.Timespec{st.Atim, st.Mtim}, unix.AT_SYMLINK_NOFOLLOW))
}

// attributes gives one file those of another: the owner first, which takes
// capabilities and set-user-ID bits away.
func (m *merger) attributes(to, from int) error {
	var st unix.Stat_t
	if err := unix.Fstat(from, &st); err != nil {
		return err
	}
	const all = 0o7777
	if err := unix.Fchown(to, int(st.Uid), int(st.Gid)); err != nil {
		return err
	}
	if err := unix.Fchmod(to, st.Mode&all); err != nil {
		return err
	}
	if err := copyXattrs(to, from); err != nil {
		return err
	}
	return unix.UtimesNanoAt(to, "", []unix.Timespec{st.Atim, st.Mtim}, unix.AT_EMPTY_PATH)
}

func copyXattrs(to, from int) error {
	names, err := xattrNames(from)
	if err != nil {
		return err
	}
	for _, name := range names {
		if name != rootlessOwner && !settable(name) {
			continue
		}
		value, err := readXattr(from, name)
		if err == nil {
			err = unix.Fsetxattr(to, name, value, 0)
		}
		if err != nil && !errors.Is(err, unix.EOPNOTSUPP) {
			return err
		}
	}
	return nil
}
