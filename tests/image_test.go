package tests

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// workshop is a directory in which the test user makes images and unpacks them.
type workshop struct {
	*testing.T

	dir, bryo string
}

func newWorkshop(t *testing.T, programs ...string) *workshop {
	t.Helper()
	if _, err := os.Stat(busybox); err != nil {
		t.Skipf("no root file system to make images of: %v", err)
	}
	if !hasSubids() {
		t.Skip("the user has no subordinate ids")
	}
	for _, program := range programs {
		if _, err := exec.LookPath(program); err != nil {
			t.Skipf("%v", err)
		}
	}
	bin, err := suite.bryo()
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(t.TempDir(), "images")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := removeMapped(dir); err != nil {
			t.Error(err)
		}
	})
	w := &workshop{t, dir, bin}
	if err := makeBusyboxRoot(dir + "/root"); err != nil {
		t.Fatal(err)
	}
	w.sh(`bryo unshare sh -c 'chown -R 0:0 root && tar -C root -cf root.tar .'`)
	return w
}

// sh runs a script of the shell; bryo is in its path.
func (w *workshop) sh(script string) string {
	w.Helper()
	cmd := w.command("sh", "-euc", script)
	var out, said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &said
	if err := cmd.Run(); err != nil {
		w.Fatalf("%s: %v\n%s", script, err, said.String())
	}
	return out.String()
}

func (w *workshop) command(name string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(w.Context(), name, args...)
	cmd.Dir = w.dir
	cmd.Env = []string{"PATH=" + filepath.Dir(w.bryo) + ":" + os.Getenv("PATH"), "HOME=" + w.dir, "XDG_RUNTIME_DIR=" + w.dir, "LC_ALL=C.UTF-8"}
	return cmd
}

// listed has all of a tree, as it is seen inside: names, kinds, modes, owners,
// links, times, targets, contents and extended attributes. The root's own time
// is not in it, which podman does not set.
func (w *workshop) listed(root string) string {
	w.Helper()
	return w.sh(fmt.Sprintf(`bryo unshare sh -euc 'cd "$1"
		find . -mindepth 1 -printf "%%p %%y %%m %%U:%%G %%n %%T@ %%l\n" | sort
		find . -type f -exec sha256sum {} + | sort
		getcap -r . | sort' sh '%s'`, root))
}

// makeLayers fills a layout with an image of three layers: a root file system
// with owners, links and capabilities, one of whiteouts, and one that is
// opaque. Its name is web.
func (w *workshop) makeLayers() {
	w.Helper()
	w.sh(`bryo unshare sh -euc '
			mkdir -p root/srv/old/deep root/srv/kept root/srv/set
			echo secret > root/srv/secret; chown 33:42 root/srv/secret; chmod 640 root/srv/secret
			echo x > root/srv/old/deep/x; echo k > root/srv/kept/k; chown -h 7:8 root/srv/kept
			cp root/bin/busybox root/srv/tool; setcap cap_net_raw+ep root/srv/tool
			cp root/bin/busybox root/srv/setuid; chown 5:6 root/srv/setuid; chmod 6755 root/srv/setuid
			ln root/srv/secret root/srv/again; ln root/srv/secret root/etc/third; ln -s ../srv/secret root/srv/link; chown -h 9:9 root/srv/link
			mkfifo root/srv/pipe; chmod 2775 root/srv/set; chown 0:50 root/srv/set; chmod 1777 root/srv/kept
			truncate -s 10M root/srv/sparse; echo end >> root/srv/sparse
			touch -h -d @1234567890.5 root/srv/link; touch -d @1234567890 root/srv/kept root/srv/tool
			tar -C root --xattrs --xattrs-include="*" --format pax -cf one.tar .
			mkdir -p two/srv/set three/srv/old
			touch two/srv/.wh.secret; echo new > two/srv/set/new; echo two > two/srv/two; chown 33:33 two/srv/two
			tar -C two -cf two.tar .
			touch three/srv/old/.wh..wh..opq; echo fresh > three/srv/old/fresh
			ln -s srv three/alias; tar -C three -cf three.tar .'
		umoci init --layout layout; umoci new --image layout:web
		for layer in one two three; do umoci raw add-layer --image layout:web $layer.tar; done`)
}

// An image unpacks to the tree that others make of it, in whatever it comes.
func TestUnpackAsOthers(t *testing.T) {
	if os.Getuid() == 0 {
		asUser(t, "^TestUnpackAsOthers$")
		return
	}
	w := newWorkshop(t, "umoci", "tar", "getcap", "setcap")
	w.makeLayers()
	w.sh(`bryo unshare umoci unpack --image layout:web umoci
		bryo unpack oci:layout:web ours; tar -cf layout.tar -C layout .; bryo unpack layout.tar:web archive
		gzip -c layout.tar | bryo unpack - stream
		mkdir tar; bryo unshare tar -C tar --xattrs --xattrs-include="*" -xpf one.tar; bryo unpack one.tar plain`)
	want := w.listed("umoci/rootfs")
	for _, tree := range []string{"ours", "archive", "stream"} {
		if got := w.listed(tree); got != want {
			t.Errorf("%s differs from umoci's tree:\n%s", tree, difference(want, got))
		}
	}
	if want, got := w.listed("tar"), w.listed("plain"); got != want {
		t.Errorf("an archive is not what tar makes of it:\n%s", difference(want, got))
	}
	if blocks := w.sh(`stat -c %b plain/srv/sparse`); len(strings.TrimSpace(blocks)) > 3 {
		t.Errorf("a file of 10 MB of nothing has %s blocks", blocks)
	}
}

// What podman saves is what it would run.
func TestUnpackPodman(t *testing.T) {
	if os.Getuid() == 0 {
		asUser(t, "^TestUnpackPodman$")
		return
	}
	w := newWorkshop(t, "umoci", "podman", "tar", "getcap", "setcap")
	w.makeLayers()
	flags, end := w.storage("oci:layout:web")
	defer end()
	podman := "podman " + flags
	w.sh(`podman() { command ` + podman + ` "$@"; }
		id=$(podman images -q)
		podman save -q --format docker-archive -o docker.tar $id; podman save -q --format oci-archive -o oci.tar $id
		bryo unpack docker.tar docker; bryo unpack oci.tar oci
		command ` + podman + ` unshare sh -euc 'cp -a "$(` + podman + ` image mount '$id')" copy'`)
	want := w.listed("copy")
	for _, tree := range []string{"docker", "oci"} {
		if got := w.listed(tree); got != want {
			t.Errorf("%s differs from podman's tree:\n%s", tree, difference(want, got))
		}
	}
}

// storage is where podman and buildah of a test keep their images, with one that
// is there already. The test is skipped where they do not work.
func (w *workshop) storage(image string) (flags string, end func()) {
	w.Helper()
	run, err := os.MkdirTemp("/tmp", "") // podman takes a path of 50 characters at most
	if err != nil {
		w.Fatal(err)
	}
	flags = `--root "$PWD/storage" --runroot "` + run + `" --storage-driver vfs`
	if out, err := w.command("sh", "-c", `podman `+flags+` pull -q `+image).CombinedOutput(); err != nil {
		_ = os.RemoveAll(run)
		w.Skipf("podman does not work here: %v, %s", err, out)
	}
	return flags, func() {
		w.sh(`podman ` + flags + ` unshare rm -rf storage ` + run + `/*`)
		_ = os.RemoveAll(run)
	}
}

// difference has the lines that only one of two texts has.
func difference(want, got string) string {
	var b strings.Builder
	for mark, texts := range map[string][2]string{"-": {want, got}, "+": {got, want}} {
		for line := range strings.Lines(texts[0]) {
			if !strings.Contains(texts[1], line) {
				b.WriteString(mark + line)
			}
		}
	}
	return b.String()
}

// However large a layer is and whatever it is compressed by, what is in memory is
// a window, and not much else. The largest that xz has is as much as all may be.
func TestUnpackMemory(t *testing.T) {
	if os.Getuid() == 0 {
		asUser(t, "^TestUnpackMemory$")
		return
	}
	w := newWorkshop(t, "gzip", "zstd", "xz", "bzip2", "time")
	w.sh(`truncate -s 72M large`)       // more than any window
	const most, window = 64_000, 65_536 // kB
	for _, row := range []struct {
		compress string
		most     int64
	}{
		{"gzip -1", most},
		{"zstd -q -1 --long=25", most},
		{"xz -0 --lzma2=preset=0,dict=32MiB", most},
		{"xz -0 --lzma2=preset=0,dict=64MiB", most/4 + window},
		{"bzip2 -9", most},
	} {
		w.sh(`tar -c large | ` + row.compress + ` > image`)
		// time(1) is small: what begins as its copy has its size at first.
		out, err := w.command("time", "-f", "%M", w.bryo, "unpack", "image", "new").CombinedOutput()
		if err != nil {
			t.Fatalf("%s: %v, %s", row.compress, err, out)
		}
		if took, err := strconv.ParseInt(strings.TrimSpace(string(out)), 10, 64); err != nil || took > row.most {
			t.Errorf("%s: %s kB, %v, want %d at most", row.compress, out, err, row.most)
		} else {
			t.Logf("%s: %d kB", row.compress, took)
		}
		w.sh("bryo unshare rm -rf new")
	}
}

// However an unpacking ends early, nothing has the name that it would have, and
// nothing is left at the latest when it is done again.
func TestUnpackEndsEarly(t *testing.T) {
	if os.Getuid() == 0 {
		asUser(t, "^TestUnpackEndsEarly$")
		return
	}
	w := newWorkshop(t, "tar")
	whole, err := os.ReadFile(w.dir + "/root.tar")
	if err != nil {
		t.Fatal(err)
	}
	for _, row := range []struct {
		name   string
		signal syscall.Signal // 0: the input ends
		left   bool
	}{
		{"interrupted", syscall.SIGINT, false},
		{"terminated", syscall.SIGTERM, false},
		{"hung up", syscall.SIGHUP, false},
		{"half of the input", 0, false},
		{"killed", syscall.SIGKILL, true},
	} {
		code, said := w.endEarly(whole, row.signal)
		if want := 128 + int(row.signal); row.signal != 0 && !row.left && code != want || code == 0 {
			t.Errorf("%s: exit code %d, want %d: %s", row.name, code, want, said)
		}
		if _, err := os.Lstat(w.dir + "/new"); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s: half a root has its name: %v", row.name, err)
		}
		_, err := os.Lstat(w.dir + "/.new.bryo-unpack")
		if there := err == nil; there != row.left {
			t.Errorf("%s: what was made is there: %v", row.name, there)
		}
	}
	w.sh("bryo unpack root.tar new")
	if names := w.sh("ls -A"); names != "new\nroot\nroot.tar\n" {
		t.Errorf("left are %s", names)
	}
}

// endEarly unpacks most of an archive, and then sends a signal, or no more.
func (w *workshop) endEarly(whole []byte, signal syscall.Signal) (code int, said string) {
	w.Helper()
	cmd := w.command(w.bryo, "unpack", "-", "new")
	var text bytes.Buffer
	cmd.Stderr = &text
	in, err := cmd.StdinPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		w.Fatal(err)
	}
	if _, err := in.Write(whole[:len(whole)*3/4]); err != nil { // files are being written
		w.Fatal(err)
	}
	w.await(".new.bryo-unpack/bin")
	if signal == 0 {
		_ = in.Close()
	} else if err := cmd.Process.Signal(signal); err != nil {
		w.Fatal(err)
	}
	err = cmd.Wait()
	if _, is := errors.AsType[*exec.ExitError](err); err != nil && !is {
		w.Fatal(err)
	}
	return cmd.ProcessState.ExitCode(), text.String()
}

func (w *workshop) await(name string) {
	w.Helper()
	const most, pause = 10 * time.Second, 2 * time.Millisecond
	for end := time.Now().Add(most); time.Now().Before(end); time.Sleep(pause) {
		if _, err := os.Lstat(filepath.Join(w.dir, name)); err == nil {
			return
		}
	}
	w.Fatalf("%s did not come", name)
}

// Two at once do not disturb each other: one is refused.
func TestUnpackTwice(t *testing.T) {
	if os.Getuid() == 0 {
		asUser(t, "^TestUnpackTwice$")
		return
	}
	w := newWorkshop(t)
	first := w.command(w.bryo, "unpack", "-", "new")
	in, err := first.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := first.Start(); err != nil {
		t.Fatal(err)
	}
	w.await(".new.bryo-unpack")
	out, err := w.command(w.bryo, "unpack", "root.tar", "new").CombinedOutput()
	if err == nil || !strings.Contains(string(out), "another bryo") {
		t.Errorf("%v, %s", err, out)
	}
	whole, err := os.ReadFile(w.dir + "/root.tar")
	if err != nil {
		t.Fatal(err)
	}
	_, err = in.Write(whole)
	if err := errors.Join(err, in.Close(), first.Wait()); err != nil {
		t.Error(err)
	}
	if names := w.sh("ls -A"); names != "new\nroot\nroot.tar\n" {
		t.Errorf("left are %s", names)
	}
}
