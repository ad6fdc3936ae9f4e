package tree

import (
	"archive/tar"
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// deep makes directories with long names in each other, and opens the last one.
func deep(t *testing.T, dir string, depth int) int {
	t.Helper()
	at := opened(t, dir)
	name := strings.Repeat("n", 250)
	for range depth {
		if err := unix.Mkdirat(at, name, 0o700); err != nil {
			t.Fatal(err)
		}
		fd, err := unix.Openat(at, name, openPath, 0)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = unix.Close(fd) })
		at = fd
	}
	return at
}

// How long the names of files with several are, who made them decides: so many
// bytes of names are kept, and no more. The others are files of their own then.
func TestNamesAreBounded(t *testing.T) {
	const depth, files = 300, 130
	dir := t.TempDir()
	at := deep(t, dir, depth)
	for i := range files {
		fd, err := createFile(at, strconv.Itoa(i))
		if err = errors.Join(err, unix.Close(fd), unix.Linkat(at, strconv.Itoa(i), at, "l"+strconv.Itoa(i), 0)); err != nil {
			t.Fatal(err)
		}
	}
	read, write := io.Pipe()
	go func() {
		_ = write.CloseWithError(InRoot(opened(t, dir)).Pack(write, "/", ".", Packing{Skipped: quiet}))
	}()
	in := tar.NewReader(read)
	linked, bytes, whole := 0, 0, 0
	for {
		h, err := in.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		switch h.Typeflag {
		case tar.TypeLink:
			linked, bytes = linked+1, bytes+len(h.Linkname)
		case tar.TypeReg:
			whole++
		}
	}
	if linked == 0 || bytes > mostNamed || linked+whole != 2*files {
		t.Errorf("%d links by names of %d bytes, and %d files", linked, bytes, whole)
	}
}

func TestDirectoriesAreBounded(t *testing.T) {
	u := &unpacker{}
	long, kept := strings.Repeat("n", unix.PathMax), 0
	for u.remember(madeDir{path: long}) == nil {
		kept++
	}
	if most := 1 << 15; kept == 0 || kept > most {
		t.Errorf("%d directories are remembered", kept)
	}
}

// vast makes a file of a terabyte, of which a few pages are on the disk.
func vast(t *testing.T, path string) {
	t.Helper()
	const size = 1 << 40
	file, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	_, err1 := file.WriteAt([]byte("first"), 0)
	_, err2 := file.WriteAt([]byte("moss"), size/2+7)
	if err := errors.Join(err1, err2, file.Truncate(size), file.Close()); err != nil {
		t.Skipf("no file of %d bytes in %s: %v", size, path, err)
	}
}

// What is not on the disk is neither read nor written.
func TestVastFile(t *testing.T) {
	from, to := t.TempDir(), t.TempDir()
	vast(t, from+"/f")
	read, write := io.Pipe()
	go func() {
		_ = write.CloseWithError(InRoot(opened(t, from)).Pack(write, "/f", "g", Packing{Skipped: quiet, Holes: true}))
	}()
	if err := Beneath(opened(t, to)).Unpack(read, "", Unpacking{Skipped: quiet, Holes: true}); err != nil {
		t.Fatal(err)
	}
	var was, is unix.Stat_t
	if err := errors.Join(unix.Stat(from+"/f", &was), unix.Stat(to+"/g", &is)); err != nil || was.Size != is.Size || is.Blocks > 2*was.Blocks {
		t.Errorf("%d bytes in %d blocks became %d in %d: %v", was.Size, was.Blocks, is.Size, is.Blocks, err)
	}
	file, err := os.Open(to + "/g")
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	for at, want := range map[int64]string{0: "first\x00", is.Size/2 + 6: "\x00moss\x00"} {
		got := make([]byte, len(want))
		if _, err := file.ReadAt(got, at); err != nil || string(got) != want {
			t.Errorf("at %d: %q, %v", at, got, err)
		}
	}
}

// A stream that others read has zeros for holes, and not without end; nor does one
// of theirs.
func TestZerosAreBounded(t *testing.T) {
	dir := t.TempDir()
	vast(t, dir+"/f")
	err := InRoot(opened(t, dir)).Pack(io.Discard, "/", ".", Packing{Skipped: quiet})
	if err == nil || !strings.Contains(err.Error(), "/f: the files' holes are more than") {
		t.Errorf("a stream: %v", err)
	}
	stream, err := exec.Command("tar", "-C", dir, "-S", "-cf", "-", "f").Output()
	if err != nil || len(stream) > 1<<20 {
		t.Skipf("tar(1) makes no sparse archive: %d bytes, %v", len(stream), err)
	}
	for _, holes := range []bool{false, true} {
		err = Beneath(opened(t, t.TempDir())).Unpack(bytes.NewReader(stream), "", Unpacking{Skipped: quiet, Holes: holes})
		if err == nil || !strings.Contains(err.Error(), "sparse files of more than") {
			t.Errorf("a sparse archive: %v", err)
		}
	}
}

// The holes that a stream for others has are zeros.
func TestHolesAreZeros(t *testing.T) {
	const size = 3 << 20
	dir := t.TempDir()
	want := make([]byte, size)
	copy(want[1<<20:], "moss")
	copy(want[size-4:], "last")
	file, err := os.Create(dir + "/f")
	if err != nil {
		t.Fatal(err)
	}
	_, err1 := file.WriteAt([]byte("moss"), 1<<20)
	_, err2 := file.WriteAt([]byte("last"), size-4)
	var stream bytes.Buffer
	err = InRoot(opened(t, dir)).Pack(&stream, "f", "f", Packing{Skipped: quiet})
	if err := errors.Join(err1, err2, file.Close(), err); err != nil {
		t.Fatal(err)
	}
	in := tar.NewReader(&stream)
	h, err := in.Next()
	if err != nil || h.Size != size {
		t.Fatalf("%+v, %v", h, err)
	}
	if got, err := io.ReadAll(in); err != nil || !bytes.Equal(got, want) {
		t.Errorf("%d bytes, %v", len(got), err)
	}
}

// table is what stands before the data of pieces.
func table(numbers ...int64) (b []byte) {
	for _, n := range numbers {
		b = binary.BigEndian.AppendUint64(b, uint64(n))
	}
	return b
}

// Whatever a table says, the file has the size of its header, or there is an error.
func FuzzPieces(f *testing.F) {
	for _, numbers := range [][]int64{{}, {0}, {1}, {1, 2, 3}, {2, 0, 1, 90, 2}, {2, 5, 1, 3, 1}, {1, -1, 2}, {1, 99, 2}, {1, 2, -2}, {1 << 40}, {-1}, {1, 1<<63 - 1, 2}} {
		f.Add("100", append(table(numbers...), "abcdef"...))
	}
	f.Add("-1", table(0))
	f.Add("x", table(0))
	f.Add("-0", table(0))
	f.Fuzz(func(t *testing.T, size string, content []byte) {
		var b bytes.Buffer
		w := tar.NewWriter(&b)
		h := &tar.Header{Typeflag: tar.TypeReg, Name: "f", Mode: 0o600, Size: int64(len(content)), PAXRecords: map[string]string{sizeRecord: size}}
		if w.WriteHeader(h) != nil {
			return
		}
		_, _ = w.Write(content)
		_ = w.Close()
		dir := t.TempDir()
		if Beneath(opened(t, dir)).Unpack(&b, "", Unpacking{Skipped: quiet, Holes: true}) != nil {
			return
		}
		info, err := os.Stat(dir + "/f")
		if err != nil {
			t.Fatal(err)
		}
		if got := strconv.FormatInt(info.Size(), 10); size != "" && strings.TrimLeft(size, "0") != strings.TrimLeft(got, "0") {
			t.Errorf("%s bytes, want %s", got, size)
		}
	})
}

func TestPiecesThatMakeNoSense(t *testing.T) {
	for _, numbers := range [][]int64{{}, {1, 2}, {1, -1, 2}, {1, 99, 2}, {1, 2, -2}, {2, 5, 3, 3, 1}, {1 << 40}, {-1}, {1, 1<<63 - 1, 2}} {
		if list, err := readTable(bytes.NewReader(table(numbers...)), 100); !errors.Is(err, errPieces) {
			t.Errorf("%v: %v, %v", numbers, list, err)
		}
	}
}
