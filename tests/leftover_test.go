package tests

import (
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// victims are containers that a kill must not leave anything of, by the flags
// and the command. Each command ends in a line "ready.".
func victims() []way {
	return []way{
		{name: "one process"},
		{name: "one id", flags: []string{"--userns", "single"}},
		{name: "one id that looks like many", flags: []string{"--userns", "single", "--squash"}},
		{name: "another user", flags: []string{"-u", "1000"}},
		{name: "command is PID 1", flags: []string{"--as-pid-1"}},
		{name: "terminal", flags: []string{"-t"}, stays: true},
		{name: "status", flags: []string{"--status-fd", "3"}, stays: true},
		{name: "own user", flags: []string{"--userns", "keep-id"}},
		{name: "thrown away", flags: []string{"--ephemeral"}},
		{name: "read-only", flags: []string{"--read-only", "--tmpfs", "/srv"}},
		{name: "host's network", flags: []string{"--net", "host", "-u", "1000"}},
	}
}

// stubborn are commands that do not want to end.
func stubborn() []string {
	return []string{
		"echo ready.; exec sleep 1000",
		"for n in $(seq 1 64); do trap '' $n 2>/dev/null; done; echo ready.; while :; do sleep 1; done",
		"setsid sleep 1000 </dev/null >/dev/null 2>&1 & (sleep 1001 &) ; (setsid sh -c 'sleep 1002 & sleep 1003' &); echo ready.; wait; sleep 1000",
		"i=0; while test $i -lt 30; do sleep 1000 & i=$((i+1)); done; echo ready.; wait",
		"(while :; do (:); done) & echo ready.; wait",
	}
}

// trace is what containers could leave in the system.
type trace struct {
	files      []string // in the site's directories and /dev/shm
	mounts     []string
	namespaces []string // those of the test's processes
}

// traces takes stock of the host, and of a site.
func (s *site) traces() trace {
	s.t.Helper()
	return trace{files: s.files(), mounts: s.mounts(), namespaces: namespacesOf(append(family(os.Getpid()), process{pid: os.Getpid()}))}
}

// files lists what the site has, without the mount points that bryo makes in a
// root file system.
func (s *site) files() []string {
	points := []string{"root/proc", "root/sys", "root/dev", "root/etc/hosts", "root/etc/hostname", "root/etc/resolv.conf", "root/run"}
	var list []string
	err := filepath.WalkDir(s.dir, func(path string, _ fs.DirEntry, err error) error {
		if name, _ := filepath.Rel(s.dir, path); !slices.Contains(points, name) {
			list = append(list, name)
		}
		return err
	})
	if err != nil {
		s.t.Error(err)
	}
	shared, _ := filepath.Glob("/dev/shm/*bryo*")
	return append(list, shared...)
}

// mounts lists those of the host that have to do with the site.
func (s *site) mounts() []string {
	text, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		s.t.Fatal(err)
	}
	var list []string
	for line := range strings.Lines(string(text)) {
		if strings.Contains(line, s.dir) || strings.Contains(line, "bryo") {
			list = append(list, line)
		}
	}
	return list
}

// namespacesOf lists the namespaces that processes are in, or hold open.
func namespacesOf(list []process) []string {
	var found []string
	for _, p := range list {
		for _, pattern := range []string{"ns", "fd"} {
			links, _ := filepath.Glob(filepath.Join("/proc", strconv.Itoa(p.pid), pattern, "*"))
			for _, link := range links {
				if name, err := os.Readlink(link); err == nil && strings.Contains(name, ":[") && !strings.HasPrefix(name, "pipe:") &&
					!strings.HasPrefix(name, "socket:") && !slices.Contains(found, name) {
					found = append(found, name)
				}
			}
		}
	}
	slices.Sort(found)
	return found
}

// same complains about everything that was not there before.
func (s *site) same(before trace, what string) {
	s.t.Helper()
	if !s.nothingLeft() {
		s.t.Error("processes left by", what)
	}
	after := s.traces()
	for _, kind := range []struct {
		name          string
		before, after []string
	}{{"file", before.files, after.files}, {"mount", before.mounts, after.mounts}, {"namespace", before.namespaces, after.namespaces}} {
		for _, one := range kind.after {
			if !slices.Contains(kind.before, one) {
				s.t.Errorf("%s: left the %s %s", what, kind.name, one)
			}
		}
	}
}

// TestKilledAnytime kills bryo at random moments of the launch and of the run,
// among runs that are left alone, and looks for what stays.
func TestKilledAnytime(t *testing.T) {
	if !ordinary(t) {
		return
	}
	s := newSite(t)
	kills, quiet := 60, 30
	if soak() {
		kills, quiet = 200, 800
	}
	const most = 30 * time.Millisecond
	before := s.traces()
	inParallel(quiet, 2, func(i int) {
		v := victims()[i%len(victims())]
		if got := s.end(v.run(s, "true")); got.code != 0 {
			t.Errorf("%s: true ended with %+v", v.name, got)
		}
	})
	s.same(before, "runs that ended by themselves")
	for i := range kills {
		v, command := victims()[i%len(victims())], stubborn()[rand.N(len(stubborn()))]
		cmd := v.run(s, "sh", "-c", command)
		out := s.start(cmd)
		moment := rand.N(most)
		if i%3 == 0 {
			out.await(t, "ready.")
		}
		time.Sleep(moment)
		_ = cmd.Process.Kill()
		what := fmt.Sprintf("%s, killed %v after the start (ready: %v): %s", v.name, moment, i%3 == 0, command)
		if code := s.wait(cmd); code != 137 {
			t.Errorf("%s: ended with %d\n%s", what, code, out)
		}
		s.same(before, what)
		if t.Failed() {
			return
		}
	}
}

// TestContainersOfATreeAreKilled kills a whole tree of commands around bryo in
// the way that CI systems do, process by process.
func TestContainersOfATreeAreKilled(t *testing.T) {
	if !ordinary(t) {
		return
	}
	s := newSite(t)
	before := s.traces()
	for range 5 {
		cmd := s.command("sh", "-c", `bryo run "$1" sh -c "$2" & bryo run -t "$1" sh -c "$2" & bryo run --as-pid-1 "$1" sh -c "$2" & wait`, "sh", s.root, stubborn()[2])
		out := s.start(cmd)
		if !holds(func() bool { return strings.Count(out.String(), "ready.") == 3 }) {
			t.Fatalf("not ready:\n%s", out)
		}
		for _, p := range append([]process{{pid: cmd.Process.Pid}}, family(cmd.Process.Pid)...) {
			if p.name == "bryo" || p.name == "" || strings.HasPrefix(p.name, "memfd:") {
				p.kill()
			}
		}
		s.wait(cmd)
		if s.same(before, "a tree"); t.Failed() {
			return
		}
	}
}

// TestContainerIsKilled kills processes of the container from outside.
func TestContainerIsKilled(t *testing.T) {
	if !ordinary(t) {
		return
	}
	s := newSite(t)
	before := s.traces()
	for _, v := range victims() {
		for _, name := range []string{"init", "sleep"} {
			cmd := v.run(s, "sh", "-c", "setsid sleep 999 & echo ready.; exec sleep 1000")
			out := s.start(cmd)
			out.await(t, "ready.")
			settle(cmd, v)
			var first process
			if !holds(func() bool {
				children := family(cmd.Process.Pid)
				if len(children) > 0 {
					first = children[0]
				}
				return len(children) >= 2 && !slices.ContainsFunc(children, func(p process) bool { return p.name == "sh" })
			}) {
				t.Fatalf("%s: among %v", v.name, family(cmd.Process.Pid))
			}
			victim := first
			if name == "sleep" && first.name == "bryo-init" {
				victim = s.commandOf(first)
			}
			victim.kill()
			if code := s.wait(cmd); code != 137 {
				t.Errorf("%s: ended with %d after a kill of %v\n%s", v.name, code, victim, out)
			}
			s.same(before, v.name+", killed from outside")
		}
	}
}

// commandOf is the process that init runs: the one with the lower number, as
// the other is an orphan that came later.
func (s *site) commandOf(init process) process {
	children := slices.DeleteFunc(processes(), func(p process) bool { return p.parent != init.pid })
	if len(children) == 0 {
		s.t.Fatalf("%v has no children", init)
	}
	return slices.MinFunc(children, func(a, b process) int { return a.pid - b.pid })
}

// TestKilledWhileHelpersRun kills bryo while newuidmap and newgidmap write
// maps: as they take a moment only, the test kills when it sees one.
func TestKilledWhileHelpersRun(t *testing.T) {
	if !ordinary(t) {
		return
	}
	if !hasSubids() {
		t.Skip("the helpers have nothing to do for a user without subordinate ids")
	}
	s := newSite(t)
	before := s.traces()
	seen, want := 0, 5
	for range 300 {
		cmd := s.command("bryo", "run", s.root, "sh", "-c", "setsid sleep 1000 & sleep 1000")
		s.start(cmd)
		children := filepath.Join("/proc", strconv.Itoa(cmd.Process.Pid), "task", strconv.Itoa(cmd.Process.Pid), "children")
		for end := time.Now().Add(time.Second); time.Now().Before(end); {
			if text, _ := os.ReadFile(children); len(strings.Fields(string(text))) >= 2 {
				seen++
				break
			}
			if exe, _ := os.Readlink(filepath.Join("/proc", strconv.Itoa(cmd.Process.Pid), "exe")); strings.HasPrefix(exe, "/memfd:") {
				break
			}
		}
		_ = cmd.Process.Kill()
		s.wait(cmd)
		s.same(before, "killed while helpers ran")
		if seen >= want || t.Failed() {
			return
		}
	}
	t.Skipf("the helpers were seen %d times only", seen)
}

// TestKernelCounts runs in a user namespace in which few namespaces may be
// made: any that a container leaves is missed in the end.
func TestKernelCounts(t *testing.T) {
	if !ordinary(t) {
		return
	}
	if _, err := exec.LookPath("unshare"); err != nil {
		t.Skip(err)
	}
	s := newSite(t)
	const runs, limit = 60, 20
	script := `
for kind in user mnt pid uts ipc net cgroup; do echo ` + strconv.Itoa(limit) + ` > /proc/sys/user/max_${kind}_namespaces || exit 90; done
failures=0 done=0
while test $done -lt ` + strconv.Itoa(runs) + `; do
	case $((done % 3)) in
	0) bryo run --userns single "$1" true 2>err ;;
	1) bryo run --userns single "$1" sh -c 'kill -9 $$' 2>err; test $? = 137 ;;
	2) bryo run --userns single "$1" sleep 1000 2>err & sleep 0.0$((done % 7)); kill -9 $!; wait $!; test $? = 137 ;;
	esac || { grep -q 'no space left' err || { cat err >&2; exit 91; }; failures=$((failures+1)); test $failures -lt 100 || { cat err >&2; exit 92; }; sleep 0.1; continue; }
	done=$((done+1))
done`
	cmd := s.command("unshare", "--user", "--map-root-user", "sh", "-c", script, "sh", s.root)
	if got := s.end(cmd); got.code != 0 {
		t.Errorf("%d containers, of which %d may live: %+v", runs, limit, got)
	}
}

// TestOrphansAreSeen shows that these tests would notice: bubblewrap leaves
// what it runs behind, unless it is told --die-with-parent.
func TestOrphansAreSeen(t *testing.T) {
	if !ordinary(t) {
		return
	}
	if _, err := exec.LookPath("bwrap"); err != nil {
		t.Skip(err)
	}
	s := newSite(t)
	before := s.traces()
	cmd := s.command("bwrap", "--unshare-all", "--bind", s.root, "/", "sh", "-c", "echo ready.; exec sleep 1000")
	out := &tail{}
	cmd.Stdout, cmd.WaitDelay = out, time.Millisecond
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if !holds(func() bool {
		return strings.Contains(out.String(), "ready.") || cmd.Process.Signal(unix.Signal(0)) != nil
	}) {
		t.Skip("bwrap does not work here")
	}
	_ = cmd.Process.Kill()
	_ = cmd.Wait()
	left := family(os.Getpid())
	if len(left) == 0 {
		t.Error("nothing was seen of what bwrap leaves")
	}
	if now := s.traces(); len(now.namespaces) <= len(before.namespaces) {
		t.Error("the namespaces of what bwrap leaves were not seen")
	}
	for _, p := range left {
		p.kill()
	}
}
