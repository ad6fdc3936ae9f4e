package main

import (
	"errors"

	"github.com/spf13/pflag"
	"golang.org/x/sys/unix"

	"bryo/rootless"
	"bryo/rootless/host"
	"bryo/rootless/launch"
	"bryo/rootless/state"
	"bryo/rootless/tty"
)

// execRequest is what a command line of exec asks for.
type execRequest struct {
	spec        rootless.ExecSpec
	fileEnv     []string // what -e overrides
	interactive bool
}

func execFlags(s streams, r *execRequest) *pflag.FlagSet {
	flags := verbFlags("exec", s)
	flags.SetInterspersed(false)
	flags.BoolVarP(&r.spec.Terminal, "tty", "t", false, "give the command a terminal of its own; the default on a terminal")
	flags.BoolVarP(&r.interactive, "interactive", "i", false, "taken for podman's sake: input is always passed on")
	flags.VarP(&value{kind: "KEY[=VALUE]", set: func(text string) (err error) { r.spec.Env, err = addEnv(r.spec.Env, text); return err }},
		"env", "e", "set a variable, or pass it on")
	flags.Var(&value{kind: "FILE", set: func(path string) (err error) { r.fileEnv, err = addEnvFile(r.fileEnv, path); return err }},
		"env-file", "set the variables in a file of KEY=VALUE lines")
	flags.VarP(one(&r.spec.User, "USER[:GROUP]", parseUser), "user", "u", "run as this user, a name of the container's /etc/passwd or a number")
	flags.VarP(one(&r.spec.Dir, "DIR", asIs), "workdir", "w", "working directory")
	return flags
}

func execSyntax() *pflag.FlagSet { return execFlags(streams{}, &execRequest{}) }

// runExec runs one more command in a container.
func runExec(args []string, s streams) int {
	r := &execRequest{}
	flags := execFlags(s, r)
	if err := parse(flags, args); err != nil {
		return report(s, err)
	}
	const least = 2
	if flags.NArg() < least {
		return report(s, errors.New("exec takes a container and a command\nfix: bryo exec CONTAINER COMMAND [ARG...]"))
	}
	r.spec.Args = flags.Args()[1:]
	if r.spec.Args[0] == "--" && len(r.spec.Args) > 1 {
		r.spec.Args = r.spec.Args[1:]
	}
	r.spec.Env = append(r.fileEnv, r.spec.Env...)
	if !flags.Changed("tty") {
		r.spec.Terminal = tty.Is(0) && tty.Is(1)
	}
	container, err := r.start(flags.Arg(0), s)
	if err != nil {
		return report(s, err)
	}
	code, err := life{StatusFD: noStatus}.await(container, r.spec.Terminal, s)
	if err != nil {
		return report(s, err)
	}
	return code
}

func (r *execRequest) start(name string, s streams) (*launch.Container, error) {
	entry, record, err := oneContainer(name)
	if err != nil {
		return nil, err
	}
	if err := refusePaused(record); err != nil {
		return nil, err
	}
	init, err := record.Entrance.Open()
	if errors.Is(err, state.ErrGone) || record.Status != state.Running {
		return nil, errNotRunning(record)
	}
	if err != nil {
		return nil, err
	}
	defer unix.Close(init)
	spec, plan, err := entry.Entrance()
	if err != nil {
		return nil, err
	}
	if err := checkStreams(s, r.spec.Terminal); err != nil {
		return nil, err
	}
	facts, err := host.ProbeExec(spec, &r.spec, record.Entrance.PID)
	if err != nil {
		return nil, err
	}
	r.spec.InitFD = init
	to, err := rootless.CompileExec(spec, plan, &r.spec, facts)
	if err != nil {
		return nil, err
	}
	return launch.Exec(to)
}
