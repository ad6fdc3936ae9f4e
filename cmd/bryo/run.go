package main

import (
	"errors"
	"fmt"
	"os"
	"slices"

	"github.com/spf13/pflag"

	"bryo/rootless"
	"bryo/rootless/host"
	"bryo/rootless/launch"
	"bryo/rootless/ns"
)

// request is what a command line of run asks for.
type request struct {
	spec   rootless.Spec
	life   life
	detach detach
	root   rootWord

	hostEnv, fileEnv []string // what -e overrides
}

const runAbout = `ROOTFS is a directory that holds a root file system, or the word host, which is your own system, read-only, or an image.
A directory that is there counts first, then a file, which is the archive of an image; what begins with a slash or a dot is always a path.
Anything else is an image: oci:DIR[:TAG], or a name, as in debian or registry.example/team/web:1.2, which is looked for on the shelf (bryo images).

A directory is written to directly unless --read-only or --ephemeral is given.
What is written to an image is the container's own: it is removed with the container, in the foreground at its end.
The image says what runs, as whom, where, with which variables and volumes, and what stops it; what you say counts, as with podman: COMMAND takes the place of its command, --entrypoint of both, and an empty one leaves both out.
Where there is no command at all a shell runs.

The container has namespaces of its own: user, mount, PID, network, IPC, UTS, cgroup and time.
Root inside is you, and your ranges of subordinate ids follow.
The network reaches what you reach, except your own machine.
When bryo dies, however it dies, the container dies, and nothing is left behind.
With --detach it runs on by itself, under a name that other commands take.`

// runSyntax is run's flags, to be looked at.
func runSyntax() *pflag.FlagSet {
	flags, _ := runFlags(streams{})
	return flags
}

// runRun runs a command in a new container.
func runRun(args []string, s streams) int {
	request, err := parseRun(args, s)
	if err != nil {
		return report(s, err)
	}
	code, err := request.run(s)
	if err != nil {
		code = report(s, err)
		_ = request.life.tell(code) // the error itself has been told
	}
	return code
}

func (r *request) run(s streams) (code int, err error) {
	if err := r.life.check(); err != nil {
		return 0, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, r.life.removePID())
		}
	}()
	if r.detach.On {
		return r.detached(s)
	}
	if err := checkStreams(s, r.spec.Process.Terminal); err != nil {
		return 0, err
	}
	used, err := r.useImage(s)
	defer used.close()
	defer func() { err = errors.Join(err, used.discard(s)) }()
	if err != nil {
		return 0, err
	}
	plan, err := plan(&r.spec)
	if err != nil {
		return 0, err
	}
	warn(s, plan.Warnings)
	plan.Describe = r.life.StatusFD != noStatus
	r.life.Lasts = plan.Lasts() || r.root.save != ""
	container, err := launch.Start(plan)
	if err != nil {
		return 0, err
	}
	if err := used.leave(container); err != nil {
		return 0, errors.Join(err, container.Kill())
	}
	warnGivenUp(s, slices.Concat(plan.GivenUp, container.GivenUp))
	code, err = r.life.await(container, plan.Process.Terminal, s)
	return code, errors.Join(err, used.saveIf(err == nil, &r.spec, s))
}

// useImage takes the image of a container in the foreground, if it has one, which
// keeps nothing that it writes.
func (r *request) useImage(s streams) (*imageRoot, error) {
	used, err := r.takeImage(true, s)
	if used == nil || err != nil {
		return used, err
	}
	id, err := host.NewID()
	if err != nil {
		return used, err
	}
	swept := sweepOwn(used.shelf.Path(), false, s)
	return used, errors.Join(swept, r.adopt(used, id+foreground, s))
}

// checkStreams refuses what would lay a directory of the host open to the
// container: with one of its own terminal it gets none of them.
func checkStreams(s streams, terminal bool) error {
	if terminal {
		return nil
	}
	for _, stream := range []struct {
		file *os.File
		name string
	}{{s.in, "input"}, {s.out, "output"}, {s.err, "error"}} {
		if info, err := stream.file.Stat(); err == nil && info.IsDir() {
			return fmt.Errorf("standard %s is a directory, through which the container could reach your files\nfix: redirect it from or to a file, as < /dev/null", stream.name)
		}
	}
	return nil
}

// plan decides everything for this host.
func plan(spec *rootless.Spec) (*rootless.Plan, error) {
	if err := spec.Check(); err != nil {
		return nil, err
	}
	spec, inits, err := named(spec)
	defer inits.close()
	if err != nil {
		return nil, err
	}
	facts, err := host.Probe(spec)
	if gone := inits.stayed(); gone != nil {
		return nil, gone
	}
	if err != nil {
		return nil, err
	}
	if facts.Seccomp, err = seccomp(spec); err != nil {
		return nil, err
	}
	if net := spec.Namespaces[ns.Net]; net.Mode == ns.Join {
		facts.Neighbours = neighbours(net)
	}
	return rootless.Compile(spec, facts)
}
