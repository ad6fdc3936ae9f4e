package squash

import (
	"errors"
	"path"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"bryo/fsroot/owner"
)

// noID leaves an owner as it is.
const noID = ^uint32(0)

// stat answers with what is noted, at the address that an argument has. Where
// nothing is noted the kernel knows best.
func (c *call) stat(t target, to int) answer {
	if c.unnoted(t) {
		return asEver()
	}
	fd, err := c.open(t)
	if err != nil {
		return asEver()
	}
	defer unix.Close(fd)
	var st unix.Stat_t
	if unix.Fstat(fd, &st) != nil {
		return asEver()
	}
	n, noted := c.note(fd, st.Mode)
	if !noted || st.Uid != 0 || !c.waits() {
		return asEver()
	}
	st.Uid, st.Gid = n.UID, n.GID
	if n.Kind != 0 && st.Mode&unix.S_IFMT == unix.S_IFREG {
		st.Mode, st.Rdev = st.Mode&^unix.S_IFMT|n.Kind, n.Device
	}
	if err := writeMemory(int(c.pid), c.args[to], bytesOf(&st)); err != nil {
		return failed(err)
	}
	return answer{}
}

func (c *call) statx(t target) answer {
	if c.unnoted(t) {
		return asEver()
	}
	const maskAt, resultAt = 3, 4
	fd, err := c.open(t)
	if err != nil {
		return asEver()
	}
	defer unix.Close(fd)
	var st unix.Statx_t
	const sync = unix.AT_STATX_FORCE_SYNC | unix.AT_STATX_DONT_SYNC
	mask := c.id32(maskAt)
	if unix.Statx(fd, "", unix.AT_EMPTY_PATH|int(t.flags&sync), int(mask|unix.STATX_BASIC_STATS), &st) != nil {
		return asEver()
	}
	n, noted := c.note(fd, uint32(st.Mode))
	if !noted || st.Uid != 0 || !c.waits() {
		return asEver()
	}
	st.Uid, st.Gid = n.UID, n.GID
	if n.Kind != 0 && st.Mode&unix.S_IFMT == unix.S_IFREG {
		st.Mode = st.Mode&^unix.S_IFMT | uint16(n.Kind)
		st.Rdev_major, st.Rdev_minor = unix.Major(n.Device), unix.Minor(n.Device)
	}
	if err := writeMemory(int(c.pid), c.args[resultAt], bytesOf(&st)); err != nil {
		return failed(err)
	}
	return answer{}
}

// chown notes an owner; from is the argument that has the user, and the group is
// behind it. Files that are somebody else's on the host are the kernel's business.
func (c *call) chown(t target, from int) answer {
	fd, err := c.open(t)
	if err != nil {
		return asEver()
	}
	defer unix.Close(fd)
	var st unix.Stat_t
	if unix.Fstat(fd, &st) != nil || st.Uid != 0 || !carries(st.Mode) && !listed(st.Mode) || !c.waits() {
		return asEver()
	}
	n, _ := c.note(fd, st.Mode)
	uid, gid := c.id32(from), c.id32(from+1)
	if who := c.credentials(); !who.mayChown(n, uid, gid) {
		return failed(unix.EPERM)
	}
	if to := given(n, uid, gid); to != n {
		if err := c.setNote(fd, st.Mode, to); err != nil {
			return failed(err)
		}
	}
	// The kernel takes set-user-ID bits and capabilities away, and changes the
	// time, as with any other.
	none := -1
	if err := unix.Fchownat(fd, "", none, none, unix.AT_EMPTY_PATH); err != nil {
		return failed(err)
	}
	return answer{}
}

// given is a note with other owners.
func given(n owner.Note, uid, gid uint32) owner.Note {
	if uid != noID {
		n.UID = uid
	}
	if gid != noID {
		n.GID = gid
	}
	return n
}

// mknod makes a file that stands for a device; from is the argument that has the
// mode, and the number is behind it.
func (c *call) mknod(t target, from int) answer {
	mode, device := c.id32(from), uint64(c.id32(from+1))
	if c.credentials().UID.Effective != 0 {
		return failed(unix.EPERM)
	}
	unsafePath, err := c.text(t)
	if err != nil || unsafePath == "" {
		return asEver()
	}
	dir, name := path.Split(unsafePath)
	if dir == "" {
		dir = "."
	}
	if name == "" || name == "." || name == ".." {
		return asEver()
	}
	at, err := c.openPath(t.fd, dir, 0)
	if err != nil || !c.waits() {
		return asEver()
	}
	defer unix.Close(at)
	const bits = 0o7777
	fd, err := unix.Openat(at, name, unix.O_RDONLY|unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW|unix.O_CLOEXEC, mode&bits&^c.umask())
	if err != nil {
		return failed(err)
	}
	defer unix.Close(fd)
	if err := owner.At(own(fd)).Write(owner.Note{Kind: mode & unix.S_IFMT, Device: device}); err != nil {
		return failed(errors.Join(err, unix.Unlinkat(at, name, 0)))
	}
	return answer{}
}

// umask is the caller's.
func (c *call) umask() uint32 {
	const usual, size = 0o022, 512
	fd, err := unix.Openat(c.server.proc, strconv.Itoa(int(c.pid))+"/status", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return usual
	}
	defer unix.Close(fd)
	var b [size]byte
	n, _ := unix.Read(fd, b[:])
	for line := range strings.Lines(string(b[:max(n, 0)])) {
		if text, is := strings.CutPrefix(line, "Umask:"); is {
			if mask, err := strconv.ParseUint(strings.TrimSpace(text), 8, 32); err == nil {
				return uint32(mask)
			}
		}
	}
	return usual
}
