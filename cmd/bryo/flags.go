package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/rootless-containers/rootlesskit/v3/pkg/sigproxy/signal"
	"github.com/spf13/pflag"
	"golang.org/x/sys/unix"

	"bryo/fsroot"
	"bryo/idmap"
	"bryo/netslirp"
	"bryo/rootless"
	"bryo/rootless/confine"
	"bryo/rootless/ns"
	"bryo/rootless/tty"
)

// value is a flag that parses straight into the request.
type value struct {
	set  func(string) error
	kind string
	text string
}

func (v *value) Set(text string) error { v.text = text; return v.set(text) }
func (v *value) String() string        { return v.text }
func (v *value) Type() string          { return v.kind }

// each is a flag that may be repeated: parse's results are appended.
func each[T any](list *[]T, kind string, parse func(string) (T, error)) *value {
	return &value{kind: kind, set: func(text string) error {
		item, err := parse(text)
		if err == nil {
			*list = append(*list, item)
		}
		return err
	}}
}

// one is a flag whose last value counts.
func one[T any](target *T, kind string, parse func(string) (T, error)) *value {
	return &value{kind: kind, set: func(text string) error {
		item, err := parse(text)
		if err == nil {
			*target = item
		}
		return err
	}}
}

// runFlags is the command line of run and explain.
func runFlags(s streams) (*pflag.FlagSet, *request) {
	r := &request{life: life{StatusFD: noStatus}}
	r.spec.Net.Driver = netslirp.DriverUser
	flags := pflag.NewFlagSet("run", pflag.ContinueOnError)
	flags.SetInterspersed(false)
	flags.SetOutput(s.err)
	flags.SortFlags = false
	flags.Usage = func() {}
	namespaceFlags(flags, &r.spec)
	netFlags(flags, &r.spec)
	rootFlags(flags, &r.spec)
	imageFlags(flags, &r.root)
	processFlags(flags, &r.spec)
	limitFlags(flags, &r.spec.Limits)
	envFlags(flags, r)
	lifeFlags(flags, r)
	detachFlags(flags, &r.detach)
	return flags, r
}

func namespaceFlags(flags *pflag.FlagSet, spec *rootless.Spec) {
	flags.Var(&value{kind: "MAP", set: func(text string) error { return setUserns(spec, text) }}, "userns",
		"id map: auto, single, keep-id[:UID,GID], or join:NAME|PID|/path")
	flags.Var(each((*[]idmap.Extent)(&spec.IDs.UIDs), "C:H:N", idmap.ParseExtent), "uidmap", "map N user ids from C inside to H on the host")
	flags.Var(each((*[]idmap.Extent)(&spec.IDs.GIDs), "C:H:N", idmap.ParseExtent), "gidmap", "the same for group ids")
	for _, k := range []ns.Kind{ns.Mount, ns.PID, ns.UTS, ns.IPC, ns.Cgroup, ns.Time} {
		flags.Var(one(&spec.Namespaces[k], "WHENCE", ns.Parse), k.Flag(), k.File()+" namespace: own, host, join:NAME|PID|/path")
	}
	flags.Var(one(&spec.Offsets, "CLOCK=OFFSET,...", ns.ParseOffsets), "time-offset", "shift the clocks monotonic and boottime")
	flags.VarP(one(&spec.Hostname, "NAME", asIs), "hostname", "h", "host name; by default the container's id")
	flags.Var(one(&spec.Domainname, "NAME", asIs), "domainname", "NIS domain name")
	flags.Var(each(&spec.Sysctls, "NAME=VALUE", ns.ParseSysctl), "sysctl", "set a kernel parameter of the container's namespaces")
}

func setUserns(spec *rootless.Spec, text string) error {
	if how, _, _ := strings.Cut(text, ":"); how == "join" || how == "ns" || how == "container" || how == "host" || how == "own" || how == "private" {
		source, err := ns.Parse(text)
		spec.Namespaces[ns.User] = source
		spec.IDs = idmap.Spec{UIDs: spec.IDs.UIDs, GIDs: spec.IDs.GIDs}
		return err
	}
	spec.Namespaces[ns.User] = ns.Source{}
	ids, err := idmap.ParseSpec(text)
	if err == nil {
		ids.UIDs, ids.GIDs = spec.IDs.UIDs, spec.IDs.GIDs
		spec.IDs = ids
	}
	return err
}

func rootFlags(flags *pflag.FlagSet, spec *rootless.Spec) {
	flags.BoolVar(&spec.Root.ReadOnly, "read-only", false, "no writes to the root file system; /tmp, /run and /var/tmp are in memory")
	flags.BoolVar(&spec.Root.Ephemeral, "ephemeral", false, "throw writes to the root file system away")
	flags.VarP(each(&spec.Mounts, "SOURCE:TARGET[:OPTION,...]", fsroot.ParseVolume), "volume", "v", "mount a file or directory of the host")
	flags.Var(each(&spec.Mounts, "type=TYPE,...", fsroot.ParseMount), "mount", "mount type=bind|tmpfs|overlay,src=...|src-fd=N,dst=...,OPTION")
	flags.Var(each(&spec.Mounts, "TARGET[:OPTION,...]", fsroot.ParseTmpfs), "tmpfs", "mount an empty file system in memory")
	flags.Var(each(&spec.Devices, "/dev/NAME[:/dev/NAME]", fsroot.ParseDevice), "device", "show a device of the host")
	flags.Var(one(&spec.ShmSize, "SIZE", fsroot.ParseSize), "shm-size", "size of /dev/shm, as 64m")
}

func processFlags(flags *pflag.FlagSet, spec *rootless.Spec) {
	p := &spec.Process
	flags.VarP(one(&p.User, "USER[:GROUP]", parseUser), "user", "u", "run as this user, a name of the root's /etc/passwd or a number")
	flags.Var(each(&p.Groups, "GROUP", asIs), "group-add", "be in this group, too; keep-groups: in those that you are in on the host, instead")
	flags.VarP(one(&p.Dir, "DIR", asIs), "workdir", "w", "working directory")
	flags.Var(&value{kind: "COMMAND", set: func(s string) error { p.Entrypoint = entrypoint(s); return nil }}, "entrypoint", "execute this, with COMMAND and its arguments behind it")
	flags.Var(each(&p.Limits, "NAME=SOFT[:HARD]", confine.ParseLimit), "ulimit", "set a resource limit")
	flags.Var(&value{kind: "MODE", set: func(s string) error { return setUmask(p, s) }}, "umask", "file mode mask, octal")
	flags.Var(capFlag(&p.Caps.Add), "cap-add", "keep a capability; sys_admin can undo masks and read-only mounts; no sys_ptrace with --pid host and published ports")
	flags.Var(capFlag(&p.Caps.Drop), "cap-drop", "drop a capability, or all")
	flags.Var(one(&p.Seccomp, "PROFILE", parseSeccomp), "seccomp", "which system calls fail: default, docker (32-bit x86 programs, too, may make sockets by socketcall), strict, off, or a file as Docker and podman take it")
	flags.Var(each(&p.Landlock, "ACCESS:PATH", confine.ParseLandlock), "landlock", "refuse by Landlock what no rule allows: rwx:PATH (not attributes and socket files), bind:PORT, connect:PORT (TCP; UDP is open); scope, unscoped: abstract sockets and signals outside")
	flags.BoolVar(&spec.BestEffort, "best-effort", false, "go without a control that the kernel refuses, and say so")
	flags.Var(one(&p.StopSignal, "SIGNAL", parseSignal), "stop-signal", "what stops the command")
	flags.BoolVar(&p.AsPID1, "as-pid-1", false, "make the command PID 1, without bryo's init")
	flags.BoolVarP(&p.Terminal, "tty", "t", false, "give the command a terminal of its own; the default on a terminal")
	flags.BoolVar(&p.Nest, "nest", false, "allow user namespaces inside")
	flags.BoolVar(&p.NewPrivs, "allow-new-privs", false, "let set-user-ID programs of the root file system, as sudo, have their owner's rights")
	flags.Var(one(&spec.Squash, "bool", parseSquash), "squash", "with one id only, make owners, users and groups up; the default for an image, and for a root that was unpacked so")
	flags.Lookup("squash").NoOptDefVal = "true"
	flags.Var(&value{kind: "bool", set: refusePrivileged}, "privileged", "refused: see bryo doctor privileged")
	flags.Lookup("privileged").NoOptDefVal = "true"
	flags.Lookup("privileged").Hidden = true
}

// entrypoint is a program, or as JSON a list of one and its arguments; an empty one
// is none, as in podman.
func entrypoint(text string) []string {
	if text == "" {
		return nil
	}
	var list []string
	if json.Unmarshal([]byte(text), &list) == nil {
		return list
	}
	return []string{text}
}

func imageFlags(flags *pflag.FlagSet, root *rootWord) {
	flags.Var(one(&root.pull, "WHEN", parsePull), "pull", "ask the registry for an image: missing, always or never; by default if it is missing")
	flags.BoolVarP(&root.given.PublishAll, "publish-all", "P", false, "publish the ports that the image exposes, at ports that are free")
	flags.Var(one(&root.save, "IMAGE", parseSave), "save", "keep what the command has written as a new image of this name, whatever its exit code")
}

func envFlags(flags *pflag.FlagSet, r *request) {
	env := &r.spec.Process.Env
	flags.VarP(&value{kind: "KEY[=VALUE]", set: func(text string) (err error) { *env, err = addEnv(*env, text); return err }},
		"env", "e", "set a variable, or pass it on")
	flags.Var(&value{kind: "FILE", set: func(path string) (err error) { r.fileEnv, err = addEnvFile(r.fileEnv, path); return err }},
		"env-file", "set the variables in a file of KEY=VALUE lines")
	host := flags.VarPF(&value{kind: "bool", set: func(text string) (err error) { r.hostEnv, err = hostEnv(text); return err }},
		"env-host", "", "pass all variables on")
	host.NoOptDefVal = "true"
}

func lifeFlags(flags *pflag.FlagSet, r *request) {
	var init bool
	flags.BoolVar(&init, "init", false, "taken for podman's sake: there always is one, unless --as-pid-1")
	flags.VarP(each(&r.spec.Labels, "KEY=VALUE", parseLabel), "label", "l", "attach a label")
	flags.Var(one(&r.life.StatusFD, "FD", parseFD), "status-fd", "write JSON lines about the container to this descriptor")
	flags.Var(one(&r.life.PIDFile, "FILE", parsePath), "pidfile", "write the container's process id to this file")
}

// parseRun reads the command line of run.
func parseRun(args []string, s streams) (*request, error) {
	flags, r := runFlags(s)
	if err := parse(flags, args); err != nil {
		return nil, err
	}
	return r, r.finish(flags.Args(), flags)
}

// finish reads ROOTFS, COMMAND and its arguments.
func (r *request) finish(args []string, flags *pflag.FlagSet) error {
	if len(args) == 0 {
		return errors.New("no root file system was given\nfix: bryo run DIRECTORY [COMMAND], or bryo run host COMMAND")
	}
	spec := &r.spec
	if err := r.setRoot(args[0]); err != nil {
		return err
	}
	r.root.given.Entrypoint = flags.Changed("entrypoint")
	args = args[1:]
	if len(args) > 0 && args[0] == "--" {
		args = args[1:]
	}
	spec.Process.Args = args
	spec.Process.Env = slices.Concat(r.hostEnv, r.fileEnv, spec.Process.Env)
	if !flags.Changed("tty") {
		spec.Process.Terminal = !r.detach.On && tty.Is(0) && tty.Is(1)
	}
	if err := errors.Join(r.checkDetach(flags), r.checkSave()); err != nil {
		return err
	}
	if len(spec.IDs.UIDs)+len(spec.IDs.GIDs) > 0 {
		if flags.Changed("userns") {
			return errors.New("--uidmap and --gidmap are an id map of their own\nfix: leave --userns out")
		}
		spec.IDs.Mode = idmap.Explicit
	}
	return nil
}

func asIs(text string) (string, error) { return text, nil }

func parseUser(text string) (string, error) {
	if text == "" {
		return "", errors.New("an empty user; leave --user out for root")
	}
	return text, nil
}

func addEnv(env []string, text string) ([]string, error) {
	key, _, found := strings.Cut(text, "=")
	if key == "" || strings.ContainsAny(key, " \t") {
		return env, fmt.Errorf("%q: write KEY=VALUE, or KEY to pass your own on; a name has no blanks", text)
	}
	if !found {
		v, there := os.LookupEnv(key)
		if !there {
			return env, nil
		}
		text = key + "=" + v
	}
	return append(env, text), nil
}

func addEnvFile(env []string, path string) ([]string, error) {
	content, err := os.ReadFile(path)
	if err != nil {
		return env, err
	}
	for line := range strings.Lines(string(content)) {
		line = strings.TrimLeft(strings.TrimRight(line, "\r\n"), " \t")
		if line == "" || line[0] == '#' {
			continue
		}
		if env, err = addEnv(env, line); err != nil {
			return env, fmt.Errorf("%s: %w", path, err)
		}
	}
	return env, nil
}

func hostEnv(text string) ([]string, error) {
	on, err := strconv.ParseBool(text)
	if err != nil || !on {
		return nil, err
	}
	return os.Environ(), nil
}

func setUmask(p *rootless.ProcessSpec, text string) error {
	mask, err := strconv.ParseUint(text, 8, 32)
	if err != nil || mask > 0o777 {
		return fmt.Errorf("%q: write an octal mask, as 0022", text)
	}
	umask := uint32(mask)
	p.Umask = &umask
	return nil
}

func capFlag(set *confine.Caps) *value {
	return &value{kind: "CAP", set: func(text string) error {
		for name := range strings.SplitSeq(text, ",") {
			caps, err := confine.ParseCap(name)
			if err != nil {
				return err
			}
			*set |= caps
		}
		return nil
	}}
}

func parseFD(text string) (int, error) {
	fd, err := strconv.ParseUint(text, 10, 31)
	if err != nil {
		return noStatus, fmt.Errorf("%q: write the number of an open descriptor, as 3", text)
	}
	return int(fd), nil
}

func parsePath(text string) (string, error) {
	if text == "" {
		return "", errors.New("an empty path")
	}
	return text, nil
}

func parseLabel(text string) (string, error) {
	if key, _, _ := strings.Cut(text, "="); key == "" {
		return "", fmt.Errorf("label %q: write KEY=VALUE", text)
	}
	return text, nil
}

// parseSignal takes a signal's name, with or without SIG, or its number.
func parseSignal(text string) (string, error) {
	name := strings.TrimPrefix(strings.ToUpper(text), "SIG")
	if _, known := signal.SignalMap[name]; known {
		return name, nil
	}
	if number, err := strconv.ParseUint(text, 10, 7); err == nil {
		if known := unix.SignalName(unix.Signal(number)); known != "" {
			return strings.TrimPrefix(known, "SIG"), nil
		}
	}
	return "", fmt.Errorf("%q is no signal; write a name of signal(7) or its number, as TERM", text)
}

func refusePrivileged(string) error {
	return errors.New("a rootless container has no privileges of the host to give; ask for what is needed with --cap-add, --device or --nest")
}
