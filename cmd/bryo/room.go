package main

import (
	"fmt"
	"strings"

	"golang.org/x/sys/unix"

	"bryo/fsroot/image"
)

// withRoom says of an error of the shelf that is for want of room, or of a place to
// write to, where that is and what mends it. Most of these come as text, from
// another process.
func withRoom(shelf *image.Shelf, err error) error {
	if err == nil || strings.Contains(err.Error(), "\nfix: ") {
		return err
	}
	what, _, _ := strings.Cut(err.Error(), "\n")
	for _, why := range []unix.Errno{unix.ENOSPC, unix.EDQUOT} {
		if strings.HasSuffix(what, why.Error()) {
			return fmt.Errorf("%w\nfix: make room for images below %s: bryo prune --images gives up what is not used, or broke off", err, shelf.Path())
		}
	}
	if strings.HasSuffix(what, unix.EROFS.Error()) {
		return fmt.Errorf("%w\nfix: images are kept below %s: set XDG_DATA_HOME to a directory that you can write to", err, shelf.Path())
	}
	return err
}
