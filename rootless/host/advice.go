package host

import (
	"errors"
	"io/fs"
	"strings"

	"golang.org/x/sys/unix"
)

func rootHint(path string, err error) string {
	switch {
	case errors.Is(err, fs.ErrNotExist) && isReference(path):
		return ", and images are not fetched: ROOTFS is a directory\nfix: make one: mmdebstrap --variant=minbase stable debian.tar; " +
			"mkdir debian && bryo unshare tar -C debian -xf debian.tar --exclude './dev/*'"
	case errors.Is(err, fs.ErrNotExist):
		return "\nfix: give the path of a directory that holds a root file system, or the word host"
	case errors.Is(err, unix.ENOTDIR):
		return "\nfix: give a directory; an archive has to be unpacked into one first"
	case errors.Is(err, fs.ErrPermission):
		return "\nfix: take a root file system below a directory that you may enter"
	default:
		return ""
	}
}

// isReference says whether a text looks like the name of an image, with a tag or
// with a registry, rather than like a path.
func isReference(text string) bool {
	if strings.HasPrefix(text, "/") || strings.HasPrefix(text, ".") {
		return false
	}
	registry, _, below := strings.Cut(text, "/")
	return strings.Contains(text, ":") || below && strings.Contains(registry, ".")
}
