package tree

import (
	"archive/tar"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"bryo/fsroot/owner"
)

// Extended attributes. rootlessOwner is where an owner that could not be set is
// noted: see package owner.
const (
	paxXattr      = "SCHILY.xattr."
	aclDefault    = "system.posix_acl_default"
	aclAccess     = "system.posix_acl_access"
	capability    = "security.capability"
	rootlessOwner = owner.Attribute
	labels        = "security.selinux" // the host's to give
)

// attributes sets what a file was not made with, in the order in which none
// undoes another. made is the mode that it has, if it has root as its owner.
func (m *Image) attributes(fd int, h *tar.Header, made uint32, plain bool) error {
	const all = 0o7777
	mode := uint32(h.Mode) & all
	if h.Uid != 0 || h.Gid != 0 || !plain {
		foreign, err := chown(fd, "", h)
		if err != nil {
			return err
		}
		if foreign {
			mode = m.disown(fd, h, mode)
		}
	}
	if mode != made || !plain {
		if err := unix.Fchmod(fd, mode); err != nil {
			return err
		}
	}
	if err := m.setXattrs(fd, h); err != nil {
		return err
	}
	return unix.UtimesNanoAt(fd, "", times(h), unix.AT_EMPTY_PATH)
}

// chown gives a file to its owner, as far as the map of ids has one; root has
// what is foreign, or whoever makes it and is not root.
func chown(dir int, name string, h *tar.Header) (foreign bool, err error) {
	if !isID(h.Uid) || !isID(h.Gid) {
		return false, fmt.Errorf("the owner %d:%d has no id", h.Uid, h.Gid)
	}
	flags := unix.AT_SYMLINK_NOFOLLOW
	if name == "" {
		flags = unix.AT_EMPTY_PATH
	}
	for i, owner := range [][2]int{{h.Uid, h.Gid}, {h.Uid, 0}, {0, h.Gid}, {0, 0}} {
		err = unix.Fchownat(dir, name, owner[0], owner[1], flags)
		if !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.EPERM) {
			return i > 0, err
		}
	}
	if errors.Is(err, unix.EPERM) && os.Geteuid() != 0 {
		err = nil
	}
	return true, err
}

func times(h *tar.Header) []unix.Timespec {
	when := unix.NsecToTimespec(h.ModTime.UnixNano())
	return []unix.Timespec{when, when}
}

// disown keeps the owner that a file cannot have, and takes the bits from its
// mode that would give root's rights in that one's place: where root is the only
// id, nobody is there to get them, and a note says whose they are. A file system
// without room for a note is none to give up for.
func (m *Image) disown(fd int, h *tar.Header, mode uint32) uint32 {
	const special = 0o7000
	m.Report.Foreign++
	err := owner.Opened(fd).Write(owner.Note{UID: uint32(h.Uid), GID: uint32(h.Gid)})
	if err != nil {
		m.Report.Unrecorded++
	}
	harmless := m.Report.Squash && err == nil
	if mode&special != 0 && h.Typeflag != tar.TypeDir && !harmless {
		m.Report.Setuid++
		mode &^= special
	}
	return mode
}

// disownAt is disown for what has no attributes of its own: its directory, which is
// open, has them.
func (m *Image) disownAt(name string, h *tar.Header) {
	m.Report.Foreign++
	l, err := owner.LinkAt(m.at.fd, name)
	if err == nil {
		err = owner.Opened(m.at.fd).WriteLink(l, owner.Note{UID: uint32(h.Uid), GID: uint32(h.Gid)})
	}
	if err != nil || m.alone != nil && !m.alone.note(m.at.path) {
		m.Report.Unrecorded++
	}
}

// setXattrs sets the extended attributes that are an image's to give.
func (m *Image) setXattrs(fd int, h *tar.Header) error {
	for key, value := range h.PAXRecords {
		name, is := strings.CutPrefix(key, paxXattr)
		if !is || name == labels {
			continue
		}
		if !settable(name) {
			m.Report.xattr(name, 1)
			continue
		}
		err := unix.Fsetxattr(fd, name, []byte(value), 0)
		switch {
		case err == nil && name == aclDefault:
			m.inherits = true
		case errors.Is(err, unix.EPERM), errors.Is(err, unix.EOPNOTSUPP), errors.Is(err, unix.EINVAL), errors.Is(err, unix.E2BIG), errors.Is(err, unix.ERANGE):
			m.Report.xattr(name, 1)
		case err != nil:
			return fmt.Errorf("set the attribute %s: %w", name, err)
		}
	}
	return nil
}

// countXattrs is for what can have none of its own here.
func (m *Image) countXattrs(h *tar.Header) {
	for key := range h.PAXRecords {
		if name, is := strings.CutPrefix(key, paxXattr); is && name != labels {
			m.Report.xattr(name, 1)
		}
	}
}

// settable leaves out what means something to overlay file systems, to bryo or
// to others of its kind: an image could make them take one thing for another.
func settable(name string) bool {
	switch name {
	case capability, aclAccess, aclDefault:
		return true
	case rootlessOwner:
		return false
	}
	return strings.HasPrefix(name, "user.") && !strings.HasPrefix(name, "user.overlay.") && !strings.HasPrefix(name, "user.bryo.")
}

// clearXattrs takes away what a lower layer has given to a directory.
func clearXattrs(fd int) error {
	names, err := xattrNames(fd)
	if err != nil {
		return err
	}
	for _, name := range names {
		if name != rootlessOwner && !settable(name) {
			continue
		}
		if err := unix.Fremovexattr(fd, name); err != nil && !errors.Is(err, unix.ENODATA) {
			return fmt.Errorf("remove the attribute %s: %w", name, err)
		}
	}
	return nil
}

// xattrNames is sorted. A file system without attributes has none.
func xattrNames(fd int) ([]string, error) {
	const most = 64 << 10 // listxattr(2)
	list := make([]byte, most)
	n, err := unix.Flistxattr(fd, list)
	if errors.Is(err, unix.EOPNOTSUPP) || n == 0 && err == nil {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	names := strings.Split(strings.TrimSuffix(string(list[:n]), "\x00"), "\x00")
	slices.Sort(names)
	return names, nil
}
