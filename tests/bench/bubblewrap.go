package main

import (
	"cmp"
	"fmt"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/moby/sys/mountinfo"
)

// likewise returns the options with which bubblewrap makes the mounts that a
// container of bryo has, and how many of those it has no words for: it cannot
// mount sysfs. files has an ordinary file for every single file to mount, and
// isDir tells about paths of the host.
func likewise(mounts []string, files string, isDir func(string) bool) (options []string, without int, err error) {
	list, err := mountinfo.GetMountsFromReader(strings.NewReader(strings.Join(mounts, "\n")+"\n"), nil)
	if err != nil {
		return nil, 0, fmt.Errorf("read bryo's mounts: %w", err)
	}
	// The list is in the order of making, which need not be that of attaching.
	slices.SortStableFunc(list, func(a, b *mountinfo.Info) int { return cmp.Compare(depth(a), depth(b)) })
	for _, m := range list {
		switch {
		case m.Mountpoint == "/":
		case within(m.Mountpoint, "/sys"):
			without++
		case within(m.Mountpoint, "/dev"):
			options = append(options, dev(m)...)
		case within(m.Mountpoint, "/proc"):
			options = append(options, proc(m, isDir)...)
		case m.FSType == "tmpfs" && m.Root == "/":
			options = append(options, "--tmpfs", m.Mountpoint)
		default:
			options = append(options, bind(m), filepath.Join(files, path.Base(m.Mountpoint)), m.Mountpoint)
		}
	}
	return options, without, nil
}

func depth(m *mountinfo.Info) int {
	if m.Mountpoint == "/" {
		return 0
	}
	return strings.Count(m.Mountpoint, "/")
}

// within holds for a path and what is below it.
func within(name, parent string) bool {
	return name == parent || strings.HasPrefix(name, parent+"/")
}

// dev is for /dev; its nodes and /dev/pts come with --dev.
func dev(m *mountinfo.Info) []string {
	switch {
	case m.Mountpoint == "/dev":
		return []string{"--dev", "/dev"}
	case m.FSType == "mqueue":
		return []string{"--mqueue", m.Mountpoint}
	case m.FSType == "tmpfs" && m.Root == "/":
		return []string{"--tmpfs", m.Mountpoint}
	}
	return nil
}

// proc is for /proc: itself, what is read-only, and what is masked. What is
// read-only has to be the host's, as bubblewrap binds nothing from inside.
func proc(m *mountinfo.Info, isDir func(string) bool) []string {
	switch {
	case m.Mountpoint == "/proc":
		return []string{"--proc", "/proc"}
	case m.FSType == "proc":
		return []string{"--ro-bind", m.Mountpoint, m.Mountpoint}
	case isDir(m.Mountpoint):
		return []string{"--tmpfs", m.Mountpoint, "--remount-ro", m.Mountpoint}
	}
	return []string{"--ro-bind", "/dev/null", m.Mountpoint}
}

func bind(m *mountinfo.Info) string {
	if slices.Contains(strings.Split(m.Options, ","), "ro") {
		return "--ro-bind"
	}
	return "--bind"
}
