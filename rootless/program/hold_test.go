//go:build (amd64 || arm64) && !portable

package program

import (
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// pending is the mask of signals that wait for the whole process.
func pending(t *testing.T) uint64 {
	t.Helper()
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(status), "ShdPnd:\t")
	mask, err := strconv.ParseUint(rest[:16], 16, 64)
	if err != nil {
		t.Fatal(err)
	}
	return mask
}

// settle waits for these signals to be pending: a thread may still take one
// and give it back.
func settle(t *testing.T, want uint64) (got uint64) {
	t.Helper()
	for end := time.Now().Add(5 * time.Second); time.Now().Before(end); time.Sleep(time.Millisecond) {
		if got = pending(t); got == want {
			break
		}
	}
	return got
}

// seen is how many different signals come.
func seen(caught <-chan os.Signal, most int) int {
	different := map[os.Signal]bool{}
	for range most {
		select {
		case s := <-caught:
			different[s] = true
		case <-time.After(5 * time.Second):
		}
	}
	return len(different)
}

// alone has a test run in a process of its own, and is true there: the threads
// that took a held signal keep all signals blocked.
func alone(t *testing.T) bool {
	t.Helper()
	if os.Getenv(emulatorVariable) != "" {
		t.Skip("the emulator does not execute this test again")
	}
	const inside = "BRYO_TEST_HOLD"
	if os.Getenv(inside) != "" {
		return true
	}
	again := exec.Command(os.Args[0], "-test.run", "^"+t.Name()+"$")
	again.Env = append(os.Environ(), inside+"=1")
	if output, err := again.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, output)
	}
	return false
}

// awaits has a pipe and what Watch gave for SIGINT and SIGTERM.
type awaits struct {
	*testing.T

	watched     int
	read, write int
}

func newAwaits(t *testing.T) awaits {
	t.Helper()
	held, err := Hold()
	if err != nil {
		t.Fatal(err)
	}
	watched, err := held.Watch(unix.SIGINT, unix.SIGTERM)
	if err != nil {
		t.Fatal(err)
	}
	var pipe [2]int
	if err := unix.Pipe2(pipe[:], unix.O_CLOEXEC); err != nil {
		t.Fatal(err)
	}
	return awaits{t, watched, pipe[0], pipe[1]}
}

// asked wants to see a signal, or the pipe.
func (a awaits) asked(want bool) {
	a.Helper()
	if asked, err := Pipe(a.read).Await(a.watched); err != nil || asked != want {
		a.Fatalf("asked: %v, %v, want %v", asked, err, want)
	}
}

func (a awaits) raise(s unix.Signal) {
	a.Helper()
	if err := unix.Kill(os.Getpid(), s); err != nil {
		a.Fatal(err)
	}
}

func (a awaits) pending(want uint64) {
	a.Helper()
	if got := settle(a.T, want); got != want {
		a.Errorf("%#x pending, want %#x", got, want)
	}
}

// A held signal can be waited for, without taking it from who gets it later.
func TestWatch(t *testing.T) {
	if !alone(t) {
		return
	}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	a := newAwaits(t)
	const user, term = 1 << (unix.SIGUSR1 - 1), 1 << (unix.SIGTERM - 1)
	a.raise(unix.SIGUSR1) // not for this
	if _, err := unix.Write(a.write, []byte("x")); err != nil {
		t.Fatal(err)
	}
	a.asked(false)
	if s, taken := Take(a.watched); taken {
		t.Errorf("took %v", s)
	}
	if _, err := Pipe(a.read).Read(make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	a.raise(unix.SIGTERM)
	a.asked(true)
	a.pending(user | term)
	if s, taken := Take(a.watched); !taken || s != unix.SIGTERM {
		t.Errorf("took %v, %v", s, taken)
	}
	a.pending(user)
	time.AfterFunc(20*time.Millisecond, func() { _ = unix.Kill(os.Getpid(), unix.SIGINT) })
	a.asked(true) // one that comes meanwhile
}

func TestHeldSignalsWaitForRelease(t *testing.T) {
	if !alone(t) {
		return
	}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	signals := []unix.Signal{unix.SIGTERM, unix.SIGHUP, unix.SIGUSR1, unix.SIGWINCH, 40}
	caught := make(chan os.Signal, len(signals))
	for _, s := range signals {
		signal.Notify(caught, s)
	}
	defer signal.Stop(caught)
	held, err := Hold()
	if err != nil {
		t.Fatal(err)
	}
	var want uint64
	for _, s := range signals {
		want |= 1 << (s - 1)
		if err := unix.Kill(os.Getpid(), s); err != nil {
			t.Fatal(err)
		}
	}
	got := settle(t, want)
	if got != want || len(caught) > 0 {
		t.Errorf("%#x pending and %d caught, want %#x and none", got, len(caught), want)
	}
	if err := held.Release(); err != nil {
		t.Fatal(err)
	}
	if n := seen(caught, len(signals)); n != len(signals) {
		t.Errorf("after Release came %d signals, want each of %v", n, signals)
	}
}
