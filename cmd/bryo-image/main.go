// Bryo-image unpacks images: bryo starts it under the user's map of ids, and
// nobody else has reason to. It confines itself before it reads the first byte
// of an image, and all it can write to is the directory that it was given.
package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"runtime/debug"
	"strconv"

	"golang.org/x/sys/unix"

	"bryo/fsroot"
	"bryo/fsroot/tree"
	"bryo/fsroot/unpack"
)

func main() { os.Exit(run(os.Args[1:])) }

// run carries out an order of bryo's, whose descriptors are numbers:
//
//	bryo-image unpack ROOT REPORT IMAGE REFERENCE BYTES ENTRIES IDMAP
//	bryo-image discard ROOT REPORT
//	bryo-image merge ROOT REPORT LAYERS PATH [NAME...]
//
// What comes of it goes to REPORT, as JSON.
func run(args []string) int {
	// A terminal sends its signals to all in front of it; it is for bryo to decide.
	signal.Ignore(unix.SIGINT, unix.SIGQUIT, unix.SIGHUP)
	const fixed = 3
	var fds [2]int
	err := errors.New("bryo starts this program; there is nothing to do by hand")
	if known(args) {
		fds, err = descriptors(args[1], args[2])
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "bryo-image:", err)
		return 1
	}
	var outcome tree.Outcome
	switch args[0] {
	case "discard":
		err = discard(fds[0])
	case "merge":
		err = merge(fds[0], args[fixed:])
	default:
		err = unpackInto(fds[0], args[fixed:], &outcome)
	}
	if err != nil {
		outcome.Error = err.Error()
	}
	report := os.NewFile(uintptr(fds[1]), "report")
	if json.NewEncoder(report).Encode(outcome) != nil || err != nil {
		return 1
	}
	return 0
}

// known tells an order of bryo's by how many words it has.
func known(args []string) bool {
	const discards, unpacks, merges = 3, 8, 5
	if len(args) == 0 {
		return false
	}
	switch args[0] {
	case "discard":
		return len(args) == discards
	case "unpack":
		return len(args) == unpacks
	case "merge":
		return len(args) >= merges
	}
	return false
}

func descriptors(texts ...string) (fds [2]int, err error) {
	for i, text := range texts {
		if fds[i], err = strconv.Atoi(text); err != nil {
			return fds, err
		}
		unix.CloseOnExec(fds[i])
	}
	return fds, nil
}

func discard(root int) error {
	if err := confineSelf(root, -1); err != nil {
		return err
	}
	return tree.InRoot(root).Clear()
}

func unpackInto(root int, args []string, outcome *tree.Outcome) error {
	// Most of the memory is windows of decompressors, which stay; a collection at
	// each doubling would let the heap be twice of that.
	const percent = 25
	debug.SetGCPercent(percent)
	numbers, err := descriptors(args[0])
	if err != nil {
		return err
	}
	image := os.NewFile(uintptr(numbers[0]), "image")
	request := unpack.Request{Image: image, Reference: args[1], Root: root, IDMap: args[4]}
	if request.Limits.Bytes, err = strconv.ParseInt(args[2], 10, 64); err != nil {
		return err
	}
	if request.Limits.Entries, err = strconv.Atoi(args[3]); err != nil {
		return err
	}
	if err := confineSelf(root, numbers[0]); err != nil {
		return err
	}
	report, err := unpack.Unpack(request)
	if report != nil {
		outcome.Report = *report
	}
	return err
}

// merge copies what layers show as one at a path.
func merge(root int, args []string) (err error) {
	numbers, err := descriptors(args[0])
	if err != nil {
		return err
	}
	if err := confineSelf(root, numbers[0]); err != nil {
		return err
	}
	layers := &fsroot.Union{}
	defer func() { err = errors.Join(err, layers.Close()) }()
	if err := layers.AddAt(numbers[0], args[2:]...); err != nil {
		return err
	}
	return tree.Merge(root, layers, args[1])
}
