package fsroot

import (
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/moby/sys/mountinfo"
	"golang.org/x/sys/unix"
)

// Submounts lists the mounts below a directory of the host, as paths relative
// to it with a slash in front.
func Submounts(dir string) ([]string, error) {
	prefix := strings.TrimSuffix(dir, "/") + "/"
	infos, err := mountinfo.GetMounts(mountinfo.PrefixFilter(dir))
	if err != nil {
		return nil, fmt.Errorf("read mounts below %s: %w", dir, err)
	}
	var below []string
	for _, info := range infos {
		if path, inside := strings.CutPrefix(info.Mountpoint, prefix); inside && path != "" {
			below = append(below, "/"+path)
		}
	}
	return below, nil
}

// Made says whether a container has its own file system at a path of the root.
func Made(path string) bool {
	return slices.ContainsFunc([]string{procDir, sysDir, devDir}, func(dir string) bool { return Under(path, "/"+dir) })
}

// Entry is one entry of a root directory.
type Entry struct {
	Name  string
	Dir   bool
	Link  string // where a symbolic link leads
	Mixed bool   // other file systems are mounted at or below it
}

// Entries lists a root directory whose mounts lie at below. What every
// container has its own of is left out.
func (r *Root) Entries(below []string) ([]Entry, error) {
	fd, err := r.open(".", unix.O_RDONLY|unix.O_DIRECTORY)
	if err != nil {
		return nil, err
	}
	dir := os.NewFile(uintptr(fd), "root")
	defer func() { _ = dir.Close() }()
	list, err := dir.ReadDir(-1)
	if err != nil {
		return nil, err
	}
	var entries []Entry
	for _, found := range list {
		e := Entry{Name: found.Name(), Dir: found.IsDir()}
		e.Mixed = slices.ContainsFunc(below, func(path string) bool { return Under(path, "/"+e.Name) })
		switch {
		case Made("/" + e.Name):
			continue
		case found.Type()&os.ModeSymlink != 0:
			const longest = 4096 // PATH_MAX
			link := make([]byte, longest)
			n, err := unix.Readlinkat(fd, e.Name, link)
			if err != nil {
				return nil, err
			}
			e.Link = string(link[:n])
		case !e.Dir && !found.Type().IsRegular():
			continue
		}
		entries = append(entries, e)
	}
	return entries, nil
}
