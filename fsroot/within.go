package fsroot

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"bryo/idmap"
)

// Root is a root file system as the parent sees it, before anything is
// mounted: one descriptor, below which every path is looked up.
type Root struct{ fd int }

// OpenRoot opens the directory that is to be a container's root.
func OpenRoot(path string) (*Root, error) {
	fd, err := unix.Open(path, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	if err := unix.Faccessat(fd, ".", unix.X_OK, 0); err != nil {
		return nil, errors.Join(err, unix.Close(fd))
	}
	return &Root{fd}, nil
}

// Close closes the root.
func (r *Root) Close() error { return unix.Close(r.fd) }

// Descriptor is the root's, which is good until it is closed.
func (r *Root) Descriptor() int { return r.fd }

// Source is the root directory's identity; path is what it was opened as.
func (r *Root) Source(path string) (Source, error) {
	return stat(r.fd, path)
}

// Inherited says whether it is one that the process was started with. What bryo has
// opened itself, as the directory that has all images, is closed by execve(2), which
// what was handed over has survived.
func (m *Mount) Inherited() bool {
	fd, err := strconv.Atoi(strings.TrimPrefix(m.Source, descriptors))
	if err != nil {
		return false
	}
	flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0)
	return err == nil && flags&unix.FD_CLOEXEC == 0
}

// OpenSource looks at a file or directory of the host; the path becomes
// absolute, and for a file of a descriptor its name. Whoever mounts by the path
// has to compare the identity: another file may have that name by then.
func OpenSource(path string) (Source, error) {
	absolute, err := Absolute(path)
	if err != nil {
		return Source{}, err
	}
	fd, err := unix.Open(absolute, unix.O_PATH|unix.O_CLOEXEC, 0)
	if err != nil {
		return Source{}, err
	}
	if strings.HasPrefix(absolute, descriptors) {
		if absolute, err = os.Readlink(absolute); err == nil && !filepath.IsAbs(absolute) {
			err = fmt.Errorf("it is %s, which is no file", absolute)
		}
		if err != nil {
			return Source{}, errors.Join(err, unix.Close(fd))
		}
	}
	source, err := stat(fd, absolute)
	return source, errors.Join(err, unix.Close(fd))
}

// Absolute makes a path of the host independent of the working directory.
func Absolute(path string) (string, error) {
	absolute, err := filepath.Abs(path)
	if err != nil {
		return "", fmt.Errorf("the working directory is gone: %w\nfix: change to a directory that is there", err)
	}
	return absolute, nil
}

func stat(fd int, path string) (Source, error) {
	var st unix.Statx_t
	if err := unix.Statx(fd, "", unix.AT_EMPTY_PATH, unix.STATX_TYPE|unix.STATX_INO, &st); err != nil {
		return Source{}, os.NewSyscallError("statx", err)
	}
	var fs unix.Statfs_t
	if err := unix.Fstatfs(fd, &fs); err != nil {
		return Source{}, os.NewSyscallError("statfs", err)
	}
	const lockable = unix.ST_RDONLY | unix.ST_NOSUID | unix.ST_NODEV | unix.ST_NOEXEC | unix.ST_NOATIME | unix.ST_NODIRATIME
	kept := uint64(fs.Flags) & lockable // the same bits as MS_*
	if fs.Flags&unix.ST_RELATIME != 0 {
		kept |= unix.MS_RELATIME
	}
	return Source{
		Kept: kept,
		Path: path,
		ID:   FileID{Major: st.Dev_major, Minor: st.Dev_minor, Inode: st.Ino},
		Dir:  st.Mode&unix.S_IFMT == unix.S_IFDIR,
	}, nil
}

// errLeased is what a command inside can do to any file of its own: fcntl(2).
var errLeased = errors.New("a process holds a lease on it, and lets nobody read it")

func (r *Root) open(unsafePath string, flags uint64) (int, error) {
	how := unix.OpenHow{Flags: flags | unix.O_CLOEXEC, Resolve: unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS}
	const tries = 10000 // somebody may rename without end
	for try := 0; ; try++ {
		fd, err := unix.Openat2(r.fd, unsafePath, &how)
		switch {
		case errors.Is(err, unix.EINTR) && try < tries:
		case !errors.Is(err, unix.EAGAIN):
			return fd, err
		case try == tries && flags&unix.O_PATH == 0 && r.Has(unsafePath): // whose look-up is no obstacle
			return -1, errLeased
		case try >= tries:
			return -1, err
		}
	}
}

// Has says whether a path is there, links followed inside the root.
func (r *Root) Has(unsafePath string) bool {
	fd, err := r.open(unsafePath, unix.O_PATH)
	if err != nil {
		return false
	}
	return unix.Close(fd) == nil
}

// Empty says whether the root directory has no entry at all. One that cannot
// be read is taken as not empty.
func (r *Root) Empty() bool {
	fd, err := r.open(".", unix.O_RDONLY|unix.O_DIRECTORY)
	if err != nil {
		return false
	}
	dir := os.NewFile(uintptr(fd), "root")
	defer func() { _ = dir.Close() }()
	_, err = dir.Readdirnames(1)
	return errors.Is(err, io.EOF)
}

// ReadFile reads a regular file of the root of at most limit bytes.
func (r *Root) ReadFile(unsafePath string, limit int) ([]byte, error) {
	fd, err := r.open(unsafePath, unix.O_RDONLY|unix.O_NONBLOCK|unix.O_NOCTTY)
	if err == nil {
		var data []byte
		data, err = readRegular(fd, limit)
		if err = errors.Join(err, unix.Close(fd)); err == nil {
			return data, nil
		}
	}
	return nil, fmt.Errorf("%s of the root file system: %w", unsafePath, err)
}

func readRegular(fd, limit int) ([]byte, error) {
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return nil, err
	}
	if st.Mode&unix.S_IFMT != unix.S_IFREG {
		return nil, errors.New("not a regular file")
	}
	if st.Size > int64(limit) {
		return nil, fmt.Errorf("%d bytes, more than %d", st.Size, limit)
	}
	data := make([]byte, st.Size)
	for n := 0; n < len(data); {
		got, err := unix.Read(fd, data[n:])
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil || got == 0 {
			return data[:n], err
		}
		n += got
	}
	return data, nil
}

// Writable says whether the user can make mount points in the root directory.
func (r *Root) Writable() bool {
	const here = "."
	return unix.Faccessat(r.fd, here, unix.W_OK, 0) == nil
}

// Yields says whether root inside can make mount points in the root directory where
// the user cannot: it is another id's, of the map, as that of an image may be.
func (r *Root) Yields(maps idmap.Maps) bool {
	var st unix.Stat_t
	var fs unix.Statfs_t
	if unix.Fstat(r.fd, &st) != nil || unix.Fstatfs(r.fd, &fs) != nil || fs.Flags&unix.ST_RDONLY != 0 {
		return false
	}
	_, uid := maps.UID.ToContainer(st.Uid)
	_, gid := maps.GID.ToContainer(st.Gid)
	return uid && gid && st.Uid != uint32(os.Geteuid())
}
