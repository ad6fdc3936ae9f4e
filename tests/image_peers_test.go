package tests

import (
	"os"
	"strings"
	"testing"
)

// ownStorage has commands of podman's family keep what they have in a directory of
// the workshop's, and remove it in the end. They take short paths only.
func (w *workshop) ownStorage(program string) (command string) {
	w.Helper()
	run, err := os.MkdirTemp("/tmp", "")
	if err != nil {
		w.Fatal(err)
	}
	command = program + ` --root "$PWD/storage" --runroot "` + run + `" --storage-driver vfs`
	w.Cleanup(func() {
		_ = w.command("bryo", "unshare", "rm", "-rf", "storage").Run()
		_ = os.RemoveAll(run)
	})
	return command
}

// Images that skopeo has copied, in every form and with every compression that it
// has, unpack to the tree that umoci makes of the original.
func TestUnpackSkopeo(t *testing.T) {
	if os.Getuid() == 0 {
		asUser(t, "^TestUnpackSkopeo$")
		return
	}
	w := newWorkshop(t, "umoci", "skopeo", "tar", "getcap", "setcap")
	w.makeLayers()
	w.sh(`bryo unshare umoci unpack --image layout:web umoci`)
	want := w.listed("umoci/rootfs")
	for _, row := range []struct{ to, options, image string }{
		{"docker-archive:docker.tar:localhost/web:1", "", "docker.tar"},
		{"oci-archive:oci.tar:web", "", "oci.tar:web"},
		{"oci:gzip:web", "--dest-compress --dest-compress-format gzip", "oci:gzip:web"},
		{"oci:zstd:web", "--dest-compress --dest-compress-format zstd", "oci:zstd:web"},
		{"oci:plain:web", "--dest-decompress", "oci:plain:web"},
		{"oci:docker:web", "--format v2s2", "oci:docker:web"},
	} {
		w.sh(`skopeo --insecure-policy copy -q ` + row.options + ` oci:layout:web ` + row.to + ` && bryo unpack ` + row.image + ` new`)
		if got := w.listed("new"); got != want {
			t.Errorf("%s differs from umoci's tree:\n%s", row.to, difference(want, got))
		}
		w.sh(`bryo unshare rm -rf new`)
	}
}

// What buildah has committed is what it has mounted: a container's changes, above
// an image of several layers.
func TestUnpackBuildah(t *testing.T) {
	if os.Getuid() == 0 {
		asUser(t, "^TestUnpackBuildah$")
		return
	}
	w := newWorkshop(t, "umoci", "buildah", "getcap", "setcap")
	w.makeLayers()
	buildah := w.ownStorage("buildah")
	if out, err := w.command("sh", "-c", buildah+` from --name web oci:layout:web`).CombinedOutput(); err != nil {
		t.Skipf("buildah does not work here: %v, %s", err, out)
	}
	// Its layers have times of whole seconds.
	w.sh(buildah + ` unshare sh -euc 'top=$(` + buildah + ` mount web)
			( cd "$top"; rm srv/tool; rm -r srv/kept; mkdir srv/kept; echo new > srv/kept/new; chown 11:12 srv/kept/new
			rm -r srv/set; echo file > srv/set; rm srv/link; mkdir srv/link; echo in > srv/link/in
			ln srv/two srv/twice; mkfifo -m 620 srv/second; ln -s /nowhere srv/dangling; chown -h 3:4 srv/dangling
			cp bin/busybox srv/able; setcap cap_net_bind_service=ep srv/able; chmod 600 etc/third; chmod 1770 srv; chown 9:9 srv
			find srv etc -newermt "-1 hour" -exec touch -h -d @1700000000 {} + )
			cp -a "$top" copy
			` + buildah + ` umount web >/dev/null'
		` + buildah + ` commit -q web oci:made:web >/dev/null
		` + buildah + ` commit -q --format docker web docker-archive:made.tar:localhost/web:1 >/dev/null
		bryo unpack oci:made:web oci; bryo unpack made.tar docker; bryo unshare umoci unpack --image made:web umoci`)
	want := w.listed("copy")
	for _, tree := range []string{"oci", "docker", "umoci/rootfs"} {
		if got := w.listed(tree); got != want {
			t.Errorf("%s differs from buildah's tree:\n%s", tree, difference(want, got))
		}
	}
}

// A real Debian, but for its devices.
func TestUnpackDebian(t *testing.T) {
	if os.Getuid() == 0 {
		asUser(t, "^TestUnpackDebian$")
		return
	}
	const debian = "/var/cache/bryo-test/rootfs/debian.tar"
	if _, err := os.Stat(debian); err != nil {
		t.Skipf("no Debian to make an image of: %v", err)
	}
	t.Setenv("TMPDIR", "/dev/shm") // several trees of it
	w := newWorkshop(t, "umoci", "tar", "zstd", "getcap")
	w.sh(`umoci init --layout layout; umoci new --image layout:web; umoci raw add-layer --image layout:web ` + debian + `
		bryo unpack oci:layout:web layer; bryo unshare umoci unpack --image layout:web umoci; rm -r layout
		zstd -q < ` + debian + ` > image; bryo unpack image plain
		mkdir tar; bryo unshare tar -C tar --xattrs --xattrs-include="*" --exclude "./dev/*" -xpf ` + debian)
	for tree, other := range map[string]string{"layer": "umoci/rootfs", "plain": "tar"} {
		if got, want := withoutDevices(w.listed(tree)), withoutDevices(w.listed(other)); got != want {
			t.Errorf("%s differs from %s:\n%s", tree, other, difference(want, got))
		}
	}
}

func withoutDevices(listed string) string {
	var b strings.Builder
	for line := range strings.Lines(listed) {
		if !strings.Contains(line, "./dev") {
			b.WriteString(line)
		}
	}
	return b.String()
}
