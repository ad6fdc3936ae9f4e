// Bryo-image unpacks images and keeps those on the shelf, under the user's map of
// ids, and downloads them, without it: bryo starts it, and nobody else has reason
// to. It confines itself before it reads the first byte of an image, and all it
// can write to is the directory that it was given.
package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"bryo/fsroot"
	"bryo/fsroot/tree"
	"bryo/fsroot/unpack"
)

func main() {
	if asksVersion(os.Args[1:]) {
		os.Exit(writeVersion(os.Stdout))
	}
	os.Exit(run(os.Args[1:]))
}

// verb is what bryo-image can do, in a directory that it is given.
type verb struct {
	name  string
	words []string // behind the directory and the report; the last may be there more often if it ends in dots
	run   func(dir int, args []string, outcome *tree.Outcome) error
}

func verbs() []verb {
	source := []string{"IMAGE", "REFERENCE", "BYTES", "ENTRIES", "IDMAP"}
	return []verb{
		{"unpack", source, unpackInto},
		{"discard", nil, discard},
		{"merge", []string{"LAYERS", "PATH..."}, merge}, // and the layers' names, the topmost first
		{"import", append(source, "NAME", "STEM"), importImage},
		{"remove", []string{"FORCE", "IMAGE..."}, removeImages},
		{"prune", []string{"ALL"}, pruneImages},
		{"fetch", nil, nil}, // which tells as it goes: run does it
		{"pack", []string{"LAYER", "LAYER|ORDER..."}, packInto},
	}
}

func (v verb) takes(args []string) bool {
	n := len(v.words)
	return len(args) == n || n > 0 && len(args) > n && strings.HasSuffix(v.words[n-1], "...")
}

// run does what bryo asks for; descriptors are numbers:
//
//	bryo-image VERB DIRECTORY REPORT [WORD...]
//
// What comes of it goes to REPORT, as JSON: of fetch, as package fetch has it.
func run(args []string) int {
	// A terminal sends its signals to all in front of it; it is for bryo to decide.
	signal.Ignore(unix.SIGINT, unix.SIGQUIT, unix.SIGHUP)
	const fixed = 3
	i := slices.IndexFunc(verbs(), func(v verb) bool {
		return len(args) >= fixed && v.name == args[0] && v.takes(args[fixed:])
	})
	var fds []int
	err := errors.New("bryo starts this program; there is nothing to do by hand")
	if i >= 0 {
		fds, err = descriptors(args[1], args[2])
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "bryo-image:", err)
		return 1
	}
	report := os.NewFile(uintptr(fds[1]), "report")
	if args[0] == "fetch" {
		return runFetch(fds[0], report)
	}
	// Most of the memory is windows of compressed streams, which stay; a collection
	// at each doubling would let the heap be twice of that.
	const percent = 25
	debug.SetGCPercent(percent)
	var outcome tree.Outcome
	if err = verbs()[i].run(fds[0], args[fixed:], &outcome); err != nil {
		outcome.Error = err.Error()
	}
	if json.NewEncoder(report).Encode(outcome) != nil || err != nil {
		return 1
	}
	return 0
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

// source is the image that bryo names, and what it may become.
type source struct {
	image     *os.File
	reference string
	limits    tree.Limits
	idMap     string
}

// openSource gives up all files but the image and those below a directory.
func openSource(dir int, args []string) (*source, error) {
	numbers, err := descriptors(args[0])
	if err != nil {
		return nil, err
	}
	s := &source{image: os.NewFile(uintptr(numbers[0]), "image"), reference: args[1], idMap: args[4]}
	if s.limits.Bytes, err = strconv.ParseInt(args[2], 10, 64); err != nil {
		return nil, err
	}
	if s.limits.Entries, err = strconv.Atoi(args[3]); err != nil {
		return nil, err
	}
	return s, confineSelf(dir, numbers[0])
}

func unpackInto(root int, args []string, outcome *tree.Outcome) error {
	s, err := openSource(root, args)
	if err != nil {
		return err
	}
	report, err := unpack.Unpack(unpack.Request{Image: s.image, Reference: s.reference, Root: root, Limits: s.limits, IDMap: s.idMap})
	outcome.Report = *report
	return err
}

// merge copies what layers show as one at a path.
func merge(root int, args []string, _ *tree.Outcome) (err error) {
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
