package main

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

	"github.com/spf13/pflag"
)

func runHelp(args []string, s streams) int {
	flags, asPage := helpFlags()
	if err := parse(flags, args); err != nil {
		return report(s, err)
	}
	if flags.NArg() > 1 {
		return report(s, errors.New("help takes one command\nfix: bryo help "+flags.Arg(0)))
	}
	switch verb := flags.Arg(0); {
	case *asPage:
		return write(s, manual())
	case verb == "":
		return write(s, overview())
	default:
		c, found := lookup(verb)
		if !found {
			return unknownVerb(s, verb)
		}
		return write(s, c.help())
	}
}

func helpFlags() (flags *pflag.FlagSet, asPage *bool) {
	flags = pflag.NewFlagSet("help", pflag.ContinueOnError)
	flags.Usage = func() {}
	return flags, flags.Bool("man", false, "print the manual page, for man -l -")
}

func helpSyntax() *pflag.FlagSet {
	flags, _ := helpFlags()
	return flags
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
	if c.about != "" {
		text += "\n" + wrapped(c.about, width)
	}
	if len(c.examples) > 0 {
		text += "\nexamples:\n  " + strings.Join(c.examples, "\n  ") + "\n"
	}
	if flags := c.flagSet(); flags.HasAvailableFlags() {
		text += "\nflags:\n" + flagLines(flags, width)
	}
	return text
}

// wrapped breaks paragraphs at blanks.
func wrapped(text string, width int) string {
	var b strings.Builder
	for i, paragraph := range strings.Split(text, "\n\n") {
		if i > 0 {
			b.WriteString("\n")
		}
		for _, line := range folded(paragraph, width) {
			b.WriteString(line + "\n")
		}
	}
	return b.String()
}

// flagLines is pflag's list of flags, where a value that may be left out looks
// as it is written: only behind =.
func flagLines(flags *pflag.FlagSet, width int) string {
	text := flags.FlagUsagesWrapped(width)
	flags.VisitAll(func(f *pflag.Flag) {
		if value := valueOf(f); value != "" && f.NoOptDefVal != "" {
			garbled := fmt.Sprintf("--%s %s[=%s]", f.Name, value, f.NoOptDefVal)
			text = strings.Replace(text, garbled, fmt.Sprintf("%-*s", len(garbled), "--"+f.Name+"[="+value+"]"), 1)
		}
	})
	return text
}

func overview() string {
	var b strings.Builder
	b.WriteString("bryo runs programs in rootless containers.\n\n")
	table := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	for _, c := range verbs() {
		fmt.Fprintf(table, "  bryo %s\t%s\n", c.name, c.short)
	}
	_ = table.Flush() // a Builder takes everything
	b.WriteString("\nROOTFS is a directory, the word host (your own system, read-only), or an image: its name, an archive, or oci:DIR.\nmore: bryo help VERB\n")
	return b.String()
}
