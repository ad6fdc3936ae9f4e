package main

import (
	"os"
	"strings"

	"bryo/fsroot/image"
	"bryo/fsroot/shelf"
	"bryo/fsroot/tree"
)

// importImage puts an image on the shelf.
func importImage(dir int, args []string, outcome *tree.Outcome) error {
	boot, err := os.ReadFile("/proc/sys/kernel/random/boot_id") // which is out of reach soon
	if err != nil {
		return err
	}
	s, err := openSource(dir, args)
	if err != nil {
		return err
	}
	const name, stem = 5, 6
	done, err := shelf.Import(shelf.Request{
		Shelf: image.At(dir, "the shelf"), Image: s.image, Reference: s.reference, Limits: s.limits, IDMap: s.idMap,
		Boot: strings.TrimSpace(string(boot)), Name: args[name], Stem: args[stem],
	})
	if done != nil {
		outcome.Report, outcome.ID, outcome.Names = done.Report, done.ID, done.Others
	}
	return err
}

// removeImages takes images off the shelf, until one cannot be.
func removeImages(dir int, args []string, outcome *tree.Outcome) error {
	if err := confineSelf(dir); err != nil {
		return err
	}
	s := image.At(dir, "the shelf")
	all := &shelf.Gone{}
	var err error
	for _, text := range args[1:] {
		var gone *shelf.Gone
		if gone, err = shelf.Remove(s, text, args[0] == "true"); err != nil {
			break
		}
		all.Names, all.IDs = append(all.Names, gone.Names...), append(all.IDs, gone.IDs...)
	}
	if len(all.IDs) > 0 && err == nil {
		err = all.Sweep(s)
	}
	tell(outcome, all)
	return err
}

// pruneImages removes what nobody needs from the shelf.
func pruneImages(dir int, args []string, outcome *tree.Outcome) error {
	if err := confineSelf(dir); err != nil {
		return err
	}
	gone, err := shelf.Prune(image.At(dir, "the shelf"), args[0] == "true")
	tell(outcome, gone)
	return err
}

func tell(outcome *tree.Outcome, gone *shelf.Gone) {
	outcome.Names, outcome.IDs, outcome.Bytes, outcome.Busy = gone.Names, gone.IDs, gone.Bytes, gone.Busy
}
