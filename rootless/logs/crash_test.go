package logs

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// childVariable has the directory that the test, run again, works in.
const childVariable = "BRYO_LOGS_TEST"

// child is this test again, in a process of its own.
func child(t *testing.T, path string) *exec.Cmd {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "/proc/self/exe", "-test.run=^"+t.Name()+"$", "-test.v")
	cmd.Env = append(os.Environ(), childVariable+"="+path)
	return cmd
}

func pass(t *testing.T, cmd *exec.Cmd) {
	t.Helper()
	var out strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		t.Skip("no namespaces here: ", err)
	}
	if err := cmd.Wait(); err != nil {
		t.Errorf("%v: %s", err, out.String())
	}
	if strings.Contains(out.String(), "--- SKIP") {
		t.Skip(out.String())
	}
}

// fill writes lines until the log has refused a few calls, and returns how many
// bytes it was given.
func fill(t *testing.T, w *Writer, want error, seed uint64) (given int64) {
	t.Helper()
	random := rand.New(rand.NewPCG(seed, 9))
	for refused := 0; refused < 5; {
		chunk := noise(random, random.IntN(20_000))
		given += int64(len(chunk))
		begin := time.Now()
		if err := w.Write(Stdout, noon(), chunk); err != nil {
			refused++
			if !errors.Is(err, want) {
				t.Fatalf("%v, want %v", err, want)
			}
		}
		if spent := time.Since(begin); spent > 5*time.Second {
			t.Fatalf("a call takes %v", spent)
		}
	}
	if w.Dropped() == 0 || !w.Pending() {
		t.Fatal("nothing is dropped")
	}
	return given
}

// recovered writes after there is room again. What is read and what was dropped
// is what was given, and no line is torn.
func recovered(t *testing.T, dir int, path string, w *Writer, given int64) {
	t.Helper()
	dropped := w.Dropped()
	must(t, w.Flush(noon()))
	must(t, w.Write(Stdout, noon(), []byte("again\n")))
	if w.Pending() {
		t.Errorf("still held: %+v", w.Export())
	}
	got := said(t, dir, everything())
	if want := fmt.Sprintf("%d bytes were dropped\n", dropped); !strings.HasSuffix(got[Bryo], want) {
		t.Errorf("said %q, want %q", got[Bryo], want)
	}
	told := int64(0)
	for line := range strings.Lines(got[Bryo]) {
		var n int64
		_, err := fmt.Sscanf(line, "%d bytes were dropped", &n)
		must(t, err)
		told += n
	}
	if n := int64(len(got[Stdout])); n+told != given+int64(len("again\n")) {
		t.Errorf("%d bytes are read and %d are told to be dropped, of %d", n, told, given)
	}
	files, err := filepath.Glob(filepath.Join(path, "log*"))
	must(t, err)
	for _, file := range files {
		for line := range bytes.Lines([]byte(content(t, file))) {
			if _, ok := parse(line); !ok {
				t.Errorf("torn: %.100q", line)
			}
		}
	}
}

// Both formats, with rotation and without, and a process that is replaced while
// the disk is full.
func TestFullDisk(t *testing.T) {
	path := os.Getenv(childVariable)
	if path == "" {
		cmd := child(t, t.TempDir())
		cmd.SysProcAttr = &syscall.SysProcAttr{
			Cloneflags:  unix.CLONE_NEWUSER | unix.CLONE_NEWNS,
			UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}},
			GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}},
		}
		pass(t, cmd)
		return
	}
	for n := range 40 {
		o := Options{Format: Format(n % 2), MaxFiles: 100}
		if n >= 4 {
			o.MaxSize = int64(20_000 + n*777)
		}
		if err := unix.Mount("tmpfs", path, "tmpfs", 0, "size=256k"); err != nil {
			t.Skip("no mounts in a user namespace here: ", err)
		}
		ballast := filepath.Join(path, "ballast")
		must(t, os.WriteFile(ballast, make([]byte, 100_000), 0o600))
		dir := openDir(t, path)
		w := open(t, dir, o)
		given := fill(t, w, unix.ENOSPC, uint64(n))
		if n/2%2 == 1 {
			text, err := json.Marshal(w.Export())
			must(t, err)
			var state State
			must(t, json.Unmarshal(text, &state))
			w = open(t, dir, o)
			must(t, w.Import(state))
		}
		must(t, os.Remove(ballast))
		recovered(t, dir, path, w, given)
		must(t, unix.Unmount(path, unix.MNT_DETACH))
	}
}

// A limit on file sizes sends SIGXFSZ, which Go takes.
func TestFileSizeLimit(t *testing.T) {
	path := os.Getenv(childVariable)
	if path == "" {
		pass(t, child(t, t.TempDir()))
		return
	}
	var before unix.Rlimit
	must(t, unix.Getrlimit(unix.RLIMIT_FSIZE, &before))
	must(t, unix.Setrlimit(unix.RLIMIT_FSIZE, &unix.Rlimit{Cur: 100_001, Max: before.Max}))
	dir := openDir(t, path)
	w := open(t, dir, Options{})
	given := fill(t, w, unix.EFBIG, 1)
	must(t, unix.Setrlimit(unix.RLIMIT_FSIZE, &before))
	recovered(t, dir, path, w, given)
}

// A disk that never takes anything again costs no memory.
func TestDeadDisk(t *testing.T) {
	w := open(t, openDir(t, t.TempDir()), Options{MaxSize: 1000})
	must(t, w.Write(Stdout, noon(), []byte("alive\n")))
	null, err := unix.Open("/dev/full", unix.O_WRONLY|unix.O_CLOEXEC, 0)
	must(t, err)
	must(t, unix.Dup3(null, w.fd, unix.O_CLOEXEC))
	must(t, unix.Close(null))
	w.limit = 1 << 40
	for range 1000 {
		if err := w.Write(Stdout, noon(), []byte("dead\n")); !errors.Is(err, unix.ENOSPC) {
			t.Fatal(err)
		}
	}
	if w.Dropped() != 5000 || len(w.batch) > 0 {
		t.Errorf("%d bytes are dropped, %d are in memory", w.Dropped(), len(w.batch))
	}
}

func TestKilledWriter(t *testing.T) {
	if path := os.Getenv(childVariable); path != "" {
		w := open(t, openDir(t, path), Options{MaxSize: 1 << 20, MaxFiles: 3})
		for i := 0; ; {
			chunk := []byte{}
			for range 1 + i%300 {
				chunk = fmt.Appendf(chunk, "%d %s\n", i, strings.Repeat("x", i%100))
				i++
			}
			must(t, w.Write(Stdout, noon(), chunk))
		}
	}
	for range 10 {
		path := t.TempDir()
		dir := openDir(t, path)
		cmd := child(t, path)
		must(t, cmd.Start())
		time.Sleep(time.Duration(100+rand.IntN(200)) * time.Millisecond)
		must(t, cmd.Process.Kill())
		_ = cmd.Wait()

		must(t, open(t, dir, Options{}).Write(Stdout, noon(), []byte("-1 after\n")))
		count, last := 0, -2
		must(t, Read(dir, everything(), func(e Entry) error {
			var i int
			if _, err := fmt.Sscan(string(e.Data), &i); err != nil || count > 0 && i != last+1 && i != -1 {
				return fmt.Errorf("%.100q after %d: %w", e.Data, last, err)
			}
			last = i
			count++
			return nil
		}))
		if count < 2 || last != -1 {
			t.Errorf("%d lines, the last one is %d", count, last)
		}
	}
}
