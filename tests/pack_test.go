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

// What bryo packs is for others what it was, and for bryo.
func TestPackForOthers(t *testing.T) {
	if os.Getuid() == 0 {
		asUser(t, "^TestPackForOthers$")
		return
	}
	w := newWorkshop(t, "umoci", "skopeo", "tar", "getcap", "setcap")
	w.makeLayers()
	w.sh(`bryo pack root oci:packed:web; bryo pack --compression zstd root oci:packed:zstd; bryo pack --compression none root packed.tar:web
		bryo unshare umoci unpack --image packed:web umoci
		bryo unpack oci:packed:zstd ours; bryo unpack packed.tar archive
		skopeo copy -q docker-archive:packed.tar oci:copied:docker; skopeo copy -q oci-archive:packed.tar oci:copied:oci; skopeo copy -q oci:packed:web dir:flat
		bryo unpack oci:copied:docker docker; bryo unpack oci:copied:oci oci
		bryo pack ours oci:again:web`)
	want := w.listed("root")
	for _, tree := range []string{"umoci/rootfs", "ours", "archive", "docker", "oci"} {
		if got := w.listed(tree); got != want {
			t.Errorf("%s differs from what was packed:\n%s", tree, difference(want, got))
		}
	}
	const manifest = `grep -o '"digest":"[^"]*"' %/index.json | head -n1`
	first, again := w.sh(strings.Replace(manifest, "%", "packed", 1)), w.sh(strings.Replace(manifest, "%", "again", 1))
	if first != again || first == "" {
		t.Errorf("an image's root makes another image: %s, %s", first, again)
	}
}

// So it is for podman and buildah, from a layout as from an archive.
func TestPackForPodman(t *testing.T) {
	if os.Getuid() == 0 {
		asUser(t, "^TestPackForPodman$")
		return
	}
	w := newWorkshop(t, "umoci", "podman", "buildah", "tar", "getcap", "setcap")
	w.makeLayers()
	w.sh(`bryo pack --cmd '["/bin/busybox","id"]' -e A=b -u 5:6 -w /srv -l k=v --stop-signal INT --expose 80 -v /data -c 'ENTRYPOINT ["env"]' root oci:packed:web`)
	flags, end := w.storage("oci:packed:web")
	defer end()
	w.sh(`bryo pack root - | podman ` + flags + ` load -q > loaded
		podman ` + flags + ` unshare sh -euc '
			cp -a "$(podman ` + flags + ` image mount "$(podman ` + flags + ` images -q | head -n1)")" podman
			cp -a "$(podman ` + flags + ` image mount "$(sed s/.*:.sha256:// loaded | sed s/^sha256://)")" loads
			cp -a "$(buildah ` + flags + ` mount "$(buildah ` + flags + ` from oci:packed:web)")" buildah'`)
	want := w.listed("root")
	for _, tree := range []string{"podman", "loads", "buildah"} {
		if got := w.listed(tree); got != want {
			t.Errorf("%s differs from what was packed:\n%s", tree, difference(want, got))
		}
	}
	config := w.sh(`podman ` + flags + ` image inspect --format '{{json .Config}}' $(podman ` + flags + ` images -q)`)
	for _, want := range []string{`"User":"5:6"`, `"Env":["A=b"]`, `"Cmd":["/bin/busybox","id"]`, `"Entrypoint":["env"]`, `"WorkingDir":"/srv"`, `"Labels":{"k":"v"}`, `"StopSignal":"SIGINT"`, `"80/tcp":{}`, `"/data":{}`} {
		if !strings.Contains(config, want) {
			t.Errorf("%s is not in %s", want, config)
		}
	}
}

// However packing ends early, there is no half of an image, and nothing that the
// next one does not mend.
func TestPackEndsEarly(t *testing.T) {
	if os.Getuid() == 0 {
		asUser(t, "^TestPackEndsEarly$")
		return
	}
	w := newWorkshop(t, "umoci", "tar")
	w.sh(`bryo pack root oci:kept:one; cp -a kept before
		bryo unshare sh -c 'cd root; for i in $(seq 20); do head -c 4M /dev/urandom > file$i; done'`)
	for _, signal := range []syscall.Signal{syscall.SIGINT, syscall.SIGTERM, syscall.SIGKILL} {
		for _, target := range []string{"oci:kept:two", "oci:new:two", "new.tar"} {
			cmd := w.command(w.bryo, "pack", "root", target)
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			time.Sleep(100 * time.Millisecond) //nolint:forbidigo,nolintlint // it is to be in the middle
			_ = cmd.Process.Signal(signal)
			err := cmd.Wait()
			if _, is := errors.AsType[*exec.ExitError](err); !is {
				t.Skipf("%s: the machine is too fast: %v", target, err)
			}
			for _, name := range []string{"/new", "/new.tar"} {
				if _, err := os.Lstat(w.dir + name); !errors.Is(err, os.ErrNotExist) {
					t.Errorf("%v, %s: half of it has its name: %v", signal, target, err)
				}
			}
			if out, err := w.command("diff", "-r", "before", "kept").CombinedOutput(); err != nil {
				t.Errorf("%v, %s: %v, %s", signal, target, err, out)
			}
		}
	}
	w.sh(`bryo unshare rm -r root; bryo unpack oci:kept:one root; bryo pack root oci:new:one; bryo pack root new.tar`)
	if names := w.sh("ls -A"); names != "before\nkept\nnew\nnew.tar\nroot\nroot.tar\n" {
		t.Errorf("left are %s", names)
	}
}
