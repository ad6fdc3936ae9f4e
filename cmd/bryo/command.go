package main

import (
	"fmt"
	"os"
	"strings"
)

// streams are a command's standard input, output and error.
type streams struct {
	in       *os.File
	out, err *os.File
}

// Exit codes of bryo itself; otherwise the command's own, or 128+n for signal n.
const (
	exitOK         = 0
	exitFailed     = 125 // bryo could not do it
	exitCannotRun  = 126 // the command is there but cannot be executed
	exitNotFound   = 127 // the command is not there
	exitUsage      = exitFailed
	signalExitBase = 128
)

// command is one verb of the command line. The table gives dispatch, help,
// completion and the man page.
type command struct {
	name  string
	args  string
	short string
	run   func(args []string, s streams) int
}

// commands is in the order of the help.
func commands() []command {
	return []command{
		{"run", "[FLAGS] ROOTFS [COMMAND [ARG...]]", "run a command in a new container", runRun},
		{"explain", "[--program|--json] [FLAGS] ROOTFS [COMMAND [ARG...]]", "print what run would do", runExplain},
		{"ps", "[-a] [-q|--json]", "list detached containers", runPs},
		{"inspect", "NAME...", "print what is known of containers, as JSON", runInspect},
		{"exec", "[FLAGS] NAME COMMAND [ARG...]", "run one more command in a container", runExec},
		{"logs", "[FLAGS] NAME", "print what a container has said", runLogs},
		{"attach", "[FLAGS] NAME", "connect this terminal with a container's", runAttach},
		{"stop", "[-t SECONDS] NAME...", "ask containers to end, and end them if they do not", runStop},
		{"kill", "[-s SIGNAL] NAME...", "send a signal to containers", runKill},
		{"wait", "NAME...", "wait for containers to end, and print their exit codes", runWait},
		{"start", "NAME...", "start containers again that have ended", runStart},
		{"restart", "[-t SECONDS] NAME...", "stop containers and start them again", runRestart},
		{"pause", "NAME...", "stop all processes of containers where they are", runPause},
		{"unpause", "NAME...", "let them go on", runUnpause},
		{"top", "NAME", "list a container's processes", runTop},
		{"stats", "[--no-stream] [NAME...]", "show what containers use", runStats},
		{"rename", "NAME NEW", "give a container another name", runRename},
		{"rm", "[-f] NAME...", "forget containers that have ended", runRm},
		{"prune", "", "forget all containers that have ended", runPrune},
		{"unshare", "[COMMAND [ARG...]]", "run a command under your id map, without a container", runUnshare},
		{"doctor", "[--json|--fix-script] [TOPIC]", "find out what keeps containers from running here", runDoctor},
		{"version", "", "print the version", runVersion},
		{"help", "[COMMAND]", "print help", runHelp},
	}
}

// supervise is a verb that run --detach uses.
const supervise = "supervise"

// run finds the verb and carries it out; the result is the exit code.
func run(args []string, s streams) int {
	if len(args) == 0 {
		return usage(s, "which command?")
	}
	name, args := args[0], args[1:]
	switch name {
	case "-h", "--help":
		name = "help"
	case "--version":
		name = "version"
	case supervise:
		return runSupervise(args, s)
	}
	for _, c := range commands() {
		switch {
		case c.name != name:
		case len(args) > 0 && args[0] == "--help":
			return write(s, c.help())
		case c.args == "" && len(args) > 0:
			return usage(s, c.name+" takes no arguments")
		default:
			return c.run(args, s)
		}
	}
	return usage(s, fmt.Sprintf("there is no command %q", name))
}

func usage(s streams, why string) int {
	fmt.Fprintf(s.err, "bryo: %s\nfix: bryo run ROOTFS [COMMAND], or one of %s\nmore: bryo help\n", why, strings.Join(names(), " "))
	return exitUsage
}

func names() []string {
	var list []string
	for _, c := range commands() {
		list = append(list, c.name)
	}
	return list
}
