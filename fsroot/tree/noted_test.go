package tree

import (
	"archive/tar"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"bryo/fsroot/owner"
)

// oneID is a map with root alone.
const oneID = "0:1000:1 0:1000:1"

// owned are entries with owners that root alone cannot give them.
func owned(uid, gid int, list ...tar.Header) entries {
	for i := range list {
		list[i].Uid, list[i].Gid = uid, gid
	}
	return list
}

// Under one id an image packs to what it was: owners, bits and devices.
func TestOneIDThereAndBack(t *testing.T) {
	dir := inside(t)
	if dir == "" {
		return
	}
	suid := file0("s")
	suid.Mode = 0o6755
	null := tar.Header{Typeflag: tar.TypeChar, Name: "null", Devmajor: 1, Devminor: 3, Mode: 0o666}
	disk := tar.Header{Typeflag: tar.TypeBlock, Name: "disk", Devmajor: 8, Mode: 0o660}
	from := owned(33, 34, dir0("d"), file0("d/f"), link("d/l", "f"), tar.Header{Typeflag: tar.TypeFifo, Name: "d/p"}, hard("d/m", "d/l"), suid, null, disk)
	m := NewImage(opened(t, dir), many()).Under(oneID)
	must(t, m.Apply(archive(t, from...)), m.Finish())
	if m.Report.Setuid+m.Report.Unrecorded != 0 {
		t.Errorf("%+v", m.Report)
	}
	l := &Layering{}
	_, got, err := layered(t, dir, l)
	must(t, err)
	packed := map[string]string{}
	for _, h := range got {
		if len(h.PAXRecords) > 1 { // its time
			t.Errorf("%s has attributes of bryo's: %v", h.Name, h.PAXRecords)
		}
		packed[h.Name] = fmt.Sprintf("%d:%d %o %c", h.Uid, h.Gid, h.Mode, h.Typeflag)
	}
	for name, want := range map[string]string{
		"d/": "33:34 755 5", "d/f": "33:34 755 0", "d/l": "33:34 777 2", "d/m": "33:34 777 1", "d/p": "33:34 755 6", "s": "33:34 6755 0", "null": "33:34 666 3",
	} {
		if packed[name] != want {
			t.Errorf("%s: %q, want %q", name, packed[name], want)
		}
	}
	if _, has := packed["disk"]; has || l.Report.LeftSum != 1 {
		t.Errorf("a device that may be a container's is in the image: %v", l.Report)
	}
}

// Links have their notes in a stack, whichever layer they are of, and keep them when
// they are copied to the layer that is written to.
func TestStackedNotes(t *testing.T) {
	dir := inside(t)
	if dir == "" {
		return
	}
	var stack []Stacked
	lower := ""
	for i, layer := range []entries{
		owned(1, 2, dir0("d"), link("d/a", "x"), link("e/a", "x"), link("r", "x")),
		owned(3, 4, dir0("d"), link("d/b", "x"), file0("e/.wh..wh..opq"), link("e/b", "x")),
		owned(5, 6, dir0("d")),
	} {
		at := fmt.Sprintf("%s/%d", dir, i)
		must(t, os.Mkdir(at, 0o755))
		m, err := NewLayer(opened(t, at), many().Budget())
		must(t, err)
		must(t, m.Under(oneID).Apply(archive(t, layer...)), m.Finish())
		stack = append(stack, Stacked{m.Layer(), opened(t, at)})
		lower = ":" + at + lower
	}
	seam, err := FindSeam(stack)
	must(t, err, os.Mkdir(dir+"/seam", 0o755), seam.Write(opened(t, dir+"/seam")))
	must(t, os.Mkdir(dir+"/up", 0o755), os.Mkdir(dir+"/work", 0o755), os.Mkdir(dir+"/m", 0o755))
	for copied := range 2 {
		err = unix.Mount("overlay", dir+"/m", "overlay", 0, "userxattr,lowerdir="+dir+"/seam"+lower+",upperdir="+dir+"/up,workdir="+dir+"/work")
		if errors.Is(err, unix.EPERM) || errors.Is(err, unix.ENODEV) {
			t.Skip("no overlay file systems for users here")
		}
		must(t, err)
		checkNotes(t, dir+"/m", map[string]uint32{"d/a": 1, "d/b": 3, "e/b": 3})
		for _, name := range []string{"d/a", "d/b", "e/b"} {
			must(t, os.Lchown(dir+"/m/"+name, 0, 0))
		}
		if copied > 0 {
			must(t, writeLinkNote(opened(t, dir+"/m/d"), "a", owner.Note{UID: 9}))
			checkNotes(t, dir+"/m", map[string]uint32{"d/a": 9, "d/b": 3})
		}
		must(t, unix.Unmount(dir+"/m", unix.MNT_DETACH))
	}
	checkNotes(t, dir+"/up", map[string]uint32{"d/a": 9, "d/b": 3, "e/b": 3})
}

func checkNotes(t *testing.T, top string, want map[string]uint32) {
	t.Helper()
	for name, uid := range want {
		at, base, _ := strings.Cut(name, "/")
		if n, _ := readLinkNote(opened(t, top+"/"+at), base, true); n.UID != uid {
			t.Errorf("%s/%s: %v, want %d", top, name, n, uid)
		}
	}
}
