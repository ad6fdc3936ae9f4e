package rootless

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"bryo/fsroot"
	"bryo/idmap"
	"bryo/rootless/ns"
)

// ErrNoShell means that no command was given and the root has no shell.
var ErrNoShell = errors.New("no command was given and the root file system has no shell; write one behind ROOTFS")

// Compile decides everything that is asked for on a host that is as facts
// say. Its error says what cannot be and what to do instead.
func Compile(spec *Spec, facts *Facts) (*Plan, error) {
	set := spec.Namespaces
	if err := spec.Check(); err != nil {
		return nil, err
	}
	if spec.Offsets != (ns.Offsets{}) && spec.Process.AsPID1 && !facts.Kernel.TimeOnExec {
		return nil, errors.New("--time-offset and --as-pid-1 go together from Linux 6.2 on\nfix: leave one out")
	}
	if len(facts.Joined) > 0 && set[ns.User].Mode == ns.Own {
		set[ns.User] = ns.Owner()
	}
	pl := &Plan{
		ID: facts.ID, Namespaces: set, Joined: facts.Joined, Self: facts.Self, Helpers: facts.Helpers,
		Offsets: spec.Offsets.Text(), Labels: spec.Labels, Terminal: facts.Window,
		BestEffort: spec.BestEffort,
	}
	pl.OOMScore = raised(facts.OOMScore)
	for _, decide := range []func(*Spec, *Facts, *Plan) error{compileIDs, compileSquash, compileNames, compileNetwork, compileRoot, compileLimits, compileProcess, compileLandlock} {
		if err := decide(spec, facts, pl); err != nil {
			return nil, err
		}
	}
	return pl, nil
}

// Check refuses what cannot go together on any host.
func (spec *Spec) Check() error {
	set := spec.Namespaces
	if err := set.Check(); err != nil {
		return err
	}
	if spec.Offsets != (ns.Offsets{}) && len(set.Joined()) > 0 {
		return errors.New("--time-offset needs a user namespace of its own; leave it out, or join nothing")
	}
	if spec.Offsets != (ns.Offsets{}) && set[ns.Time].Mode != ns.Own {
		return fmt.Errorf("--time-offset needs a time namespace of its own; leave out --time %s", set[ns.Time])
	}
	if (spec.Hostname != "" || spec.Domainname != "") && set[ns.UTS].Mode != ns.Own {
		return fmt.Errorf("--hostname and --domainname need a UTS namespace of its own; leave out --uts %s", set[ns.UTS])
	}
	for _, s := range spec.Sysctls {
		if err := s.Check(set); err != nil {
			return err
		}
	}
	if err := spec.Limits.Check(); err != nil {
		return err
	}
	return spec.checkNetwork()
}

func compileIDs(spec *Spec, facts *Facts, pl *Plan) error {
	if len(facts.Joined) > 0 {
		pl.IDs = facts.JoinedIDs // its maps are made
		if spec.IDs.Mode != idmap.Auto {
			return errors.New("a joined namespace brings its user namespace and that one's id map; leave --userns and --uidmap out")
		}
		return nil
	}
	choice, err := idmap.Choose(spec.IDs, facts.Self, facts.UIDs, facts.GIDs)
	if err != nil {
		return err
	}
	if choice.Helpers && (facts.Helpers.UID == "" || facts.Helpers.GID == "") {
		if spec.IDs.Mode == idmap.Explicit {
			return errors.New("newuidmap and newgidmap are missing, which map more than your own id\nfix: install them (Debian: apt-get install uidmap)")
		}
		if choice, err = idmap.Choose(spec.IDs, facts.Self, nil, nil); err != nil {
			return err
		}
		pl.Warnings = append(pl.Warnings, "newuidmap and newgidmap are missing: only one id is mapped; install them (Debian: uidmap), or say --userns single")
	} else if choice.Warning == idmap.NoRanges {
		pl.Warnings = append(pl.Warnings, noRangesWarning(facts))
	}
	pl.IDs = choice
	pl.Warnings = append(pl.Warnings, noteWarnings(facts.Root.IDMap, choice.Maps)...)
	if uid, gid := pl.Builder(); uid == idmap.NoID || gid == idmap.NoID {
		return errors.New("the id map has neither root nor yourself, and nobody to make the container\nfix: map 0, or your own ids, too")
	}
	return nil
}

func noRangesWarning(facts *Facts) string {
	name := facts.Name
	if name == "" {
		name = strconv.FormatUint(uint64(facts.Self.UID), 10)
	}
	const many = 65536
	var add string
	if first := facts.FreeUIDs; first != 0 {
		add += fmt.Sprintf(" --add-subuids %d-%d", first, first+many-1)
	}
	if first := facts.FreeGIDs; first != 0 {
		add += fmt.Sprintf(" --add-subgids %d-%d", first, first+many-1)
	}
	return fmt.Sprintf("you have no subordinate ids, only one id is mapped; as root: usermod%s %s, or say --userns single", add, name)
}

func compileNames(spec *Spec, _ *Facts, pl *Plan) error {
	if pl.Namespaces[ns.UTS].Mode != ns.Own {
		return nil
	}
	pl.Hostname, pl.Domainname = spec.Hostname, spec.Domainname
	if pl.Hostname == "" {
		pl.Hostname = pl.ID
	}
	return errors.Join(checkName("host name", pl.Hostname), checkName("domain name", pl.Domainname))
}

func checkName(kind, name string) error {
	const longest = 64 // __NEW_UTS_LEN
	if len(name) > longest || strings.ContainsAny(name, "\x00\n/ ") {
		return fmt.Errorf("%s %q: at most %d bytes, without blanks and slashes", kind, name, longest)
	}
	return nil
}

const defaultShm = 64 << 20

func compileRoot(spec *Spec, facts *Facts, pl *Plan) error {
	if facts.Root.Empty {
		return fmt.Errorf("the root file system %s is empty\nfix: unpack one into it, as: mmdebstrap --variant=minbase stable - | bryo unpack - %s",
			spec.Root.Path, shellWord(spec.Root.Path))
	}
	if facts.Root.Foreign {
		return fmt.Errorf("%s is no root file system: neither bin nor usr is there, nor the command\nfix: give the directory of one; to work on files, mount them into it: %s",
			spec.Root.Path, mountFlag(spec.Root.Path))
	}
	set := pl.Namespaces
	root := &pl.Root
	*root = fsroot.Plan{
		Root: facts.Root.Source, Host: spec.Root.Host, ReadOnly: spec.Root.ReadOnly || (spec.Root.Host && !spec.Root.Ephemeral),
		ShmSize: spec.ShmSize, Devices: spec.Devices, Console: spec.Process.Terminal, Legacy: !facts.Kernel.MountSetattr,
		TTYGroup: pl.IDs.Maps.GID.Covers(5), SetUID: spec.Process.NewPrivs, BestEffort: spec.BestEffort,
	}
	if root.ShmSize == 0 {
		root.ShmSize = defaultShm
	}
	if set[ns.PID].Mode == ns.Host {
		root.Proc = fsroot.HostProc
	}
	root.HostIPC = set[ns.IPC].Mode == ns.Host
	if set[ns.Net].Mode == ns.Host {
		root.Sys = fsroot.EmptySys
	} else {
		root.Throttles = facts.Throttles
	}
	if err := errors.Join(compileMounts(spec, facts, pl), compileImage(spec, facts, pl)); err != nil {
		return err
	}
	root.Files = files(spec, facts, pl)
	root.Sysctls = sysctls(spec, pl)
	compileLayer(spec, facts, pl)
	return nil
}

// compileLayer puts a layer that is thrown away on a root, where that is asked for
// or mount points are missing that nobody can make.
func compileLayer(spec *Spec, facts *Facts, pl *Plan) {
	root, missing := &pl.Root, facts.Root.Missing
	root.Layer = spec.Root.Ephemeral || len(missing) > 0
	if !root.Layer {
		return
	}
	root.Copy = !facts.Kernel.Overlay
	root.Entries = facts.Root.Entries
	if !spec.Root.Ephemeral && !root.ReadOnly {
		pl.Warnings = append(pl.Warnings, fmt.Sprintf("what is written to %s is thrown away: %s is missing in it, and you cannot make it there",
			spec.Root.Path, missing[0]))
	}
}

// raised is an adjustment with which the kernel, short of memory, ends a
// container before what its user works with. It never lowers one.
func raised(score int) int {
	const least = 100
	if score >= least {
		return 0
	}
	return least
}

func compileMounts(spec *Spec, facts *Facts, pl *Plan) error {
	var mounts []fsroot.Attached
	for _, m := range spec.Mounts {
		if m.Type == fsroot.Overlay && !facts.Kernel.Overlay {
			return fmt.Errorf("mount %s: this kernel has no overlay for users (Linux 5.11 has)\nfix: mount the directory read-only, or a copy of it", m.Target)
		}
		mounts = append(mounts, fsroot.Attached{Mount: m, From: facts.Sources[m.Source]})
	}
	if pl.Root.ReadOnly || pl.Root.Host {
		scratch := fsroot.Scratch(pl.Root.Host, mounts, facts.Memory)
		if !slices.ContainsFunc(scratch, func(m fsroot.Attached) bool { return fsroot.Under(facts.RuntimeDir, m.Target) }) {
			scratch = append(scratch, fsroot.Hide(facts.RuntimeDir, mounts, facts.Memory)...)
		}
		mounts = append(scratch, mounts...)
	}
	var err error
	pl.Root.Mounts, err = fsroot.Order(mounts)
	return err
}

// files are those that bryo writes. Where the root is the host's, what it has
// stays, but for the name.
func files(spec *Spec, facts *Facts, pl *Plan) []fsroot.File {
	var list []fsroot.File
	add := func(target, content string) {
		taken := slices.ContainsFunc(pl.Root.Mounts, func(m fsroot.Attached) bool { return fsroot.Under(target, m.Target) })
		if !taken {
			list = append(list, fsroot.File{Target: target, Content: content, Lax: pl.Root.Host})
		}
	}
	if pl.Hostname != "" {
		add("/etc/hostname", pl.Hostname+"\n")
	}
	if pl.Namespaces[ns.Net].Mode == ns.Host {
		if !pl.Root.Host {
			add("/etc/hosts", facts.Hosts)
		}
		add("/etc/resolv.conf", facts.Resolver) // the host's may lie below /run
		return list
	}
	add("/etc/hosts", hosts(spec, facts, pl))
	add("/etc/resolv.conf", resolver(spec, facts, pl))
	return list
}

// sysctls are those asked for, and the one that forbids user namespaces below
// the container's: most of the kernel's attack surface lies behind them.
func sysctls(spec *Spec, pl *Plan) []fsroot.Setting {
	var list []fsroot.Setting
	const nested = "user/max_user_namespaces"
	asked := map[string]bool{}
	for _, s := range spec.Sysctls {
		list = append(list, fsroot.Setting{Path: s.Path(), Value: s.Value})
		asked[s.Path()] = true
	}
	if !asked[nested] && !spec.Process.Nest && len(spec.Namespaces.Joined()) == 0 {
		list = append(list, fsroot.Setting{Path: nested, Value: "0", Limits: true})
	}
	if groups := pingGroups(pl); groups != "" && !asked[pingGroupRange] {
		list = append(list, fsroot.Setting{Path: pingGroupRange, Value: groups})
	}
	return list
}

// MountPoints lists the paths that a container of this Spec mounts on.
func MountPoints(spec *Spec) []string {
	points := []string{"/proc", "/sys", "/dev"}
	for i := range spec.Mounts {
		points = append(points, spec.Mounts[i].Target)
	}
	if !spec.Root.Host {
		points = append(points, "/etc/hostname", "/etc/hosts", "/etc/resolv.conf")
		if spec.Root.ReadOnly {
			for _, m := range fsroot.Scratch(false, nil, 0) {
				points = append(points, m.Target)
			}
		}
	}
	return points
}

// CompileUnshare decides what bryo unshare does: the command under the id map,
// with the caller's environment and search path.
func CompileUnshare(spec *Spec, facts *Facts, args, env []string) (*Plan, error) {
	pl := &Plan{Self: facts.Self, Helpers: facts.Helpers}
	if err := compileIDs(spec, facts, pl); err != nil {
		return nil, err
	}
	pl.Process = Process{Env: env, SetGroups: pl.IDs.Setgroups}
	search := &Spec{Process: ProcessSpec{Args: args}}
	return pl, command(search, facts, &pl.Process)
}
