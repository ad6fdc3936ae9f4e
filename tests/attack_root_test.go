package tests

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// 4: CVE-2019-19921, CVE-2024-45310, CVE-2026-41579. The stories hostile_root
// and hostile_targets have every kind of link.
func TestAttackTargets(t *testing.T) {
	b := newBattle(t)
	if b == nil {
		return
	}
	for _, target := range []string{b.outside, "/oldroot" + b.outside, "../../../../../../../.." + b.outside, "/proc/self/fd/3", "/proc/self/cwd/outside"} {
		for _, name := range []string{"data", "srv", "dev", "proc", "sys", "etc"} {
			b.link(name, target)
			got := b.end(b.careless(slices.Concat([]string{"bryo", "run"}, b.targets(), []string{b.root, "true"})...))
			if err := b.untouched(); err != nil {
				t.Fatalf("/%s -> %s: %v; %+v", name, target, err, got)
			}
			if err := os.Remove(filepath.Join(b.root, name)); err != nil {
				t.Fatal(err)
			}
			if err := os.Mkdir(filepath.Join(b.root, name), 0o755); err != nil {
				t.Fatal(err)
			}
		}
	}
	b.link("data", "/oldroot"+b.outside)
	b.here(b.bwrap())
	got := b.end(b.careless(append(b.bwrap("--bind", b.tmp, "/data/made"), "true")...))
	if b.untouched() == nil {
		t.Skipf("bwrap makes no mount point outside: %+v", got)
	}
}

// targets are flags with every kind of thing that bryo makes at a place that the
// root file system has a say in.
func (b *battle) targets() []string {
	return []string{
		"--userns", "single", "--net", "none", "--sysctl", "net.ipv4.ip_forward=1",
		"-v", b.tmp + ":/data/made", "-v", "/etc/passwd:/data/note", "--tmpfs", "/data/memory", "--mount", "type=tmpfs,dst=/srv/other",
		"--device", "/dev/null:/dev/made", "-w", "/srv", "-u", "root",
	}
}

// flip exchanges two files of the root without pause until it is stopped.
func (b *battle) flip(one, other string) (stop func()) {
	b.t.Helper()
	one, other = filepath.Join(b.root, one), filepath.Join(b.root, other)
	if err := unix.Renameat2(unix.AT_FDCWD, one, unix.AT_FDCWD, other, unix.RENAME_EXCHANGE); err != nil {
		b.t.Skip("this file system cannot exchange files: ", err)
	}
	var group sync.WaitGroup
	end := make(chan struct{})
	group.Go(func() {
		for {
			select {
			case <-end:
				return
			default:
				_ = unix.Renameat2(unix.AT_FDCWD, one, unix.AT_FDCWD, other, unix.RENAME_EXCHANGE)
			}
		}
	})
	return func() { close(end); group.Wait() }
}

// 5 and 6 and 2: CVE-2021-30465, CVE-2025-31133, CVE-2025-52565, CVE-2025-52881.
// Whatever another process does to the root meanwhile, nothing is made, read or
// covered outside, and what is masked stays so.
func TestAttackRaces(t *testing.T) {
	b := newBattle(t)
	if b == nil {
		return
	}
	// What was made at a name that has been exchanged since is found at the other.
	const look = `exec 2>&-
		cat secret */secret
		stat -L -c %t:%T dev/null evil/null
		head -q -c 20 proc/keys evil/keys proc/kallsyms evil/kallsyms proc/timer_list evil/timer_list
		for dir in proc/sys evil/sys; do (: >> $dir/kernel/domainname) && echo $dir can be written; done
		echo ran.`
	runs := 6
	if soak() {
		runs = 300
	}
	for _, name := range []string{"data", "srv", "dev", "proc", "sys", "etc", "tmp"} {
		if err := os.MkdirAll(filepath.Join(b.root, name), 0o755); err != nil {
			t.Fatal(err)
		}
		for _, target := range []string{b.outside, "/oldroot" + b.outside, "/proc/self/fd/3"} {
			b.link("evil", target)
			stop := sync.OnceFunc(b.flip(name, "evil"))
			defer stop()
			ran, deadline := 0, time.Now().Add(longestWait)
			for i := 0; i < runs && time.Now().Before(deadline); i++ {
				args := slices.Concat([]string{"bryo", "run"}, b.targets(), []string{b.root, "/bin/sh", "-c", "cd / && " + look})
				got := b.end(b.careless(args...))
				ran += strings.Count(got.out, "ran.")
				if err := b.untouched(); err != nil || strings.ReplaceAll(strings.Replace(got.out, "ran.\n", "", 1), "1:3\n", "") != "" {
					t.Fatalf("/%s <-> %s: %v; %+v", name, target, err, got)
				}
			}
			stop()
			t.Logf("/%s <-> %s: %d of %d ran", name, target, ran, runs)
			b.settleRoot(name)
		}
	}
	b.racesOf(t, "data")
}

// 2 and 5: the same for who enters a container that runs, where the hostile
// command itself may change what is looked up.
func TestAttackRacesInside(t *testing.T) {
	b := newBattle(t)
	if b == nil {
		return
	}
	const swap = `cd / && while :; do mv -T srv a && mv -T evil srv && mv -T a evil; done`
	runs := 40
	if soak() {
		runs = 1000
	}
	for _, target := range []string{b.outside, "/proc/self/fd/3", "/proc/1/cwd", "/proc/1/root", "/proc/self/cwd/.."} {
		_ = os.RemoveAll(filepath.Join(b.root, "a"))
		_ = os.RemoveAll(filepath.Join(b.root, "srv"))
		if err := os.Mkdir(filepath.Join(b.root, "srv"), 0o755); err != nil {
			t.Fatal(err)
		}
		b.link("evil", target)
		end := b.container("besieged", nil, "sh", "-c", swap)
		entered := 0
		for range runs {
			got := b.end(b.careless("bryo", "exec", "-w", "/srv", "besieged", "attack", "directory", "secret"))
			if strings.Contains(got.out, "reached") || !slices.Contains([]int{0, 125}, got.code) {
				t.Errorf("%s: %+v", target, got)
			}
			if got.code == 0 {
				entered++
			}
		}
		t.Logf("/srv <-> %s: %d of %d entered", target, entered, runs)
		end()
	}
}

// settleRoot makes a name a directory again, and removes the other.
func (b *battle) settleRoot(name string) {
	for _, name := range []string{name, "evil"} {
		path := filepath.Join(b.root, name)
		if info, err := os.Lstat(path); err == nil && !info.IsDir() {
			_ = os.Remove(path)
		}
	}
	_ = os.Rename(filepath.Join(b.root, "evil"), filepath.Join(b.root, name))
}

// racesOf shows that the race works against bubblewrap.
func (b *battle) racesOf(t *testing.T, name string) {
	t.Helper()
	b.here(b.bwrap())
	b.link("evil", "/oldroot"+b.outside)
	stop := b.flip(name, "evil")
	defer stop()
	const most = 300
	for i := range most {
		b.end(b.careless(append(b.bwrap("--bind", b.tmp, "/"+name+"/made"), "true")...))
		if b.untouched() != nil {
			t.Logf("bwrap makes a directory outside in run %d", i+1)
			return
		}
	}
	t.Skipf("bwrap won all of %d races", most)
}

// 6: what masks and devices are made of is not the root's.
func TestAttackSources(t *testing.T) {
	b := newBattle(t)
	if b == nil {
		return
	}
	const look = "cat /proc/keys /proc/kallsyms /proc/timer_list; test -c /dev/null && cat /dev/null; stat -c %t:%T /dev/null; readlink /dev/ptmx; test -t 0 && ls -l /proc/self/fd/0"
	for _, name := range []string{"dev/null", "dev/zero", "dev/pts/0", "dev/ptmx", "dev/console"} {
		b.file(name+"_", "")
		for _, target := range []string{b.secret, "../../../../../../../.." + b.secret, "/etc/motd", "/proc/sysrq-trigger"} {
			b.link(name, target)
			got := b.bryo("run", "--tty=false", b.root, "sh", "-c", look)
			if strings.TrimSpace(got.out) != "1:3\npts/ptmx" {
				t.Errorf("/%s -> %s: %+v", name, target, got)
			}
		}
	}
	// A wrapper that masks with the root's own null, as runc did.
	b.link("dev/null", "/etc/motd")
	got := b.end(b.careless("unshare", "--map-root-user", "--mount", "sh", "-c",
		`mount --bind "$1" "$1" && mount --bind "$1/dev/null" "$1/etc/passwd" && exec chroot "$1" cat /etc/passwd`, "sh", b.root))
	if strings.Contains(got.out, "root:") || got.code != 0 {
		t.Skipf("the mask is none of the root's: %+v", got)
	}
}

// 7: CVE-2019-16884, CVE-2019-19921, CVE-2025-52881. What is written for the
// container to proc comes to the kernel's, and to no file that the root has there.
func TestAttackProcWrites(t *testing.T) {
	b := newBattle(t)
	if b == nil {
		return
	}
	b.fakeProc()
	run := func(what string, sees ...string) {
		got := b.bryo("run", "--userns", "single", "--net", "none", "--sysctl", "net.ipv4.ip_forward=1", b.root, "cat", "/proc/"+ipForward)
		list := append(b.written("fake"), b.written("proc")...)
		if len(list) > 0 || !slices.Contains(sees, strings.TrimSpace(got.out)) || !slices.Contains([]int{0, 1, 125}, got.code) {
			t.Errorf("%s: wrote %q: %+v", what, list, got)
		}
	}
	proc, fake := filepath.Join(b.root, "proc"), filepath.Join(b.root, "fake")
	b.sh(`mv "$1" "$2"`, fake, proc)
	run("a directory", "1")
	b.sh(`mv "$1" "$2"`, proc, fake)
	b.link("proc", "fake")
	run("a link", "")
	b.sh(`rm "$1" && mkdir "$1"`, proc)
	b.link("evil", "fake")
	stop := b.flip("proc", "evil")
	defer stop()
	for range 20 {
		run("changing", "1", "", "fake") // it may be exchanged before cat looks
	}
	// A wrapper that writes by paths, as shell scripts do.
	naive := []string{
		"unshare", "--map-root-user", "--mount", "--net", "--pid", "--fork", "sh", "-c",
		`mount -t proc proc "$1/proc"; echo 1 > "$1/proc/` + ipForward + `"; exec chroot "$1" true`, "sh", b.root,
	}
	b.here(naive)
	const most = 100
	for range most {
		b.end(b.careless(naive...))
		if len(b.written("fake")) > 0 {
			return
		}
	}
	t.Skipf("a script won all of %d races", most)
}

const ipForward = "sys/net/ipv4/ip_forward"

// fakeProc makes files of proc below the root's directory fake.
func (b *battle) fakeProc() {
	b.t.Helper()
	names := []string{ipForward, "sys/user/max_user_namespaces"}
	for _, name := range []string{"uid_map", "gid_map", "setgroups", "oom_score_adj", "loginuid", "attr/exec", "attr/current"} {
		names = append(names, "self/"+name, "thread-self/"+name)
	}
	for _, name := range names {
		b.file("fake/"+name, "fake")
	}
}

// written lists the files of fakeProc that are not as it made them.
func (b *battle) written(dir string) (list []string) {
	_ = filepath.WalkDir(filepath.Join(b.root, dir), func(path string, entry os.DirEntry, err error) error {
		if err == nil && entry.Type().IsRegular() {
			if text, err := os.ReadFile(path); err == nil && string(text) != "fake" {
				list = append(list, path)
			}
		}
		return nil
	})
	return list
}

// 10: what names a container names no other file.
func TestAttackNames(t *testing.T) {
	b := newBattle(t)
	if b == nil {
		return
	}
	for _, name := range []string{".", "..", "../x", "../../x", "a/b", "/x", "x\n", "x\x1b[31m", " ", "-x", strings.Repeat("x", 300)} {
		for _, args := range [][]string{
			{"run", "-d", "--name", name, b.root, "true"}, {"exec", "--", name, "true"}, {"rm", "-f", "--", name}, {"logs", "--", name}, {"inspect", "--", name},
		} {
			got := b.bryo(args...)
			if (got.code == 0 && args[0] != "rm") || strings.Contains(got.err, "\x1b") {
				t.Errorf("%q: %+v", args, got)
			}
		}
	}
	// Where others could have put something, no state is kept.
	for _, making := range []string{`ln -s "$1" "$2"`, `mkdir "$2" && chmod 777 "$2"`} {
		dir := filepath.Join(b.dir, "kept")
		b.sh("rm -rf \"$2\"; "+making, b.tmp, dir)
		cmd := b.careless("bryo", "run", "-d", b.root, "true")
		cmd.Env = append(cmd.Env, "XDG_RUNTIME_DIR="+dir)
		if got := b.end(cmd); got.code != 125 || !strings.Contains(got.err, "only you can write") {
			t.Errorf("%s: %+v", making, got)
		}
	}
	list, _ := filepath.Glob(filepath.Join(b.dir, "*"))
	if slices.ContainsFunc(list, func(path string) bool { return filepath.Base(path) == "x" }) {
		t.Errorf("made: %v", list)
	}
	victim := filepath.Join(b.dir, "victim")
	b.sh(`mkdir "$1" "$2"; echo x > "$1/file"`, victim, filepath.Join(b.dir, "state"))
	naive := []string{"crun", "--root", filepath.Join(b.dir, "state"), "delete", "--force", "../victim"}
	b.here(naive)
	got := b.end(b.careless(naive...))
	if _, err := os.Stat(victim); err == nil {
		t.Skipf("crun withstands, too: %+v", got)
	}
}

// 13: what a program has looked at before is what is mounted, whatever has its
// name by then.
func TestAttackSwappedSource(t *testing.T) {
	b := newBattle(t)
	if b == nil {
		return
	}
	checked := filepath.Join(b.dir, "checked")
	b.sh(`mkdir "$1" "$1.other"; echo fine > "$1/secret"`, checked)
	dir, err := os.Open(checked)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = dir.Close() }()
	look := func(args ...string) string {
		cmd := b.careless(args...)
		cmd.ExtraFiles = []*os.File{dir} // 3
		got := b.end(cmd)
		return got.out + got.err
	}
	mine := []string{"bryo", "run", "--mount", "type=bind,src-fd=3,dst=/data", b.root, "cat", "/data/secret"}
	if got := look(mine...); got != "fine\n" {
		t.Errorf("unchanged: %q", got)
	}
	b.sh(`mv "$1" "$1.moved"`, checked)
	if got := look(mine...); got != "fine\n" {
		t.Errorf("renamed: %q", got)
	}
	b.sh(`ln -s "$2" "$1"`, checked, b.outside)
	if got := look(mine...); got != "fine\n" {
		t.Errorf("a link in its place: %q", got)
	}
	b.sh(`rm -r "$1.moved"`, checked)
	if got := look(mine...); !strings.HasPrefix(got, "bryo: ") || strings.Contains(got, mark) {
		t.Errorf("removed: %q", got)
	}
	naive := append(b.bwrap("--bind", checked, "/data"), "cat", "/data/secret")
	b.here(naive)
	if got := look(naive...); got != mark+"\n" {
		t.Skipf("bwrap withstands, too: %q", got)
	}
}
