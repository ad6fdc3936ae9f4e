package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"

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
	detach      bool
}

func execFlags(s streams, r *execRequest) *pflag.FlagSet {
	flags := verbFlags("exec", s)
	flags.SetInterspersed(false)
	flags.BoolVarP(&r.spec.Terminal, "tty", "t", false, "give the command a terminal of its own; the default on a terminal")
	flags.BoolVarP(&r.interactive, "interactive", "i", false, "taken for podman's sake: input is always passed on")
	flags.BoolVarP(&r.detach, "detach", "d", false, "return once the command runs, which reads nothing and whose output is lost")
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
	r, name, err := parseExec(args, s)
	if err != nil {
		return report(s, err)
	}
	var code int
	if r.detach {
		code, err = r.detached(name, s)
	} else {
		code, err = r.run(name, s)
	}
	if err != nil {
		return report(s, err)
	}
	return code
}

func parseExec(args []string, s streams) (r *execRequest, name string, err error) {
	r = &execRequest{}
	flags := execFlags(s, r)
	if err := parse(flags, args); err != nil {
		return nil, "", err
	}
	const least = 2
	if flags.NArg() < least {
		return nil, "", errors.New("exec takes a container and a command\nfix: bryo exec CONTAINER COMMAND [ARG...]")
	}
	if r.detach && r.spec.Terminal {
		return nil, "", errors.New("--detach and --tty contradict each other: nobody would see the terminal\nfix: leave one of them out")
	}
	r.spec.Args = flags.Args()[1:]
	if r.spec.Args[0] == "--" && len(r.spec.Args) > 1 {
		r.spec.Args = r.spec.Args[1:]
	}
	r.spec.Env = append(r.fileEnv, r.spec.Env...)
	if !flags.Changed("tty") && !r.detach {
		r.spec.Terminal = tty.Is(0) && tty.Is(1)
	}
	return r, flags.Arg(0), nil
}

func (r *execRequest) run(name string, s streams) (code int, err error) {
	container, err := r.start(name, s)
	if err != nil {
		return 0, err
	}
	warnGivenUp(s, container.GivenUp)
	return life{StatusFD: noStatus}.await(container, r.spec.Terminal, s)
}

// superviseExec is in the place of a container's id.
const superviseExec = "exec"

// detached has another process do so, in a session of its own, which reads what is
// to be done: others may see command lines, and a file of variables can be read once.
func (r *execRequest) detached(name string, s streams) (code int, err error) {
	if err := checkUTF8(r.spec); err != nil {
		return 0, err
	}
	text, err := json.Marshal(r.spec)
	if err != nil {
		return 0, err
	}
	in, write, err := os.Pipe()
	if err != nil {
		return 0, err
	}
	written := make(chan struct{})
	go func() {
		_, _ = write.Write(text) // whoever does not read it tells why
		_ = write.Close()
		close(written)
	}()
	code, err = supervised(s, caught(unix.SIGTERM, unix.SIGHUP, unix.SIGINT, unix.SIGQUIT), in, superviseExec, name)
	err = errors.Join(err, in.Close())
	<-written
	return code, err
}

// runExecDetached is that process.
func runExecDetached(args []string, s streams) int {
	r := &execRequest{}
	var container *launch.Container
	err := announced(s, func(s streams) (err error) {
		if err := json.NewDecoder(s.in).Decode(&r.spec); err != nil {
			return fmt.Errorf("read what is to be executed: %w", err)
		}
		for _, fd := range []int{unix.Stdin, unix.Stderr} { // output is nobody's already
			if err := unix.Dup3(unix.Stdout, fd, 0); err != nil {
				return os.NewSyscallError("dup3", err)
			}
		}
		if container, err = r.start(strings.Join(args, " "), s); err != nil {
			return err
		}
		return os.Chdir("/") // nobody's directory is kept busy
	})
	if err != nil {
		return exitFailed // it was told, or nobody hears
	}
	code, err := life{StatusFD: noStatus}.await(container, false, s)
	if err != nil {
		return exitFailed
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
