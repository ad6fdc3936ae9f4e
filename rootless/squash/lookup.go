package squash

import (
	"bytes"
	"path"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"bryo/fsroot/owner"
)

// target is a file as a call names it.
type target struct {
	fd    int32  // where a relative path begins
	path  uint64 // its address; 0 for none
	flags uint32 // AT_*
}

// mounted is a directory.
type mounted struct{ mount, device, inode uint64 }

// text reads the path; "" is the descriptor itself.
func (c *call) text(t target) (string, error) {
	if t.path == 0 {
		return "", nil
	}
	var b [unix.PathMax]byte
	n, err := readMemory(int(c.pid), t.path, b[:])
	if err != nil {
		return "", err
	}
	end := bytes.IndexByte(b[:n], 0)
	if end < 0 {
		return "", unix.ENAMETOOLONG
	}
	return string(b[:end]), nil
}

// open opens what a call names, as the caller would: from its root and its
// working directory, or a descriptor of its own. What is opened can be looked at,
// not read.
func (c *call) open(t target) (int, error) {
	unsafePath, err := c.text(t)
	if err != nil {
		return -1, err
	}
	return c.openPath(t.fd, unsafePath, t.flags)
}

func (c *call) openPath(fd int32, unsafePath string, flags uint32) (int, error) {
	if unsafePath == "" && flags&unix.AT_EMPTY_PATH == 0 {
		return -1, unix.ENOENT
	}
	if n, is := descriptor(unsafePath); is && flags&unix.AT_SYMLINK_NOFOLLOW == 0 {
		fd, unsafePath = n, ""
	}
	if path.IsAbs(unsafePath) {
		return c.lookUp(unix.AT_FDCWD, unsafePath, flags)
	}
	base, err := c.base(fd)
	if err != nil || unsafePath == "" {
		return base, err
	}
	defer unix.Close(base)
	return c.lookUp(base, unsafePath, flags)
}

// descriptor is the number in the usual names of descriptors: what these lead to
// is the reader's own.
func descriptor(unsafePath string) (int32, bool) {
	for _, dir := range []string{"/proc/self/fd/", "/dev/fd/"} {
		if number, is := strings.CutPrefix(unsafePath, dir); is {
			n, err := strconv.ParseUint(number, 10, 31)
			return int32(n), err == nil
		}
	}
	return 0, false
}

// base opens where a relative path begins.
func (c *call) base(fd int32) (int, error) {
	return openat(c.server.proc, strconv.Itoa(int(c.pid))+place(fd))
}

// place is that below the caller's directory in /proc.
func place(fd int32) string {
	if fd == unix.AT_FDCWD {
		return "/cwd"
	}
	return "/fd/" + strconv.Itoa(int(fd))
}

func openat(dir int, name string) (int, error) {
	return unix.Openat(dir, name, unix.O_PATH|unix.O_CLOEXEC, 0)
}

func (c *call) lookUp(base int, unsafePath string, flags uint32) (int, error) {
	if err := c.takeRoot(); err != nil {
		return -1, err
	}
	how := unix.OpenHow{Flags: unix.O_PATH | unix.O_CLOEXEC, Resolve: unix.RESOLVE_NO_MAGICLINKS}
	if flags&unix.AT_SYMLINK_NOFOLLOW != 0 {
		how.Flags |= unix.O_NOFOLLOW
	}
	return unix.Openat2(base, unsafePath, &how)
}

// unnoted says that nothing is noted of a file, which is so of most, after looks
// that open nothing: where it is not sure, the file is looked up in earnest.
func (c *call) unnoted(t target) bool {
	unsafePath, err := c.text(t)
	if err != nil {
		return false
	}
	if _, is := descriptor(unsafePath); is {
		return false
	}
	switch {
	case path.IsAbs(unsafePath):
		if c.takeRoot() != nil {
			return false
		}
	case unsafePath == "" && t.flags&unix.AT_EMPTY_PATH == 0:
		return true // there is no such file
	default:
		unsafePath = strconv.Itoa(int(c.pid)) + place(t.fd) + "/" + unsafePath
	}
	still, look := 0, unix.Getxattr
	if t.flags&unix.AT_SYMLINK_NOFOLLOW != 0 {
		still, look = unix.AT_SYMLINK_NOFOLLOW, unix.Lgetxattr
	}
	var value [owner.Largest]byte
	if _, err := look(unsafePath, owner.Attribute, value[:]); err != unix.ENODATA { //nolint:errorlint // it is the kernel's
		return err == unix.EOPNOTSUPP || err == unix.ENOENT //nolint:errorlint // the same
	}
	var st unix.Stat_t
	return unix.Fstatat(unix.AT_FDCWD, unsafePath, &st, still) == nil && !listed(st.Mode)
}

// takeRoot makes the caller's root this thread's.
func (c *call) takeRoot() error {
	s := c.server
	if s.oneRoot {
		return nil
	}
	fd, err := openat(s.proc, strconv.Itoa(int(c.pid))+"/root")
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	var st unix.Statx_t
	if err := unix.Statx(fd, "", unix.AT_EMPTY_PATH, unix.STATX_INO|unix.STATX_MNT_ID, &st); err != nil {
		return err
	}
	root := mounted{st.Mnt_id, unix.Mkdev(st.Dev_major, st.Dev_minor), st.Ino}
	if root == s.root {
		return nil
	}
	if err := unix.Fchdir(fd); err != nil {
		return err
	}
	err = unix.Chroot(".")
	if err == nil {
		s.root = root
	}
	if err := unix.Fchdir(s.proc); err != nil {
		return err
	}
	return err
}

// own is the path of one of this process's descriptors, below /proc.
func own(fd int) string { return "self/fd/" + strconv.Itoa(fd) }

// carries says whether files of a kind have attributes of their own.
func carries(mode uint32) bool {
	kind := mode & unix.S_IFMT
	return kind == unix.S_IFREG || kind == unix.S_IFDIR
}

// listed says whether their directory has them.
func listed(mode uint32) bool {
	kind := mode & unix.S_IFMT
	return kind == unix.S_IFLNK || kind == unix.S_IFIFO || kind == unix.S_IFSOCK
}

// note reads what is noted of an open file.
func (c *call) note(fd int, mode uint32) (owner.Note, bool) {
	if carries(mode) {
		return owner.At(own(fd)).Read()
	}
	if !listed(mode) {
		return owner.Note{}, false
	}
	dir, l, err := c.above(fd)
	if err != nil {
		return owner.Note{}, false
	}
	defer unix.Close(dir)
	return links(dir).ReadLink(l)
}

// setNote notes it.
func (c *call) setNote(fd int, mode uint32, n owner.Note) error {
	if carries(mode) {
		return owner.At(own(fd)).Write(n)
	}
	dir, l, err := c.above(fd)
	if err != nil {
		return err
	}
	defer unix.Close(dir)
	return links(dir).WriteLink(l, n)
}

// links are the notes that a directory has.
func links(dir int) owner.File {
	f := owner.At(own(dir))
	var st unix.Statfs_t
	if unix.Fstatfs(dir, &st) == nil && st.Type == unix.OVERLAYFS_SUPER_MAGIC {
		f = f.Copying()
	}
	return f
}

// above opens the directory that an open file is in.
func (c *call) above(fd int) (dir int, l owner.Link, err error) {
	var b [unix.PathMax]byte
	n, err := unix.Readlinkat(c.server.proc, own(fd), b[:])
	if err != nil {
		return -1, l, err
	}
	at, name := path.Split(string(b[:n]))
	if !path.IsAbs(at) {
		return -1, l, unix.EPERM // a pipe, or in another root
	}
	how := unix.OpenHow{Flags: unix.O_PATH | unix.O_DIRECTORY | unix.O_CLOEXEC, Resolve: unix.RESOLVE_NO_MAGICLINKS | unix.RESOLVE_NO_SYMLINKS}
	if dir, err = unix.Openat2(unix.AT_FDCWD, at, &how); err != nil {
		return -1, l, err
	}
	var it, there unix.Stat_t
	if err = unix.Fstat(fd, &it); err == nil {
		err = unix.Fstatat(dir, name, &there, unix.AT_SYMLINK_NOFOLLOW)
	}
	if err == nil {
		l, err = owner.LinkAt(dir, name)
	}
	if err == nil && (it.Dev != there.Dev || it.Ino != there.Ino || l.Number != it.Ino) {
		err = unix.EPERM // it was moved meanwhile
	}
	if err != nil {
		_ = unix.Close(dir)
		return -1, l, err
	}
	return dir, l, nil
}
