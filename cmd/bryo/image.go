package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	ossignal "os/signal"
	"path/filepath"
	"slices"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"

	"bryo/fsroot"
	"bryo/fsroot/tree"
	"bryo/rootless"
	"bryo/rootless/host"
	"bryo/rootless/launch"
)

// imageHelper is bryo-image, under the user's map of ids. Signals that ask bryo
// to end are taken as long as there is one.
type imageHelper struct {
	plan *rootless.Plan
	ends chan os.Signal
}

func newImageHelper(spec *rootless.Spec, s streams) (*imageHelper, error) {
	path, err := imageProgram()
	if err != nil {
		return nil, err
	}
	facts, err := host.ProbeIDs(spec)
	if err != nil {
		return nil, err
	}
	plan, err := rootless.CompileUnshare(spec, facts, []string{path}, nil)
	if err != nil {
		return nil, err
	}
	plan.Process.Caps = 1<<unix.CAP_CHOWN | 1<<unix.CAP_DAC_OVERRIDE | 1<<unix.CAP_FOWNER | 1<<unix.CAP_FSETID | 1<<unix.CAP_SETFCAP
	warn(s, plan.Warnings)
	return &imageHelper{plan, askedToEnd()}, nil
}

// imageProgram finds bryo-image.
func imageProgram() (string, error) {
	path := host.Companion("bryo-image")
	if path == "" {
		return "", errors.New("the program bryo-image is missing, which belongs beside bryo or in ../libexec/bryo\nfix: install it (make install)")
	}
	return path, nil
}

// askedToEnd takes the signals that ask bryo to end, until ossignal.Stop, but for
// those that are ignored: nohup(1) does that, and a shell for what it starts in the
// background.
func askedToEnd() chan os.Signal {
	ends := make(chan os.Signal, 1)
	for _, s := range []os.Signal{unix.SIGINT, unix.SIGTERM, unix.SIGHUP, unix.SIGQUIT} {
		if !ossignal.Ignored(s) {
			ossignal.Notify(ends, s)
		}
	}
	return ends
}

func (h *imageHelper) close() { ossignal.Stop(h.ends) }

// maps is the map of ids as it is noted with a root.
func (h *imageHelper) maps() string { return h.plan.IDs.Maps.Text() }

// discard empties a root, whatever signals come.
func (h *imageHelper) discard(root int) error {
	_, err := h.run("discard", nil, []int{root})
	return err
}

// merge fills a directory, which comes first in fds, with what layers show as one
// at a path; the second has the layers, the lowest first.
func (h *imageHelper) merge(fds []int, path string, layers []string) error {
	topmost := slices.Clone(layers)
	slices.Reverse(topmost)
	_, err := h.run("merge", h.ends, fds, append([]string{path}, topmost...)...)
	return err
}

// run has bryo-image do something with what is first in fds. A signal that comes
// at ends has it killed: a launch.EndedError.
func (h *imageHelper) run(verb string, ends chan os.Signal, fds []int, args ...string) (*tree.Outcome, error) {
	read, write, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer read.Close()
	container, err := h.start(verb, append([]int{fds[0], int(write.Fd())}, fds[1:]...), args)
	if err = errors.Join(err, write.Close()); err != nil {
		return nil, err
	}
	told := make(chan *tree.Outcome)
	go func() { told <- readOutcome(read) }()
	var signal os.Signal
	var outcome *tree.Outcome
	for outcome == nil {
		select {
		case outcome = <-told:
		case signal = <-ends: // never, of nil
			_ = container.Signal(unix.SIGKILL)
		}
	}
	code, err := container.Wait()
	if number, is := signal.(syscall.Signal); is {
		return nil, &launch.EndedError{Signal: number}
	}
	switch {
	case err != nil:
		return nil, err
	case outcome.Error != "":
		return outcome, errors.New(outcome.Error)
	case code > signalExitBase:
		return nil, fmt.Errorf("signal %d ended bryo-image", code-signalExitBase)
	case code != exitOK:
		return nil, fmt.Errorf("bryo-image ended with %d", code)
	}
	return outcome, nil
}

// start hands copies of descriptors over, which are not closed on execve.
func (h *imageHelper) start(verb string, fds []int, args []string) (*launch.Container, error) {
	plan := *h.plan
	plan.Process.Argv = []string{plan.Process.Paths[0], verb}
	for _, fd := range fds {
		copied, err := unix.Dup(fd)
		if err != nil {
			return nil, os.NewSyscallError("dup", err)
		}
		defer unix.Close(copied)
		plan.Process.Argv = append(plan.Process.Argv, strconv.Itoa(copied))
	}
	plan.Process.Argv = append(plan.Process.Argv, args...)
	container, err := launch.Helper(&plan)
	if err != nil {
		return nil, err
	}
	return container, container.Deliver()
}

// readOutcome reads all that bryo-image tells until it ends.
func readOutcome(r io.Reader) *tree.Outcome {
	const most = 1 << 20
	outcome := &tree.Outcome{}
	_ = json.NewDecoder(io.LimitReader(r, most)).Decode(outcome) // its exit code tells the same
	_, _ = io.Copy(io.Discard, r)
	return outcome
}

// newDir is a root that is being made, beside where it belongs. A lock is on it
// while somebody makes it: what is left of one that was killed can be told.
type newDir struct {
	helper     *imageHelper
	parent, fd int
	name, half string
}

func newRoot(path string, helper *imageHelper) (r *newDir, err error) {
	if path == "" {
		return nil, errors.New("the directory has no name; was a variable not set?")
	}
	absolute, err := fsroot.Absolute(path)
	if err != nil {
		return nil, err
	}
	if info, err := os.Lstat(absolute); err == nil && !info.IsDir() {
		return nil, fmt.Errorf("%s is there, and no directory\nfix: name a new directory", absolute)
	}
	if err := vacant(absolute); err != nil {
		return nil, err
	}
	const flags = unix.O_PATH | unix.O_DIRECTORY | unix.O_CLOEXEC
	r = &newDir{helper: helper, name: filepath.Base(absolute), fd: -1}
	r.half = "." + r.name + ".bryo-unpack"
	if r.parent, err = unix.Open(filepath.Dir(absolute), flags, 0); err != nil {
		return nil, fmt.Errorf("%s: %w\nfix: make the directory first", filepath.Dir(absolute), err)
	}
	if err := r.make(); err != nil {
		return nil, errors.Join(err, r.close())
	}
	return r, nil
}

// vacant refuses a directory with something in it, before any work is done.
func vacant(path string) error {
	names, err := os.ReadDir(path)
	switch {
	case errors.Is(err, unix.ENOENT):
		return nil
	case err != nil:
		return err
	case len(names) > 0:
		return fmt.Errorf("%s is not empty\nfix: name a new directory", path)
	}
	return nil
}

func (r *newDir) make() (err error) {
	err = unix.Mkdirat(r.parent, r.half, privateMode)
	existed := errors.Is(err, unix.EEXIST)
	if err != nil && !existed {
		return fmt.Errorf("make %s: %w", r.half, err)
	}
	r.fd, err = unix.Openat(r.parent, r.half, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err == nil {
		err = unix.Flock(r.fd, unix.LOCK_EX|unix.LOCK_NB)
	}
	if err == nil {
		err = r.check()
	}
	if err != nil {
		return fmt.Errorf("%s: %w\nfix: another bryo unpacks to it now, or remove it: bryo unshare rm -rf %s", r.half, err, r.half)
	}
	if existed {
		err = r.helper.discard(r.fd)
	}
	return err
}

// check says whether the directory that is locked is still the one there.
func (r *newDir) check() error {
	var st, there unix.Stat_t
	if err := errors.Join(unix.Fstat(r.fd, &st), unix.Fstatat(r.parent, r.half, &there, unix.AT_SYMLINK_NOFOLLOW)); err != nil {
		return err
	}
	if st.Ino != there.Ino || st.Dev != there.Dev || int(st.Uid) != os.Geteuid() {
		return unix.EBUSY
	}
	return nil
}

// finish gives the root its name. An empty directory there is replaced.
func (r *newDir) finish() error {
	if err := unix.Renameat(r.parent, r.half, r.parent, r.name); err != nil {
		return fmt.Errorf("name it %s: %w", r.name, err)
	}
	return nil
}

// discard removes what was made.
func (r *newDir) discard() error {
	err := r.helper.discard(r.fd)
	if err == nil {
		err = unix.Unlinkat(r.parent, r.half, unix.AT_REMOVEDIR)
	}
	if err != nil {
		return fmt.Errorf("remove %s: %w", r.half, err)
	}
	return nil
}

func (r *newDir) close() error {
	var err error
	if r.fd >= 0 {
		err = unix.Close(r.fd)
	}
	return errors.Join(err, unix.Close(r.parent))
}
