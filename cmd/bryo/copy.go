package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"bryo/fsroot/tree"
	"bryo/idmap"
)

// runCopy is not for people. It is the side of bryo cp in the container's ids:
//
//	bryo copy pack ROOT STREAM PATH NAME IDMAP       what only unpack reads, of PATH, called NAME in it
//	bryo copy archive ROOT STREAM PATH NAME IDMAP    an archive of that
//	bryo copy unpack ROOT STREAM PATH NAME IDMAP     what pack has written goes to PATH, as cp would put a file NAME
//	bryo copy extract ROOT STREAM PATH . IDMAP       an archive goes to the directory PATH
//
// IDMAP is that of a container whose owners are notes, and empty for others.
func runCopy(args []string, s streams) int {
	const operands = 6
	if len(args) != operands {
		return usage(s, "bryo cp starts the copier; there is nothing to do by hand")
	}
	var fds [2]int
	for i, text := range args[1:3] {
		var err error
		if fds[i], err = parseFD(text); err != nil {
			return report(s, err)
		}
		unix.CloseOnExec(fds[i])
	}
	root, stream := tree.InRoot(fds[0]), os.NewFile(uintptr(fds[1]), "archive")
	path, name := args[3], args[4]
	noted, err := parseNoted(args[5])
	if err != nil {
		return report(s, err)
	}
	switch how := args[0]; how {
	case "pack", "archive":
		err := root.Pack(stream, path, name, tree.Packing{Skipped: skipped(s), Holes: how == "pack", Noted: noted})
		if errors.Is(err, unix.EPIPE) {
			return exitFailed // who reads has told why it does not any more
		}
		return report(s, err)
	case "unpack":
		at, needed := path, path
		switch {
		case root.IsDir(path):
			at = filepath.Join("/", path, name)
		case name == "." || !strings.HasSuffix(path, "/"):
			needed = filepath.Dir(filepath.Clean("/" + path))
		}
		return report(s, unpack(root, stream, at, needed, tree.Unpacking{Holes: true, Noted: noted != nil}, s))
	default:
		return report(s, unpack(root, stream, path, path, tree.Unpacking{Noted: noted != nil}, s))
	}
}

// parseNoted is nil for a container whose owners are what they are.
func parseNoted(text string) (*idmap.Maps, error) {
	if text == "" {
		return nil, nil //nolint:nilnil // see above
	}
	maps, err := idmap.ParseMaps(text)
	return &maps, err
}

// unpack needs a directory that is there already.
func unpack(root tree.Tree, stream *os.File, at, needed string, how tree.Unpacking, s streams) error {
	if !root.IsDir(needed) {
		return fmt.Errorf("%s is no directory of the container\nfix: make it first: bryo exec CONTAINER mkdir -p %s", needed, needed)
	}
	foreign := 0
	how.Owners, how.Skipped, how.Foreign = true, skipped(s), func(int, int) { foreign++ }
	err := root.Unpack(stream, at, how)
	if foreign > 0 {
		warn(s, []string{fmt.Sprintf("%d files are root's inside: their own ids are not in the container's map", foreign)})
	}
	return err
}
