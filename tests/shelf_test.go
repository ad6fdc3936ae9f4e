package tests

import (
	"errors"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"
)

// stackScript shows the layers of an image as they are stacked, at merged, and
// does something with it.
const stackScript = `stacked() {
	layers=$(bryo images --json | sed -n '/"Layers"/,/]/s/^ *"\([a-z2-7]*\)",*$/\1/p' | tac | paste -sd:)
	cd .local/share/bryo/layers/*/
	mkdir -p "$OLDPWD/merged"
	bryo unshare sh -euc 'mount -t overlay -o userxattr,lowerdir="$1" none "$2"; cd "$2"/..; shift 2; "$@"' sh "$layers" "$OLDPWD/merged" "$@"
	cd "$OLDPWD"
}
`

// The layers of an image on the shelf, stacked by the kernel, are what unpack makes
// of it; and are not read when they are there.
func TestShelfAsUnpacked(t *testing.T) {
	if os.Getuid() == 0 {
		asUser(t, "^TestShelfAsUnpacked$")
		return
	}
	w := newWorkshop(t, "umoci", "tar", "getcap", "setcap", "sed", "tac", "paste")
	w.makeLayers()
	if out, err := w.command("sh", "-euc", `mkdir low high; bryo unshare mount -t overlay -o userxattr,lowerdir=low:high none low`).CombinedOutput(); err != nil {
		t.Skipf("the kernel has no overlay for users: %s", out)
	}
	w.sh(`bryo unpack oci:layout:web unpacked; bryo pull oci:layout:web`)
	want := w.listed("unpacked")
	w.sh(stackScript + `stacked cp -a merged/. copied`)
	if got := w.listed("copied"); got != want {
		t.Errorf("the stack is not what unpack makes:\n%s", difference(want, got))
	}
	w.sh(`mkdir away; find layout/blobs -type f -size +4 -exec mv -t away {} +; bryo pull --name other oci:layout:web; bryo rmi other`)
	if got := w.sh(`bryo images`); strings.Count(got, "\n") != 2 || !strings.Contains(got, "localhost/layout:web ") {
		t.Errorf("on the shelf are\n%s", got)
	}
	w.sh(`bryo prune --images --all`)
	if code := w.command(w.bryo, "pull", "oci:layout:web").Run(); code == nil {
		t.Error("layers are made of what is not there")
	}
}

// However bryo-image is ended, the shelf is whole, and the next one goes on.
func TestShelfEndsEarly(t *testing.T) {
	if os.Getuid() == 0 {
		asUser(t, "^TestShelfEndsEarly$")
		return
	}
	w := newWorkshop(t, "umoci", "tar", "getcap", "setcap")
	w.makeLayers()
	for i, signal := range []syscall.Signal{syscall.SIGINT, syscall.SIGTERM, syscall.SIGKILL, syscall.SIGINT, syscall.SIGKILL, syscall.SIGKILL} {
		cmd := w.command(w.bryo, "pull", "oci:layout:web")
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		const pause = 25 * time.Millisecond
		time.Sleep(time.Duration(i+1) * pause)
		_ = cmd.Process.Signal(signal)
		err := cmd.Wait()
		if _, is := errors.AsType[*exec.ExitError](err); err != nil && !is {
			t.Fatal(err)
		}
		const early = -1 // before it looks for signals
		if code := cmd.ProcessState.ExitCode(); signal != syscall.SIGKILL && code != 0 && code != early && code != 128+int(signal) {
			t.Errorf("%v: exit code %d", signal, code)
		}
	}
	w.sh(`bryo pull oci:layout:web; bryo prune --images`)
	if left := w.sh(`find .local/share/bryo -name '*half*' -o -path '*trash/*'`); left != "" {
		t.Errorf("left are %s", left)
	}
	w.sh(`bryo rmi layout:web`)
	if left := w.sh(`find .local/share/bryo -mindepth 2 ! -name sha256`); left != "" {
		t.Errorf("left are %s", left)
	}
}
