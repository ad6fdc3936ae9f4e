package tree

import (
	"errors"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"bryo/fsroot/owner"
)

// A stack of layers shows a directory as the highest layer has it that has one
// at all. A layer may have one without saying anything of it, since some file is
// in it: then what a lower one says holds. The seam is one more layer, of
// directories alone, that shows these as they are meant.

// Stacked is a layer in a stack: also one that a higher one hides, which may say
// something of the root directory all the same.
type Stacked struct {
	Layer

	Fd int // its directory
}

// Seam is what a stack of layers, the lowest first, shows otherwise than meant.
type Seam struct {
	stack    []Stacked
	implicit []map[string]bool
	absent   []map[string]bool // directories that a layer does not have, and whether it hides them
	paths    []string          // sorted
}

// FindSeam looks for what a stack shows otherwise.
func FindSeam(stack []Stacked) (*Seam, error) {
	s := &Seam{stack: stack}
	all := map[string]bool{} // and whether the stack may show them otherwise
	for i, layer := range stack {
		s.absent = append(s.absent, map[string]bool{})
		s.implicit = append(s.implicit, map[string]bool{})
		for _, dir := range layer.Implicit {
			s.implicit[i][dir] = true
			all[dir] = all[dir] || i > 0
		}
		for _, dir := range layer.Noted {
			all[dir] = all[dir] || len(stack) > 1
		}
	}
	for _, dir := range slices.Sorted(maps.Keys(all)) {
		if !all[dir] {
			continue
		}
		otherwise, err := s.otherwise(dir)
		if err != nil {
			return nil, fmt.Errorf("look for %s in all layers: %w", dir, err)
		}
		if otherwise {
			s.paths = append(s.paths, dir)
		}
	}
	return s, nil
}

// otherwise says whether the stack shows a directory otherwise than meant.
func (s *Seam) otherwise(dir string) (bool, error) {
	shown, meant, err := s.find(dir)
	if err != nil || shown != meant {
		return true, err
	}
	noted, err := s.noted(dir)
	return len(noted) > 0 && !slices.Equal(noted, []int{shown}), err
}

// Empty says that the stack shows everything as it is meant.
func (s *Seam) Empty() bool { return len(s.paths) == 0 }

// find returns which layer's directory a stack shows, and whose attributes are
// meant: the highest one's that says something of it. Both are -1 for a path that
// is none of a directory.
func (s *Seam) find(dir string) (shown, meant int, err error) {
	shown, meant = -1, -1
	err = s.each(dir, func(i int) bool {
		if shown < 0 {
			shown = i
		}
		if !s.implicit[i][dir] {
			meant = i
		}
		return meant < 0
	})
	if meant < 0 {
		meant = shown
	}
	return shown, meant, err
}

// each goes through the layers that have a directory, the topmost first, and that
// no layer above hides.
func (s *Seam) each(dir string, do func(layer int) (more bool)) error {
	for i := range slices.Backward(s.stack) {
		there, opaque, err := s.has(i, dir)
		switch {
		case errors.Is(err, unix.ENOTDIR), errors.Is(err, unix.ELOOP):
			return nil // it hides those below
		case err != nil:
			return err
		}
		if there && !do(i) || opaque {
			return nil
		}
	}
	return nil
}

// noted returns the layers that have notes of links in a directory and show in it,
// the topmost first.
func (s *Seam) noted(dir string) (list []int, err error) {
	eachErr := s.each(dir, func(i int) bool {
		fd, _, openErr := s.open(i, dir)
		if err = openErr; err != nil {
			return false
		}
		defer unix.Close(fd)
		if owner.Opened(fd).HasLinks() {
			list = append(list, i)
		}
		_, missing := unix.Fgetxattr(fd, overlayOpaque, nil)
		return missing != nil
	})
	return list, errors.Join(err, eachErr)
}

// has says whether a layer has a directory, and whether it hides those of lower ones.
func (s *Seam) has(layer int, dir string) (there, opaque bool, err error) {
	absent := s.absent[layer]
	if opaque, known := absent[path.Dir(dir)]; known && dir != "/" {
		absent[dir] = opaque
		return false, opaque, nil
	}
	fd, opaque, err := s.open(layer, dir)
	switch {
	case err == nil:
		return true, opaque, unix.Close(fd)
	case errors.Is(err, unix.ENOENT):
		absent[dir] = opaque
		return false, opaque, nil
	}
	return false, opaque, err
}

// open opens a directory of a layer, and says whether one above it hides those of
// lower layers, also if it is not there. What hides them itself may still be meant
// to look as they do.
func (s *Seam) open(layer int, dir string) (fd int, opaque bool, err error) {
	fd, err = openAt(s.stack[layer].Fd, ".", unix.O_RDONLY|unix.O_DIRECTORY)
	opaque = s.stack[layer].Opaque && dir != "/"
	parts := names(dir)
	for i, name := range parts {
		if err != nil {
			break
		}
		var below int
		below, err = openAt(fd, name, unix.O_RDONLY|unix.O_DIRECTORY)
		err = errors.Join(err, unix.Close(fd))
		if fd = below; err == nil && !opaque && i < len(parts)-1 {
			_, missing := unix.Fgetxattr(fd, overlayOpaque, nil)
			opaque = missing == nil
		}
	}
	if err != nil {
		return -1, opaque, err
	}
	return fd, opaque, nil
}

// Write makes the seam in an empty directory.
func (s *Seam) Write(to int) error {
	needed := map[string]bool{}
	for _, dir := range s.paths {
		for ; !needed[dir]; dir = path.Dir(dir) {
			needed[dir] = true
		}
	}
	dirs := slices.Sorted(maps.Keys(needed)) // what is above comes first
	const private = 0o700
	for _, dir := range dirs {
		if dir == "/" {
			continue
		}
		if err := unix.Mkdirat(to, strings.TrimPrefix(dir, "/"), private); err != nil {
			return pathError("make", dir, err)
		}
	}
	for _, dir := range slices.Backward(dirs) {
		if err := s.dress(to, dir); err != nil {
			return pathError("set the attributes of", dir, err)
		}
	}
	return nil
}

func (s *Seam) dress(to int, dir string) error {
	_, meant, err := s.find(dir)
	if err != nil || meant < 0 {
		return errors.Join(err, errors.New("no layer has it"))
	}
	from, _, err := s.open(meant, dir)
	if err != nil {
		return err
	}
	defer unix.Close(from)
	fd, err := Beneath(to).open(dir, unix.O_RDONLY|unix.O_DIRECTORY)
	if err != nil {
		return err
	}
	err = copyAttributes(from, fd)
	if err == nil {
		err = s.dressLinks(fd, dir)
	}
	return errors.Join(err, unix.Close(fd))
}

// dressLinks gives a directory the notes of all layers. Those that there is no room
// for are lost.
func (s *Seam) dressLinks(to int, dir string) error {
	layers, err := s.noted(dir)
	if err != nil {
		return err
	}
	for _, i := range layers {
		from, _, err := s.open(i, dir)
		if err != nil {
			return err
		}
		_ = owner.Opened(to).AddLinks(owner.Opened(from))
		_ = unix.Close(from)
	}
	return nil
}

// copyAttributes gives one directory what another one has beside its names, but
// for what concerns its place in a stack.
func copyAttributes(from, to int) error {
	const all = 0o7777
	var st unix.Stat_t
	if err := unix.Fstat(from, &st); err != nil {
		return err
	}
	if err := unix.Fchown(to, int(st.Uid), int(st.Gid)); err != nil {
		return err
	}
	names, err := xattrNames(from)
	if err != nil {
		return err
	}
	value := make([]byte, unix.PathMax<<4)
	for _, name := range names {
		if name == overlayOpaque || name == overlayOrigin || name == labels {
			continue
		}
		n, err := unix.Fgetxattr(from, name, value)
		if err == nil {
			err = unix.Fsetxattr(to, name, value[:n], 0)
		}
		if err != nil {
			return fmt.Errorf("copy the attribute %s: %w", name, err)
		}
	}
	if err := unix.Fchmod(to, st.Mode&all); err != nil {
		return err
	}
	return unix.UtimesNanoAt(to, "", []unix.Timespec{st.Atim, st.Mtim}, unix.AT_EMPTY_PATH)
}
