package tests

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// TestCallers starts bryo in states that a caller can be in.
func TestCallers(t *testing.T) {
	if !ordinary(t) {
		return
	}
	s := newSite(t)
	for _, c := range []struct {
		name, script string
		code         int
		out          string
		errs         string // a part of it
	}{
		{"closed input", `bryo run "$1" sh -c 'cat; exit 3' <&-`, 3, "", ""},
		{"closed output", `bryo run "$1" sh -c 'echo word; exit 3' >&-`, 3, "", ""},
		{"closed errors", `bryo run "$1" sh -c 'echo word; exit 3' 2>&-`, 3, "word\n", ""},
		{"everything closed", `bryo run "$1" sh -c 'exit 3' <&- >&- 2>&-`, 3, "", ""},
		{"everything closed, a terminal", `bryo run -t "$1" sh -c 'exit 3' <&- >&- 2>&-`, 3, "", ""},
		{"everything closed, a refusal", `bryo run "$1" frobnicate <&- >&- 2>&-`, 127, "", ""},
		{"full output", `bryo run "$1" echo word >/dev/full`, 1, "", "No space left"},
		{"input is a directory", `bryo run "$1" sh -c 'cat 2>/dev/null || echo no' < /`, 125, "", "input is a directory"},
		{"deleted directory", `mkdir d; cd d; rmdir ../d; bryo run "$1" pwd`, 0, "/\n", ""},
		{"deleted directory, the host's root", `mkdir d; cd d; rmdir ../d; bryo run host pwd`, 0, "/\n", ""},
		{"forbidden directory", `mkdir p; cd p; chmod 0 .; bryo run "$1" pwd; code=$?; chmod 700 .; exit $code`, 0, "/\n", ""},
		{"forbidden directory, relative root", `mkdir r; cd r; chmod 0 .; bryo run ../root pwd; code=$?; chmod 700 .; exit $code`, 125, "", "permission denied"},
		{"umask 077", `umask 077; bryo run "$1" sh -c 'umask; : > /tmp/a; stat -c %a /tmp/a /dev/shm /proc'`, 0, "0022\n644\n1777\n555\n", ""},
		{"umask 0", `umask 0; bryo run "$1" sh -c 'umask; : > /tmp/b; stat -c %a /tmp/b /dev/shm /etc/hosts'`, 0, "0022\n644\n1777\n644\n", ""},
		{"umask 777", `umask 777; bryo run "$1" sh -c 'umask; stat -c %a /dev/null /dev/shm'`, 0, "0022\n666\n1777\n", ""},
		{"descriptors", `exec 7</etc/passwd 8</ 9>&1; bryo run "$1" ls /proc/self/fd`, 0, "0\n1\n2\n3\n", ""},
		{"few descriptors", `ulimit -S -n 64; bryo run "$1" echo word`, 0, "word\n", ""},
		{"many variables", `seq 1 20000 | sed 's/.*/V&=value/' > env; bryo run --env-file env "$1" env | grep -c ^V`, 0, "20000\n", ""},
		{"many arguments", `bryo run "$1" sh -c 'echo $#' sh $(seq 1 20000)`, 0, "20000\n", ""},
		{"a long argument", `bryo run "$1" sh -c 'echo ${#1}' sh $(head -c 130000 /dev/zero | tr '\0' a)`, 0, "130000\n", ""},
		{"no environment", `env -i "$(command -v bryo)" run "$1" sh -c 'echo $PATH'`, 0, "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin\n", ""},
		{"in the background", `bryo run "$1" echo word & wait $!`, 0, "word\n", ""},
	} {
		got := s.sh(c.script, s.root)
		if got.code != c.code || got.out != c.out || !strings.Contains(got.err, c.errs) {
			t.Errorf("%s: got %+v, want code %d, %q and %q", c.name, got, c.code, c.out, c.errs)
		}
		s.nothingLeft()
	}
	lister := s.command("bryo", "run", s.root, "ls", "/proc/self/fd")
	slash, err := os.Open("/")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = slash.Close() }()
	for range 200 {
		lister.ExtraFiles = append(lister.ExtraFiles, slash)
	}
	if got := s.end(lister); got.out != "0\n1\n2\n3\n" {
		t.Errorf("many descriptors: %+v", got)
	}
}

// TestTooMuch goes over the kernel's limit for arguments and variables:
// execve(2).
func TestTooMuch(t *testing.T) {
	if !ordinary(t) {
		return
	}
	s := newSite(t)
	const lines, most = 40, 60000
	var many strings.Builder
	for i := range lines {
		fmt.Fprintf(&many, "V%d=%s\n", i, strings.Repeat("x", most))
	}
	file := filepath.Join(s.dir, "env")
	if err := os.WriteFile(file, []byte(many.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, flags := range [][]string{{"--env-file", file}, {"--env-file", file, "-t"}, {"--env-file", file, "--as-pid-1"}} {
		got := s.bryo(append(append([]string{"run"}, flags...), s.root, "true")...)
		if got.code != 125 && got.code != 126 || !strings.HasPrefix(got.err, "bryo: ") || !strings.Contains(got.err, "argument list too long") {
			t.Errorf("%v: %+v", flags, got)
		}
	}
}

// TestFewDescriptors and TestFewProcesses lower limits until nothing runs. Bryo
// runs, or it says in a few lines why it does not; it never hangs.
func TestFewDescriptors(t *testing.T) {
	if !ordinary(t) {
		return
	}
	s := newSite(t)
	for _, n := range []int{4, 8, 16, 24, 32, 48, 64, 128} {
		got := s.limited(fmt.Sprintf("--nofile=%d", n))
		const enough = 128
		if !got.said("word\n") || got.code != 0 && n >= enough {
			t.Errorf("%d descriptors: %+v", n, got)
		}
	}
}

func TestFewProcesses(t *testing.T) {
	if !ordinary(t) {
		return
	}
	s := newSite(t)
	// What the user runs elsewhere counts as well.
	threads := threadsOf(os.Getuid())
	for _, more := range []int{0, 2, 4, 6, 8, 10, 12, 16, 24, 40} {
		got := s.limited(fmt.Sprintf("--nproc=%d", threads+more))
		if strings.Contains(got.err, "runtime: failed to create new OS thread") {
			t.Logf("%d processes more: Go's runtime does not start", more)
			continue
		}
		if !got.said("word\n") {
			t.Errorf("%d processes more: %+v", more, got)
		}
	}
}

// limited runs echo under a resource limit of bryo's: prlimit(1).
func (s *site) limited(option string) outcome {
	s.t.Helper()
	if _, err := exec.LookPath("prlimit"); err != nil {
		s.t.Skip(err)
	}
	got := s.end(s.command("prlimit", option, "--", s.bin, "run", s.root, "echo", "word"))
	s.nothingLeft()
	return got
}

// said is whether a command ran and printed this, or bryo refused it in at
// most three lines.
func (o outcome) said(word string) bool {
	if o.code == 0 {
		return o.out == word
	}
	return o.code == 125 && strings.HasPrefix(o.err, "bryo: ") && strings.Count(o.err, "\n") <= 3
}

// threadsOf counts a user's threads, as RLIMIT_NPROC does.
func threadsOf(uid int) int {
	count := 0
	names, _ := filepath.Glob("/proc/[0-9]*/task/*")
	for _, name := range names {
		var st unix.Stat_t
		if unix.Stat(name, &st) == nil && int(st.Uid) == uid {
			count++
		}
	}
	return count
}

// TestDispositions: whatever signals the caller ignores or blocks, the command
// starts with none ignored and none blocked, as with podman and runc.
func TestDispositions(t *testing.T) {
	if !ordinary(t) {
		return
	}
	s := newSite(t)
	var numbers []string
	for _, n := range signals() {
		if n != unix.SIGKILL && n != unix.SIGSTOP && n != 32 && n != 33 { // the C library keeps two
			numbers = append(numbers, strconv.Itoa(int(n)))
		}
	}
	all := " " + strings.Join(numbers, " ")
	const clean = "SigBlk:\t0000000000000000\nSigIgn:\t0000000000000000\nSigCgt:\t0000000000000000\n"
	for _, w := range ways() {
		cmd := w.run(s, "grep", "-E", "^Sig(Blk|Ign|Cgt)", "/proc/self/status")
		shell := s.command("sh", append([]string{"-c", "trap ''" + all + "; exec \"$@\"", "sh", s.bin}, cmd.Args[1:]...)...)
		shell.ExtraFiles = cmd.ExtraFiles
		if got := s.end(shell); strings.ReplaceAll(got.out, "\r", "") != clean {
			t.Errorf("%s, all ignored: %+v", w.name, got)
		}
		if env, err := exec.LookPath("env"); err == nil {
			blocked := s.command(env, append([]string{"--block-signal", s.bin}, cmd.Args[1:]...)...)
			blocked.ExtraFiles = cmd.ExtraFiles
			if got := s.end(blocked); strings.ReplaceAll(got.out, "\r", "") != clean {
				t.Errorf("%s, all blocked: %+v", w.name, got)
			}
		}
	}
}

// TestIgnoredByTheCaller: what the caller ignores does not come through bryo,
// or nohup(1) would protect nothing.
func TestIgnoredByTheCaller(t *testing.T) {
	if !ordinary(t) {
		return
	}
	s := newSite(t)
	for _, w := range ways() {
		cmd := w.run(s, "sh", "-c", "trap 'exit 5' TERM; echo ready.; while :; do sleep 0.1; done")
		shell := s.command("sh", append([]string{"-c", "trap '' HUP INT; exec \"$@\"", "sh", s.bin}, cmd.Args[1:]...)...)
		shell.ExtraFiles = cmd.ExtraFiles
		s.start(shell).await(t, "ready.")
		settle(shell, w)
		for _, n := range []syscall.Signal{unix.SIGHUP, unix.SIGINT, unix.SIGTERM} {
			_ = shell.Process.Signal(n)
		}
		if code := s.wait(shell); code != 5 {
			t.Errorf("%s: ended with %d", w.name, code)
		}
	}
}

// TestCrowd starts many containers of one root file system at once.
func TestCrowd(t *testing.T) {
	if !ordinary(t) {
		return
	}
	s := newSite(t)
	before := s.traces()
	const crowd = 200
	type one struct {
		cmd *exec.Cmd
		out *tail
	}
	var all []one
	for i := range crowd {
		w := ways()[i%2]
		cmd := w.run(s, "sh", "-c", fmt.Sprintf("echo $$ > /dev/shm/own; echo ready.; read x; cat /dev/shm/own; exit %d", i))
		in, err := cmd.StdinPipe()
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = in.Close() }()
		all = append(all, one{cmd, s.start(cmd)})
		if i == crowd-1 {
			for _, c := range all {
				c.out.await(t, "ready.")
			}
		}
	}
	if got := len(family(os.Getpid())); got < 3*crowd {
		t.Errorf("%d processes at once, expected 3 for each of %d", got, crowd)
	}
	for i, c := range all {
		_ = c.cmd.Process.Signal(unix.SIGTERM) // sh has no handler, and dies
		if code := s.wait(c.cmd); code != 143 {
			t.Errorf("container %d ended with %d\n%s", i, code, c.out)
		}
	}
	s.same(before, "a crowd")
}

// TestNested runs bryo in a container of bryo's. What stands below /proc/sys is
// masked there, so that the kernel gives no fresh proc: bryo says so.
func TestNested(t *testing.T) {
	if !ordinary(t) {
		return
	}
	s := newSite(t)
	nest := func(outer, inner []string) outcome {
		args := append(append([]string{"run"}, outer...), "-v", s.bin+":/bin/bryo", s.root, "bryo", "run", "--net", "none", "--userns", "single")
		return s.bryo(append(append(args, inner...), "/", "sh", "-c", "echo deep; exit 21")...)
	}
	if got := nest(nil, nil); got.code != 125 || !strings.Contains(got.err, "--nest (bryo)") {
		t.Errorf("without --nest: %+v", got)
	}
	if got := nest([]string{"--nest"}, nil); got.code != 125 || !strings.Contains(got.err, "--pid host") {
		t.Errorf("with --nest: %+v", got)
	}
	if got := nest([]string{"--nest"}, []string{"--pid", "host"}); got.code != 125 || !strings.Contains(got.err, "--nest") {
		t.Errorf("with --nest, as the first advice is: %+v", got)
	}
	if got := nest([]string{"--nest"}, []string{"--pid", "host", "--nest"}); got.code != 21 || got.out != "deep\n" {
		t.Errorf("with --nest, as both are: %+v", got)
	}
}
