package tests

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
)

// battle is a site whose root file system holds a hostile command, tests/attack,
// and whose caller is careless: it has directories of the host open, and a
// secret in its environment. What the command reaches under a naive wrapper, it
// must not reach under bryo.
type battle struct {
	*site
	outside string // a directory of the host
	secret  string // a file in it
	open    []*os.File
}

const (
	mark        = "a secret of the host"
	callersName = "BRYO_ATTACK"
)

// newBattle is nil in root's process, which has nothing left to do then.
func newBattle(t *testing.T) *battle {
	t.Helper()
	bin, err := suite.bryo()
	if err == nil {
		err = netBinaries.build(filepath.Dir(bin))
	}
	if err != nil {
		t.Fatal(err)
	}
	if !ordinary(t) {
		return nil
	}
	b := &battle{site: newSite(t)}
	b.outside = filepath.Join(b.dir, "outside")
	b.secret = filepath.Join(b.outside, "secret")
	for _, err := range []error{
		os.Mkdir(b.outside, 0o755), os.WriteFile(b.secret, []byte(mark+"\n"), 0o644),
		copyFile(filepath.Join(filepath.Dir(bin), "attack"), filepath.Join(b.root, "bin/attack")),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	if runtime.GOARCH == "amd64" {
		if err := copyFile(filepath.Join(filepath.Dir(bin), "attack32"), filepath.Join(b.root, "bin/attack32")); err != nil {
			t.Fatal(err)
		}
	}
	for _, path := range []string{b.outside, "/"} {
		file, err := os.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		b.open = append(b.open, file)
		t.Cleanup(func() { _ = file.Close() })
	}
	return b
}

// careless is a command of the careless caller's.
func (b *battle) careless(args ...string) *exec.Cmd {
	cmd := b.command(args[0], args[1:]...)
	cmd.ExtraFiles = b.open
	cmd.Env = append(cmd.Env, callersName+"="+mark)
	return cmd
}

// reached are the lines of what an attack reached. One that did not come to
// try anything is no test.
func (b *battle) reached(got outcome) []string {
	b.t.Helper()
	var reached []string
	tried := 0
	for line := range strings.Lines(got.out) {
		word, what, _ := strings.Cut(strings.TrimSuffix(line, "\n"), " ")
		switch word {
		case "reached":
			reached = append(reached, what)
			fallthrough
		case "refused":
			tried++
		default:
			b.t.Errorf("the attack says %q", line)
		}
	}
	if refused := got.code == 125 && strings.HasPrefix(got.err, "bryo: "); tried == 0 && !refused {
		b.t.Errorf("nothing was tried: %+v", got)
	}
	return reached
}

// wins wants an attack to reach something under a naive wrapper. Where the
// wrapper is not there or has been mended, the test of bryo is not shown able to
// fail.
func (b *battle) wins(wrapper []string, attack ...string) {
	b.t.Helper()
	b.here(wrapper)
	got := b.end(b.careless(slices.Concat(wrapper, attack)...))
	if reached := b.reached(got); len(reached) == 0 {
		b.t.Skipf("%s withstands, too: %+v", wrapper[0], got)
	} else {
		const some = 5
		b.t.Logf("%s: %d reached, as %q", filepath.Base(wrapper[0]), len(reached), reached[:min(some, len(reached))])
	}
}

// here skips a test whose wrapper is not installed.
func (b *battle) here(wrapper []string) {
	b.t.Helper()
	if _, err := exec.LookPath(wrapper[0]); err != nil {
		b.t.Skipf("bryo withstands; there is no %s to show that the attack works", wrapper[0])
	}
}

// loses wants an attack to reach nothing under bryo run.
func (b *battle) loses(flags []string, attack ...string) {
	b.t.Helper()
	got := b.end(b.careless(slices.Concat([]string{"bryo", "run"}, flags, []string{b.root}, attack)...))
	if reached := b.reached(got); len(reached) > 0 {
		b.t.Errorf("bryo run %v: %q reached %q\n%s", flags, attack, reached, got.err)
	}
}

// losesInside wants the same under bryo exec.
func (b *battle) losesInside(flags []string, attack ...string) {
	b.t.Helper()
	defer b.container("entered", flags, "sleep", "1000")()
	got := b.end(b.careless(append([]string{"bryo", "exec", "entered"}, attack...)...))
	if reached := b.reached(got); len(reached) > 0 {
		b.t.Errorf("bryo exec, %v: %q reached %q\n%s", flags, attack, reached, got.err)
	}
}

// container starts one that stays until it is ended.
func (b *battle) container(name string, flags []string, command ...string) (end func()) {
	b.t.Helper()
	args := slices.Concat([]string{"run", "-d", "--name", name}, flags, []string{b.root}, command)
	if got := b.end(b.careless(append([]string{"bryo"}, args...)...)); got.code != 0 {
		b.t.Fatalf("%v: %+v", args, got)
	}
	return func() { b.bryo("rm", "-f", name) }
}

// bwrap is bubblewrap as its manual has it, with a root file system of its own.
func (b *battle) bwrap(options ...string) []string {
	return append([]string{"bwrap", "--bind", b.root, "/", "--proc", "/proc", "--dev", "/dev", "--unshare-pid"}, options...)
}

// unshare is unshare(1) as its manual has it.
func (b *battle) unshare(options ...string) []string {
	base := []string{"unshare", "--user", "--map-root-user", "--mount", "--pid", "--fork", "--root", b.root, "--mount-proc"}
	return append(base, options...)
}

// file makes a file below the root, with its directories.
func (b *battle) file(name, text string) {
	b.t.Helper()
	path := filepath.Join(b.root, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		b.t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		b.t.Fatal(err)
	}
}

// link makes a link below the root.
func (b *battle) link(name, target string) {
	b.t.Helper()
	path := filepath.Join(b.root, name)
	_ = os.RemoveAll(path)
	if err := os.Symlink(target, path); err != nil {
		b.t.Fatal(err)
	}
}

// untouched says whether what is outside is as it was.
func (b *battle) untouched() error {
	text, err := os.ReadFile(b.secret)
	if err != nil || string(text) != mark+"\n" {
		return fmt.Errorf("the secret is %q now, %v", text, err) //nolint:errorlint // it may be none
	}
	list, err := os.ReadDir(b.outside)
	if err != nil || len(list) != 1 {
		return fmt.Errorf("outside there are %v now, %v", list, err) //nolint:errorlint // it may be none
	}
	return nil
}
