package tests

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	"golang.org/x/sys/unix"
)

func TestMain(m *testing.M) {
	code := m.Run()
	if err := suite.remove(); err != nil {
		fmt.Fprintln(os.Stderr, "tests:", err)
		code = max(code, 1)
	}
	os.Exit(code)
}

// TestStories runs testdata/script/*.txt, each a user's terminal. Besides
// testscript's own commands they have
//
//	exits N COMMAND...    the command ends with exit code N
//	refuses N COMMAND...  so it does, and bryo says why, in one to three lines
//	prints [LINE...]      the last command's standard output is these lines
//	await FILE            wait until the file is there and not empty
//	newroot DIR           make a busybox root file system there
//
// and the conditions [subids], [debian], [landlock:N] for version N of the kernel's
// interface, [cgroup] (of which limits can be had) and [cgroup-all] (all limits). $WORK/root is a busybox root file system of the story's
// own, $DEBIAN an archive of a Debian one, $BRYO the executable. Containers that
// stay are the story's own, and end with it.
func TestStories(t *testing.T) {
	if os.Getuid() == 0 {
		asUser(t, "^TestStories$")
		return
	}
	bin, err := suite.bryo()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(busybox); err != nil {
		t.Skipf("no root file system for the stories: %v", err)
	}
	work := suite.path("stories")
	if err := os.MkdirAll(work, 0o755); err != nil {
		t.Fatal(err)
	}
	deadline := time.Now().Add(patience)
	if end, ok := t.Deadline(); ok && end.Before(deadline) {
		deadline = end
	}
	testscript.Run(t, testscript.Params{
		Deadline:           deadline,
		Dir:                "testdata/script",
		WorkdirRoot:        work, // which the suite removes, whatever is left
		RequireUniqueNames: true,
		ContinueOnError:    true,
		Condition:          condition,
		Setup:              func(env *testscript.Env) error { return setup(env, bin) },
		Cmds: map[string]func(ts *testscript.TestScript, neg bool, args []string){
			"exits":   exits,
			"refuses": refuses,
			"prints":  prints,
			"await":   await,
			"newroot": newroot,
		},
	})
}

// patience is how long all stories may take; one that hangs fails then.
const patience = 6 * time.Minute

// withoutRegistries has bryo ask no registry of the world's, as for a name that is
// not here because something has failed.
func withoutRegistries(home string) error {
	dir := filepath.Join(home, ".config/containers/registries.conf.d")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	const text = "[[registry]]\nlocation = \"docker.io\"\nblocked = true\n"
	return os.WriteFile(filepath.Join(dir, "tests.conf"), []byte(text), 0o600)
}

func setup(env *testscript.Env, bin string) error {
	env.Setenv("PATH", filepath.Dir(bin)+":"+env.Getenv("PATH")+":/usr/sbin:/sbin")
	env.Setenv("HOME", env.WorkDir)
	env.Setenv("USER", strconv.Itoa(os.Getuid()))
	if self, err := user.Current(); err == nil {
		env.Setenv("USER", self.Username)
	}
	env.Setenv("UID", strconv.Itoa(os.Getuid()))
	env.Setenv("GID", strconv.Itoa(os.Getgid()))
	env.Setenv("LC_ALL", "C.UTF-8")
	env.Setenv("DEBIAN", debianArchive())
	env.Setenv("BRYO", bin)
	state := filepath.Join(env.WorkDir, ".state")
	if err := os.Mkdir(state, 0o700); err != nil {
		return err
	}
	env.Setenv("XDG_RUNTIME_DIR", state)
	if err := withoutRegistries(env.WorkDir); err != nil {
		return err
	}
	env.Defer(func() {
		end := exec.Command(bin, "rm", "--all", "--force")
		end.Env = []string{"XDG_RUNTIME_DIR=" + state}
		if out, err := end.CombinedOutput(); err != nil || len(out) > 0 {
			env.T().Log(fmt.Sprintf("containers are left: %s: %v", out, err))
		}
		if err := removeMapped(env.WorkDir); err != nil {
			env.T().Log(err)
		}
	})
	return makeBusyboxRoot(filepath.Join(env.WorkDir, "root"))
}

func condition(name string) (bool, error) {
	if version, is := strings.CutPrefix(name, "landlock:"); is {
		least, err := strconv.Atoi(version)
		return landlock() >= least, err
	}
	switch name {
	case "subids":
		return hasSubids(), nil
	case "debian":
		_, err := os.Stat(debianArchive())
		return err == nil, nil
	}
	if name == "cgroup" || name == "cgroup-all" {
		return hasCgroups(name == "cgroup-all")
	}
	return false, fmt.Errorf("there is no condition %s", name)
}

// landlock is the version of the kernel's interface, 0 for none.
func landlock() int {
	version, _, errno := syscall.Syscall(unix.SYS_LANDLOCK_CREATE_RULESET, 0, 0, unix.LANDLOCK_CREATE_RULESET_VERSION)
	if errno != 0 {
		return 0
	}
	return int(version)
}

// hasCgroups asks bryo what limits can be had here.
func hasCgroups(all bool) (bool, error) {
	bin, err := suite.bryo()
	if err != nil {
		return false, err
	}
	findings, err := exec.CommandContext(context.Background(), bin, "doctor", "--json", "cgroup").Output()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) { // its exit code is a verdict on more
		return false, err
	}
	has := func(id string) bool { return strings.Contains(string(findings), `"id": "`+id+`"`) }
	return has("cgroup") || has("few-controllers") && !all, nil
}

// exitCode runs a command of a story; one that a signal ends has a code as in
// the shell.
func exitCode(ts *testscript.TestScript, args []string) int {
	err := ts.Exec(args[0], args[1:]...)
	var exit *exec.ExitError
	switch {
	case err == nil:
		return 0
	case !errors.As(err, &exit):
		ts.Fatalf("%s: %v", args[0], err)
	}
	if status, ok := exit.Sys().(syscall.WaitStatus); ok && status.Signaled() {
		return 128 + int(status.Signal())
	}
	return exit.ExitCode()
}

func exits(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exits CODE COMMAND...")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	if got := exitCode(ts, args[1:]); got != want {
		ts.Fatalf("exit code %d, want %d", got, want)
	}
}

func refuses(ts *testscript.TestScript, neg bool, args []string) {
	exits(ts, neg, args)
	said := ts.ReadFile("stderr")
	if out := ts.ReadFile("stdout"); out != "" {
		ts.Fatalf("a refusal prints %q on standard output", out)
	}
	const most = 3
	if !strings.HasPrefix(said, "bryo: ") || !strings.HasSuffix(said, "\n") || strings.Count(said, "\n") > most {
		ts.Fatalf("a refusal is one to three lines that begin with \"bryo: \"")
	}
}

func prints(ts *testscript.TestScript, neg bool, args []string) {
	want := strings.Join(append(slices.Clone(args), ""), "\n")
	if got := ts.ReadFile("stdout"); neg || got != want {
		ts.Fatalf("standard output is\n%swant\n%s", got, want)
	}
}

func await(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: await FILE")
	}
	const most, pause = 20 * time.Second, 5 * time.Millisecond
	for end := time.Now().Add(most); time.Now().Before(end); time.Sleep(pause) {
		if info, err := os.Stat(ts.MkAbs(args[0])); err == nil && info.Size() > 0 {
			return
		}
	}
	ts.Fatalf("%s did not come within %v", args[0], most)
}

func newroot(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: newroot DIR")
	}
	ts.Check(makeBusyboxRoot(ts.MkAbs(args[0])))
}

// suite is what the stories share. It is made when first needed, and removed
// at the end.
var suite shared

type shared struct {
	once, buildOnce sync.Once

	dir      string
	binary   string
	dirErr   error
	buildErr error
}

// path is a name in a directory that everybody may enter.
func (s *shared) path(name string) string {
	s.once.Do(func() {
		if s.dir, s.dirErr = os.MkdirTemp("", "bryo-tests"); s.dirErr == nil {
			s.dirErr = os.Chmod(s.dir, 0o755)
		}
	})
	return filepath.Join(s.dir, name)
}

// bryo is the executable under test, built from this checkout. It is not the
// test executable in disguise, because bryo replaces its own process.
// BRYO_TEST_BINARY names one that is built already.
func (s *shared) bryo() (string, error) {
	s.buildOnce.Do(func() {
		if s.binary = os.Getenv("BRYO_TEST_BINARY"); s.binary != "" {
			return
		}
		s.binary = s.path("bin/bryo")
		if s.buildErr = s.dirErr; s.buildErr != nil {
			return
		}
		build := exec.Command("go", "build", "-buildvcs=false", "-o", filepath.Dir(s.binary), "bryo/cmd/bryo", "bryo/cmd/bryo-net", "bryo/cmd/bryo-image")
		build.Env = append(os.Environ(), "CGO_ENABLED=0")
		if s.buildErr = asOwner(build, filepath.Dir(s.binary)); s.buildErr != nil {
			return
		}
		if out, err := build.CombinedOutput(); err != nil {
			s.buildErr = fmt.Errorf("%s: %w\n%s", build, err, out)
		}
	})
	return s.binary, s.buildErr
}

// asOwner has a build write to dir and to Go's caches as the user to whom the
// checkout belongs, when that is not root who runs the tests.
func asOwner(build *exec.Cmd, dir string) error {
	if err := os.Mkdir(dir, 0o755); err != nil {
		return err
	}
	var owner syscall.Stat_t
	if err := syscall.Stat(".", &owner); err != nil {
		return err
	}
	if os.Getuid() != 0 || owner.Uid == 0 {
		return nil
	}
	build.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: owner.Uid, Gid: owner.Gid}}
	return os.Chown(dir, int(owner.Uid), int(owner.Gid))
}

func (s *shared) remove() error {
	if s.dir == "" {
		return nil
	}
	return removeMapped(s.dir)
}

// testUser is the unprivileged user of tests that are run as root.
func testUser(t *testing.T) *user.User {
	t.Helper()
	name := os.Getenv("BRYO_TEST_USER")
	if name == "" {
		name = "bryo-test"
	}
	account, err := user.Lookup(name)
	if err != nil {
		t.Skipf("no unprivileged user to run as: %v", err)
	}
	return account
}

// number reads a user or group id.
func number(t *testing.T, id string) uint32 {
	t.Helper()
	n, err := strconv.ParseUint(id, 10, 32)
	if err != nil {
		t.Fatal(err)
	}
	return uint32(n)
}

// become has a command run as the account, as if it had just logged in.
func become(t *testing.T, cmd *exec.Cmd, account *user.User) {
	t.Helper()
	groups, err := account.GroupIds()
	if err != nil {
		t.Fatal(err)
	}
	credential := &syscall.Credential{Uid: number(t, account.Uid), Gid: number(t, account.Gid)}
	for _, group := range groups {
		credential.Groups = append(credential.Groups, number(t, group))
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: credential, Setsid: true, Pdeathsig: syscall.SIGKILL}
	cmd.Env = []string{"HOME=" + account.HomeDir, "USER=" + account.Username, "LOGNAME=" + account.Username, "PATH=/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin"}
}

// asUser runs tests of this test executable again, as the unprivileged user.
func asUser(t *testing.T, pattern string) {
	t.Helper()
	account := testUser(t)
	bin, err := suite.bryo()
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	args := []string{"-test.run", pattern}
	if testing.Verbose() {
		args = append(args, "-test.v")
	}
	if end, ok := t.Deadline(); ok {
		args = append(args, "-test.timeout", time.Until(end).String())
	}
	cmd := exec.CommandContext(ctx, "/proc/self/exe", args...)
	become(t, cmd, account)
	cmd.Env = append(cmd.Env, "BRYO_TEST_BINARY="+bin, "BRYO_TEST_CACHE="+cache())
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s as %s: %v\n%s", pattern, account.Username, err, out)
	}
	t.Logf("as %s:\n%s", account.Username, out)
}
