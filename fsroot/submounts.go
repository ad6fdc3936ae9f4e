package fsroot

import (
	"fmt"
	"strings"

	"github.com/moby/sys/mountinfo"
)

// Submounts lists the mounts below a root file system, outermost only, as
// paths relative to it with a slash in front. What a container makes anew or
// covers is left out.
func Submounts(root string) ([]string, error) {
	prefix := strings.TrimSuffix(root, "/") + "/"
	infos, err := mountinfo.GetMounts(mountinfo.PrefixFilter(root))
	if err != nil {
		return nil, fmt.Errorf("read mounts below %s: %w", root, err)
	}
	var below []string
	for _, info := range infos {
		path, inside := strings.CutPrefix(info.Mountpoint, prefix)
		if !inside || path == "" || made("/"+path) || covered("/"+path, below) {
			continue
		}
		below = append(below, "/"+path)
	}
	return below, nil
}

// made says whether a container has its own file system there.
func made(path string) bool {
	for _, dir := range []string{procDir, sysDir, devDir} {
		if Under(path, "/"+dir) {
			return true
		}
	}
	return false
}

// covered says whether a mount comes along with one that is listed: mounts
// are cloned with all below them.
func covered(path string, below []string) bool {
	for _, dir := range below {
		if Under(path, dir) {
			return true
		}
	}
	return false
}
