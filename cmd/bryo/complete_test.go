package main

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/spf13/pflag"

	"bryo/rootless/host"
	"bryo/rootless/state"
)

// typed parts a line at blanks; what is at the cursor may be empty.
func typed(line string) []string { return strings.Split(line, " ") }

func (o *offer) has(word string) bool {
	return slices.ContainsFunc(o.words, func(c candidate) bool { return c.word == word })
}

func TestComplete(t *testing.T) {
	topics := strings.Join(host.Topics(), " ")
	for _, row := range []struct {
		name, line string
		from       string
		words      string // some of them, "" for none at all
	}{
		{"a verb", "", "nothing", "run explain help completion"},
		{"a flag before the verb", "--", "nothing", "--help --version"},
		{"no such verb", "rum ", "nothing", ""},
		{"a root", "run ", "directories", "host"},
		{"a root behind flags", "run -it --read-only --net host ", "directories", "host"},
		{"a root behind --", "run -- ", "directories", "host"},
		{"no flag behind --", "run -- --re", "directories", "host"},
		{"a flag", "run -", "nothing", "--userns --net -v --volume --help"},
		{"a value of its own", "run --net ", "nothing", "user none host join:"},
		{"a value behind =", "run --net=", "nothing", "user none host join:"},
		{"a value behind a letter", "run -itv ", "files", ""},
		{"a value in the letter's word", "run -vx ", "directories", "host"},
		{"a value that is optional", "run --host-loopback ", "directories", "host"},
		{"a claim", "run --tty ", "directories", "host"},
		{"a claim denied", "run --tty=", "nothing", "true false"},
		{"a hidden flag's value", "run --network ", "nothing", "user none"},
		{"no such flag's value", "run --nonsense=", "nothing", ""},
		{"letters of no flag", "run -Zé ", "directories", "host"},
		{"a file", "run --env-file ", "files", ""},
		{"the source of a mount", "run -v /sr", "files", ""},
		{"the target of a mount", "run -v /src:/d", "nothing", ""},
		{"a namespace", "run --pid ", "nothing", "own host join:"},
		{"a capability", "run --cap-drop ", "nothing", "all NET_RAW"},
		{"a signal", "run --stop-signal ", "nothing", "TERM KILL"},
		{"a limit", "run --ulimit ", "nothing", "nofile="},
		{"a command inside", "run root ", "nothing", ""},
		{"its flags", "run root -", "nothing", ""},
		{"its arguments", "run root ls ", "nothing", ""},
		{"a command of the host's root", "run -i host ", "program 4", ""},
		{"its arguments", "run -i host ls -", "program 4", ""},
		{"its command line behind --", "run host -- ls ", "program 4", ""},
		{"a program", "unshare --userns auto ", "program 4", ""},
		{"a program's flags", "unshare ls -", "program 2", ""},
		{"flags of unshare", "unshare -", "nothing", "--userns"},
		{"a topic", "doctor --json ", "nothing", topics},
		{"no second topic", "doctor ids ", "nothing", ""},
		{"a flag behind a topic", "doctor ids --", "nothing", "--json --fix-script"},
		{"a verb to help with", "help ", "nothing", "run unshare"},
		{"a shell", "completion ", "nothing", "bash zsh fish"},
		{"-- is one of the words the second time", "completion -- -- ", "nothing", ""},
		{"nothing", "version ", "nothing", ""},
	} {
		o := complete(typed(row.line))
		from, _, _ := strings.Cut(o.String(), "\n")
		if from != row.from {
			t.Errorf("%s: %q is from %s, want %s", row.name, row.line, from, row.from)
		}
		for word := range strings.FieldsSeq(row.words) {
			if !o.has(word) {
				t.Errorf("%s: %q offers %v, not %s", row.name, row.line, o.words, word)
			}
		}
		if row.words == "" && len(o.words) > 0 {
			t.Errorf("%s: %q offers %v", row.name, row.line, o.words)
		}
		if o.has("complete") || o.has("--privileged") || o.has("--network") {
			t.Errorf("%s: %q offers what is hidden: %v", row.name, row.line, o.words)
		}
	}
}

// A command that is no more than a row in the table is completed like all.
func TestCompleteByTheRow(t *testing.T) {
	flags := func() *pflag.FlagSet {
		flags := pflag.NewFlagSet("new", pflag.ContinueOnError)
		flags.StringP("last", "l", "", "until `TOPIC`")
		flags.Var(&value{kind: "SIGNAL"}, "signal", "send this")
		flags.Bool("all", false, "all of them")
		return flags
	}
	one := command{name: "new", args: "[--all] [FLAGS] SHELL COMMAND [ARG...]", flags: flags}
	many := command{name: "new", args: "[FLAGS] SHELL...", flags: flags}
	for _, row := range []struct {
		c    *command
		line string
		word string // "" for none at all
	}{
		{&one, "new ", "fish"},
		{&one, "new --all ", "fish"},
		{&one, "new --signal ", "TERM"},
		{&one, "new --signal=", "TERM"},
		{&one, "new --last ", "ids"},
		{&one, "new -", "--all"},
		{&one, "new fish ", ""},
		{&one, "new fish -", ""},
		{&many, "new fish ", "bash"},
		{&many, "new fish bash ", "zsh"},
		{&many, "new fish -", "--all"},
		{&many, "new fish --signal KILL ", "bash"},
	} {
		o := row.c.complete(typed(row.line))
		if row.word == "" && len(o.words) > 0 || row.word != "" && !o.has(row.word) {
			t.Errorf("%s: %q offers %v, want %q", row.c.args, row.line, o.words, row.word)
		}
	}
}

// stored makes containers that have never run.
func stored(t *testing.T, names ...string) {
	t.Helper()
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	t.Setenv("XDG_RUNTIME_DIR", dir)
	store, err := state.Open()
	if err != nil {
		t.Fatal(err)
	}
	for i, name := range names {
		entry, err := store.Create(&state.Config{ID: fmt.Sprintf("%012x", i), Name: name, Created: time.Unix(int64(i), 0)})
		if err != nil {
			t.Fatal(err)
		}
		entry.Unlock()
	}
}

func TestCompleteContainers(t *testing.T) {
	stored(t, "moss", "host")
	for _, row := range []struct {
		line  string
		names bool
	}{
		{"stop ", true},
		{"stop -t 3 moss ", true},
		{"exec -it ", true},
		{"logs ", true},
		{"logs moss ", false},
		{"exec moss ", false},
		{"rename ", true},
		{"rename moss ", false},
		{"run --net ", false},
	} {
		if o := complete(typed(row.line)); o.has("moss") != row.names {
			t.Errorf("%q offers %v", row.line, o.words)
		}
	}
	if o := complete(typed("exec host ")); o.from == fromProgram {
		t.Error("a container named host is taken for the host")
	}
	if _, out, _ := said(t, func(s streams) int { return run([]string{"complete", "containers"}, s) }); out != "moss\nhost\n" {
		t.Errorf("containers are %q", out)
	}
	t.Setenv("XDG_RUNTIME_DIR", "/nothing/here")
	if o := complete(typed("stop ")); len(o.words) > 0 {
		t.Errorf("without a store there are %v", o.words)
	}
}

func TestEveryFlagIsOffered(t *testing.T) {
	for _, c := range verbs() {
		o := complete([]string{c.name, "-"})
		c.flagSet().VisitAll(func(f *pflag.Flag) {
			if o.has("--"+f.Name) == f.Hidden {
				t.Errorf("%s: --%s is hidden: %t", c.name, f.Name, f.Hidden)
			}
			if f.Shorthand != "" && !o.has("-"+f.Shorthand) {
				t.Errorf("%s: no -%s", c.name, f.Shorthand)
			}
		})
	}
}

// What is offered for a flag's value is a value of the flag, or the beginning
// of one.
func TestOfferedValuesAreTaken(t *testing.T) {
	for _, c := range verbs() {
		c.flagSet().VisitAll(func(f *pflag.Flag) {
			for _, w := range offerValue(f, "").words {
				if strings.ContainsAny(w.word[len(w.word)-1:], "=:,") {
					continue
				}
				if err := c.flagSet().Set(f.Name, w.word); err != nil && !f.Hidden {
					t.Errorf("%s: %v", c.name, err)
				}
			}
		})
	}
}

// A new placeholder is either given a meaning or counted among those that no
// shell can know anything of.
func TestPlaceholdersAreKnown(t *testing.T) {
	unknowable := strings.Fields(`ARG
		NAME NAME=VALUE KEY=VALUE KEY[=VALUE] C:H:N TARGET[:OPTION,...] SIZE USER[:GROUP] GROUP DIR MODE FD
		[ADDR:][HOST:]PORT[/udp] PORT RULE PORTS ADDR DOMAIN NAME:IP UP[:DOWN] BYTES
		N KEYS TIME SECONDS NUMBER LIST WEIGHT
		OS/ARCH[/VARIANT] WORDS PORT[/PROTOCOL]`)
	used := map[string]bool{}
	for _, c := range verbs() {
		for _, o := range c.operands() {
			used[o.placeholder] = true
		}
		c.flagSet().VisitAll(func(f *pflag.Flag) { used[valueOf(f)] = true })
	}
	for placeholder := range used {
		m := meaningOf(placeholder)
		if known := m.from != fromNothing || m.words != nil; known == slices.Contains(unknowable, placeholder) {
			t.Errorf("%s: is it in the table of meanings, or in this test's list? In one of them", placeholder)
		}
	}
	for _, placeholder := range unknowable {
		if !used[placeholder] {
			t.Errorf("%s is used nowhere", placeholder)
		}
	}
}

// Flags end where complete takes them to end.
func TestFlagsEndBeforeAnothersCommandLine(t *testing.T) {
	for _, c := range verbs() {
		flags := c.flagSet()
		if c.flags == nil || len(c.operands()) == 0 {
			continue
		}
		flags.SetOutput(discard(t).err)
		err := flags.Parse([]string{"operand", "--help"})
		if read := errors.Is(err, pflag.ErrHelp); read == c.wraps() {
			t.Errorf("%s %s: a flag behind the operand is read: %t", c.name, c.args, read)
		}
	}
}

func TestRunCompleteAndCompletion(t *testing.T) {
	for _, row := range []struct {
		line, out string
		code      int
	}{
		{"complete line ver", "nothing\nrun\trun a command", 0},
		{"complete line run --tty=", "nothing\ntrue\t\nfalse\t\n", 0},
		{"complete line", "", 125},
		{"complete", "", 125},
		{"complete nonsense", "", 125},
		{"completion bash", "# bash completion", 0},
		{"completion zsh", "#compdef bryo", 0},
		{"completion fish", "# fish completion", 0},
		{"completion tcsh", "", 125},
		{"completion", "", 125},
		{"completion bash zsh", "", 125},
	} {
		code, out, err := said(t, func(s streams) int { return run(strings.Fields(row.line), s) })
		if code != row.code || !strings.HasPrefix(out, row.out) || (err == "") != (code == 0) {
			t.Errorf("%q: %d, %q, %q", row.line, code, out, err)
		}
	}
}
