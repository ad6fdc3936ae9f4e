package main

import (
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/pflag"
)

// runComplete is what the completion scripts ask. Its arguments are the words
// behind bryo, up to the one at the cursor, and it prints
//
//	SOURCE           nothing, files, directories, or program N: the words from
//	                 the Nth on are a program's own command line
//	WORD\tABOUT      what the word may be; in --flag=value, what the value may be
//	...
//
// It is for the scripts alone and in no list of commands.
func runComplete(args []string, s streams) int {
	switch {
	case len(args) == 1 && args[0] == "containers":
		return write(s, lines(containers()))
	case len(args) > 1 && args[0] == "line":
		return write(s, complete(args[1:]).String())
	}
	return usage(s, "complete is for the completion scripts: complete line WORD..., or complete containers")
}

func lines(list []string) string {
	var b strings.Builder
	for _, text := range list {
		b.WriteString(text + "\n")
	}
	return b.String()
}

// offer is what a word may be.
type offer struct {
	from  source
	start int // of a program's own command line, 0 is bryo
	words []candidate
}

type candidate struct{ word, about string }

func (o *offer) add(word, about string) { o.words = append(o.words, candidate{word, about}) }

func (o *offer) String() string {
	var b strings.Builder
	b.WriteString(string(o.from))
	if o.from == fromProgram {
		fmt.Fprintf(&b, " %d", o.start)
	}
	for _, c := range o.words {
		fmt.Fprintf(&b, "\n%s\t%s", c.word, c.about)
	}
	return b.String() + "\n"
}

func (m *meaning) offer() *offer {
	o := &offer{from: m.from}
	if m.words != nil {
		for _, word := range m.words() {
			o.add(word, "")
		}
	}
	return o
}

// complete finds what the last of the words may be.
func complete(words []string) *offer {
	if len(words) == 1 {
		return offerVerbs(words[0])
	}
	if c, found := lookup(words[0]); found {
		return c.complete(words)
	}
	return &offer{from: fromNothing}
}

// complete finds what the last of the words may be, of which the first is the
// command.
func (c *command) complete(words []string) *offer {
	l := &line{command: c, flags: c.flagSet(), words: words}
	last := len(words) - 1
	for i := 1; i < last; i++ {
		l.read(i)
	}
	return l.offer(words[last])
}

func offerVerbs(word string) *offer {
	o := &offer{from: fromNothing}
	if strings.HasPrefix(word, "-") {
		o.add("--help", "print help")
		o.add("--version", "print the version")
		return o
	}
	for _, c := range verbs() {
		o.add(c.name, c.short)
	}
	return o
}

// line is a command line as far as it has been read.
type line struct {
	command  *command
	flags    *pflag.FlagSet
	words    []string
	open     *pflag.Flag // its value comes next
	operands []int       // where they are among the words
	dashes   bool        // -- was there, which can be so once
	closed   bool        // what follows are operands
}

func (l *line) read(i int) {
	word := l.words[i]
	switch {
	case l.open != nil:
		l.open = nil
	case word == "--" && !l.dashes:
		l.dashes, l.closed = true, true
	case l.closed || word == "-" || !strings.HasPrefix(word, "-"):
		l.operands = append(l.operands, i)
		l.closed = l.closed || l.command.wraps()
	case strings.HasPrefix(word, "--"):
		l.open = valued(l.flags.Lookup(word[2:]))
	default:
		l.open = l.letters(word[1:])
	}
}

// letters reads flags of one letter; what follows one that takes a value is
// the value.
func (l *line) letters(word string) *pflag.Flag {
	for i := range len(word) {
		if f := valued(l.flags.ShorthandLookup(word[i : i+1])); f != nil {
			if i == len(word)-1 {
				return f
			}
			return nil
		}
	}
	return nil
}

// valued is a flag that takes the next word for its value, or nil.
func valued(f *pflag.Flag) *pflag.Flag {
	if f == nil || f.NoOptDefVal != "" {
		return nil
	}
	return f
}

func (l *line) offer(word string) *offer {
	if l.open != nil {
		return offerValue(l.open, word)
	}
	if !l.closed && strings.HasPrefix(word, "-") {
		name, value, written := strings.Cut(strings.TrimPrefix(word, "--"), "=")
		if written {
			return offerValue(l.flags.Lookup(name), value)
		}
		return l.offerFlags()
	}
	return l.offerOperand()
}

// offerValue offers files of the host before the first colon alone; what is
// behind it is a path inside.
func offerValue(f *pflag.Flag, word string) *offer {
	if f == nil {
		return &offer{from: fromNothing}
	}
	m := meaningOf(valueOf(f))
	o := m.offer()
	if strings.Contains(m.placeholder, ":") && strings.Contains(word, ":") && o.from == fromFiles {
		o.from = fromNothing
	}
	return o
}

func (l *line) offerFlags() *offer {
	o := &offer{from: fromNothing}
	l.flags.VisitAll(func(f *pflag.Flag) {
		if f.Hidden {
			return
		}
		o.add("--"+f.Name, usageOf(f))
		if f.Shorthand != "" {
			o.add("-"+f.Shorthand, usageOf(f))
		}
	})
	o.add("--help", "print help")
	return o
}

func (l *line) offerOperand() *offer {
	places := slices.Concat(l.operands, []int{len(l.words) - 1})
	operands := l.command.operands()
	for i, operand := range operands {
		m := meaningOf(operand.placeholder)
		if m.from == fromInside && operands[0].placeholder == "ROOTFS" && l.words[places[0]] == "host" {
			m.from = fromProgram
		}
		switch {
		case i >= len(places):
		case m.from == fromProgram:
			return &offer{from: fromProgram, start: places[i] + 1}
		case m.from == fromInside:
			return &offer{from: fromNothing}
		case i == len(places)-1, i == len(operands)-1 && operand.many:
			return m.offer()
		}
	}
	return &offer{from: fromNothing}
}
