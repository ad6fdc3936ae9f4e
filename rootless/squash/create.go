package squash

import (
	"encoding/binary"
	"path"
	"time"

	"golang.org/x/sys/unix"

	"bryo/fsroot/owner"
)

// birth is a file that the kernel is about to make, and that is to belong to
// somebody. Nothing is made here, so that what forbids the caller to make it,
// does. All that look at it ask here first: nobody sees it without its owner.
type birth struct {
	by    uint32 // whoever makes it: its next call says that it is done
	dir   int    // where
	name  string
	note  owner.Note
	since time.Time
}

// So many are waited for at once, and for so long each.
const (
	mostBirths = 64
	longest    = 10 * time.Second
	pause      = 100 // milliseconds between two looks, with nobody asking
)

// create is a call that may make a file.
func (c *call) create(t target) answer {
	who := c.credentials()
	unsafePath, err := c.text(t)
	if err != nil {
		return asEver()
	}
	dir, name := path.Split(trimSlashes(unsafePath))
	if name == "" || name == "." || name == ".." {
		return asEver()
	}
	if dir == "" {
		dir = "."
	}
	at, err := c.openPath(t.fd, dir, 0)
	if err != nil {
		return asEver()
	}
	b := birth{by: c.pid, dir: at, name: name, since: time.Now()}
	if !c.inherit(&b, &who) || len(c.server.births) >= mostBirths || !c.waits() {
		_ = unix.Close(at)
		return asEver()
	}
	c.server.births = append(c.server.births, b)
	return asEver()
}

func trimSlashes(unsafePath string) string {
	for len(unsafePath) > 1 && unsafePath[len(unsafePath)-1] == '/' {
		unsafePath = unsafePath[:len(unsafePath)-1]
	}
	return unsafePath
}

// inherit says whom a file will belong to, if it is not there, and that is not
// root.
func (c *call) inherit(b *birth, who *Credentials) bool {
	var st unix.Stat_t
	if unix.Fstat(b.dir, &st) != nil {
		return false
	}
	b.note = owner.Note{UID: who.UID.Files, GID: who.GID.Files}
	if st.Mode&unix.S_ISGID != 0 {
		above, _ := c.note(b.dir, st.Mode)
		b.note.GID = above.GID
	}
	if b.note == (owner.Note{}) {
		return false
	}
	return unix.Fstatat(b.dir, b.name, &st, unix.AT_SYMLINK_NOFOLLOW) == unix.ENOENT
}

// born notes the owners of files that have been made meanwhile; by is who is known
// to have made its own, or not.
func (s *server) born(by uint32) {
	kept := s.births[:0]
	for _, b := range s.births {
		if !s.adopt(&b) && b.by != by && time.Since(b.since) < longest {
			kept = append(kept, b)
			continue
		}
		_ = unix.Close(b.dir)
	}
	s.births = kept
}

// adopt notes the owner of a file if it is there.
func (s *server) adopt(b *birth) bool {
	fd, err := unix.Openat(b.dir, b.name, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return false
	}
	defer unix.Close(fd)
	var st unix.Stat_t
	if unix.Fstat(fd, &st) != nil || st.Uid != 0 {
		return true
	}
	if carries(st.Mode) {
		if _, noted := owner.At(own(fd)).Read(); !noted {
			_ = owner.At(own(fd)).Write(b.note)
		}
		return true
	}
	if l, err := owner.LinkAt(b.dir, b.name); err == nil && listed(st.Mode) {
		_ = links(b.dir).WriteLink(l, b.note)
	}
	return true
}

// openat2 is the one call that says in memory whether it makes a file.
func (c *call) openat2() answer {
	var how [8]byte // the flags come first
	if n, err := readMemory(int(c.pid), c.args[2], how[:]); err != nil || n < len(how) {
		return asEver()
	}
	if binary.NativeEndian.Uint64(how[:])&unix.O_CREAT == 0 {
		return asEver()
	}
	return c.create(target{fd: c.fd(0), path: c.args[1]})
}

// make is mknod(2): a device is a file that stands for it. A whiteout is none.
func (c *call) make(t target, from int) answer {
	kind, number := c.id32(from)&unix.S_IFMT, c.id32(from+1)
	if kind == unix.S_IFCHR && number != 0 || kind == unix.S_IFBLK {
		if !c.server.devices {
			return asEver()
		}
		return c.mknod(t, from)
	}
	return c.create(t)
}
