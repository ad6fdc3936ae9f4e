package tree

import (
	"archive/tar"
	"errors"
	"fmt"
	"math"
	"path"
	"strings"

	"golang.org/x/sys/unix"
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

// addNoted writes the devices that unpack could not make, where nothing has taken
// their place.
func (p *packer) addNoted(root int) error {
	fd, err := openAt(root, ".", unix.O_RDONLY|unix.O_DIRECTORY)
	if err != nil {
		return pathError("open", p.shown(p.as), err)
	}
	defer unix.Close(fd)
	note, err := readXattr(fd, noteDevices)
	if err != nil {
		return nil // there is none, or no room for one
	}
	written := map[string]bool{}
	for _, h := range parseDevices(string(note)) {
		if written[h.Name] || !vacant(Beneath(fd), h.Name) {
			continue
		}
		if !harmless(h) {
			p.Layer.Report.Leave(p.shown(h.Name), fmt.Sprintf("the note of the device %d:%d may be a container's", h.Devmajor, h.Devminor))
			continue
		}
		h.ModTime = p.Layer.Newest
		if err := p.out.WriteHeader(h); err != nil {
			return err
		}
		written[h.Name] = true
	}
	return nil
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
