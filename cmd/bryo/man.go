package main

import (
	"strconv"
	"strings"

	"github.com/spf13/pflag"
)

// manual is bryo(1) in the language of mdoc(7), with the sections in its order.
// What it says of commands and flags is the table of commands.
func manual() string {
	p := &page{}
	p.line(".Dd", "November 25, 2026")
	p.line(".Dt", "BRYO", "1")
	p.line(".Os", "bryo", version)
	p.section("NAME")
	p.line(".Nm", "bryo")
	p.line(".Nd", "run programs in rootless containers")
	p.section("SYNOPSIS")
	for _, c := range verbs() {
		p.synopsis(&c)
	}
	p.section("DESCRIPTION")
	p.text(manDescription)
	p.section("COMMANDS")
	p.commands()
	p.section("ENVIRONMENT")
	p.list("Ev", manEnvironment())
	p.section("FILES")
	p.list("Pa", manFiles())
	p.section("EXIT STATUS")
	p.list("No", exitStatus())
	p.section("EXAMPLES")
	for i, e := range manExamples() {
		if i > 0 {
			p.line(".Pp")
		}
		p.text(e.about)
		p.literal(e.lines)
	}
	p.section("SEE ALSO")
	pages := seeAlso()
	last := len(pages) - 1
	for _, see := range pages[:last] {
		p.line(".Xr", see.name, see.section, ",")
	}
	p.line(".Xr", pages[last].name, pages[last].section)
	return p.String()
}

// term is something with what there is to say about it.
type term struct{ name, about string }

const manDescription = `bryo runs programs in containers without root: there is no daemon and no set-user-ID program of its own.

A flag's value is the next argument, or follows = in the same one.
Flags of one letter can be written together.
A flag without a value is a claim that can be denied, as --tty=false.
Where the command line of another program follows, flags end before the first argument that is none; elsewhere they can be anywhere.
The argument -- ends them, too.

Each command prints a list of its flags with --help.`

func manEnvironment() []term {
	return []term{
		{"SHELL", "What unshare runs if it is given no program."},
		{"SOURCE_DATE_EPOCH", "The latest time, in seconds since 1970, that a file has in an image that pack makes."},
		{"XDG_RUNTIME_DIR", "Where the state of detached containers is kept, in the directory bryo; without it, that is in /tmp/bryo-UID."},
		{"XDG_DATA_HOME", "Where files of the user are kept, which doctor looks at; by default .local/share in HOME."},
		{"HOME", "The home directory, which doctor looks at."},
	}
}

func manFiles() []term {
	return []term{
		{"/etc/subuid", "The subordinate user ids that are yours, subuid(5)."},
		{"/etc/subgid", "The subordinate group ids that are yours, subgid(5)."},
		{"/dev/net/tun", "The device of the container's network; where it is closed, a veth pair is used."},
		{"../libexec/bryo/bryo-net", "The network's process, found from where bryo is, or beside it."},
		{"../libexec/bryo/bryo-image", "What unpack and pack run, found in the same way."},
	}
}

func exitStatus() []term {
	return []term{
		{"0-255", "The command's own, if it ran."},
		{strconv.Itoa(exitFailed), "bryo could not start it. An error of at most three lines says why and what mends it."},
		{strconv.Itoa(exitCannotRun), "The command is there but cannot run: no x bit, wrong architecture, missing interpreter or loader."},
		{strconv.Itoa(exitNotFound), "The command is not there."},
		{strconv.Itoa(signalExitBase) + "+n", "Signal n ended the command."},
	}
}

// example is lines of the README, and what they are for.
type example struct{ about, lines string }

func manExamples() []example {
	return []example{
		{"Root inside, you outside, on your own system, read-only:", "bryo run host id"},
		{"Write to it, and throw it away:", "bryo run --ephemeral host sh -c 'touch /usr/x && ls /usr/x'"},
		{"Unpack a root file system under your id map, and remove it:", "bryo unpack debian.tar debian\nbryo unshare rm -rf debian"},
		{"Run a shell in it, or a command on files of yours:", "bryo run debian\nbryo run -v \"$PWD:/src:ro\" -e LANG=C debian ls /src"},
		{"Publish a port; reach these servers and nothing else:", "bryo run -p 8080:80 debian ...\nbryo run --allow '*.debian.org' debian apt-get update"},
		{"See what would be done:", "bryo explain debian ls\nbryo explain --program debian ls"},
		{"Find out what keeps containers from running here:", "bryo doctor"},
	}
}

func seeAlso() []struct{ name, section string } {
	return []struct{ name, section string }{
		{"newuidmap", "1"},
		{"podman", "1"},
		{"unshare", "1"},
		{"subgid", "5"},
		{"subuid", "5"},
		{"capabilities", "7"},
		{"namespaces", "7"},
		{"user_namespaces", "7"},
	}
}

// page is a manual page as it is written.
type page struct{ strings.Builder }

// line writes a line of roff, as it is.
func (p *page) line(words ...string) { p.WriteString(strings.Join(words, " ") + "\n") }

func (p *page) section(title string) { p.line(".Sh", title) }

// escaped is an argument of a macro. One of at most three letters could be
// a macro itself, and punctuation is given a meaning by mdoc.
func escaped(s string) string {
	const longestMacro = 3
	s = literal(s)
	if len(s) <= longestMacro || strings.ContainsRune(".,:;()[]?!|", rune(s[0])) {
		s = `\&` + s
	}
	return s
}

// literal escapes what a page would typeset otherwise: it can be copied from
// there into a shell.
func literal(s string) string {
	return strings.NewReplacer(`\`, `\e`, `-`, `\-`, `'`, `\(aq`, "`", `\(ga`, `^`, `\(ha`, `~`, `\(ti`, `"`, `\(dq`).Replace(s)
}

// text writes paragraphs, parted by empty lines. Each sentence begins a line,
// as roff wants it.
func (p *page) text(s string) {
	s = strings.NewReplacer(`\`, `\e`, "--", `\-\-`, `~`, `\(ti`, `^`, `\(ha`, ". ", ".\n").Replace(s)
	for line := range strings.Lines(s) {
		if line = strings.TrimSpace(line); line == "" {
			p.line(".Pp")
		}
		const width = 78
		for _, part := range folded(line, width) {
			p.line(guarded(part))
		}
	}
}

// guarded keeps a line from being one of roff's own.
func guarded(line string) string {
	if strings.HasPrefix(line, ".") || strings.HasPrefix(line, "'") {
		return `\&` + line
	}
	return line
}

// folded breaks a line at blanks where it is too long.
func folded(line string, width int) []string {
	var list []string
	for next := range strings.FieldsSeq(line) {
		if last := len(list) - 1; last >= 0 && len(list[last])+len(next) < width {
			list[last] += " " + next
			continue
		}
		list = append(list, next)
	}
	return list
}

func sentence(s string) string { return strings.ToUpper(s[:1]) + s[1:] + "." }

func (p *page) literal(lines string) {
	p.line(".Bd", "-literal", "-offset", "indent")
	for line := range strings.Lines(lines) {
		p.line(guarded(literal(strings.TrimSpace(line))))
	}
	p.line(".Ed")
}

// list writes terms in the shape that a macro gives them.
func (p *page) list(macro string, terms []term) {
	p.line(".Bl", "-tag", "-width", "Ds")
	for _, t := range terms {
		p.line(".It", macro, escaped(t.name))
		p.text(t.about)
	}
	p.line(".El")
}

// synopsis writes a command's arguments, a line for each part of them.
func (p *page) synopsis(c *command) {
	p.line(".Nm")
	p.line(".Cm", escaped(c.name))
	for part := range strings.FieldsSeq(strings.NewReplacer("[", " [ ", "]", " ] ", "|", " | ").Replace(c.args)) {
		placeholder, many := strings.CutSuffix(part, "...")
		switch {
		case part == "[":
			p.line(".Oo")
		case part == "]":
			p.line(".Oc")
		case part == "|":
			p.line(".No", escaped(part))
		case strings.HasPrefix(part, "-"):
			p.line(".Fl", escaped(part[1:]))
		case many:
			p.line(".Ar", escaped(placeholder), "...")
		default:
			p.line(".Ar", escaped(placeholder))
		}
	}
}

func (p *page) commands() {
	all := verbs()
	for i := range all {
		c := &all[i]
		p.line(".Ss", "bryo", escaped(c.name))
		p.text(sentence(c.short))
		if c.about != "" {
			p.line(".Pp")
			p.text(c.about)
		}
		if len(c.examples) > 0 {
			p.literal(strings.Join(c.examples, "\n"))
		}
		p.flags(c, all[:i])
	}
}

// flags writes a command's flags, without those that it shares with a command
// that was written before: of such it has all.
func (p *page) flags(c *command, before []command) {
	flags := c.flagSet()
	shared, name := &pflag.FlagSet{}, ""
	for i := range before {
		if other := before[i].flagSet(); other.HasAvailableFlags() && includes(flags, other) {
			shared, name = other, before[i].name
			break
		}
	}
	var own []*pflag.Flag
	flags.VisitAll(func(f *pflag.Flag) {
		if !f.Hidden && shared.Lookup(f.Name) == nil {
			own = append(own, f)
		}
	})
	switch {
	case name != "" && len(own) > 0:
		p.line(".Pp")
		p.text("It takes all flags of bryo " + name + ", and:")
	case name != "":
		p.line(".Pp")
		p.text("It takes the flags of bryo " + name + ".")
	}
	if len(own) == 0 {
		return
	}
	p.line(".Bl", "-tag", "-width", "Ds")
	for _, f := range own {
		p.flag(f)
	}
	p.line(".El")
}

// includes holds if all flags of the other are among the flags, with the same
// meaning.
func includes(flags, other *pflag.FlagSet) bool {
	all := true
	other.VisitAll(func(f *pflag.Flag) {
		g := flags.Lookup(f.Name)
		all = all && g != nil && g.Usage == f.Usage && g.Value.Type() == f.Value.Type()
	})
	return all
}

func (p *page) flag(f *pflag.Flag) {
	head := []string{".It"}
	if f.Shorthand != "" {
		head = append(head, "Fl", escaped(f.Shorthand), ",")
	}
	head = append(head, "Fl", escaped("-"+f.Name))
	switch placeholder := valueOf(f); {
	case placeholder == "":
	case f.NoOptDefVal != "":
		head = append(head, "Ns Oo = Ns Ar", escaped(placeholder), "Oc")
	default:
		head = append(head, "Ar", escaped(placeholder))
	}
	p.line(head...)
	p.text(sentence(usageOf(f)))
}
