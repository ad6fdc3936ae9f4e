package main

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

	"github.com/spf13/pflag"

	"bryo/rootless"
)

func runHelp(args []string, s streams) int {
	if len(args) == 0 {
		return write(s, overview())
	}
	for _, c := range commands() {
		if c.name == args[0] {
			return write(s, c.help())
		}
	}
	return usage(s, fmt.Sprintf("there is no command %q", args[0]))
}

// write prints to standard output; one that is full or closed is an error.
func write(s streams, text string) int {
	if _, err := io.WriteString(s.out, text); err != nil {
		return report(s, err)
	}
	return exitOK
}

func (c *command) help() string {
	const width = 100
	text := strings.TrimSpace("usage: bryo "+c.name+" "+c.args) + "\n\n" + c.short + "\n"
	var flags *pflag.FlagSet
	switch c.name {
	case "run":
		flags, _ = runFlags(streams{})
	case "explain":
		flags, _, _, _ = explainFlags(streams{})
	case "unshare":
		flags = unshareFlags(&rootless.Spec{})
	default:
		if flags = flagsOf(c.name); flags == nil {
			return text
		}
	}
	return text + "\nflags:\n" + flags.FlagUsagesWrapped(width)
}

// flagsOf is the flag set of a verb about containers.
func flagsOf(name string) (flags *pflag.FlagSet) {
	s := streams{}
	switch name {
	case "ps":
		flags, _, _, _ = psFlags(s)
	case "exec":
		flags = execFlags(s, &execRequest{})
	case "logs":
		flags = logsFlags(s, &logsRequest{})
	case "attach":
		flags, _, _ = attachFlags(s)
	case "stop", "restart":
		flags, _ = stopFlags(s)
	case "kill":
		flags, _ = killFlags(s)
	case "stats":
		flags, _ = statsFlags(s)
	case "rm":
		flags, _ = rmFlags(s)
	}
	return flags
}

func overview() string {
	var b strings.Builder
	b.WriteString("bryo runs programs in rootless containers.\n\n")
	table := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	for _, c := range commands() {
		fmt.Fprintf(table, "  bryo %s\t%s\n", c.name, c.short)
	}
	_ = table.Flush() // a Builder takes everything
	b.WriteString("\nROOTFS is a directory, or the word host: your own system, read-only.\nmore: bryo help COMMAND\n")
	return b.String()
}
