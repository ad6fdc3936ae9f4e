package tests

import (
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// containers are the own directories of containers of images.
func (w *workshop) containers() string { return w.dir + "/.local/share/bryo/containers" }

func (w *workshop) awaitNothing(what string) {
	w.Helper()
	var left []os.DirEntry
	for end := time.Now().Add(20 * time.Second); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		left, _ = os.ReadDir(w.containers())
		if len(left) == 0 {
			return
		}
	}
	w.Errorf("%s leaves %v", what, left)
}

// children are the processes that a process has made.
func children(t *testing.T, pid int) (pids []int) {
	t.Helper()
	text, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/task/" + strconv.Itoa(pid) + "/children")
	if err != nil {
		t.Fatal(err)
	}
	for field := range strings.FieldsSeq(string(text)) {
		child, err := strconv.Atoi(field)
		if err != nil {
			t.Fatal(err)
		}
		pids = append(pids, child)
	}
	return pids
}

// runs says whether there is such a process, and it has not ended.
func runs(pid int) bool {
	text, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	return err == nil && !strings.Contains(string(text), ") Z ")
}

// beginWriting runs a container of the image img that writes files which are
// hard to remove, and waits until it has.
func (w *workshop) beginWriting() *os.Process {
	w.Helper()
	const write = `mkdir -m 0 /none; chown 7 /none; mkdir -m 700 /seven; touch /seven/file; chown -R 7:7 /seven; echo ready; exec sleep 1000`
	read, out, err := os.Pipe()
	if err != nil {
		w.Fatal(err)
	}
	defer read.Close()
	cmd := w.command(w.bryo, "run", "--net", "none", "img", "sh", "-c", write)
	cmd.Stdout, cmd.Stderr = out, os.Stderr
	if err := cmd.Start(); err != nil {
		w.Fatal(err)
	}
	_ = out.Close()
	w.Cleanup(func() { _ = cmd.Wait() })
	if n, err := read.Read(make([]byte, 100)); err != nil || n == 0 {
		w.Fatalf("the command does not run: %v", err)
	}
	const both = 2 // PID 1, and what waits beside it, which comes right after the command
	for end := time.Now().Add(20 * time.Second); len(children(w.T, cmd.Process.Pid)) < both && time.Now().Before(end); {
		time.Sleep(5 * time.Millisecond)
	}
	return cmd.Process
}

// However a container of an image ends, what it wrote is gone, or the next command
// that is asked to removes it: files of subordinate ids, and directories without rights.
func TestImageContainersLeaveNothing(t *testing.T) {
	w := newWorkshop(t)
	w.sh(`bryo pull --name img root.tar`)
	for _, end := range []syscall.Signal{syscall.SIGTERM, syscall.SIGKILL} {
		if err := w.beginWriting().Signal(end); err != nil {
			t.Fatal(err)
		}
		w.awaitNothing(end.String())
	}
	p := w.beginWriting()
	all := append(children(t, p.Pid), p.Pid)
	for _, pid := range all {
		if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := p.Wait(); err != nil {
		t.Fatal(err)
	}
	for end := time.Now().Add(20 * time.Second); slices.ContainsFunc(all, runs) && time.Now().Before(end); { // they have it locked so long
		time.Sleep(5 * time.Millisecond)
	}
	w.sh(`bryo run --net none img true`)
	w.awaitNothing("SIGKILL of bryo and of what waits beside it, and the next run")
}

func TestImageContainersThatStayLeaveNothing(t *testing.T) {
	w := newWorkshop(t)
	w.sh(`bryo pull --name img root.tar`)
	const begin = `bryo run -d --name box --net none img sh -c 'mkdir -m 700 /seven; touch /seven/file; chown -R 7:7 /seven; touch /ready; exec sleep 1000'
		until bryo exec box test -e /ready; do sleep 0.05; done
		dir=$(bryo inspect box | sed -n 's/^    "Dir": "\(.*\)"$/\1/p')
		supervisor=$(bryo inspect box | sed -n '/"Supervisor"/{n;s/[^0-9]//gp}')
		`
	for _, row := range []struct{ name, script string }{
		{"a supervisor that was killed, and rm", `kill -9 $supervisor; bryo rm -f box`},
		{"a supervisor that was killed, and prune", `kill -9 $supervisor; until bryo ps -a | grep -q dead; do sleep 0.05; done; bryo prune`},
		{"state that is gone, and prune", `bryo stop -t 0 box; bryo unshare rm -r "$dir"; bryo prune`},
		{"a record that is damaged", `bryo stop -t 0 box; echo > "$dir/record.json"; bryo rm -f "$(basename "$dir")"; bryo prune`},
		{"a removal that was killed", `bryo stop -t 0 box; bryo unshare sh -c 'rm -r .local/share/bryo/containers/*'; bryo rm box`},
	} {
		w.sh(begin + row.script)
		w.awaitNothing(row.name)
		if holds, _ := filepath.Glob(w.dir + "/.local/share/bryo/holds/*"); len(holds) > 0 {
			t.Errorf("%s: %v", row.name, holds)
		}
	}
	w.sh(`bryo rmi img; test -z "$(bryo images -q)"`) // nothing holds it any more
}

// An image of a registry is asked for where it is missing, unless told, and once
// more for another map of ids.
func TestRunPulls(t *testing.T) {
	if os.Getuid() == 0 {
		asUser(t, "^TestRunPulls$")
		return
	}
	w, d := newFilledDepot(t, "")
	web := d.host + "/team/web:oci"
	run := func(flags string) string {
		t.Helper()
		out, err := w.command("sh", "-c", `bryo run --net none `+flags+` `+web+` sh -c 'cat /srv/two; stat -c %u /srv/two' 2>said; echo $?; cat said`).CombinedOutput()
		if err != nil {
			t.Fatalf("%v, %s", err, out)
		}
		return string(out)
	}
	const fine = "two\n33\n0\n"
	if got := run("--pull never"); !strings.Contains(got, "125\n") || !strings.Contains(got, "fix: bryo pull "+web) {
		t.Errorf("never: %s", got)
	}
	for _, flags := range []string{"", "--pull always", "--userns keep-id -u 0", "--pull missing"} {
		if got := run(flags); !strings.HasPrefix(got, fine) {
			t.Errorf("%s: %s", flags, got)
		}
	}
	w.sh(`mv depot/data depot/gone`)
	for _, flags := range []string{"", "--pull never", "--pull never --userns keep-id -u 0"} {
		if got := run(flags); got != fine {
			t.Errorf("the registry has none, %s: %s", flags, got)
		}
	}
	if got := run("--pull always"); !strings.Contains(got, "125\n") {
		t.Errorf("always, and the registry has none: %s", got)
	}
}
