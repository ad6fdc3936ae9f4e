package cgroup

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Root is where the host has its cgroups.
const Root = "/sys/fs/cgroup"

// Probe finds out what the host has. program is bryo-cgroup's path.
func Probe(program string) Facts {
	facts := Facts{Program: program}
	var fs unix.Statfs_t
	facts.Unified = unix.Statfs(Root, &fs) == nil && fs.Type == unix.CGROUP2_SUPER_MAGIC
	if !facts.Unified {
		return facts
	}
	facts.Self, _ = Of(unix.Getpid())
	facts.Manager = manager()
	if !managed(facts.Self) {
		facts.Places = places(facts.Self)
	}
	return facts
}

// manager looks for systemd's user manager, also where nothing tells of it: su
// and sudo set no XDG_RUNTIME_DIR. Without a bus it speaks for itself.
func manager() Manager {
	uid := strconv.Itoa(unix.Getuid())
	dirs := []string{os.Getenv("XDG_RUNTIME_DIR"), "/run/user/" + uid}
	var m Manager
	for _, dir := range dirs {
		for _, name := range []string{"bus", "systemd/private"} {
			socket := filepath.Join(dir, name)
			if filepath.IsAbs(dir) && m.Socket == "" && unix.Access(socket, unix.R_OK|unix.W_OK) == nil {
				m.Socket = socket
			}
		}
	}
	slice := "user-" + uid + ".slice"
	m.Controllers = words(filepath.Join(Root, "user.slice", slice, "user@"+uid+".service", "cgroup.controllers"))
	return m
}

// places are the user's own cgroups, this process's and those above it. Its own,
// whose limits hold for what is below, is the first if nobody else is in it.
func places(self string) []Place {
	var list, above []Place
	for dir := self; writable(filepath.Join(Root, dir)); dir = path.Dir(dir) {
		if dir == self {
			list = []Place{{dir, words(filepath.Join(Root, dir, "cgroup.controllers")), true}}
		} else {
			above = append(above, Place{dir, words(filepath.Join(Root, dir, "cgroup.subtree_control")), false})
		}
		if dir == "/" {
			break
		}
	}
	inside := words(filepath.Join(Root, self, "cgroup.procs"))
	if alone := len(inside) == 1 && inside[0] == strconv.Itoa(unix.Getpid()); alone && path.Base(self) != own {
		return append(list, above...)
	}
	return append(above, list...)
}

// writable says whether cgroups can be made in one, and processes moved there.
func writable(dir string) bool {
	for _, file := range []string{"", "cgroup.procs", "cgroup.subtree_control"} {
		if unix.Access(filepath.Join(dir, file), unix.W_OK) != nil {
			return false
		}
	}
	return true
}

func words(file string) []string {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil
	}
	return strings.Fields(string(text))
}

// Of is the cgroup of a process, below Root.
func Of(pid int) (string, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", pid))
	if err != nil {
		return "", fmt.Errorf("look for the cgroup: %w", err)
	}
	cgroup, ok := Parse(string(text))
	if !ok {
		return "", fmt.Errorf("look for the cgroup: /proc/%d/cgroup has none of v2", pid)
	}
	return cgroup, nil
}

// Group is a cgroup that a container is born into. Descriptors are -1 for none.
type Group struct {
	FD   int    // of its directory
	Base int    // of the one above; none for one that is not ours to remove
	Name string // in that
}

// Settled says whether this process is where it can make, or enter, the
// container's cgroup without systemd's help.
func (pl *Plan) Settled() bool {
	if pl.Socket == "" {
		return true
	}
	self, err := Of(unix.Getpid())
	if err != nil {
		return false
	}
	if pl.Entered != "" {
		return path.Dir(self) == path.Dir(pl.Entered)
	}
	return ours(self)
}

// Make makes the container's cgroup, with its limits, or opens the one that is
// there. Where systemd is asked it has put this process into a scope by now.
func (pl *Plan) Make() (*Group, error) {
	root, err := unix.Open(Root, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, os.NewSyscallError("open", err)
	}
	defer unix.Close(root)
	var fs unix.Statfs_t
	if err := unix.Fstatfs(root, &fs); err != nil || fs.Type != unix.CGROUP2_SUPER_MAGIC {
		return nil, errors.New("no cgroup v2 is at " + Root)
	}
	if pl.Entered != "" {
		fd, err := below(root, pl.Entered)
		return &Group{FD: fd, Base: -1}, err
	}
	place := pl.Place
	if pl.Socket != "" {
		if place, err = pl.inScope(); err != nil {
			return nil, err
		}
	}
	base, err := below(root, place.Path)
	if err != nil {
		return nil, err
	}
	g := &Group{FD: -1, Base: base, Name: pl.Name}
	if err := g.make(&pl.Limits, place); err != nil {
		return nil, errors.Join(err, g.Remove())
	}
	return g, nil
}

// inScope is the scope that systemd has moved this process to; one that is
// started once more is there already.
func (pl *Plan) inScope() (Place, error) {
	self, err := Of(unix.Getpid())
	switch {
	case err != nil:
		return Place{}, err
	case ours(self):
		return Place{Path: path.Dir(self)}, nil
	case path.Base(self) != pl.Unit:
		return Place{}, fmt.Errorf("systemd made %s, but bryo is in the cgroup %s", pl.Unit, self)
	}
	return Place{Path: self, Move: true}, nil
}

// below opens a cgroup for reading: a lock needs that.
func below(root int, cgroup string) (int, error) {
	fd, err := unix.Openat2(root, "."+cgroup, &unix.OpenHow{
		Flags:   unix.O_RDONLY | unix.O_DIRECTORY | unix.O_CLOEXEC | unix.O_NOFOLLOW,
		Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_SYMLINKS | unix.RESOLVE_NO_XDEV,
	})
	if err != nil {
		return -1, fmt.Errorf("open the cgroup %s: %w", cgroup, err)
	}
	return fd, nil
}

const dirMode = 0o755

// make makes the cgroup in base. The lock, which goes with base, keeps those who
// sweep from a cgroup that has no process yet.
func (g *Group) make(limits *Limits, place Place) error {
	g.sweep()
	if err := flock(g.Base, unix.LOCK_SH); err != nil {
		return err
	}
	if place.Move {
		if err := g.leave(); err != nil {
			return err
		}
	}
	enable := Setting{File: "cgroup.subtree_control", Value: "+" + strings.Join(limits.Controllers(), " +")}
	if err := set(g.Base, enable); errors.Is(err, unix.EBUSY) {
		return &RefusedError{
			ID:  "no-cgroup",
			Why: "the cgroup " + place.Path + " is yours, but has other processes beside bryo, and so cannot give controllers to others",
			Fix: "start bryo by itself in a cgroup (systemd-run --user --scope -p Delegate=yes bryo ...), or move the others into one below it",
		}
	} else if err != nil {
		return err
	}
	if err := unix.Mkdirat(g.Base, g.Name, dirMode); err != nil {
		return fmt.Errorf("make the cgroup %s: %w", g.Name, err)
	}
	fd, err := unix.Openat(g.Base, g.Name, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC|unix.O_NOFOLLOW, 0)
	if err != nil {
		return fmt.Errorf("open the cgroup %s: %w", g.Name, err)
	}
	g.FD = fd
	return g.limit(limits)
}

// leave moves this process out of base, and below it.
func (g *Group) leave() error {
	if err := unix.Mkdirat(g.Base, own, dirMode); err != nil && !errors.Is(err, unix.EEXIST) {
		return fmt.Errorf("make the cgroup %s: %w", own, err)
	}
	return set(g.Base, Setting{File: own + "/cgroup.procs", Value: "0"})
}

func (g *Group) limit(limits *Limits) error {
	for _, s := range limits.Settings() {
		switch err := set(g.FD, s); {
		case errors.Is(err, unix.ERANGE) && s.File == cpusetCPUs: // check tells
		case err != nil:
			return err
		}
	}
	return g.check(limits)
}

// set writes a file of a cgroup.
func set(dir int, s Setting) error {
	fd, err := unix.Openat(dir, s.File, unix.O_WRONLY|unix.O_CLOEXEC|unix.O_NOFOLLOW, 0)
	switch {
	case errors.Is(err, unix.ENOENT) && s.Else != nil:
		return set(dir, *s.Else)
	case errors.Is(err, unix.ENOENT) && s.File == swapMax:
		return withoutSwap()
	case err != nil:
		return fmt.Errorf("set %s: %w", s.File, err)
	}
	defer unix.Close(fd)
	if _, err := unix.Write(fd, []byte(s.Value)); err != nil {
		return fmt.Errorf("set %s to %s: %w", s.File, s.Value, err)
	}
	return nil
}

// withoutSwap is for kernels that do not count swap: no matter where there is none.
func withoutSwap() error {
	text, err := os.ReadFile("/proc/swaps")
	if err == nil && strings.Count(string(text), "\n") <= 1 {
		return nil
	}
	return &RefusedError{
		Why: "--memory: this kernel does not count swap, and the container could fill all of it",
		Fix: "boot with swapaccount=1, or say --memory-swap -1 if that may be",
	}
}

// check compares what the kernel made of processors that may not be there: some
// lists it refuses, for others it gives others.
func (g *Group) check(limits *Limits) error {
	if limits.CPUs == "" {
		return nil
	}
	text, err := read(g.FD, "cpuset.cpus.effective")
	if err != nil {
		return err
	}
	there, err := parseSet(text)
	if err != nil {
		return err
	}
	asked, err := parseSet(limits.CPUs)
	if err != nil {
		return err
	}
	maps.DeleteFunc(asked, func(n int, _ bool) bool { return !there[n] })
	if got := formatSet(asked); got != limits.CPUs {
		return fmt.Errorf("--cpuset %s: of these processors you have %s\nfix: choose among %s", limits.CPUs, cmp.Or(got, "none"), text)
	}
	return nil
}

func read(dir int, name string) (string, error) {
	fd, err := unix.Openat(dir, name, unix.O_RDONLY|unix.O_CLOEXEC|unix.O_NOFOLLOW, 0)
	if err != nil {
		return "", fmt.Errorf("read %s: %w", name, err)
	}
	file := os.NewFile(uintptr(fd), name)
	defer file.Close()
	const most = 64 << 10
	buf := make([]byte, most)
	n, err := file.Read(buf)
	if n == 0 && err != nil {
		return "", nil
	}
	return strings.TrimSpace(string(buf[:n])), nil
}

// sweep removes the cgroups of those that were killed: the kernel refuses where
// processes are.
func (g *Group) sweep() {
	if flock(g.Base, unix.LOCK_EX|unix.LOCK_NB) != nil {
		return
	}
	dir, err := os.Open(fmt.Sprintf("/proc/self/fd/%d", g.Base))
	if err != nil {
		return
	}
	defer dir.Close()
	names, _ := dir.Readdirnames(-1)
	for _, name := range slices.DeleteFunc(names, func(n string) bool { return !strings.HasPrefix(n, prefix) }) {
		_ = unix.Unlinkat(g.Base, name, unix.AT_REMOVEDIR)
	}
}

func flock(fd, how int) error {
	for {
		if err := unix.Flock(fd, how); !errors.Is(err, unix.EINTR) {
			return os.NewSyscallError("flock", err)
		}
	}
}

// Born lets others sweep again: the container is in its cgroup, or never will be.
func (g *Group) Born() {
	if g.Base >= 0 {
		_ = flock(g.Base, unix.LOCK_UN)
	}
}

// Remove removes the cgroup once its last process has ended, which may take a
// moment longer than to wait for it.
func (g *Group) Remove() error {
	defer g.Close()
	if g.Base < 0 {
		return nil
	}
	const tries, pause = 50, 2 * time.Millisecond
	for range tries {
		switch err := unix.Unlinkat(g.Base, g.Name, unix.AT_REMOVEDIR); {
		case err == nil, errors.Is(err, unix.ENOENT):
			return nil
		case !errors.Is(err, unix.EBUSY):
			return fmt.Errorf("remove the cgroup %s: %w", g.Name, err)
		}
		time.Sleep(pause)
	}
	return nil // what is left in it was left running: the next one sweeps
}

// Close lets go of the cgroup, and leaves it.
func (g *Group) Close() {
	for _, fd := range []*int{&g.FD, &g.Base} {
		if *fd >= 0 {
			_ = unix.Close(*fd)
			*fd = -1
		}
	}
}
