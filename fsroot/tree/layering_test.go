package tree

import (
	"archive/tar"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"bryo/fsroot/owner"
	"bryo/idmap"
)

// layered packs a directory, and tells what is in the stream, as
// "KIND NAME > TARGET".
func layered(t *testing.T, dir string, l *Layering) (stream string, entries []*tar.Header, err error) {
	t.Helper()
	if l.Report == nil {
		l.Report = &Report{}
	}
	var out bytes.Buffer
	ids := idmap.Map{{Inside: 0, Outside: uint32(os.Getuid()), Count: 1}}
	err = Beneath(opened(t, dir)).Pack(&out, "/", ".", Packing{Skipped: l.Report.Leave, Layer: l, Noted: &idmap.Maps{UID: ids, GID: ids}})
	if err != nil {
		return "", nil, err
	}
	in := tar.NewReader(bytes.NewReader(out.Bytes()))
	for {
		h, err := in.Next()
		if errors.Is(err, io.EOF) {
			return out.String(), entries, nil
		}
		if err != nil {
			t.Fatal(err)
		}
		entries = append(entries, h)
	}
}

func kinds(entries []*tar.Header) string {
	var list []string
	for _, h := range entries {
		text := fmt.Sprintf("%c %s", h.Typeflag, h.Name)
		if h.Linkname != "" {
			text += " > " + h.Linkname
		}
		list = append(list, text)
	}
	return strings.Join(list, "\n")
}

func setXattrs(t *testing.T, path string, values ...string) {
	t.Helper()
	for _, text := range values {
		name, value, _ := strings.Cut(text, "=")
		if err := unix.Setxattr(path, name, []byte(value), 0); err != nil {
			t.Skipf("no attributes on %s: %v", path, err)
		}
	}
}

// A layer has all of a tree that an image can have, in order, and tells the rest.
func TestLayering(t *testing.T) {
	dir := t.TempDir()
	plant(t, dir, "b/two", "b/.wh.two", "a/one", "l -> a/one", "empty/", "aa")
	setXattrs(t, dir, "user.bryo.idmap=0:0:1", "user.bryo.devices=c 1:3 666 0:0 /a/null\nb 8:0 666 0:0 /a/sda\nc 1:5 666 0:0 /gone/zero\nc 1:5 666 0:0 /l/zero\nc 1:7 666 0:0 /aa")
	setXattrs(t, dir+"/aa", "user.x=\x00y", "user.overlay.z=z", "user.a=b=c")
	must(t, os.Link(dir+"/a/one", dir+"/again"), os.Link(dir+"/l", dir+"/link"), unix.Mkfifo(dir+"/pipe", 0o640),
		os.Chtimes(dir+"/aa", time.Time{}, time.Unix(100, 5)), os.Chtimes(dir+"/b/two", time.Time{}, time.Unix(90000, 0)))
	socket, err := new(net.ListenConfig).Listen(t.Context(), "unix", dir+"/socket")
	must(t, err)
	defer socket.Close()

	l := &Layering{Before: time.Unix(80000, 0)}
	_, entries, err := layered(t, dir, l)
	must(t, err)
	want := "5 ./\n5 a/\n0 a/one\n0 aa\n1 again > a/one\n5 b/\n0 b/two\n5 empty/\n2 l > a/one\n1 link > l\n6 pipe\n3 a/null"
	if got := kinds(entries); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	checkEntries(t, entries, l.Before)
	left := strings.Join(l.Report.Left, "\n")
	for _, want := range []string{"/b/.wh.two: ", "/socket: ", "/a/sda: "} {
		if !strings.Contains(left, want) {
			t.Errorf("%q is not in %s", want, left)
		}
	}
	if l.Report.LeftSum != 3 || l.Report.Xattrs["user.a=b"] != 1 && len(l.Report.Xattrs) != 0 {
		t.Errorf("%+v", l.Report)
	}
}

func checkEntries(t *testing.T, entries []*tar.Header, before time.Time) {
	t.Helper()
	for _, h := range entries {
		switch {
		case h.ModTime.After(before):
			t.Errorf("%s is of %v", h.Name, h.ModTime)
		case h.Name == "aa" && (h.PAXRecords[paxXattr+"user.x"] != "\x00y" || !h.ModTime.Equal(time.Unix(100, 5))):
			t.Errorf("aa: %q, %v", h.PAXRecords, h.ModTime)
		}
		for key := range h.PAXRecords {
			if strings.Contains(key, "bryo") || strings.Contains(key, "overlay") {
				t.Errorf("%s has %s", h.Name, key)
			}
		}
	}
}

// Neither the order in which files were made nor where they lie makes a difference.
func TestSameLayer(t *testing.T) {
	var streams [2]string
	for i := range streams {
		dir := t.TempDir()
		for n := range 600 {
			name := fmt.Sprintf("d/%d", n*(1+198*i)%600) // 1 and 199 have no factor in common with 600
			must(t, os.MkdirAll(dir+"/d", 0o755), os.WriteFile(dir+"/"+name, nil, 0o600), os.Chtimes(dir+"/"+name, time.Time{}, time.Unix(7, 7)))
		}
		var err error
		streams[i], _, err = layered(t, dir, &Layering{Before: time.Unix(10, 0)})
		must(t, err)
	}
	if streams[0] != streams[1] {
		t.Error("the same tree is another layer")
	}
}

// What an overlay file system keeps becomes what an image has.
func TestUpperLayer(t *testing.T) {
	dir := t.TempDir()
	plant(t, dir, "d/new", "gone/", "moved/", "x")
	must(t, unix.Mknod(dir+"/gone/old", unix.S_IFCHR, 0), os.WriteFile(dir+"/x", nil, 0o600))
	setXattrs(t, dir+"/d", overlayOpaque+"=y")
	setXattrs(t, dir+"/gone", overlayOpaque+"=x")
	setXattrs(t, dir+"/x", overlayWhiteout+"=")
	_, entries, err := layered(t, dir, &Layering{Upper: true})
	must(t, err)
	want := "5 ./\n5 d/\n0 d/.wh..wh..opq\n0 d/new\n5 gone/\n0 gone/.wh.old\n5 moved/\n0 .wh.x"
	if got := kinds(entries); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	plain := &Layering{}
	_, entries, err = layered(t, dir, plain)
	must(t, err)
	if got := kinds(entries); strings.Contains(got, ".wh.") || plain.Report.LeftSum != 1 {
		t.Errorf("a directory of files has whiteouts: %s, %+v", got, plain.Report)
	}
	for _, name := range []string{overlayRedirect, overlayMetacopy} {
		setXattrs(t, dir+"/moved", name+"=/d")
		if _, _, err := layered(t, dir, &Layering{Upper: true}); !errors.Is(err, errElsewhere) || !strings.Contains(err.Error(), "/moved") {
			t.Errorf("%s: %v", name, err)
		}
		must(t, unix.Removexattr(dir+"/moved", name))
	}
}

// A layer of a tree unpacks to the same tree, and that is the same layer.
func TestLayerThereAndBack(t *testing.T) {
	from, to := t.TempDir(), t.TempDir()
	long := strings.Repeat("n", 250)
	plant(t, from, "a\nb", "\xff\xfe/\x01", "ü/"+long+"/"+long+"/f", "s -> "+strings.Repeat("t/", 500)+"\xff", "-", " ", "é=ü", "vast")
	must(t, os.Truncate(from+"/vast", 10<<20), os.Chmod(from+"/ü", 0o1777|os.ModeSticky), os.Chmod(from+"/-", 0o755|os.ModeSetuid))
	first, _, err := layered(t, from, &Layering{})
	must(t, err)
	m := NewImage(opened(t, to), many())
	must(t, m.Apply(strings.NewReader(first)), m.Under("0:0:1 0:0:1").Finish())
	second, _, err := layered(t, to, &Layering{})
	must(t, err)
	if first != second {
		t.Errorf("there\n%s\nand back\n%s", listing(t, from), listing(t, to))
	}
}

// A path that nobody could unpack is no part of an image.
func TestLongPaths(t *testing.T) {
	dir := t.TempDir()
	must(t, os.MkdirAll(dir+strings.Repeat("/d", mostNames), 0o755))
	if stream, _, err := layered(t, dir, &Layering{}); err != nil {
		t.Errorf("as deep as unpack has it: %v", err)
	} else if err := NewImage(opened(t, t.TempDir()), many()).Apply(strings.NewReader(stream)); err != nil {
		t.Error(err)
	}
	deep(t, dir, 20)
	if _, _, err := layered(t, dir, &Layering{}); !errors.Is(err, unix.ENAMETOOLONG) {
		t.Errorf("longer: %.200v", err)
	}
}

// Who writes to the tree meanwhile makes a layer of something else in it, or an
// error; never one of what is outside.
func TestLayerSwappedMeanwhile(t *testing.T) {
	for _, other := range []string{"link", "pipe", "dir", "file"} {
		top := t.TempDir()
		plant(t, top, "root/x/f", "root/link -> "+top+"/outside", "outside/f", "root/dir/y", "root/file")
		must(t, unix.Mkfifo(top+"/root/pipe", 0o600), os.WriteFile(top+"/outside/f", []byte("secret"), 0o600))
		swapping(t, top+"/root/x", top+"/root/"+other)
		for range 200 {
			stream, _, err := layered(t, top+"/root", &Layering{})
			if err == nil && strings.Contains(stream, "secret") {
				t.Fatalf("%s: the layer has what is outside", other)
			}
		}
	}
}

// A note of an owner counts only where no process could have had that one.
func TestDisowned(t *testing.T) {
	ids := &idmap.Maps{UID: idmap.Map{{Inside: 0, Outside: 1000, Count: 100}}, GID: idmap.Map{{Inside: 0, Outside: 1000, Count: 100}}}
	for _, row := range []struct {
		name     string
		uid, gid uint32 // that the file has
		note     []byte
		want     string
	}{
		{"outside the map", 0, 0, owner.Note{UID: 1000, GID: 2000}.Encode(), "1000:2000"},
		{"one of them outside", 33, 0, owner.Note{UID: 33, GID: 2000}.Encode(), "33:2000"},
		{"in the map", 0, 0, owner.Note{UID: 33, GID: 2000}.Encode(), "0:0"},
		{"root's, by another", 33, 33, owner.Note{UID: 0, GID: 0}.Encode(), "33:33"},
		{"outside, by another", 33, 33, owner.Note{UID: 1000, GID: 2000}.Encode(), "33:33"},
		{"another's group", 33, 0, owner.Note{UID: 33, GID: 42}.Encode(), "33:0"},
		{"none", 0, 0, []byte("\x08"), "0:0"},
		{"no id", 0, 0, binary.AppendUvarint([]byte{8}, math.MaxUint32), "0:0"},
	} {
		p := &packer{Packing: Packing{Layer: &Layering{}, Noted: ids}}
		h := &tar.Header{Uid: int(row.uid), Gid: int(row.gid)}
		n, _ := owner.Parse(row.note)
		p.disowned(&unix.Stat_t{Uid: row.uid, Gid: row.gid}, h, n)
		if got := fmt.Sprintf("%d:%d", h.Uid, h.Gid); got != row.want {
			t.Errorf("%s: %s, want %s", row.name, got, row.want)
		}
	}
}

func TestHarmless(t *testing.T) {
	for line, want := range map[string]string{
		"c 1:3 666 0:0 /dev/null":         "dev/null",
		"c 5:1 600 0:0 /dev/console":      "dev/console",
		"c 5:1 666 0:0 /dev/console":      "",
		"c 5:2 666 0:5 /dev/../../ptmx":   "ptmx",
		"b 1:3 666 0:0 /dev/null":         "",
		"c 1:1 600 0:0 /dev/mem":          "",
		"c 1:3 666 0:0 /dev/.wh.x":        "",
		"c 1:3 666 0:0":                   "",
		"c 1:3 666 0:0 /":                 "",
		"c 1:-253 666 0:0 /x":             "",
		"c 1:3 666 -1:0 /x":               "",
		"c 1:4294967299 666 0:0 /x":       "",
		"c 1:3 7777777777777777 0:0 /a b": "a b",
	} {
		got := ""
		for _, h := range parseDevices(line) {
			if harmless(h) {
				got = h.Name
			}
		}
		if got != want {
			t.Errorf("%q: %q, want %q", line, got, want)
		}
	}
}

// Whatever a note says, what is read of it is a device that can be written.
func FuzzNotes(f *testing.F) {
	f.Add([]byte("c 1:3 666 0:0 /dev/null\nb 8:0 60660 0:6 /dev/sda"))
	f.Add(owner.Note{UID: 1000, GID: 1 << 31}.Encode())
	f.Fuzz(func(t *testing.T, note []byte) {
		var r Report
		for _, h := range parseDevices(string(note)) {
			if err := tar.NewWriter(io.Discard).WriteHeader(h); err != nil {
				t.Errorf("%q: %v", h.Name, err)
			}
			r.Devices = nil
			r.device(h, "/"+h.Name)
			if again := parseDevices(r.Devices[0]); !strings.Contains(h.Name, "\n") && (len(again) != 1 || again[0].Name != h.Name || again[0].Devminor != h.Devminor) {
				t.Errorf("%q becomes %v", r.Devices[0], again)
			}
		}
	})
}
