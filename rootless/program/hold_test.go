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

// The threads that took a held signal keep all signals blocked: the test has a
// process of its own.
func TestHeldSignalsWaitForRelease(t *testing.T) {
	if os.Getenv(emulatorVariable) != "" {
		t.Skip("the emulator does not execute this test again")
	}
	const inside = "BRYO_TEST_HOLD"
	if os.Getenv(inside) == "" {
		again := exec.Command(os.Args[0], "-test.run", "^TestHeldSignalsWaitForRelease$")
		again.Env = append(os.Environ(), inside+"=1")
		if output, err := again.CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, output)
		}
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
