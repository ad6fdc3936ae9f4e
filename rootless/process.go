package rootless

import (
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"bryo/idmap"
	"bryo/rootless/confine"
	"bryo/rootless/ns"
)

func compileProcess(spec *Spec, facts *Facts, pl *Plan) error {
	if slices.Contains(spec.Process.Groups, keepGroups) {
		return compileKeepingGroups(spec, facts, pl)
	}
	account, err := account(spec, facts, pl)
	if err != nil {
		return err
	}
	env := account
	if pl.Squash != nil {
		account = pl.Squash.take(account)
	}
	p := &pl.Process
	*p = Process{
		UID: account.UID, GID: account.GID, Groups: account.Groups, SetGroups: pl.IDs.Setgroups, Dir: spec.Process.Dir,
		Umask: 0o022, Init: !spec.Process.AsPID1, Terminal: spec.Process.Terminal, StopSignal: spec.Process.StopSignal,
		// To map root in a nested user namespace takes CAP_SETFCAP: user_namespaces(7).
		Caps: spec.Process.Caps.Of(confine.DefaultCaps(pl.IDs.Helpers || spec.Process.Nest)),
	}
	p.Seccomp = facts.Seccomp
	p.NewPrivs = spec.Process.NewPrivs
	if account.UID != 0 {
		p.Ambient = spec.Process.Caps.Add & p.Caps
	}
	if err := checkPrivileges(spec, facts, p); err != nil {
		return err
	}
	if spec.Process.Umask != nil {
		p.Umask = *spec.Process.Umask
	}
	if err := compileDir(pl); err != nil {
		return err
	}
	p.Limits, err = confine.Limits(processLimits(spec, facts, pl), func(resource int) uint64 {
		if most, ok := facts.Limits[resource]; ok {
			return most
		}
		return confine.Unlimited
	})
	if err != nil {
		return err
	}
	p.Env = environment(spec, pl, env)
	return command(spec, facts, p)
}

// compileDir settles the working directory, and whose it is where it is made.
func compileDir(pl *Plan) error {
	p := &pl.Process
	if p.Dir == "" {
		p.Dir = "/"
	}
	for i := range pl.Root.Dirs {
		pl.Root.Dirs[i].UID, pl.Root.Dirs[i].GID = p.UID, p.GID
	}
	if !path.IsAbs(p.Dir) {
		return fmt.Errorf("working directory %q: write an absolute path", p.Dir)
	}
	return nil
}

// checkPrivileges refuses those that cannot be had, or would undo the rest.
func checkPrivileges(spec *Spec, facts *Facts, p *Process) error {
	switch {
	case p.NewPrivs && facts.Kernel.NoNewPrivs:
		return errors.New("--allow-new-privs: bryo itself runs with no_new_privs, which nothing takes back\nfix: start bryo without it (NoNewPrivileges= of a service, setpriv, a container around it), or leave the flag out")
	case spec.Root.Host && p.Caps&(1<<unix.CAP_SYS_ADMIN) != 0:
		return errors.New("--cap-add sys_admin: it could unmount what covers the host's own /proc, /tmp and /run, and write to them\nfix: take a root file system other than host, or leave the capability out")
	}
	return checkTracing(spec, facts, p)
}

// checkTracing keeps root inside off the process of bryo-net's that makes the
// connections to published ports. That one was executed in the container's user
// namespace and sees the host's files; that it is not dumpable does not count
// against CAP_SYS_PTRACE there: ptrace(2). A PID namespace other than the host's
// hides it. Of a joined container nobody knows here whether it has one.
func checkTracing(spec *Spec, facts *Facts, p *Process) error {
	if spec.Namespaces[ns.PID].Mode != ns.Host || p.Caps&(1<<unix.CAP_SYS_PTRACE) == 0 {
		return nil
	}
	const why = "--cap-add sys_ptrace and --pid host: root inside could trace what connects published ports, and with it reach your files\nfix: leave out one of the two, or "
	switch {
	case spec.Net.publishes():
		return errors.New(why + "--publish and --port-socket")
	case len(facts.Joined) > 0:
		return errors.New(why + "join no other container's namespaces, which may have such ports")
	}
	return nil
}

// keepGroups stands for the groups that bryo itself is in. It is podman's word.
const keepGroups = "keep-groups"

// compileKeepingGroups leaves the groups as they are: no process can be in these,
// most of which are not mapped, and in others, too.
func compileKeepingGroups(spec *Spec, facts *Facts, pl *Plan) error {
	if len(spec.Process.Groups) > 1 {
		return errors.New("--group-add keep-groups goes with no other group: to be in one, a process leaves those\nfix: leave one of them out")
	}
	kept := *spec
	kept.Process.Groups = nil
	if err := compileProcess(&kept, facts, pl); err != nil {
		return err
	}
	pl.Process.Groups, pl.Process.SetGroups = nil, false
	pl.Warnings = append(pl.Warnings, "your groups on the host are kept: inside they look like nogroup, and open what they open outside")
	return nil
}

// account is who the command runs as; everybody it names is in the map.
func account(spec *Spec, facts *Facts, pl *Plan) (Account, error) {
	user := spec.Process.User
	if user == "" {
		user = "0"
		if spec.IDs.Mode == idmap.KeepID {
			uid, _ := pl.IDs.Maps.UID.ToContainer(facts.Self.UID)
			gid, _ := pl.IDs.Maps.GID.ToContainer(facts.Self.GID)
			user = fmt.Sprintf("%d:%d", uid, gid)
		}
	}
	a, err := Look(facts.Root.Passwd, facts.Root.Group, user, spec.Process.Groups)
	if err != nil || pl.Squash != nil {
		return a, err
	}
	if !pl.IDs.Maps.UID.Covers(a.UID) {
		return Account{}, outOfMap("user", a.UID, pl.IDs.Maps.UID)
	}
	if !pl.IDs.Maps.GID.Covers(a.GID) {
		return Account{}, outOfMap("group", a.GID, pl.IDs.Maps.GID)
	}
	if !pl.IDs.Setgroups && len(spec.Process.Groups) > 0 {
		return Account{}, errors.New("--group-add: with one id only, groups cannot be set; use a map with subordinate ids (bryo doctor ids)")
	}
	a.Groups = slices.DeleteFunc(a.Groups, func(gid uint32) bool { return !pl.IDs.Maps.GID.Covers(gid) })
	return a, nil
}

func outOfMap(kind string, id uint32, m idmap.Map) error {
	return fmt.Errorf("%s id %d is not in the map %s\nfix: choose one that is, or map more ids (bryo doctor ids)",
		kind, id, strings.ReplaceAll(strings.TrimSpace(m.Lines()), "\n", ", "))
}

const defaultPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// environment is clean but for what was asked for; the last of a name wins.
func environment(spec *Spec, pl *Plan, a Account) []string {
	home := a.Home
	switch {
	case pl.Root.Host:
		home = "/tmp" // root's own is out of reach, yours is read-only
	case home == "":
		home = "/"
	}
	env := []string{"PATH=" + defaultPath, "HOME=" + home, "container=bryo"}
	if pl.Hostname != "" {
		env = append(env, "HOSTNAME="+pl.Hostname)
	}
	if pl.Process.Terminal {
		env = append(env, "TERM=xterm")
	}
	return lastOfEach(append(env, spec.Process.Env...))
}

// lastOfEach keeps of the variables with one name the last.
func lastOfEach(env []string) []string {
	last := make(map[string]int, len(env))
	for i, e := range env {
		key, _, _ := strings.Cut(e, "=")
		last[key] = i
	}
	kept := env[:0]
	for i, e := range env {
		if key, _, _ := strings.Cut(e, "="); last[key] == i {
			kept = append(kept, e)
		}
	}
	return kept
}

// command decides what is executed: the entrypoint and arguments, or a shell.
func command(spec *Spec, facts *Facts, p *Process) error {
	p.Argv = slices.Concat(spec.Process.Entrypoint, spec.Process.Args)
	if len(p.Argv) == 0 {
		if facts.Root.Shell == "" {
			return ErrNoShell
		}
		p.Argv = []string{facts.Root.Shell}
	}
	name := p.Argv[0]
	if name == "" {
		return errors.New("the command is an empty string; write its name behind ROOTFS")
	}
	if strings.Contains(name, "/") {
		p.Paths = []string{name}
		return nil
	}
	search := defaultPath
	for _, e := range p.Env {
		if value, found := strings.CutPrefix(e, "PATH="); found {
			search = value
		}
	}
	for dir := range strings.SplitSeq(search, ":") {
		if dir == "" {
			dir = "."
		}
		p.Paths = append(p.Paths, strings.TrimSuffix(dir, "/")+"/"+name)
	}
	return nil
}
