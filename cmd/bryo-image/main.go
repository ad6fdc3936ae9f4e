// Bryo-image unpacks images: bryo starts it under the user's map of ids, and
// nobody else has reason to. It confines itself before it reads the first byte
// of an image, and all it can write to is the directory that it was given.
package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"os"
	"os/signal"
	"runtime/debug"
	"strconv"

	"golang.org/x/sys/unix"

	"bryo/fsroot/tree"
	"bryo/fsroot/unpack"
)

func main() { os.Exit(run(os.Args[1:])) }

// run carries out an order of bryo's, whose descriptors are numbers:
//
//	bryo-image unpack ROOT REPORT IMAGE REFERENCE BYTES ENTRIES IDMAP
//	bryo-image discard ROOT REPORT
//	bryo-image pack OUT REPORT BASE... LAYER... ORDER
//
// What comes of it goes to REPORT, as JSON.
func run(args []string) int {
	// A terminal sends its signals to all in front of it; it is for bryo to decide.
	signal.Ignore(unix.SIGINT, unix.SIGQUIT, unix.SIGHUP)
	const fixed = 3
	do := carrier(args)
	err := errors.New("bryo starts this program; there is nothing to do by hand")
	var fds []int
	if do != nil {
		fds, err = descriptors(args[1], args[2])
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "bryo-image:", err)
		return 1
	}
	// Most of the memory is windows of compressed streams, which stay; a collection
	// at each doubling would let the heap be twice of that.
	const percent = 25
	debug.SetGCPercent(percent)
	var outcome tree.Outcome
	if err = do(fds[0], args[fixed:], &outcome); err != nil {
		outcome.Error = err.Error()
	}
	report := os.NewFile(uintptr(fds[1]), "report")
	if json.NewEncoder(report).Encode(outcome) != nil || err != nil {
		return 1
	}
	return 0
}

// carrier finds what carries an order out; nil for what is none of bryo's.
func carrier(args []string) func(written int, args []string, outcome *tree.Outcome) error {
	orders := []struct {
		name        string
		least, most int // words
		do          func(written int, args []string, outcome *tree.Outcome) error
	}{
		{"discard", 3, 3, discard},
		{"unpack", 8, 8, unpackInto},
		{"pack", 5, math.MaxInt, packInto},
	}
	for _, o := range orders {
		if len(args) >= o.least && len(args) <= o.most && args[0] == o.name {
			return o.do
		}
	}
	return nil
}

func descriptors(texts ...string) ([]int, error) {
	fds := make([]int, len(texts))
	for i, text := range texts {
		var err error
		if fds[i], err = strconv.Atoi(text); err != nil {
			return nil, err
		}
		unix.CloseOnExec(fds[i])
	}
	return fds, nil
}

func discard(root int, _ []string, _ *tree.Outcome) error {
	if err := confineSelf(root); err != nil {
		return err
	}
	return tree.InRoot(root).Clear()
}

func unpackInto(root int, args []string, outcome *tree.Outcome) error {
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
