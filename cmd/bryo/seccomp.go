package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"

	"golang.org/x/sys/unix"

	"bryo/rootless"
	"bryo/rootless/confine"
	"bryo/rootless/ns"
	"bryo/rootless/state"
)

// Profiles that are no files.
const (
	seccompDefault = "default"
	seccompDocker  = "docker"
	seccompStrict  = "strict"
	seccompOff     = "off"
)

func parseSeccomp(text string) (string, error) {
	switch text {
	case "":
		return "", errors.New("an empty profile; write default, docker, strict, off or a file's path")
	case "unconfined":
		return seccompOff, nil
	default:
		return text, nil
	}
}

// seccomp is the filter that a container is asked to have. Nothing is compiled
// for the default; what else is compiled is kept.
func seccomp(spec *rootless.Spec) (confine.Seccomp, error) {
	name := spec.Process.Seccomp
	if name == "" {
		name = seccompDefault
	}
	if name == seccompOff {
		return confine.Seccomp{Profile: name}, nil
	}
	caps, beside := seccompCaps(spec), besideProfile(spec)
	if filter := confine.Prebuilt(); name == seccompDefault && caps == 0 && !beside.any() && filter != nil {
		return confine.Seccomp{Profile: name, Filter: filter}, nil
	}
	text, err := seccompText(name)
	if err != nil {
		return confine.Seccomp{}, err
	}
	key := fmt.Sprintf("seccomp %s %s %d %+v\n%s", runtime.GOARCH, name, caps, beside, text)
	filter, err := state.Cached(key, func() ([]byte, error) {
		profile, err := seccompProfile(name, text)
		if err != nil {
			return nil, err
		}
		beside.change(profile)
		return profile.Build(runtime.GOARCH, caps)
	})
	if err != nil {
		return confine.Seccomp{}, fmt.Errorf("--seccomp %s: %w", name, err)
	}
	return confine.Seccomp{Profile: name, Filter: filter}, nil
}

// seccompBeside is what a filter goes by besides its profile.
type seccompBeside struct {
	nest      bool // containers can be made inside
	processes bool // others than the container's own are seen
	tcp       bool // Landlock has rules for ports
}

func besideProfile(spec *rootless.Spec) seccompBeside {
	return seccompBeside{
		nest: spec.Process.Nest, processes: spec.Namespaces[ns.PID].Mode != ns.Own, tcp: confine.RulesTCP(spec.Process.Landlock),
	}
}

func (b seccompBeside) any() bool { return b != seccompBeside{} }

func (b seccompBeside) change(profile *confine.Profile) {
	if b.nest {
		profile.Nest()
	}
	if b.processes {
		profile.OwnProcesses()
	}
	if b.tcp {
		profile.PlainTCP()
	}
}

// seccompCaps are the capabilities that a profile's rules may ask about. What
// containers inside need goes with the one that --nest stands for here.
func seccompCaps(spec *rootless.Spec) confine.Caps {
	caps := spec.Process.Caps.Of(confine.DefaultCaps(true))
	if spec.Process.Nest {
		caps |= 1<<unix.CAP_SYS_ADMIN | 1<<unix.CAP_SYS_CHROOT
	}
	return caps &^ confine.DefaultCaps(true)
}

// seccompText is a profile's file; the profiles of bryo's own are told apart
// by the executable.
func seccompText(name string) ([]byte, error) {
	path := name
	if name == seccompDefault || name == seccompDocker || name == seccompStrict {
		path = "/proc/self/exe"
		var st unix.Stat_t
		err := unix.Stat(path, &st)
		return fmt.Appendf(nil, "%s %d %d %d", name, st.Ino, st.Size, st.Mtim.Nano()), err
	}
	file, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("--seccomp: %w\nfix: write default, docker, strict, off, or the path of a profile", err)
	}
	defer file.Close()
	const most = 4 << 20
	text, err := io.ReadAll(io.LimitReader(file, most+1))
	if len(text) > most {
		return nil, fmt.Errorf("--seccomp %s: a profile of more than %d MiB", path, most>>20)
	}
	return text, err
}

func seccompProfile(name string, text []byte) (*confine.Profile, error) {
	switch name {
	case seccompDefault:
		return confine.DefaultProfile(), nil
	case seccompDocker:
		return confine.DockerProfile(), nil
	case seccompStrict:
		p := confine.DefaultProfile()
		p.Strict()
		return p, nil
	default:
		return confine.ParseProfile(text)
	}
}
