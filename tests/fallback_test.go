package tests

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// without runs a shell script as the test user on a machine that lacks some
// files: each is covered with what is given, in a mount namespace of its own.
// The script gets the executable as $1 and a busybox root file system as $2.
func without(t *testing.T, covers map[string]string, script string) (stdout, stderr string) {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("only root can cover files; tests/run does it")
	}
	account := testUser(t)
	bin, err := suite.bryo()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(busybox); err != nil {
		t.Skipf("no root file system: %v", err)
	}
	dir := suite.path(strings.ReplaceAll(t.Name(), "/", "-"))
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := makeBusyboxRoot(filepath.Join(dir, "root")); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.CommandContext(t.Context(), "chown", "-hR", account.Uid+":"+account.Gid, dir).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	cover := strings.Builder{}
	cover.WriteString("set -e\n")
	for path, with := range covers {
		if _, err := os.Stat(path); err == nil {
			fmt.Fprintf(&cover, "mount --bind %s %s\n", with, path)
		}
	}
	cover.WriteString(`exec setpriv --reuid "$1" --regid "$2" --init-groups --inh-caps=-all -- sh -c "$3" sh "$4" "$5"`)
	cmd := exec.CommandContext(t.Context(), "unshare", "--mount", "--propagation", "private", "--",
		"sh", "-c", cover.String(), "sh", account.Uid, account.Gid, script, bin, filepath.Join(dir, "root"))
	cmd.Dir = dir
	cmd.Env = []string{"HOME=" + account.HomeDir, "USER=" + account.Username, "PATH=" + os.Getenv("PATH") + ":/usr/sbin:/sbin"}
	var out, errs strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		t.Errorf("%v\n%s", err, errs.String())
	}
	return out.String(), errs.String()
}

// fallsBack says how a run looks that has one id only.
func fallsBack(t *testing.T, stdout, stderr string, words ...string) {
	t.Helper()
	if want := "0\n0 0\n65534\n"; stdout != want {
		t.Errorf("standard output is %q, want %q", stdout, want)
	}
	if strings.Count(stderr, "\n") != 1 || !strings.HasPrefix(stderr, "bryo: warning: ") {
		t.Errorf("standard error is %q, want one warning", stderr)
	}
	for _, word := range words {
		if !strings.Contains(stderr, word) {
			t.Errorf("the warning %q does not name %s", stderr, word)
		}
	}
}

// oneID is a run that shows how many ids there are.
const oneID = `touch file; "$1" run -v ./file:/file -v /etc/passwd:/host "$2" sh -c 'id -u; stat -c "%u %g" /file; stat -c %u /host'`

func TestAsRootWithoutSubordinateIDs(t *testing.T) {
	stdout, stderr := without(t, map[string]string{"/etc/subuid": "/dev/null", "/etc/subgid": "/dev/null"}, oneID)
	fallsBack(t, stdout, stderr, "usermod --add-subuids", "--add-subgids", testUser(t).Username, "--userns single")
}

func TestAsRootWithoutSubordinateGroups(t *testing.T) {
	stdout, stderr := without(t, map[string]string{"/etc/subgid": "/dev/null"}, oneID)
	fallsBack(t, stdout, stderr, "--add-subgids", "--userns single")
	if strings.Contains(stderr, "--add-subuids") {
		t.Errorf("the warning %q asks for what is there", stderr)
	}
}

func TestAsRootWithoutSubordinateIDsAskedForOne(t *testing.T) {
	covers := map[string]string{"/etc/subuid": "/dev/null", "/etc/subgid": "/dev/null"}
	stdout, stderr := without(t, covers, `"$1" run --userns single "$2" id -u; "$1" run --userns keep-id "$2" id -u; "$1" unshare id -u`)
	lines := strings.Count(stderr, "\n")
	if want := "0\n" + testUser(t).Uid + "\n0\n"; stdout != want || lines > 2 {
		t.Errorf("standard output is %q, want %q; standard error is %q", stdout, want, stderr)
	}
}

func TestAsRootWithoutHelpers(t *testing.T) {
	for _, helper := range []string{"newuidmap", "newgidmap"} {
		path, err := exec.LookPath(helper)
		if err != nil {
			t.Skipf("no %s here", helper)
		}
		t.Run(helper, func(t *testing.T) {
			stdout, stderr := without(t, map[string]string{path: "/dev/null"}, oneID)
			fallsBack(t, stdout, stderr, helper, "--userns single")
		})
	}
}

// Without the set-user-ID bit, a helper is there but refuses.
func TestAsRootHelpersWithoutRights(t *testing.T) {
	path, err := exec.LookPath("newuidmap")
	if err != nil {
		t.Skip("no newuidmap here")
	}
	plain := suite.path("newuidmap")
	if err := copyFile(path, plain); err != nil {
		t.Fatal(err)
	}
	stdout, stderr := without(t, map[string]string{path: plain}, `"$1" run "$2" id; echo $?`)
	if stdout != "125\n" || strings.Count(stderr, "\n") > 3 {
		t.Errorf("standard output is %q, want 125; standard error is %q, want at most three lines", stdout, stderr)
	}
	for _, word := range []string{"newuidmap", "setuid", "fix: "} {
		if !strings.Contains(stderr, word) {
			t.Errorf("the error %q does not name %s", stderr, word)
		}
	}
}
