package tree

import (
	"archive/tar"
	"errors"
	"fmt"
	"math"
	"path"
	"strings"

	"golang.org/x/sys/unix"

	"bryo/fsroot/owner"
	"bryo/idmap"
)

// parseDevices reads what Report.device writes. Lines that it would not write are
// left out.
func parseDevices(note string) (list []*tar.Header) {
	for line := range strings.SplitSeq(note, "\n") {
		if h, ok := parseDevice(line); ok && len(list) < mostDevices {
			list = append(list, h)
		}
	}
	return list
}

func parseDevice(line string) (*tar.Header, bool) {
	const fields, bits = 5, 0o7777
	parts := strings.SplitN(line, " ", fields)
	if len(parts) != fields {
		return nil, false
	}
	kinds := map[string]byte{"c": tar.TypeChar, "b": tar.TypeBlock}
	h := &tar.Header{Format: tar.FormatPAX, Typeflag: kinds[parts[0]], Name: strings.TrimPrefix(path.Clean("/"+parts[4]), "/")}
	_, err := fmt.Sscanf(strings.Join(parts[1:4], " "), "%d:%d %o %d:%d", &h.Devmajor, &h.Devminor, &h.Mode, &h.Uid, &h.Gid)
	numbers := err == nil && isID(h.Uid) && isID(h.Gid) && min(h.Devmajor, h.Devminor, h.Mode) >= 0 && max(h.Devmajor, h.Devminor) <= math.MaxUint32
	name := h.Name != "" && len(h.Name) <= longestPath && !strings.HasPrefix(path.Base(h.Name), whiteout) && !strings.Contains(h.Name, "\x00")
	h.Mode &= bits
	return h, h.Typeflag != 0 && numbers && name
}

// harmless are the devices that every root has, and that give nothing away. The
// note can have been written by a container, to which a disk's is worth having in
// an image that somebody with more rights unpacks.
func harmless(h *tar.Header) bool {
	const memory, terminals, others = 1, 5, 0o077
	switch {
	case h.Typeflag != tar.TypeChar:
		return false
	case h.Devmajor == memory:
		return strings.ContainsRune("\x03\x05\x07\x08\x09", rune(h.Devminor)) // null zero full random urandom
	case h.Devmajor == terminals && h.Devminor == 1: // console
		return h.Uid == 0 && h.Gid == 0 && h.Mode&others == 0
	}
	return h.Devmajor == terminals && (h.Devminor == 0 || h.Devminor == 2) // tty, ptmx
}

// readDevices reads the devices that are noted with a root.
func readDevices(root int) ([]*tar.Header, error) {
	fd, err := openAt(root, ".", unix.O_RDONLY|unix.O_DIRECTORY)
	if err != nil {
		return nil, err
	}
	defer unix.Close(fd)
	note, err := readXattr(fd, noteDevices)
	if err != nil {
		return nil, nil // there is none, or no room for one
	}
	return parseDevices(string(note)), nil
}

// addNoted writes the devices that unpack could not make, where nothing has taken
// their place.
func (p *packer) addNoted(root int) error {
	written := map[string]bool{}
	for _, h := range p.noted {
		if written[h.Name] || !vacant(Beneath(root), h.Name) && !p.stood[h.Name] {
			continue
		}
		h.ModTime = p.Layer.Newest
		if err := p.addDevice(h); err != nil {
			return err
		}
		written[h.Name] = true
	}
	return nil
}

// addDevice writes one that is noted.
func (p *packer) addDevice(h *tar.Header) error {
	if !harmless(h) {
		p.Layer.Report.Leave(p.shown(h.Name), fmt.Sprintf("the note of the device %d:%d may be a container's", h.Devmajor, h.Devminor))
		return nil
	}
	return p.out.WriteHeader(h)
}

// addStandIn writes the device that an empty file stands for. One that the root's
// note has, too, comes where it does for those who have no such files.
func (p *packer) addStandIn(st *unix.Stat_t, h *tar.Header, n owner.Note) error {
	h.Typeflag = tar.TypeChar
	if n.Kind == unix.S_IFBLK {
		h.Typeflag = tar.TypeBlock
	}
	h.Devmajor, h.Devminor = int64(unix.Major(n.Device)), int64(unix.Minor(n.Device))
	for _, noted := range p.noted {
		if noted.Name == h.Name && noted.Typeflag == h.Typeflag && noted.Devmajor == h.Devmajor && noted.Devminor == h.Devminor {
			noted.Mode, noted.Uid, noted.Gid = h.Mode, h.Uid, h.Gid
			p.stood[h.Name] = true
			return nil
		}
	}
	if is, err := p.again(h, st, h.Name); is || err != nil {
		return err
	}
	return p.addDevice(h)
}

// vacant says whether a name is missing in a directory that is there.
func vacant(t Tree, name string) bool {
	dir, base, err := t.parent(name)
	if err != nil {
		return false
	}
	defer unix.Close(dir)
	var st unix.Stat_t
	return errors.Is(unix.Fstatat(dir, base, &st, unix.AT_SYMLINK_NOFOLLOW), unix.ENOENT)
}

// disowned gives a file back to the owner that it could not have. Anybody can write
// such a note to a file of his own: it may only say what no process could have been
// here, of a file that root has in that one's place. Where root is the only id, that
// is so of all others: whoever wrote the note could do anything to the file.
func (p *packer) disowned(st *unix.Stat_t, h *tar.Header, n owner.Note) {
	stands := func(ids idmap.Map, now, noted uint32) bool {
		_, mapped := ids.ToHost(noted)
		return now == noted || now == 0 && !mapped
	}
	if stands(p.Noted.UID, st.Uid, n.UID) && stands(p.Noted.GID, st.Gid, n.GID) {
		h.Uid, h.Gid = int(n.UID), int(n.GID)
	}
}

// disownedFile is disowned for a file or a directory that is open. It returns the
// note of an empty file that stands for a device.
func (p *packer) disownedFile(fd int, st *unix.Stat_t, h *tar.Header) (device owner.Note) {
	if p.Noted == nil {
		return owner.Note{}
	}
	n, noted := owner.Opened(fd).Read()
	if noted {
		p.disowned(st, h, n)
	}
	if st.Mode&unix.S_IFMT != unix.S_IFREG || st.Size > 0 {
		return owner.Note{}
	}
	return n
}

// disownedLink is disowned for what has no attributes: its directory, which is open,
// has them. It may be of an overlay file system, or a layer of one.
func (p *packer) disownedLink(dir int, name string, st *unix.Stat_t, h *tar.Header) {
	if p.Noted == nil {
		return
	}
	n, noted := readLinkNote(dir, name, p.Layer == nil || p.Layer.Upper)
	if noted {
		p.disowned(st, h, n)
	}
}

// readLinkNote reads the note that a directory has of a link. The descriptor may be
// one that only leads to the directory.
func readLinkNote(dir int, name string, copies bool) (n owner.Note, noted bool) {
	fd, err := openAt(dir, ".", unix.O_RDONLY|unix.O_DIRECTORY)
	if err != nil {
		return n, false
	}
	defer unix.Close(fd)
	notes := owner.Opened(fd)
	if copies {
		notes = notes.Copying()
	}
	if !notes.HasLinks() {
		return n, false
	}
	l, err := owner.LinkAt(fd, name)
	if err != nil {
		return n, false
	}
	return notes.ReadLink(l)
}

// writeLinkNote writes it.
func writeLinkNote(dir int, name string, n owner.Note) error {
	fd, err := openAt(dir, ".", unix.O_RDONLY|unix.O_DIRECTORY)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	l, err := owner.LinkAt(fd, name)
	if err != nil {
		return err
	}
	return owner.Opened(fd).Copying().WriteLink(l, n)
}
