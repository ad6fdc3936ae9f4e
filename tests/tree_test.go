package tests

import (
	"bytes"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// tracked returns the files of the tree, and those about to be added to it; in a
// copy without .git, all. It walks in any case, so that go test sees which
// directories the result depends on, and does not take it from its cache.
func tracked(t *testing.T, root string) []string {
	t.Helper()
	names := walked(t, root)
	if _, err := os.Stat(filepath.Join(root, ".git")); err != nil {
		return names
	}
	cmd := exec.CommandContext(t.Context(), "git", "-c", "safe.directory=*",
		"ls-files", "-z", "--cached", "--others", "--exclude-standard")
	cmd.Dir = root
	out, err := cmd.Output()
	if err != nil {
		t.Logf("every file is taken: %s: %v", cmd, err)
		return names
	}
	listed := map[string]bool{}
	for name := range strings.SplitSeq(string(out), "\x00") {
		listed[name] = true
	}
	return slices.DeleteFunc(names, func(name string) bool { return !listed[name] })
}

func walked(t *testing.T, root string) []string {
	t.Helper()
	names := []string{}
	err := fs.WalkDir(os.DirFS(root), ".", func(name string, entry fs.DirEntry, err error) error {
		if err == nil && entry.IsDir() && (name == ".git" || name == ".bin") {
			return fs.SkipDir
		}
		if err == nil && !entry.IsDir() {
			names = append(names, name)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return names
}

func TestTopLevel(t *testing.T) {
	folders := []string{"cmd", "rootless", "idmap", "fsroot", "netslirp", "tests"}
	files := []string{"go.mod", "go.sum", "Makefile", "README.md", "LICENSE", "SECURITY.md"}
	for _, name := range tracked(t, "..") {
		top, _, below := strings.Cut(name, "/")
		known := files
		if below {
			known = folders
		}
		if !strings.HasPrefix(top, ".") && !slices.Contains(known, top) {
			t.Errorf("%s: %s has no place at the top of the tree", name, top)
		}
	}
}

func TestScriptsParse(t *testing.T) {
	bash, err := exec.LookPath("bash")
	if err != nil {
		t.Skip("no bash here")
	}
	shebang := regexp.MustCompile(`^#!\s*(/usr)?/bin/(env )?(ba)?sh\b`)
	scripts := 0
	for _, name := range tracked(t, "..") {
		text, info := read(t, filepath.Join("..", name))
		if !shebang.Match(text) {
			continue
		}
		scripts++
		if info.Mode()&0o111 == 0 {
			t.Errorf("%s: a script that cannot be executed", name)
		}
		cmd := exec.CommandContext(t.Context(), bash, "-n")
		cmd.Stdin = bytes.NewReader(text)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("%s: %v\n%s", name, err, out)
		}
	}
	if scripts == 0 {
		t.Error("no script found, and tests/run is one")
	}
}

func TestNothingLeftForLater(t *testing.T) {
	later := regexp.MustCompile(`\b(TO` + `DO|FIX` + `ME)\b`)
	for _, name := range tracked(t, "..") {
		text, _ := read(t, filepath.Join("..", name))
		if bytes.IndexByte(text, 0) >= 0 {
			continue // not text
		}
		for i, line := range bytes.Split(text, []byte("\n")) {
			if word := later.Find(line); word != nil {
				t.Errorf("%s:%d: %s; do it, or leave it out", name, i+1, word)
			}
		}
	}
}

// read returns nothing for what is no regular file, such as a link.
func read(t *testing.T, name string) ([]byte, fs.FileInfo) {
	t.Helper()
	info, err := os.Lstat(name)
	if err != nil {
		t.Fatal(err)
	}
	if !info.Mode().IsRegular() {
		return nil, info
	}
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return text, info
}
