package procfs

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/moby/sys/mountinfo"
	"golang.org/x/sys/unix"

	"bryo/fsroot"
	"bryo/idmap"
	"bryo/rootless"
	"bryo/rootless/ns"
)

// Security is what holds for a container.
type Security struct {
	UIDs, GIDs idmap.Map
	SetGroups  string // allow or deny: user_namespaces(7)
	Namespaces []Namespace
	Init       *Process `json:",omitempty"` // nil where the command is PID 1
	Command    Process
	Mounts     []Mount
	Masked     []string // paths of /proc and /sys that something covers
	Bare       []string // those that should be, and are open
	// Planned is what was to hold and the kernel tells nobody of, or root alone.
	Planned Planned
	// Weaker says where less holds than was planned.
	Weaker []string
}

// Planned is from the container's plan.
type Planned struct {
	Seccomp  string // profile and the filter's hash
	Landlock string
	GivenUp  []string `json:",omitempty"` // what the kernel refused at the start: --best-effort
}

// Namespace is one that the container is in.
type Namespace struct {
	Kind  string
	Inode string
	Host  bool // the one that bryo runs in
}

// Mount is one mount of the container.
type Mount struct {
	Point, Type, Source string
	Root                string // what of the file system is shown
	Options             string // of the mount: ro, nosuid, nodev, noexec
	Propagation         string `json:",omitempty"`
	Covered             bool   `json:",omitempty"` // by another on the same point
}

// Processes are those to be read: PID 1 and the command of a container, and
// whoever started it. Init and Command may be one.
type Processes struct{ Init, Command, Supervisor int }

// Inspect reads what holds for a container that was started by a plan.
func Inspect(of Processes, plan *rootless.Plan) (*Security, error) {
	s := &Security{Planned: Planned{
		Seccomp: plan.Process.Seccomp.String(), Landlock: plan.Process.Landlock.String(), GivenUp: plan.GivenUp,
	}}
	from := of.shown()
	if err := s.readMaps(from); err != nil {
		return nil, err
	}
	maps := idmap.Maps{UID: s.UIDs, GID: s.GIDs}
	command, err := readProcess(of.Command, maps)
	if err != nil {
		return nil, err
	}
	s.Command = command
	if of.Init != of.Command {
		init, err := readProcess(of.Init, maps)
		if err != nil {
			return nil, err
		}
		s.Init = &init
	}
	if s.Namespaces, err = readNamespaces(from); err != nil {
		return nil, err
	}
	user, err := namespace(of.Command, ns.User)
	if err != nil {
		return nil, err
	}
	s.Command.Nested = user != s.Namespaces[ns.User].Inode
	if err := s.readMounts(from); err != nil {
		return nil, err
	}
	if err := s.readMasks(from, plan); err != nil {
		return nil, err
	}
	outside, err := readProcess(of.Supervisor, idmap.Maps{})
	if err != nil {
		return nil, err
	}
	s.Weaker = append([]string{}, s.weaker(plan, outside.Filters)...)
	return s, nil
}

// shown is the process whose namespaces tell: init, which is where bryo put it.
// The command may have left them for some inside. An init that was executed
// outside, to join others, hides from the user.
func (of Processes) shown() int {
	if _, err := namespace(of.Init, ns.User); err != nil {
		return of.Command
	}
	return of.Init
}

// most is how much of a file is read: a container may have many mounts.
const most = 8 << 20

func read(pid int, name string) (string, error) {
	file, err := os.Open(path.Join("/proc", strconv.Itoa(pid), name))
	if err != nil {
		return "", err
	}
	defer file.Close()
	text, err := io.ReadAll(io.LimitReader(file, most+1))
	if err == nil && len(text) > most {
		err = fmt.Errorf("/proc/%d/%s: more than %d MiB", pid, name, most>>20)
	}
	return string(text), err
}

func (s *Security) readMaps(pid int) error {
	for name, m := range map[string]*idmap.Map{"uid_map": &s.UIDs, "gid_map": &s.GIDs} {
		text, err := read(pid, name)
		if err != nil {
			return err
		}
		if *m, err = idmap.ParseLines(text); err != nil {
			return err
		}
	}
	text, err := read(pid, "setgroups")
	s.SetGroups = strings.TrimSpace(text)
	return err
}

func readProcess(pid int, maps idmap.Maps) (Process, error) {
	text, err := read(pid, "status")
	if err != nil {
		return Process{}, err
	}
	p, err := parseStatus(text, maps)
	if err != nil {
		return p, err
	}
	p.PID = pid
	if text, err = read(pid, "limits"); err != nil {
		return p, err
	}
	p.Limits = parseLimits(text)
	if text, err = read(pid, "oom_score_adj"); err != nil {
		return p, err
	}
	p.OOMScoreAdj, _ = strconv.Atoi(strings.TrimSpace(text))
	p.Dumpable = dumpable(pid, maps)
	p.Descriptors, err = descriptors(pid)
	if errors.Is(err, fs.ErrPermission) {
		p.Hidden, err = true, nil
	}
	return p, err
}

// dumpable tells by whom a process's files belong to: its user, or if it is not
// dumpable root of its user namespace. That may be one and the same.
func dumpable(pid int, maps idmap.Maps) string {
	const unknown = "the kernel does not tell"
	dir := path.Join("/proc", strconv.Itoa(pid))
	var user, owner unix.Stat_t
	if unix.Stat(dir, &user) != nil || unix.Stat(dir+"/status", &owner) != nil {
		return unknown
	}
	root, mapped := maps.UID.ToHost(0)
	switch {
	case user.Uid != owner.Uid:
		return "no"
	case mapped && user.Uid == root:
		return unknown
	}
	return "yes"
}

func descriptors(pid int) ([]string, error) {
	dir := path.Join("/proc", strconv.Itoa(pid), "fd")
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	list := []string{}
	for _, e := range entries {
		if target, err := os.Readlink(path.Join(dir, e.Name())); err == nil { // it may be closed by now
			list = append(list, e.Name()+" "+target)
		}
	}
	return list, nil
}

// namespace is the inode of one that a process is in.
func namespace(pid int, k ns.Kind) (string, error) {
	link, err := os.Readlink(path.Join("/proc", strconv.Itoa(pid), "ns", k.File()))
	return strings.Trim(strings.TrimPrefix(link, k.File()), ":[]"), err
}

// readNamespaces lists them as ns.All does.
func readNamespaces(pid int) (list []Namespace, err error) {
	for _, k := range ns.All() {
		theirs, err := namespace(pid, k)
		if err != nil {
			return nil, err
		}
		ours, err := namespace(os.Getpid(), k)
		if err != nil {
			return nil, err
		}
		list = append(list, Namespace{Kind: k.File(), Inode: theirs, Host: theirs == ours})
	}
	return list, nil
}

func (s *Security) readMounts(pid int) error {
	text, err := read(pid, "mountinfo")
	if err != nil {
		return err
	}
	infos, err := mountinfo.GetMountsFromReader(bytes.NewReader([]byte(text)), nil)
	if err != nil {
		return fmt.Errorf("/proc/%d/mountinfo: %w", pid, err)
	}
	type place struct {
		parent int
		point  string
	}
	taken := make(map[place]bool, len(infos))
	for _, i := range infos {
		taken[place{i.Parent, i.Mountpoint}] = true
	}
	for _, i := range infos {
		covered := taken[place{i.ID, i.Mountpoint}]
		s.Mounts = append(s.Mounts, Mount{
			Point: i.Mountpoint, Type: i.FSType, Source: i.Source, Root: i.Root, Options: i.Options, Propagation: i.Optional, Covered: covered,
		})
	}
	return nil
}

// readMasks looks at what should be masked. What is not there needs no cover.
func (s *Security) readMasks(pid int, plan *rootless.Plan) (err error) {
	root, err := fsroot.OpenRoot(fmt.Sprintf("/proc/%d/root", pid))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, root.Close()) }()
	for _, path := range plan.Root.Masked() {
		switch {
		case slices.ContainsFunc(s.Mounts, func(m Mount) bool { return m.covers(path) }):
			s.Masked = append(s.Masked, path)
		case root.Has(path):
			s.Bare = append(s.Bare, path)
		}
	}
	return nil
}

// covers says whether it is one of bryo's masks: the null device, or an empty
// directory that cannot be written.
func (m *Mount) covers(path string) bool {
	return m.Point == path && !m.Covered && (m.Root == "/null" || (m.Type == "tmpfs" && m.Root == "/empty" && m.has("ro")))
}

func (m *Mount) has(option string) bool {
	return slices.Contains(strings.Split(m.Options, ","), option)
}
