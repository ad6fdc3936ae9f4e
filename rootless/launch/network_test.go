package launch

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// fifo makes a pipe with a name.
func fifo(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "pipe")
	if err := unix.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// soon fails a test that waits for ever.
func soon(t *testing.T, f func()) {
	t.Helper()
	done := make(chan struct{})
	go func() {
		defer close(done)
		f()
	}()
	select {
	case <-done:
	case <-time.After(5 * time.Second):
		t.Fatal("it waits")
	}
}

func TestPipeWithoutReader(t *testing.T) {
	path := fifo(t)
	soon(t, func() {
		fd, err := create("--net-log", path, unix.O_APPEND)
		fd.close()
		if err == nil || !strings.HasPrefix(err.Error(), "--net-log "+path+": nobody reads from this pipe\nfix: ") {
			t.Errorf("got %v", err)
		}
	})
}

// A pipe with a reader is written to as any other file is: a write waits
// instead of losing lines.
func TestPipeWithReader(t *testing.T) {
	path := fifo(t)
	reader, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer reader.Close()
	soon(t, func() {
		fd, err := create("--pcap", path, unix.O_TRUNC)
		if err != nil {
			t.Error(err)
			return
		}
		defer fd.close()
		if flags, err := unix.FcntlInt(uintptr(fd.fd()), unix.F_GETFL, 0); err != nil || flags&unix.O_NONBLOCK != 0 {
			t.Errorf("flags %#x, %v", flags, err)
		}
	})
}

func TestCreate(t *testing.T) {
	dir := t.TempDir()
	if fd, err := create("--net-log", "", unix.O_APPEND); err != nil || fd != (descriptor{}) {
		t.Errorf("no name: %v, %v", fd, err)
	}
	fd, err := create("--net-log", filepath.Join(dir, "log"), unix.O_APPEND)
	if err != nil {
		t.Error(err)
	}
	fd.close()
	if _, err := create("--net-log", dir, unix.O_APPEND); err == nil || strings.Contains(err.Error(), "pipe") {
		t.Errorf("a directory: %v", err)
	}
}
