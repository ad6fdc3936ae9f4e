package host

import (
	"errors"
	"io/fs"

	"golang.org/x/sys/unix"
)

func rootHint(err error) string {
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return "\nfix: give the path of a directory that holds a root file system, the name of an image, or the word host"
	case errors.Is(err, unix.ENOTDIR):
		return "\nfix: give a directory, or the archive of an image"
	case errors.Is(err, fs.ErrPermission):
		return "\nfix: take a root file system below a directory that you may enter"
	default:
		return ""
	}
}
