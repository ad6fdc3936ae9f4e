package tests

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"
)

// hostileImages are layers, for unpacking one above another; outside is a
// directory beside the one that they are unpacked to, with a file secret.
func hostileImages(outside string) map[string][][]tar.Header {
	type layer = []tar.Header
	const reg, dir, sym, hard = tar.TypeReg, tar.TypeDir, tar.TypeSymlink, tar.TypeLink
	secret, file := outside+"/secret", func(name string) tar.Header { return tar.Header{Typeflag: reg, Name: name} }
	link := func(name, target string) tar.Header {
		return tar.Header{Typeflag: sym, Name: name, Linkname: target}
	}
	name := func(name, of string) tar.Header { return tar.Header{Typeflag: hard, Name: name, Linkname: of} }
	return map[string][][]tar.Header{
		"an absolute name":                   {layer{file(secret)}},
		"a name with dots":                   {layer{file("../outside/secret")}},
		"dots in the middle":                 {layer{file("a/b/../../../outside/secret")}},
		"a new file outside":                 {layer{file("../outside/new")}},
		"a link, and a file behind it":       {layer{link("l", outside), file("l/secret")}},
		"a relative link":                    {layer{link("l", "../outside"), file("l/secret")}},
		"a link in one layer":                {layer{link("l", outside)}, layer{file("l/secret")}},
		"a link to a link":                   {layer{link("a", "b"), link("b", outside)}, layer{file("a/secret")}},
		"a link, and a directory behind it":  {layer{link("l", outside)}, layer{{Typeflag: dir, Name: "l/new/"}, file("l/new/f")}},
		"a link as a directory":              {layer{link("l", outside)}, layer{{Typeflag: dir, Name: "l", Mode: 0o777}}},
		"a link as a file":                   {layer{link("l", secret)}, layer{file("l")}},
		"a link, and a mode":                 {layer{link("l", secret)}, layer{{Typeflag: hard, Name: "h", Linkname: "l"}, {Typeflag: reg, Name: "h", Mode: 0o4777}}},
		"a name of a file outside":           {layer{name("h", secret)}, layer{file("h")}},
		"a relative name of one":             {layer{name("h", "../outside/secret"), {Typeflag: reg, Name: "h"}}},
		"a name through a link":              {layer{link("l", outside)}, layer{name("h", "l/secret")}},
		"a new name outside":                 {layer{file("f"), name("../outside/new", "f")}},
		"a link outside":                     {layer{link("../outside/new", "x")}},
		"a whiteout through a link":          {layer{link("l", outside)}, layer{file("l/.wh.secret")}},
		"an opaque one through a link":       {layer{link("l", outside)}, layer{file("l/.wh..wh..opq")}},
		"a whiteout of what is above":        {layer{{Typeflag: dir, Name: "d"}}, layer{file("d/.wh...")}},
		"a whiteout with dots":               {layer{file("../outside/.wh.secret")}},
		"a root that is a link":              {layer{link(".", outside)}, layer{file("secret")}},
		"a root that is a file":              {layer{file("/.")}},
		"a device":                           {layer{{Typeflag: tar.TypeBlock, Name: "disk", Devmajor: 8, Mode: 0o666}}},
		"a pipe outside":                     {layer{{Typeflag: tar.TypeFifo, Name: "../outside/new"}}},
		"a directory that was a link":        {layer{{Typeflag: dir, Name: "d"}}, layer{link("d", outside)}, layer{file("d/secret")}},
		"a link of the process":              {layer{link("l", "/proc/self/cwd/outside")}, layer{file("l/secret")}},
		"a link to a descriptor":             {layer{link("l", "/proc/self/fd/3/../outside")}, layer{file("l/secret")}},
		"a name that is too long":            {layer{file(strings.Repeat("n", 300))}},
		"a path without end":                 {layer{file(strings.Repeat("n/", 3000) + "f")}},
		"a device, and a name of it outside": {layer{{Typeflag: tar.TypeChar, Name: "c", Devmajor: 1, Devminor: 3}, name("../outside/new", "c")}},
	}
}

// written is a layer as an archive. All files hold the same.
func written(t *testing.T, layer []tar.Header) string {
	t.Helper()
	const text, usual = "pwned", 0o644
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for i := range layer {
		h := layer[i]
		content := ""
		if h.Typeflag == tar.TypeReg {
			content = text
		}
		h.Size = int64(len(content))
		if h.Mode == 0 {
			h.Mode = usual
		}
		err := w.WriteHeader(&h)
		_, writeErr := io.WriteString(w, content)
		if err = errors.Join(err, writeErr); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// writeLayout makes an image layout of archives.
func writeLayout(t *testing.T, dir string, layers []string) {
	t.Helper()
	type object = map[string]any
	put := func(mediaType, text string) object {
		sum := fmt.Sprintf("%x", sha256.Sum256([]byte(text)))
		at := filepath.Join(dir, "blobs/sha256", sum)
		if err := errors.Join(os.MkdirAll(filepath.Dir(at), 0o755), os.WriteFile(at, []byte(text), 0o600)); err != nil {
			t.Fatal(err)
		}
		return object{"mediaType": mediaType, "digest": "sha256:" + sum, "size": len(text)}
	}
	encoded := func(v any) string {
		text, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	const spec = "application/vnd.oci.image."
	var parts, ids []any
	for _, text := range layers {
		part := put(spec+"layer.v1.tar", text)
		parts, ids = append(parts, part), append(ids, part["digest"])
	}
	config := put(spec+"config.v1+json", encoded(object{"os": "linux", "architecture": runtime.GOARCH, "rootfs": object{"type": "layers", "diff_ids": ids}}))
	manifest := put(spec+"manifest.v1+json", encoded(object{"schemaVersion": 2, "config": config, "layers": parts}))
	for name, text := range map[string]string{"oci-layout": `{"imageLayoutVersion":"1.0.0"}`, "index.json": encoded(object{"schemaVersion": 2, "manifests": []any{manifest}})} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// TestAttackImages unpacks hostile images, and puts them on the shelf: with tar -P, which believes them, some
// change what is outside. With bryo none does, and each makes a root, or an image, or nothing.
func TestAttackImages(t *testing.T) {
	if os.Getuid() == 0 {
		asUser(t, "^TestAttackImages$")
		return
	}
	v := &victim{newWorkshop(t, "tar")}
	v.reset()
	before, believed, shelved := v.outside(), 0, 0
	for name, layers := range hostileImages(v.dir + "/outside") {
		var texts []string
		for _, layer := range layers {
			texts = append(texts, written(t, layer))
		}
		v.believe(texts)
		if v.outside() != before {
			believed++
		}
		v.reset()
		v.unpack(name, texts)
		if v.command(v.bryo, "pull", "--name", "hostile:"+strconv.Itoa(shelved), "oci:layout").Run() == nil {
			shelved++
		}
		if after := v.outside(); after != before {
			t.Errorf("%s: outside is\n%s", name, after)
		}
		v.reset()
	}
	const some = 8
	if believed < some {
		t.Errorf("tar -P believed %d of the images, which are no test then", believed)
	}
	t.Logf("tar -P believed %d of %d images", believed, len(hostileImages(v.dir)))
	v.shelf(shelved)
}

// victim is a workshop in which images are unpacked to the directory new.
type victim struct{ *workshop }

func (v *victim) reset() {
	v.sh(`bryo unshare rm -rf outside new layout layer.tar; mkdir outside; echo secret > outside/secret`)
}

// outside is all but what is unpacked, and what of.
func (v *victim) outside() string {
	return v.sh(`ls -A . | grep -vx -e .local -e layout -e new -e layer.tar; cd outside; find . -printf '%p %y %m %U:%G %n %l\n' | sort; cat secret || true`)
}

// believe unpacks layers with tar, which may do as it likes.
func (v *victim) believe(texts []string) {
	if err := os.Mkdir(v.dir+"/new", 0o755); err != nil {
		v.Fatal(err)
	}
	for _, text := range texts {
		if err := os.WriteFile(v.dir+"/layer.tar", []byte(text), 0o600); err != nil {
			v.Fatal(err)
		}
		_ = v.command(v.bryo, "unshare", "tar", "-C", "new", "-xPf", "layer.tar").Run()
	}
}

// unpack wants a root, or an error and nothing.
func (v *victim) unpack(name string, texts []string) {
	writeLayout(v.T, v.dir+"/layout", texts)
	out, err := v.command(v.bryo, "unpack", "oci:layout", "new").CombinedOutput()
	_, statErr := os.Stat(v.dir + "/new")
	if (err == nil) != (statErr == nil) {
		v.Errorf("%s: %v, but %v\n%s", name, err, statErr, out)
	}
	if lines := strings.Count(string(out), "\n"); err != nil && (!strings.HasPrefix(string(out), "bryo: ") || lines > 3) {
		v.Errorf("%s: a refusal that is none: %s", name, out)
	}
}

// shelf wants so many images, and nothing of those that were refused.
func (v *victim) shelf(images int) {
	if got := v.sh("bryo images"); images == 0 || strings.Count(got, "localhost/hostile:") != images {
		v.Errorf("of %d images these are on the shelf:\n%s", images, got)
	}
	v.sh("bryo prune --images --all")
	if left := v.sh("find .local/share/bryo -mindepth 2 ! -name sha256"); left != "" {
		v.Errorf("on the shelf is left %s", left)
	}
}
