package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"strings"
	"testing"
	"unicode"

	"github.com/spf13/pflag"
	"golang.org/x/sys/unix"

	"bryo/rootless"
	"bryo/rootless/launch"
	"bryo/rootless/logs"
	"bryo/rootless/program"
)

// said runs what writes to streams and returns what came.
func said(t *testing.T, do func(streams) int) (code int, out, err string) {
	t.Helper()
	var texts [2]chan string
	var ends [2]*os.File
	for i := range texts {
		r, w, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		ends[i], texts[i] = w, make(chan string, 1)
		go func() {
			data, _ := io.ReadAll(r)
			_ = r.Close()
			texts[i] <- string(data)
		}()
	}
	code = do(streams{in: os.Stdin, out: ends[0], err: ends[1]})
	_, _ = ends[0].Close(), ends[1].Close()
	return code, <-texts[0], <-texts[1]
}

func TestReport(t *testing.T) {
	missing := &launch.ExecError{Path: "ls", Why: "command not found in the container's PATH"}
	for _, row := range []struct {
		name string
		err  error
		code int
		want string
	}{
		{"nothing", nil, 0, ""},
		{"help was asked for", fmt.Errorf("flags: %w", pflag.ErrHelp), 0, ""},
		{"a failure", errors.New("map ids: no"), 125, "bryo: map ids: no\n"},
		{"a failure and its fix", errors.New("map ids: no\nfix: ask"), 125, "bryo: map ids: no\nfix: ask\n"},
		{"a step", &launch.StepError{Failure: program.Failure{Step: "open /x", Errno: program.Errno(unix.ENOENT)}}, 125, "bryo: open /x: no such file or directory\n"},
		{"a step and why", &launch.StepError{Failure: program.Failure{Step: "open /x", Errno: program.Errno(unix.EMFILE)}, Why: "too many\nfix: less"}, 125, "bryo: open /x: too many\nfix: less\n"},
		{"cannot run", fmt.Errorf("run: %w", &launch.ExecError{Path: "/x", Found: true, Why: "it is empty"}), 126, "bryo: run: /x: it is empty\n"},
		{"not found", missing, 127, "bryo: ls: command not found in the container's PATH\n"},
		{"no shell", rootless.ErrNoShell, 127, "bryo: " + rootless.ErrNoShell.Error() + "\n"},
		{"a signal", fmt.Errorf("start: %w", &launch.EndedError{Signal: unix.SIGTERM}), 143, ""},
		{"a name that moves the cursor", errors.New("open /\x1b[2J\r\x00: no"), 125, "bryo: open /\\x1b[2J\\r\\x00: no\n"},
		{"a name that looks like a line", errors.New("open /a\nbryo: all is well: no"), 125, "bryo: open /a\\nbryo: all is well: no\n"},
		{"a name in another script", errors.New("open /möös-苔: no"), 125, "bryo: open /möös-苔: no\n"},
	} {
		code, out, err := said(t, func(s streams) int { return report(s, row.err) })
		if code != row.code || err != row.want || out != "" {
			t.Errorf("%s: code %d, %q, %q, want %d, %q", row.name, code, out, err, row.code, row.want)
		}
	}
}

// However long an error is, three lines are what is said.
func FuzzReport(f *testing.F) {
	f.Add("map ids: no\nfix: ask\nmore: bryo doctor ids")
	f.Add("a\nb\nc\nd\nfix: e\nfix: f\n")
	f.Add("\x1b]0;title\x07\u202e\xff")
	f.Fuzz(func(t *testing.T, text string) {
		code, out, err := said(t, func(s streams) int { return report(s, errors.New(text)) })
		if code != 125 || out != "" || !strings.HasPrefix(err, "bryo: ") || !strings.HasSuffix(err, "\n") || strings.Count(err, "\n") > 3 {
			t.Errorf("%q: %d, %q, %q", text, code, out, err)
		}
		if strings.ContainsAny(err, "\x00\x07\x1b\r\u202e") {
			t.Errorf("%q: %q", text, err)
		}
	})
}

func TestWarnings(t *testing.T) {
	_, out, err := said(t, func(s streams) int { warn(s, []string{"one", "two"}); return 0 })
	if want := "bryo: warning: one\nbryo: warning: two\n"; err != want || out != "" {
		t.Errorf("%q, want %q", err, want)
	}
}

func TestCommands(t *testing.T) {
	t.Setenv("XDG_DATA_HOME", t.TempDir())
	for _, row := range []struct {
		line      string
		code      int
		out, said string
	}{
		{"", 125, "", "which command?"},
		{"nothing", 125, "", `there is no command "nothing"`},
		{"--nothing", 125, "", `there is no command "--nothing"`},
		{"version x", 125, "", "version takes no arguments\nfix: bryo version\n"},
		{"prune x", 125, "", "prune takes no arguments\nfix: bryo prune\n"},
		{"ps x", 125, "", "ps takes no names\nfix: bryo ps -a, or bryo inspect x\n"},
		{"help run extra", 125, "", "help takes one command\nfix: bryo help run\n"},
		{"help rnu", 125, "", "there is no command \"rnu\"\nfix: bryo run\n"},
		{"rnu root", 125, "", "there is no command \"rnu\"\nfix: bryo run\n"},
		{"completion tcsh", 125, "", "there is no completion for \"tcsh\"\nfix: bryo completion bash, zsh or fish\n"},
		{"completion", 125, "", "fix: bryo completion bash, zsh or fish\n"},
		{"cp --all a b", 125, "", "fix: bryo cp has no flags; put -- before"},
		{"port -x a", 125, "", "fix: bryo port has no flags; put -- before"},
		{"stop --al a", 125, "", "fix: bryo help stop lists the flags"},
		{"cp a:/x b:/y", 125, "", "fix: bryo cp a:/x - | bryo cp - b:/y\n"},
		{"run -d --log-max-files 0 root", 125, "", "fix: write one from 1 to 100; 3 by default\n"},
		{"run --pull never debian:nonesuch", 125, "", "image debian:nonesuch is not here, and debian:nonesuch is no directory\nfix: bryo pull debian:nonesuch"},
		{"version", 0, version, ""},
		{"--version", 0, version, ""},
		{"help", 0, "bryo help VERB", ""},
		{"-h", 0, "bryo runs programs", ""},
		{"--help", 0, "bryo runs programs", ""},
		{"help run", 0, "--read-only", ""},
		{"run --help", 0, "usage: bryo run", ""},
		{"explain --help", 0, "--program", ""},
		{"unshare --help", 0, "--userns", ""},
		{"help nothing", 125, "", `there is no command "nothing"`},
		{"run", 125, "", "no root file system was given"},
		{"run /nothing/here true", 125, "", "root file system /nothing/here: no such file or directory"},
		{"run --userns host / true", 125, "", "--userns host"},
		{"explain --program --json / true", 125, "", "exclude each other"},
	} {
		code, out, err := said(t, func(s streams) int { return run(strings.Fields(row.line), s) })
		if code != row.code || !strings.Contains(out, row.out) || !strings.Contains(err, row.said) {
			t.Errorf("%q: %d, %q, %q, want %d, %q, %q", row.line, code, out, err, row.code, row.out, row.said)
		}
		if (err == "") != (row.code == 0) || strings.Count(err, "\n") > 3 {
			t.Errorf("%q: code %d, and is said: %q", row.line, code, err)
		}
	}
}

// The help names every command and every flag that is not hidden.
func TestHelpIsWhole(t *testing.T) {
	_, text, _ := said(t, func(s streams) int { return run([]string{"help"}, s) })
	for _, c := range verbs() {
		if !strings.Contains(text, "bryo "+c.name) {
			t.Errorf("no %s in\n%s", c.name, text)
		}
		_, help, _ := said(t, func(s streams) int { return run([]string{"help", c.name}, s) })
		if !strings.Contains(help, c.short) || !strings.HasPrefix(help, "usage: bryo "+c.name) {
			t.Errorf("%s: %q", c.name, help)
		}
	}
	_, text, _ = said(t, func(s streams) int { return run([]string{"run", "--help"}, s) })
	flags, _ := runFlags(streams{})
	flags.VisitAll(func(f *pflag.Flag) {
		if (strings.Contains(text, "--"+f.Name+" ") || strings.Contains(text, "--"+f.Name+"[")) == f.Hidden {
			t.Errorf("--%s is hidden: %t", f.Name, f.Hidden)
		}
		if f.Usage == "" {
			t.Errorf("--%s does what?", f.Name)
		}
	})
}

// A value that may be left out is shown as it is written, and the pages tell
// what the flags alone do not.
func TestHelp(t *testing.T) {
	for _, row := range []struct{ verb, want, garbled string }{
		{"run", "      --host-loopback[=PORTS]  ", "[=true] "},
		{"explain", "      --host-loopback[=PORTS]  ", "[=true] "},
		{"cp", "CONTAINER:PATH", ""},
		{"cp", "a tar stream", ""},
		{"cp", "\nexamples:\n  bryo cp ", ""},
		{"port", "[ADDR:][HOST:]PORT[/udp]", ""},
		{"port", "\n  bryo port rm web 8443:443\n", ""},
		{"stats", "published ports", ""},
		{"logs", "usage", ""},
	} {
		_, text, _ := said(t, func(s streams) int { return run([]string{"help", row.verb}, s) })
		if !strings.Contains(text, row.want) || row.garbled != "" && strings.Contains(text, row.garbled) {
			t.Errorf("%s: no %q, or %q, in\n%s", row.verb, row.want, row.garbled, text)
		}
	}
	flags := runSyntax()
	for name, want := range map[string]string{
		"log-max-files": fmt.Sprintf("%d by default", logs.DefaultFiles),
		"log-max-size":  fmt.Sprintf("%dm by default", logs.DefaultSize>>20),
	} {
		if usage := flags.Lookup(name).Usage; !strings.Contains(usage, want) {
			t.Errorf("--%s: %q has no %q", name, usage, want)
		}
	}
	for _, c := range verbs() {
		for line := range strings.Lines(c.help()) {
			if len(line) > 101 && !strings.HasPrefix(line, "usage") {
				t.Errorf("%s: %q is long", c.name, line)
			}
		}
	}
}

func TestExplainPrintsAPlan(t *testing.T) {
	root := t.TempDir()
	if err := os.Mkdir(root+"/bin", 0o755); err != nil {
		t.Fatal(err)
	}
	for _, row := range []struct{ flags, want string }{
		{"", "written to directly"},
		{"--ephemeral", "writes are thrown away"},
		{"--read-only", "read-only"},
		{"-v /tmp:/data", "/data bind /tmp"},
		{"--device /dev/null:/dev/x", "/dev/x"},
		{"--hostname moss", "moss"},
		{"--userns single", "0-0 -> "},
		{"--program", "pivot_root(\".\", \".\")"},
		{"--json", `"Argv": [`},
	} {
		line := append(append([]string{"explain", "--net", "none"}, strings.Fields(row.flags)...), root, "/bin/sh", "-c", "a b")
		code, out, err := said(t, func(s streams) int { return run(line, s) })
		if code != 0 || !strings.Contains(out, row.want) || (err != "" && !strings.HasPrefix(err, "bryo: warning: ")) {
			t.Errorf("%s: %d, %s, %s, want %q", row.flags, code, out, err, row.want)
		}
	}
}

func TestQuoted(t *testing.T) {
	got := strings.Join(quoted([]string{"sh", "-c", "a b", "", "$x", "it's", "a\tb", "x=1"}), " ")
	if want := `sh -c "a b" "" "$x" "it's" "a\tb" x=1`; got != want {
		t.Errorf("%s, want %s", got, want)
	}
}

func TestExtents(t *testing.T) {
	if got, want := extents("0 1000 1\n1 100000 65536\n"), "0-0 -> 1000-1000, 1-65536 -> 100000-165535"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
	if got := extents("0 0 4294967295\n"); got != "0-4294967294 -> 0-4294967294" {
		t.Error(got)
	}
}

func TestGroups(t *testing.T) {
	if got := groups([]uint32{5, 4294967294}) + groups(nil); got != ",5,4294967294" {
		t.Error(got)
	}
}

// What an image says of itself is JSON that no terminal obeys, and the same when it is
// read.
func TestPlainJSON(t *testing.T) {
	odd := map[string]string{"\x1b]0;\a": "a\u009b31m\x7f\u202e\U000e0001é\n"}
	_, out, _ := said(t, func(s streams) int { return writeJSON(s, odd) })
	if strings.ContainsFunc(out, func(r rune) bool { return r != '\n' && !unicode.IsPrint(r) }) || !strings.Contains(out, "é") {
		t.Errorf("%q", out)
	}
	var again map[string]string
	if err := json.Unmarshal([]byte(out), &again); err != nil || !maps.Equal(again, odd) {
		t.Errorf("%q: %v", again, err)
	}
}
