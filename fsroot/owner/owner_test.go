package owner

import (
	"errors"
	"fmt"
	"math"
	"os"
	"strconv"
	"testing"

	"golang.org/x/sys/unix"
)

// The first two are what umoci and its like write.
func TestNote(t *testing.T) {
	for _, row := range []struct {
		note Note
		want string
	}{
		{Note{}, ""},
		{Note{UID: 1}, "\x08\x01"},
		{Note{GID: 42}, "\x10\x2a"},
		{Note{UID: 1000, GID: math.MaxUint32 - 1}, "\x08\xe8\x07\x10\xfe\xff\xff\xff\x0f"},
		{Note{Kind: unix.S_IFCHR, Device: unix.Mkdev(1, 3)}, "\x70\x80\x40\x78\x83\x02"},
	} {
		got := string(row.note.Encode())
		if got != row.want {
			t.Errorf("%v: %q, want %q", row.note, got, row.want)
		}
		if n, ok := Parse([]byte(got)); ok != (got != "") || n != row.note {
			t.Errorf("%q: %v, %v", got, n, ok)
		}
	}
	for _, text := range []string{"\x08", "\x08\xff", "x", "\x08\x01\x20\x01", "\x70\x01", "\x08\xff\xff\xff\xff\x0f", "\x09\x01"} {
		if n, ok := Parse([]byte(text)); ok {
			t.Errorf("%q is taken for %v", text, n)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte("\x08\x01\x10\x2a"))
	f.Add([]byte("\x70\x80\x40\x78\x83\x02"))
	f.Fuzz(func(t *testing.T, text []byte) {
		n, ok := Parse(text)
		if !ok {
			return
		}
		if n.UID == math.MaxUint32 || n.GID == math.MaxUint32 {
			t.Errorf("%q: %v has an id that is none", text, n)
		}
		if again, _ := Parse(n.Encode()); again != n {
			t.Errorf("%q: %v, and again %v", text, n, again)
		}
	})
}

// directory is one that has attributes of users.
func directory(t *testing.T) (file File, path string, fd int) {
	t.Helper()
	dir := t.TempDir()
	fd, err := unix.Open(dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Close(fd) })
	path = fmt.Sprintf("/proc/self/fd/%d", fd)
	file = At(path)
	if err := file.Write(Note{UID: 1}); errors.Is(err, unix.EOPNOTSUPP) {
		t.Skip("the file system has no attributes of users")
	} else if err != nil {
		t.Fatal(err)
	}
	return file, path, fd
}

func TestAttribute(t *testing.T) {
	file, _, _ := directory(t)
	if n, noted := file.Read(); !noted || n != (Note{UID: 1}) {
		t.Errorf("%v, %v", n, noted)
	}
	for range 2 {
		if err := file.Write(Note{}); err != nil {
			t.Error(err)
		}
	}
	if n, noted := file.Read(); noted {
		t.Errorf("%v is left", n)
	}
}

// What a link is noted with goes with it to another name, and a new link has none
// of an old one's.
func TestLinks(t *testing.T) {
	file, path, fd := directory(t)
	link := func(name string) Link {
		t.Helper()
		if err := unix.Symlinkat("x", fd, name); err != nil {
			t.Fatal(err)
		}
		id, err := LinkAt(fd, name)
		if err != nil {
			t.Fatal(err)
		}
		return id
	}
	a, b := link("a"), link("b")
	for id, n := range map[Link]Note{a: {UID: 5, GID: 7}, b: {GID: 1}} {
		if err := file.WriteLink(id, n); err != nil {
			t.Fatal(err)
		}
	}
	if err := unix.Renameat(fd, "a", fd, "c"); err != nil {
		t.Fatal(err)
	}
	moved, _ := LinkAt(fd, "c")
	if n, noted := file.ReadLink(moved); !noted || n != (Note{UID: 5, GID: 7}) {
		t.Errorf("%v, %v", n, noted)
	}
	if n, noted := file.ReadLink(Link{Inode{a.Number, a.Birth + 1}, a.Likeness}); noted {
		t.Errorf("another inode has %v", n)
	}
	for id := range map[Link]bool{a: true, b: true} {
		if err := file.WriteLink(id, Note{}); err != nil {
			t.Error(err)
		}
	}
	if _, err := unix.Getxattr(path, linksAttribute, nil); !errors.Is(err, unix.ENODATA) {
		t.Errorf("an empty list is left: %v", err)
	}
}

// A directory in which links come and go has room for those that are there.
func TestLinksThatAreGone(t *testing.T) {
	file, path, fd := directory(t)
	const many = 3 * mostEntries / 2
	for i := range many {
		name := strconv.Itoa(i % 2)
		_ = os.Remove(path + "/" + name)
		if err := unix.Symlinkat("x", fd, name); err != nil {
			t.Fatal(err)
		}
		id, err := LinkAt(fd, name)
		if err == nil {
			err = file.WriteLink(id, Note{UID: uint32(i + 1)})
		}
		if err != nil {
			t.Fatalf("link %d: %v", i, err)
		}
		if n, _ := file.ReadLink(id); n.UID != uint32(i+1) {
			t.Fatalf("link %d has %v", i, n)
		}
	}
}

// A copy that an overlay file system makes of a link is another inode, and has the
// note of the first; one that is no copy has not.
func TestCopies(t *testing.T) {
	file, _, fd := directory(t)
	if err := unix.Symlinkat("x", fd, "a"); err != nil {
		t.Fatal(err)
	}
	first, err := LinkAt(fd, "a")
	if err != nil {
		t.Fatal(err)
	}
	copied := Link{Inode{first.Number + 1, first.Birth + 1}, first.Likeness}
	if err := file.WriteLink(first, Note{UID: 5}); err != nil {
		t.Fatal(err)
	}
	if n, noted := file.ReadLink(copied); noted {
		t.Errorf("what is no copy has %v", n)
	}
	if n, _ := file.Copying().ReadLink(copied); n != (Note{UID: 5}) {
		t.Errorf("a copy has %v", n)
	}
	if err := file.Copying().WriteLink(copied, Note{}); err != nil {
		t.Fatal(err)
	}
	if n, noted := file.Copying().ReadLink(copied); noted || file.HasLinks() {
		t.Errorf("%v is left", n)
	}
}

// What two directories have noted is put together, and the first counts more.
func TestAddLinks(t *testing.T) {
	upper, _, _ := directory(t)
	lower, _, _ := directory(t)
	a, b := Link{Inode: Inode{1, 1}}, Link{Inode: Inode{2, 1}}
	for _, err := range []error{
		upper.WriteLink(a, Note{UID: 1}), lower.WriteLink(a, Note{UID: 3}), lower.WriteLink(b, Note{UID: 2}), upper.AddLinks(lower),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	for l, want := range map[Link]uint32{a: 1, b: 2} {
		if n, _ := upper.ReadLink(l); n.UID != want {
			t.Errorf("%v has %v", l, n)
		}
	}
	if notes := upper.Notes(); len(notes) != 2 || len(notes[1].Value) != 2*entrySize {
		t.Errorf("%v", notes)
	}
}
