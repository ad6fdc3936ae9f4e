package tests

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// installed is what make install makes of this checkout: the share directory,
// and the executables' before it in the path.
func installed(t *testing.T) (share string, env []string) {
	t.Helper()
	bin, err := suite.bryo()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := exec.LookPath("make"); err != nil {
		t.Skipf("no make to install with: %v", err)
	}
	dest := t.TempDir()
	install := exec.CommandContext(t.Context(), "make", "--silent", "install", "PREFIX=/usr", "DESTDIR="+dest, "BIN="+filepath.Dir(bin))
	install.Dir = ".."
	install.Env = append(os.Environ(), "MAKEFLAGS=")
	if out, err := install.CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", install, err, out)
	}
	share = filepath.Join(dest, "usr/share")
	return share, []string{
		"PATH=" + filepath.Join(dest, "usr/bin") + ":/usr/local/bin:/usr/bin:/bin",
		"SHARE=" + share, "XDG_DATA_DIRS=" + share + ":/usr/local/share:/usr/share",
		"HOME=" + dest, "LC_ALL=C.UTF-8", "TERM=dumb", "INPUTRC=/dev/null",
	}
}

func TestInstall(t *testing.T) {
	share, _ := installed(t)
	for name, begin := range map[string]string{
		"../bin/bryo":                         "\x7fELF",
		"../libexec/bryo/bryo-net":            "\x7fELF",
		"../libexec/bryo/bryo-image":          "\x7fELF",
		"man/man1/bryo.1":                     ".Dd ",
		"bash-completion/completions/bryo":    "# bash completion",
		"zsh/site-functions/_bryo":            "#compdef bryo\n",
		"fish/vendor_completions.d/bryo.fish": "# fish completion",
	} {
		text, err := os.ReadFile(filepath.Join(share, name))
		if err != nil || !strings.HasPrefix(string(text), begin) {
			t.Errorf("%s: %v, %.20q", name, err, text)
		}
		if info, err := os.Stat(filepath.Join(share, name)); err == nil && info.Mode().Perm()&0o022 != 0 {
			t.Errorf("%s has mode %v", name, info.Mode())
		}
	}
}

// shell is one that completes. What it is given for a line becomes the line
// with all completions inserted.
type shell struct {
	name, program string
	needs         string // a file
	args          []string
	keys          string // behind each line
}

func shells() []shell {
	keys := func(name string) string { return filepath.Join("testdata/completion", name) }
	const library = "/usr/share/bash-completion/bash_completion"
	insertAll := "\x1b*\x14"
	return []shell{
		{"bash", "bash", "", []string{"--noprofile", "--rcfile", keys("keys.bash"), "-i"}, insertAll},
		{"bash-completion", "bash", library, []string{"--noprofile", "--rcfile", keys("keys.bash"), "-i"}, insertAll},
		{"zsh", "zsh", "", []string{"-f", keys("keys.zsh")}, "\n"},
		{"fish", "fish", "", []string{keys("keys.fish")}, "\n"},
	}
}

// complete types the lines into the shell in a directory.
func (s shell) complete(t *testing.T, dir string, env, lines []string) []string {
	t.Helper()
	if _, err := exec.LookPath(s.program); err != nil {
		t.Skipf("no such shell: %v", err)
	}
	if s.needs != "" {
		if _, err := os.Stat(s.needs); err != nil {
			t.Skipf("no completion library: %v", err)
		}
	}
	args := slices.Clone(s.args)
	for i, arg := range args {
		if strings.HasPrefix(arg, "testdata/") {
			args[i], _ = filepath.Abs(arg)
		}
	}
	cmd := exec.CommandContext(t.Context(), s.program, args...)
	cmd.Dir = dir
	cmd.Env = append(slices.Clone(env), "LIBRARY="+s.needs)
	cmd.Stdin = strings.NewReader(strings.Join(lines, s.keys) + s.keys)
	var said strings.Builder
	cmd.Stderr = &said
	out, err := cmd.Output()
	got := strings.Split(strings.TrimSuffix(string(out), "\n"), "\n")
	if len(got) != len(lines) {
		t.Fatalf("%s: %v: %d lines for %d: %q\n%s", cmd, err, len(got), len(lines), out, said.String())
	}
	return got
}

// inserted are the completions in a line that began as another, sorted: without
// the flag of --flag=value, the shell's own marks of a directory, and quotes.
func inserted(before, after string) []string {
	before = before[:strings.LastIndex(before, " ")+1]
	if !strings.HasPrefix(after, before) {
		return []string{after + "?"}
	}
	quoted := regexp.MustCompile(`\\(.)`)
	flag := regexp.MustCompile(`^--[a-z-]+=`)
	var list []string
	for _, w := range regexp.MustCompile(`(\\.|'[^']*'|[^ ])+`).FindAllString(after[len(before):], -1) {
		w = quoted.ReplaceAllString(strings.ReplaceAll(w, "'", ""), "$1")
		list = append(list, strings.TrimSuffix(flag.ReplaceAllString(w, ""), "/"))
	}
	slices.Sort(list)
	return list
}

func TestCompletion(t *testing.T) {
	_, env := installed(t)
	dir := t.TempDir()
	for _, name := range []string{"debian", "of two words"} {
		if err := os.Mkdir(filepath.Join(dir, name), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"file-one", "file two"} {
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	rows := []struct{ line, want string }{ // want: candidates, parted by |
		{"bryo exp", "explain"},
		{"bryo com", "completion"},
		{"bryo --", "--help|--version"},
		{"bryo help v", "version"},
		{"bryo doctor --json i", "ids|images"},
		{"bryo run ", "debian|host|of two words"},
		{"bryo run -i --read-only d", "debian"},
		{"bryo run -e 'A=b c' h", "host"},
		{"bryo run --read", "--read-only"},
		{"bryo run --net ", "host|join:|none|pasta|slirp4netns|user"},
		{"bryo run --net=", "host|join:|none|pasta|slirp4netns|user"},
		{"bryo run --net=no", "none"},
		{"bryo run --pid=", "host|join:|own"},
		{"bryo run --userns keep-id:", "keep-id:"},
		{"bryo run --cap-drop NET_", "NET_ADMIN|NET_BIND_SERVICE|NET_BROADCAST|NET_RAW"},
		{"bryo run --stop-signal US", "USR1|USR2"},
		{"bryo run --ulimit=nof", "nofile="},
		{"bryo run --tty=", "false|true"},
		{"bryo run --env-file file", "file two|file-one"},
		{"bryo run --env-file=file-", "file-one"},
		{"bryo run -v file-one:/x:ro de", "debian"},
		{"bryo unshare cat file-", "file-one"},
		{"bryo unshare --userns auto mkfif", "mkfifo"},
		{"bryo run host cat file-", "file-one"},
		{"bryo run -i host mkfif", "mkfifo"},
	}
	var lines []string
	for _, row := range rows {
		lines = append(lines, row.line)
	}
	for _, s := range shells() {
		t.Run(s.name, func(t *testing.T) {
			t.Parallel()
			for i, after := range s.complete(t, dir, env, lines) {
				if got := strings.Join(inserted(lines[i], after), "|"); got != rows[i].want {
					t.Errorf("%q becomes %q: %s, want %s", lines[i], after, got, rows[i].want)
				}
			}
		})
	}
}

// All verbs and flags of the help are completed in every shell.
func TestCompletionIsWhole(t *testing.T) {
	_, env := installed(t)
	help := func(args ...string) string {
		cmd := exec.CommandContext(t.Context(), suite.binary, append([]string{"help"}, args...)...)
		out, err := cmd.Output()
		if err != nil {
			t.Fatal(err)
		}
		return string(out)
	}
	var lines, wants []string
	for _, verb := range regexp.MustCompile(`(?m)^  bryo (\S+)`).FindAllStringSubmatch(help(), -1) {
		flags := []string{"--help"}
		for _, flag := range regexp.MustCompile(`(?m)^ {2,6}(?:-\w, )?(--[a-z0-9-]+)`).FindAllStringSubmatch(help(verb[1]), -1) {
			flags = append(flags, flag[1])
		}
		slices.Sort(flags)
		lines = append(lines, "bryo "+verb[1]+" --")
		wants = append(wants, strings.Join(flags, "|"))
	}
	if len(lines) == 0 || !strings.Contains(strings.Join(wants, "|"), "--volume|--workdir") {
		t.Fatalf("the help cannot be read: %q", wants)
	}
	for _, s := range shells() {
		t.Run(s.name, func(t *testing.T) {
			t.Parallel()
			for i, after := range s.complete(t, t.TempDir(), env, lines) {
				if got := strings.Join(inserted(lines[i], after), "|"); got != wants[i] {
					t.Errorf("%q becomes %s, want %s", lines[i], got, wants[i])
				}
			}
		})
	}
}

// A word that is to be continued gets no blank behind it.
func TestCompletionGoesOn(t *testing.T) {
	_, env := installed(t)
	for _, s := range shells() {
		if s.program == "fish" {
			continue // has no keys to press here
		}
		t.Run(s.name, func(t *testing.T) {
			t.Parallel()
			s.keys = strings.ReplaceAll(s.keys, "\x1b*", "\t")
			lines := []string{"bryo run --net jo", "bryo run --net=jo", "bryo run --ulimit=nofi", "bryo run --net=no"}
			wants := []string{"bryo run --net join:", "bryo run --net=join:", "bryo run --ulimit=nofile=", "bryo run --net=none "}
			for i, got := range s.complete(t, t.TempDir(), env, lines) {
				if got != wants[i] {
					t.Errorf("%q becomes %q, want %q", lines[i], got, wants[i])
				}
			}
		})
	}
}
