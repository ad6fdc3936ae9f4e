package main

import (
	"errors"
	"fmt"
	"os"

	"github.com/spf13/pflag"
	"golang.org/x/sys/unix"

	"bryo/fsroot/image"
	"bryo/rootless/state"
)

func startFlags(s streams) (flags *pflag.FlagSet, all *bool) {
	flags = verbFlags("start", s)
	return flags, allFlag(flags, "that have ended")
}

func startSyntax() *pflag.FlagSet {
	flags, _ := startFlags(streams{})
	return flags
}

// runStart starts containers again that have ended, as they were.
func runStart(args []string, s streams) int {
	flags, all := startFlags(s)
	if err := parse(flags, args); err != nil {
		return report(s, err)
	}
	return eachContainer(s, choice{flags: flags, all: *all, are: over}, func(e *state.Entry, _ *state.Record) error {
		return startAgain(e, s)
	})
}

// runRestart stops containers that run, and starts all.
func runRestart(args []string, s streams) int {
	flags, patience, all := stopFlags("restart", s)
	if err := parse(flags, args); err != nil {
		return report(s, err)
	}
	return eachContainer(s, choice{flags: flags, all: *all, are: runs}, func(e *state.Entry, r *state.Record) error {
		if err := keep(e); err != nil {
			return err
		}
		if err := stopContainer(e, *patience); err != nil {
			return err
		}
		if err := startAgain(e, s); err != nil {
			return err
		}
		warnStranded(s, e, r)
		return nil
	})
}

// keep has a container of run --rm not forgotten when it is stopped, while this
// process lives.
func keep(e *state.Entry) error {
	self, err := state.ProcessOf(os.Getpid())
	if err != nil {
		return err
	}
	return e.Change(func(r *state.Record) error { r.Keeper = self; return nil })
}

// startAgain starts a container. It is this process's until its supervisor
// signs, so that no other starts it, too.
func startAgain(e *state.Entry, s streams) error {
	self, err := state.ProcessOf(os.Getpid())
	if err != nil {
		return err
	}
	running, err := claim(e, self)
	if err != nil || running {
		return err
	}
	code, err := supervised(s, nil, nil, e.ID)
	if err == nil && code != exitOK {
		err = errNotStarted(e)
	}
	return err
}

func errNotStarted(e *state.Entry) error {
	name := e.ID
	if r, err := e.Record(); err == nil {
		name = r.Name
	}
	return fmt.Errorf("container %s did not start\nfix: what stands above says why; bryo start %s tries again", name, name)
}

// claim makes a container one's own that nobody looks after. One that has just
// ended may be somebody's for another moment.
func claim(e *state.Entry, self state.Process) (running bool, err error) {
	err = settle(e)
	if err != nil {
		return false, err
	}
	err = e.Change(func(r *state.Record) error {
		if running = r.Supervisor.Lives(); running {
			return nil
		}
		if err := killTied(r); err != nil { // it was left behind
			return err
		}
		if r.Boot, err = state.BootID(); err != nil {
			return err
		}
		r.Stoppers, r.Restarts, r.Pause, r.Status, r.Ports = nil, 0, 0, state.Created, nil
		none := state.Process{}
		r.Supervisor, r.Init, r.Entrance, r.Tied, r.Keeper = self, none, none, none, none
		return nil
	})
	return running, err
}

// runRename gives a container another name.
func runRename(args []string, s streams) int {
	flags := verbFlags("rename", s)
	if err := parse(flags, args); err != nil {
		return report(s, err)
	}
	const names = 2
	if flags.NArg() != names {
		return report(s, errors.New("rename takes a container and its new name\nfix: bryo rename CONTAINER NAME"))
	}
	e, r, err := oneContainer(flags.Arg(0))
	if err == nil {
		err = e.Rename(flags.Arg(1))
	}
	if err == nil && r.Shared {
		err = tellNeighbours(r.Network)
	}
	return report(s, err)
}

const pruneAbout = `Volumes of images stay unless --volumes is given.
With --images, images go instead that have no name and that no container is of; with --all, too, those that have one.
Layers that no image needs go with them, and what killed commands have left.`

// pruning is what prune removes.
type pruning struct{ images, all, volumes bool }

func pruneFlags(s streams) (flags *pflag.FlagSet, p *pruning) {
	flags, p = verbFlags("prune", s), &pruning{}
	flags.BoolVar(&p.volumes, "volumes", false, "remove the volumes of the containers' images, too, and what others have left of such")
	flags.BoolVar(&p.images, "images", false, "remove images without a name, instead of containers")
	flags.BoolVarP(&p.all, "all", "a", false, "with --images: all that no container is of")
	return flags, p
}

func pruneSyntax() *pflag.FlagSet {
	flags, _ := pruneFlags(streams{})
	return flags
}

// runPrune forgets all containers that have ended, or removes images.
func runPrune(args []string, s streams) int {
	flags, p := pruneFlags(s)
	err := parse(flags, args)
	switch {
	case err != nil:
	case flags.NArg() > 0:
		err = errors.New("prune takes no arguments\nfix: bryo prune")
	case p.all && !p.images:
		err = errors.New("--all goes with --images\nfix: bryo prune, or bryo prune --images --all")
	}
	if err != nil {
		return report(s, err)
	}
	if p.images {
		return pruneImages(p.all, s)
	}
	code := eachEntry(s, choice{flags: flags, all: true, are: over}, func(e *state.Entry) error { return remove(e, false, !p.volumes, s) })
	if err := sweep(p.volumes, s); err != nil {
		return report(s, err)
	}
	return code
}

// sweep removes what is left of containers whose state is gone.
func sweep(volumes bool, s streams) error {
	path, nowhere := image.Path()
	if nowhere != nil {
		return nil // there is no place for any
	}
	shelf, err := image.OpenPath(path)
	if errors.Is(err, unix.ENOENT) {
		return nil
	}
	if err != nil {
		return err
	}
	defer shelf.Close()
	err = errors.Join(sweepOwn(path, true, s), shelf.ReleaseGone())
	if volumes {
		err = errors.Join(err, sweepVolumes(path, s))
	}
	return err
}
