package tree

import (
	"archive/tar"
	"bytes"
	"errors"
	"io"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// swapping exchanges two names all the time, until the test ends or stop is called.
func swapping(t *testing.T, one, other string) (stop func()) {
	t.Helper()
	end := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			select {
			case <-end:
				return
			default:
				_ = unix.Renameat2(unix.AT_FDCWD, one, unix.AT_FDCWD, other, unix.RENAME_EXCHANGE)
			}
		}
	})
	stop = sync.OnceFunc(func() { close(end); wg.Wait() })
	t.Cleanup(stop)
	return stop
}

// Somebody swaps a directory for a link out, all the time.
func TestSwappedMeanwhile(t *testing.T) {
	top := t.TempDir()
	plant(t, top, "root/d/f", "root/l -> "+top+"/outside", "outside/f", "to/")
	swapping(t, top+"/root/d", top+"/root/l")
	root := InRoot(opened(t, top+"/root"))
	for range 500 {
		var stream bytes.Buffer
		_ = root.Pack(&stream, "/d/f", ".", Packing{Skipped: quiet})
		_ = root.Pack(&stream, "/", ".", Packing{Skipped: quiet})
		if strings.Contains(stream.String(), "outside/f") {
			t.Fatal("the stream has what is outside")
		}
		_ = root.Unpack(archive(t, file0("d/g")), "/", Unpacking{Skipped: quiet})
	}
	if got := listing(t, top+"/outside"); got != "f=outside/f" {
		t.Errorf("outside: %s", got)
	}
}

// Somebody swaps what is copied for a link, a pipe or a directory, all the time.
func TestFileSwappedMeanwhile(t *testing.T) {
	for _, other := range []string{"link", "pipe", "dir"} {
		top := t.TempDir()
		plant(t, top, "root/f", "root/link -> "+top+"/outside/f", "outside/f", "root/dir/x", "to/")
		if err := errors.Join(unix.Mkfifo(top+"/root/pipe", 0o600), os.WriteFile(top+"/outside/f", []byte("secret"), 0o600)); err != nil {
			t.Fatal(err)
		}
		swapping(t, top+"/root/f", top+"/root/"+other)
		root, to := InRoot(opened(t, top+"/root")), Beneath(opened(t, top+"/to"))
		for range 100 {
			var stream bytes.Buffer
			if root.Pack(&stream, "/", ".", Packing{Skipped: quiet}) == nil && strings.Contains(stream.String(), "secret") {
				t.Fatalf("%s: the stream has what is outside", other)
			}
			_ = to.Unpack(&stream, "", Unpacking{Skipped: quiet})
			_ = root.Unpack(archive(t, file0("f")), "/", Unpacking{Skipped: quiet})
		}
		if got := listing(t, top+"/outside"); got != "f=secret" {
			t.Errorf("%s: outside: %s", other, got)
		}
	}
}

// Somebody puts a file of another's in the place of a link that is just made: it
// does not change hands. A change of hands that changes nothing shows, as it
// takes the set-user-ID bit: chown(2).
func TestLinkSwappedForFile(t *testing.T) {
	const bits, most = 0o4700, 300 * time.Millisecond
	top := t.TempDir()
	plant(t, top, "kept")
	if err := unix.Chmod(top+"/kept", bits); err != nil {
		t.Fatal(err)
	}
	stop := swapping(t, top+"/secret", top+"/l")
	h := link("l", "x")
	h.Uid, h.Gid = os.Getuid(), os.Getgid()
	for end := time.Now().Add(most); time.Now().Before(end); {
		_ = InRoot(opened(t, top)).Unpack(archive(t, h), "/", Unpacking{Owners: true, Skipped: quiet, Foreign: func(int, int) {}})
		_ = os.Link(top+"/kept", top+"/new")
		_ = os.Rename(top+"/new", top+"/secret") // the last one went with the link
	}
	stop()
	if info, err := os.Lstat(top + "/kept"); err != nil || info.Mode()&os.ModeSetuid == 0 {
		t.Errorf("a file changed hands: %v, %v", info, err)
	}
}

// Nor is a directory that has something in it given away.
func TestDirSwappedMeanwhile(t *testing.T) {
	const private, wide, most = 0o700, 0o777, 300 * time.Millisecond
	top := t.TempDir()
	plant(t, top, "secret/x")
	if err := os.Chmod(top+"/secret", private); err != nil {
		t.Fatal(err)
	}
	held := opened(t, top+"/secret")
	swapping(t, top+"/secret", top+"/d")
	for end := time.Now().Add(most); time.Now().Before(end); {
		_ = InRoot(opened(t, top)).Unpack(archive(t, tar.Header{Typeflag: tar.TypeDir, Name: "d", Mode: wide}), "/", Unpacking{Skipped: quiet})
		_ = unix.Rmdir(top + "/d")
		_ = unix.Rmdir(top + "/secret")
	}
	var st unix.Stat_t
	if err := unix.Fstat(held, &st); err != nil || st.Mode&wide != private {
		t.Errorf("another directory was given away: %o, %v", st.Mode, err)
	}
}

// A file can be larger than any disk.
func TestHoles(t *testing.T) {
	const size, at = 1 << 27, 1<<26 + 5
	dir := t.TempDir()
	read, write := io.Pipe()
	go func() {
		w := tar.NewWriter(write)
		_ = w.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: "f", Mode: 0o600, Size: size})
		zeros := make([]byte, 1<<20)
		for range size / len(zeros) {
			if _, err := w.Write(zeros); err != nil {
				break
			}
		}
		_ = write.CloseWithError(w.Close())
	}()
	if err := Beneath(opened(t, dir)).Unpack(read, "", Unpacking{Skipped: quiet}); err != nil {
		t.Fatal(err)
	}
	var st unix.Stat_t
	if err := unix.Stat(dir+"/f", &st); err != nil || st.Size != size || st.Blocks > 64 {
		t.Errorf("%d bytes in %d blocks, %v", st.Size, st.Blocks, err)
	}
	// What is no zeros stays where it was.
	source := t.TempDir()
	text := bytes.Repeat([]byte{0}, at)
	copy(text[at-5:], "moss!")
	if err := os.WriteFile(source+"/f", text, 0o600); err != nil {
		t.Fatal(err)
	}
	var stream bytes.Buffer
	if err := Beneath(opened(t, source)).Pack(&stream, "f", "g", Packing{Skipped: quiet}); err != nil {
		t.Fatal(err)
	}
	if err := Beneath(opened(t, dir)).Unpack(&stream, "", Unpacking{Skipped: quiet}); err != nil {
		t.Fatal(err)
	}
	if got, err := os.ReadFile(dir + "/g"); err != nil || !bytes.Equal(got, text) {
		t.Errorf("%d bytes, %v", len(got), err)
	}
}

func TestForeignOwners(t *testing.T) {
	for _, id := range []int{1 << 32, 1<<32 - 1, 1<<40 + 1} {
		h := file0("f")
		h.Uid, h.Gid, h.Mode = id, os.Getgid(), 0o4755
		foreign, dir := 0, t.TempDir()
		err := InRoot(opened(t, dir)).Unpack(archive(t, h), "/", Unpacking{Owners: true, Skipped: quiet, Foreign: func(int, int) { foreign++ }})
		info, statErr := os.Stat(dir + "/f")
		if err != nil || statErr != nil || foreign != 1 || info.Mode() != 0o755 {
			t.Errorf("%d: %v, %v, %d, %v", id, err, statErr, foreign, info)
		}
	}
}
