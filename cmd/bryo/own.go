package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"bryo/fsroot/image"
	"bryo/fsroot/tree"
	"bryo/rootless"
	"bryo/rootless/state"
)

// A container of an image has a directory of its own beside the shelf's, for what
// it writes:
//
//	containers/ID.run/       of a container in the foreground, which ends with it
//	containers/ID/           of one that is detached
//	    upper/  work/        overlay's
//	    root/                instead: a copy of all, where there can be no overlay
//	    volumes/0/           of the image's first volume
//	    state                where the container's state is
//	volumes/ID/0/            the same volume, when the container is gone
//
// Whoever uses it has a lock on it. Without one, and without the state that it
// names, it was left behind by somebody who was killed.
const (
	ownDirs     = "containers"
	keptVolumes = "volumes"
	stateName   = "state"
	foreground  = ".run"
)

// own is a container's own directory, locked.
type own struct {
	dir  *os.File
	path string
}

// ownParent opens the directory that those of containers are in.
func ownParent(shelf, name string) (*os.File, error) {
	path := filepath.Join(shelf, name)
	if err := unix.Mkdir(path, privateMode); err != nil && !errors.Is(err, unix.EEXIST) {
		return nil, err
	}
	return openDir(unix.AT_FDCWD, path)
}

// openDir opens a directory, and no link.
func openDir(at int, name string) (*os.File, error) {
	fd, err := unix.Openat(at, name, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: name, Err: err}
	}
	return os.NewFile(uintptr(fd), name), nil
}

// makeOwn makes a container's own directory.
func makeOwn(shelf, name string) (o *own, err error) {
	parent, err := ownParent(shelf, ownDirs)
	if err != nil {
		return nil, err
	}
	defer parent.Close() // and its lock, which sweepOwn takes alone
	if err := unix.Flock(int(parent.Fd()), unix.LOCK_SH); err != nil {
		return nil, os.NewSyscallError("flock", err)
	}
	// Root of a map of ids enters it that may be somebody else on the host; nobody
	// else can enter the shelf's.
	const mode = 0o755
	if err := unix.Mkdirat(int(parent.Fd()), name, mode); err != nil {
		return nil, fmt.Errorf("make a directory for what the container writes: %w", err)
	}
	o = &own{path: filepath.Join(shelf, ownDirs, name)}
	if o.dir, err = openDir(int(parent.Fd()), name); err == nil {
		err = unix.Flock(o.fd(), unix.LOCK_EX|unix.LOCK_NB)
	}
	return o, err
}

// openOwn locks one that is there. It is an ENOENT if there is none, and an
// EWOULDBLOCK if somebody uses it.
func openOwn(path string) (*own, error) {
	dir, err := openDir(unix.AT_FDCWD, path)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(dir.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		return nil, errors.Join(err, dir.Close())
	}
	return &own{dir, path}, nil
}

func (o *own) fd() int { return int(o.dir.Fd()) }

func (o *own) close() {
	if o != nil {
		_ = o.dir.Close()
	}
}

// mkdir makes a part of it that has this mode, whatever the umask is.
func (o *own) mkdir(name string, mode uint32) (*os.File, error) {
	if err := unix.Mkdirat(o.fd(), name, mode); err != nil {
		return nil, &os.PathError{Op: "make", Path: filepath.Join(o.path, name), Err: err}
	}
	dir, err := openDir(o.fd(), name)
	if err != nil {
		return nil, err
	}
	if err := unix.Fchmod(int(dir.Fd()), mode); err != nil {
		return nil, errors.Join(err, dir.Close())
	}
	return dir, nil
}

// belongsTo notes where the state of the container is that keeps it.
func (o *own) belongsTo(state string) error {
	const mode = 0o600
	text, err := json.Marshal(state)
	if err != nil {
		return err
	}
	fd, err := unix.Openat(o.fd(), stateName, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL|unix.O_CLOEXEC, mode)
	if err != nil {
		return &os.PathError{Op: "make", Path: filepath.Join(o.path, stateName), Err: err}
	}
	f := os.NewFile(uintptr(fd), stateName)
	_, err = f.Write(text)
	return errors.Join(err, f.Close())
}

// left says whether nobody will use it any more.
func (o *own) left() bool {
	var state string
	text, err := os.ReadFile(filepath.Join(o.path, stateName))
	if err != nil {
		return errors.Is(err, unix.ENOENT)
	}
	if json.Unmarshal(text, &state) != nil {
		return true // whoever wrote it did not come to the end
	}
	_, err = os.Lstat(state)
	return errors.Is(err, unix.ENOENT)
}

// remove removes it, with files of subordinate ids, and its volumes but where they
// are kept. It is given up in any case.
func (o *own) remove(keepVolumes bool, s streams) (err error) {
	defer func() { err = errors.Join(err, o.dir.Close()) }()
	if keepVolumes {
		if err := o.keepVolumes(); err != nil {
			return err
		}
	}
	const tries, pause = 10, 20 * time.Millisecond
	for i := 1; ; i++ {
		if err = empty(o.dir, s); err == nil {
			err = unix.Rmdir(o.path)
		}
		if !errors.Is(err, unix.ENOTEMPTY) || i == tries { // a process that was just killed may have written
			break
		}
		time.Sleep(pause)
	}
	if err != nil {
		return fmt.Errorf("remove what the container wrote: %w\nfix: bryo prune tries again", err)
	}
	return nil
}

// empty empties a directory, as the user if he can, which takes no second process.
func empty(dir *os.File, s streams) error {
	err := tree.Beneath(int(dir.Fd())).Clear()
	if !errors.Is(err, unix.EACCES) && !errors.Is(err, unix.EPERM) {
		return err
	}
	helper, err := newImageHelper(&rootless.Spec{}, s)
	if err != nil {
		return err
	}
	defer helper.close()
	return helper.discard(int(dir.Fd()))
}

// keepVolumes puts the volumes where they stay.
func (o *own) keepVolumes() error {
	var st unix.Stat_t
	if err := unix.Fstatat(o.fd(), rootless.VolumeDir, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		if errors.Is(err, unix.ENOENT) {
			return nil
		}
		return err
	}
	kept, err := ownParent(filepath.Dir(filepath.Dir(o.path)), keptVolumes)
	if err != nil {
		return err
	}
	defer kept.Close()
	return unix.Renameat(o.fd(), rootless.VolumeDir, int(kept.Fd()), filepath.Base(o.path))
}

// sweepOwn removes what was left behind: all of it, or what containers in the
// foreground left, where nobody is kept waiting for it.
func sweepOwn(shelf string, all bool, s streams) error {
	left, err := leftOwn(shelf, all)
	for _, o := range left {
		err = errors.Join(err, o.remove(false, s))
	}
	return err
}

// leftOwn locks what was left behind.
func leftOwn(shelf string, all bool) (left []*own, err error) {
	parent, err := openDir(unix.AT_FDCWD, filepath.Join(shelf, ownDirs))
	if errors.Is(err, unix.ENOENT) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer parent.Close()
	names, err := parent.Readdirnames(-1)
	if !all {
		names = slices.DeleteFunc(names, func(name string) bool { return !strings.HasSuffix(name, foreground) })
	}
	if err != nil || len(names) == 0 {
		return nil, err
	}
	how := unix.LOCK_EX
	if !all {
		how |= unix.LOCK_NB
	}
	if err := unix.Flock(int(parent.Fd()), how); err != nil {
		return nil, nil // somebody makes one: another time
	}
	for _, name := range names {
		o, err := openOwn(filepath.Join(shelf, ownDirs, name))
		switch {
		case err != nil: // it is used, or gone
		case o.left():
			left = append(left, o)
		default:
			o.close()
		}
	}
	return left, nil
}

// sweepVolumes removes the volumes that containers have left.
func sweepVolumes(shelf string, s streams) error {
	dir, err := openDir(unix.AT_FDCWD, filepath.Join(shelf, keptVolumes))
	if errors.Is(err, unix.ENOENT) {
		return nil
	}
	if err != nil {
		return err
	}
	return errors.Join(empty(dir, s), dir.Close())
}

// forget removes a container's state, and before it what the container wrote: who
// is killed between leaves one that can be removed again. The caller has the lock of
// the entry.
func forget(e *state.Entry, keepVolumes bool, s streams) error {
	config, err := e.Config()
	if err == nil && config.Spec.Root.Image != nil {
		if err := dropOwn(config.Spec.Root.Image, e.ID, keepVolumes, s); err != nil {
			e.Unlock()
			return err
		}
	}
	return goneIsFine(e.Remove())
}

// dropOwn removes a container's own directory, and lets go of its image.
func dropOwn(root *rootless.ImageRoot, id string, keepVolumes bool, s streams) error {
	o, err := openOwn(root.Own)
	if err == nil {
		err = o.remove(keepVolumes, s)
	}
	if err != nil && !errors.Is(err, unix.ENOENT) {
		return err
	}
	shelf, err := image.OpenPath(root.Shelf)
	if errors.Is(err, unix.ENOENT) {
		return nil
	}
	if err != nil {
		return err
	}
	return errors.Join(shelf.Release(id), shelf.Close())
}
