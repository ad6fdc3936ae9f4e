package main

import (
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/spf13/pflag"
)

// sections parts the page by what its Ss and Sh macros say.
func sections(page string) map[string]string {
	parts := map[string]string{}
	title := ""
	for line := range strings.Lines(page) {
		if name, found := strings.CutPrefix(line, ".Ss "); found {
			title = strings.ReplaceAll(strings.TrimSpace(name), `\&`, "")
		}
		if name, found := strings.CutPrefix(line, ".Sh "); found {
			title = strings.TrimSpace(name)
		}
		parts[title] += line
	}
	return parts
}

// Every command has its part, with every flag in it, or in the part of the
// command whose flags it has, too.
func TestManualIsWhole(t *testing.T) {
	parts := sections(manual())
	others := regexp.MustCompile(`takes (?:all|the) flags of bryo (\w+)`)
	for _, c := range verbs() {
		part, found := parts["bryo "+c.name]
		if !found || !strings.Contains(part, sentence(c.short)) {
			t.Errorf("%s: %q", c.name, part)
		}
		if !strings.Contains(parts["SYNOPSIS"], ".Cm "+escaped(c.name)+"\n") {
			t.Errorf("no %s in the synopsis", c.name)
		}
		for _, other := range others.FindAllStringSubmatch(part, -1) {
			part += parts["bryo "+other[1]]
		}
		c.flagSet().VisitAll(func(f *pflag.Flag) {
			item := regexp.MustCompile(`(?m)^\.It .*Fl ` + regexp.QuoteMeta(escaped("-"+f.Name)) + `( (Ar|Ns) .*)?$`)
			if item.MatchString(part) == f.Hidden {
				t.Errorf("%s: --%s is hidden: %t", c.name, f.Name, f.Hidden)
			}
			if f.Shorthand != "" && !strings.Contains(part, "Fl "+escaped(f.Shorthand)+" , Fl "+escaped("-"+f.Name)) {
				t.Errorf("%s: no -%s", c.name, f.Shorthand)
			}
		})
	}
	if part := parts["bryo explain"]; !strings.Contains(part, "all flags of bryo run") || strings.Contains(part, "userns") {
		t.Errorf("explain repeats the flags of run:\n%s", part)
	}
	if strings.Contains(manual(), "bryo complete") {
		t.Error("it tells of what is hidden")
	}
}

func TestManualHasEveryExitCode(t *testing.T) {
	part := sections(manual())["EXIT STATUS"]
	for _, code := range []string{"125", "126", "127", "128+n"} {
		if !strings.Contains(part, ".It No "+escaped(code)+"\n") {
			t.Errorf("no %s in\n%s", code, part)
		}
	}
}

func TestManualExamplesAreTheReadmes(t *testing.T) {
	readme, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range manExamples() {
		for line := range strings.Lines(e.lines) {
			if !strings.Contains(string(readme), "\n"+strings.TrimSpace(line)) {
				t.Errorf("the README has no line %q", line)
			}
		}
	}
}

// Every variable that the program reads is in the page, and no other.
func TestManualHasTheEnvironment(t *testing.T) {
	reads := regexp.MustCompile(`os\.(?:Getenv|LookupEnv)\("(\w+)"\)`)
	read := map[string]bool{}
	for _, dir := range []string{".", "../../rootless", "../../fsroot", "../../idmap", "../../netslirp"} {
		err := filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
			if err != nil || filepath.Ext(path) != ".go" || strings.HasSuffix(path, "_test.go") {
				return err
			}
			text, err := os.ReadFile(path)
			for _, found := range reads.FindAllStringSubmatch(string(text), -1) {
				read[found[1]] = true
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	told := map[string]bool{}
	for _, v := range manEnvironment() {
		if told[v.name] = true; !read[v.name] {
			t.Errorf("%s is read nowhere", v.name)
		}
	}
	for name := range read {
		if !told[name] {
			t.Errorf("%s is not told of", name)
		}
	}
}

// formatter runs a program on a page; without it the test skips.
func formatter(t *testing.T, page, name string, args ...string) string {
	t.Helper()
	if _, err := exec.LookPath(name); err != nil {
		t.Skipf("no formatter: %v", err)
	}
	cmd := exec.CommandContext(t.Context(), name, args...)
	cmd.Stdin = strings.NewReader(page)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Errorf("%s: %v\n%s", cmd, err, out)
	}
	return string(out)
}

func TestManualIsGoodRoff(t *testing.T) {
	for _, row := range [][]string{
		{"mandoc", "-T", "lint", "-W", "warning"},
		{"groff", "-mandoc", "-ww", "-z"},
	} {
		t.Run(row[0], func(t *testing.T) {
			if out := formatter(t, manual(), row[0], row[1:]...); out != "" {
				t.Errorf("complains:\n%s", out)
			}
		})
	}
}

// What could be taken for roff comes out as it went in.
func TestManualEscapes(t *testing.T) {
	hostile := []string{`.Sh TITLE`, `'br`, `a\fBb\n`, "--all-of 'it' `now` \"here\" ~/x ^y", `\`, `.`}
	p := &page{}
	p.line(".Dd November 25, 2026")
	p.line(".Dt X 1")
	p.line(".Os")
	p.section("NAME")
	for _, text := range hostile {
		p.literal(text)
	}
	p.list("Fl", []term{{"Ar", "A macro's name."}, {".", "A point."}, {"-net", ".Sh it is, said\nthe page \\ --and ~ ^."}})
	out := formatter(t, p.String(), "mandoc", "-T", "utf8")
	out = regexp.MustCompile(".\b").ReplaceAllString(out, "")
	for _, text := range append(hostile, "-Ar", "-.", "--net", ".Sh it is, said the page \\ --and ~ ^.") {
		if !strings.Contains(out, text) {
			t.Errorf("no %q in\n%s", text, out)
		}
	}
}
