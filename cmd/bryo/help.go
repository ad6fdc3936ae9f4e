package main

import (
	"fmt"
	"io"
	"text/tabwriter"
)

func runHelp(args []string, s streams) int {
	if len(args) == 0 {
		return overview(s.out)
	}
	for _, c := range commands() {
		if c.name != args[0] {
			continue
		}
		fmt.Fprintf(s.out, "usage: bryo %s %s\n\n%s\n", c.name, c.args, c.short)
		if c.name == "run" || c.name == "explain" {
			flags, _ := runFlags(s)
			fmt.Fprintf(s.out, "\nflags, which stop at ROOTFS:\n%s", flags.FlagUsagesWrapped(helpWidth))
		}
		return exitOK
	}
	return usage(s, fmt.Sprintf("there is no command %q", args[0]))
}

const helpWidth = 100

func overview(w io.Writer) int {
	fmt.Fprint(w, "bryo runs programs in rootless containers.\n\n")
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0) //nolint:mnd // two blanks between columns
	for _, c := range commands() {
		fmt.Fprintf(table, "  bryo %s\t%s\n", c.name, c.short)
	}
	_ = table.Flush()
	fmt.Fprint(w, "\nROOTFS is a directory, or the word host: your own system, read-only.\nmore: bryo help COMMAND\n")
	return exitOK
}
