package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"
)

// worlds returns a plan for each measuring process.
func worlds(p plan) []plan {
	base := p
	base.Dir = filepath.Join(p.Dir, "base")
	all := []plan{base}
	if p.Root && p.wants("mounts") {
		mounts := p
		mounts.Dir = filepath.Join(p.Dir, "mounts")
		mounts.Mounts = moreMounts
		all = append(all, mounts)
	}
	return all
}

// perform starts the processes of a plan and hands their reports over.
func perform(ctx context.Context, p plan, errs io.Writer, take func(report) error) error {
	r, w, err := os.Pipe()
	if err != nil {
		return err
	}
	defer r.Close()
	stage, attr := "measure", &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if p.Root {
		stage = "world"
		attr.Cloneflags = syscall.CLONE_NEWPID
		attr.Unshareflags = syscall.CLONE_NEWNS
	}
	cmd, err := again(stage, p, attr, errs, w)
	if err != nil {
		return errors.Join(err, w.Close())
	}
	err = cmd.Start()
	_ = w.Close()
	if err != nil {
		return fmt.Errorf("start %s: %w", stage, err)
	}
	// The process hears of an interrupt itself and then has a while to clear up.
	undo := context.AfterFunc(ctx, func() { _ = cmd.Process.Signal(syscall.SIGTERM) })
	defer undo()
	reports := json.NewDecoder(r)
	for err == nil {
		part := report{}
		if err = reports.Decode(&part); err == nil {
			err = take(part)
		}
	}
	if errors.Is(err, io.EOF) {
		err = nil
	}
	if err = errors.Join(err, cmd.Wait()); err != nil {
		return fmt.Errorf("%s: %w", stage, err)
	}
	return nil
}

// again is this executable as another stage. files begin at descriptor 3.
func again(stage string, p plan, attr *syscall.SysProcAttr, errs io.Writer, files ...*os.File) (*exec.Cmd, error) {
	text, err := json.Marshal(p)
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(filepath.Join(filepath.Dir(p.Dir), "bin", "bench"), stage, string(text))
	cmd.Dir = "/"
	cmd.Stderr = errs
	cmd.ExtraFiles = files
	cmd.SysProcAttr = attr
	return cmd, nil
}

// Descriptors of a measuring process.
const (
	reportFD  = 3
	questions = 4 // only below a world, see pss.go
	answers   = 5
)

// world makes the mounts that only root can, and has the user measure there.
func world(ctx context.Context, p plan, errs io.Writer) error {
	if err := furnish(p); err != nil {
		return err
	}
	askR, askW, err := os.Pipe()
	if err != nil {
		return err
	}
	tellR, tellW, err := os.Pipe()
	if err != nil {
		return err
	}
	attr := &syscall.SysProcAttr{
		Pdeathsig:  syscall.SIGKILL,
		Credential: &syscall.Credential{Uid: p.UID, Gid: p.GID},
	}
	cmd, err := again("measure", p, attr, errs, os.NewFile(reportFD, "report"), askW, tellR)
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start measure: %w", err)
	}
	undo := context.AfterFunc(ctx, func() { _ = cmd.Process.Signal(syscall.SIGTERM) })
	defer undo()
	_ = errors.Join(askW.Close(), tellR.Close())
	served := weigher(askR, tellW)
	return errors.Join(cmd.Wait(), served)
}

// furnish works in namespaces of this process's own. /dev/shm is private, as
// podman leaves a file there.
func furnish(p plan) error {
	if err := unix.Mount("proc", "/proc", "proc", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, ""); err != nil {
		return fmt.Errorf("mount /proc: %w", err)
	}
	if err := unix.Mount("shm", "/dev/shm", "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, "mode=1777"); err != nil {
		return fmt.Errorf("mount /dev/shm: %w", err)
	}
	if !pureCgroup2() {
		if err := unix.Mount("cgroup2", "/sys/fs/cgroup", "cgroup2", 0, ""); err != nil {
			fmt.Fprintf(os.Stderr, "bench: mount cgroup2: %v; some peers will refuse to run\n", err)
		}
	}
	if err := os.Mkdir(p.Dir, 0o755); err != nil {
		return err
	}
	if err := os.Chown(p.Dir, int(p.UID), int(p.GID)); err != nil {
		return err
	}
	return crowdMounts(filepath.Join(filepath.Dir(p.Dir), "crowd"), p.Mounts)
}

func pureCgroup2() bool {
	fs := unix.Statfs_t{}
	return unix.Statfs("/sys/fs/cgroup", &fs) == nil && fs.Type == unix.CGROUP2_SUPER_MAGIC
}

// crowdMounts makes count mounts below a new directory.
func crowdMounts(dir string, count int) error {
	if count == 0 {
		return nil
	}
	if err := os.Mkdir(dir, 0o755); err != nil {
		return err
	}
	if err := unix.Mount("crowd", dir, "tmpfs", 0, ""); err != nil {
		return fmt.Errorf("mount %s: %w", dir, err)
	}
	for i := range count - 1 {
		one := filepath.Join(dir, strconv.Itoa(i))
		if err := os.Mkdir(one, 0o755); err != nil {
			return err
		}
		if err := unix.Mount(one, one, "", unix.MS_BIND, ""); err != nil {
			return fmt.Errorf("bind %s: %w", one, err)
		}
	}
	return nil
}

// remove deletes the site. Subordinate ids may own some of it, whom only the
// user's own user namespace has power over.
func remove(dir string) error {
	err := os.RemoveAll(dir)
	if err == nil || os.Geteuid() == 0 {
		return err
	}
	_ = exec.Command("unshare", "--map-root-user", "--map-auto", "rm", "-rf", dir).Run() //nolint:gosec // a directory of our own making
	return os.RemoveAll(dir)
}
