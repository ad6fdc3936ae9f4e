package main

import (
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/spf13/pflag"
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
	args  string // its placeholders are among meanings
	short string // without one it is in no list
	run   func(args []string, s streams) int
	flags func() *pflag.FlagSet // nil for none
	about string                // the man page has it beside short; an empty line ends a paragraph

	examples []string
}

// commands is in the order of the help.
func commands() []command {
	return []command{
		{"run", "[FLAGS] ROOTFS [COMMAND [ARG...]]", "run a command in a new container", runRun, runSyntax, runAbout, nil},
		{"explain", "[--program|--json] [FLAGS] ROOTFS [COMMAND [ARG...]]", "print what run would do", runExplain, explainSyntax, explainAbout, nil},
		{"ps", "[-a] [-q|--json]", "list detached containers", runPs, psSyntax, "", nil},
		{"inspect", "[--security [--json]] CONTAINER...", "print what is known of containers, as JSON", runInspect, inspectSyntax, inspectAbout, nil},
		{"exec", "[FLAGS] CONTAINER COMMAND [ARG...]", "run one more command in a container", runExec, execSyntax, "", nil},
		{"logs", "[FLAGS] CONTAINER", "print what a container has said", runLogs, logsSyntax, "", nil},
		{"attach", "[FLAGS] CONTAINER", "connect this terminal with a container's", runAttach, attachSyntax, "", nil},
		{"cp", "FROM TO", "copy files out of a container or into one", runCp, nil, cpAbout, cpExamples()},
		{"port", "[ls|add|rm] CONTAINER [PORT...]", "list the published ports of a container, add and remove some", runPort, nil, portAbout, portExamples()},
		{"stop", "[FLAGS] CONTAINER...", "ask containers to end, and end them if they do not", runStop, stopSyntax, "", nil},
		{"kill", "[FLAGS] CONTAINER...", "send a signal to containers", runKill, killSyntax, "", nil},
		{"wait", "CONTAINER...", "wait for containers to end, and print their exit codes", runWait, nil, "", nil},
		{"start", "[FLAGS] CONTAINER...", "start containers again that have ended", runStart, startSyntax, "", nil},
		{"restart", "[FLAGS] CONTAINER...", "stop containers and start them again", runRestart, stopSyntax, "", nil},
		{"pause", "CONTAINER...", "stop all processes of containers where they are", runPause, nil, "", nil},
		{"unpause", "CONTAINER...", "let paused containers go on", runUnpause, nil, "", nil},
		{"top", "CONTAINER", "list a container's processes", runTop, nil, "", nil},
		{"stats", "[--no-stream] [CONTAINER...]", "show what containers use", runStats, statsSyntax, statsAbout, nil},
		{"rename", "CONTAINER NAME", "give a container another name", runRename, nil, "", nil},
		{"rm", "[FLAGS] CONTAINER...", "forget containers that have ended", runRm, rmSyntax, "", nil},
		{"prune", "[--volumes] [--images [--all]]", "forget all containers that have ended, or remove unused images", runPrune, pruneSyntax, pruneAbout, nil},
		{"pull", "[FLAGS] IMAGE [LAYOUT]", "put an image of a registry or of a file on the shelf", runPull, pullSyntax, pullAbout, pullExamples()},
		{"images", "[-q|--json]", "list the images on the shelf", runImages, imagesSyntax, "", nil},
		{"tag", "REF NAME...", "give an image more names", runTag, nil, "", nil},
		{"rmi", "[-f] REF...", "take images off the shelf", runRmi, rmiSyntax, rmiAbout, nil},
		{"unpack", "[FLAGS] IMAGE DIRECTORY", "make a root file system of an image", runUnpack, unpackSyntax, unpackAbout, unpackExamples()},
		{"pack", "[FLAGS] ROOT IMAGE", "make an image of a root file system or a container", runPack, packSyntax, packAbout, packExamples()},
		{"unshare", "[FLAGS] [PROGRAM [ARG...]]", "run a command under your id map, without a container", runUnshare, unshareSyntax, unshareAbout, nil},
		{"doctor", "[--json|--fix-script] [TOPIC]", "find out what keeps containers from running here", runDoctor, doctorSyntax, doctorAbout, nil},
		{"version", "", "print the version", runVersion, nil, "", nil},
		{"help", "[--man] [VERB]", "print help", runHelp, helpSyntax, "", nil},
		{"completion", "SHELL", "print a script for the shell's completion: bash, zsh or fish", runCompletion, nil, completionAbout, nil},
		{"complete", "line WORD...|containers", "", runComplete, nil, "", nil},
	}
}

// Verbs that run and cp use.
const (
	supervise   = "supervise"
	copyVerb    = "copy"
	discardVerb = "discard"
	squashed    = "squash"
)

func runHelper(name string, args []string, s streams) int {
	switch name {
	case supervise:
		return runSupervise(args, s)
	case discardVerb:
		return runDiscard(args, s)
	case squashed:
		return runSquash(args, s)
	}
	return runCopy(args, s)
}

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
	case supervise, copyVerb, discardVerb, squashed:
		return runHelper(name, args, s)
	}
	c, found := lookup(name)
	switch {
	case !found:
		return unknownVerb(s, name)
	case len(args) > 0 && (args[0] == "--help" || args[0] == "-h" && c.flagSet().ShorthandLookup("h") == nil):
		return write(s, c.help())
	case c.args == "" && len(args) > 0:
		return report(s, fmt.Errorf("%s takes no arguments\nfix: bryo %s", c.name, c.name))
	}
	return c.run(args, s)
}

func lookup(name string) (c *command, found bool) {
	for _, c := range commands() {
		if c.name == name {
			return &c, true
		}
	}
	return nil, false
}

// verbs are the commands that people use.
func verbs() []command {
	return slices.DeleteFunc(commands(), func(c command) bool { return c.short == "" })
}

// flagSet is for looking at, not for parsing.
func (c *command) flagSet() *pflag.FlagSet {
	if c.flags == nil {
		return pflag.NewFlagSet(c.name, pflag.ContinueOnError)
	}
	return c.flags()
}

// operand is a positional argument.
type operand struct {
	placeholder string
	many        bool
}

// operands reads the placeholders of args, FLAGS aside.
func (c *command) operands() []operand {
	var list []operand
	for _, word := range strings.FieldsFunc(c.args, func(r rune) bool { return strings.ContainsRune(" []", r) }) {
		placeholder, many := strings.CutSuffix(word, "...")
		if placeholder != "FLAGS" && !strings.HasPrefix(placeholder, "-") {
			list = append(list, operand{placeholder, many})
		}
	}
	return list
}

// wraps holds for a command that ends in another program's command line: its
// own flags end before its first operand.
func (c *command) wraps() bool {
	return slices.ContainsFunc(c.operands(), func(o operand) bool {
		from := meaningOf(o.placeholder).from
		return from == fromProgram || from == fromInside
	})
}

func usage(s streams, why string) int {
	fmt.Fprintf(s.err, "bryo: %s\nfix: bryo run ROOTFS [COMMAND], or one of %s\nmore: bryo help\n", why, strings.Join(names(), " "))
	return exitUsage
}

func names() []string {
	var list []string
	for _, c := range verbs() {
		list = append(list, c.name)
	}
	return list
}
