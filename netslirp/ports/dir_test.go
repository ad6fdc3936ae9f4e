package ports

import (
	"net"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

// left makes a socket as a killed process leaves it: nobody has its other end.
func left(t *testing.T, path string) {
	t.Helper()
	listener := listens(t, path)
	_ = listener.Close()
}

func listens(t *testing.T, path string) *net.UnixListener {
	t.Helper()
	listener, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	listener.SetUnlinkOnClose(false)
	t.Cleanup(func() { _ = listener.Close() })
	return listener
}

// abandoned makes a directory as a killed process leaves it.
func abandoned(t *testing.T, path string) {
	t.Helper()
	if err := os.Mkdir(path, 0o700); err != nil {
		t.Fatal(err)
	}
	left(t, filepath.Join(path, socketName))
	if err := unix.Mkfifo(filepath.Join(path, readyName), 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestSweep(t *testing.T) {
	const name = dirPrefix + "1234"
	for _, row := range []struct {
		what   string
		name   string
		make   func(t *testing.T, path string)
		remove bool
	}{
		{"abandoned", name, abandoned, true},
		{"empty", name, func(t *testing.T, path string) {
			t.Helper()
			if err := os.Mkdir(path, 0o700); err != nil {
				t.Fatal(err)
			}
		}, true},
		{"another name", dirPrefix + "12x4", abandoned, false},
		{"no digits", dirPrefix, abandoned, false},
		{"open to others", name, func(t *testing.T, path string) {
			t.Helper()
			abandoned(t, path)
			if err := os.Chmod(path, 0o750); err != nil {
				t.Fatal(err)
			}
		}, false},
		{"locked", name, func(t *testing.T, path string) {
			t.Helper()
			abandoned(t, path)
			unlock, locked := lockDir(path)
			if !locked {
				t.Fatal("it cannot be locked")
			}
			t.Cleanup(unlock)
		}, false},
		{"somebody listens", name, func(t *testing.T, path string) {
			t.Helper()
			if err := os.Mkdir(path, 0o700); err != nil {
				t.Fatal(err)
			}
			listens(t, filepath.Join(path, socketName))
		}, false},
		{"more in it", name, func(t *testing.T, path string) {
			t.Helper()
			abandoned(t, path)
			touch(t, filepath.Join(path, "other"))
		}, false},
		{"a file", name, touch, false},
		{"a link", name, func(t *testing.T, path string) {
			t.Helper()
			target := filepath.Join(t.TempDir(), "target")
			abandoned(t, target)
			if err := os.Symlink(target, path); err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() {
				if !exists(filepath.Join(target, socketName)) {
					t.Error("the link was followed")
				}
			})
		}, false},
	} {
		t.Run(row.what, func(t *testing.T) {
			parent := t.TempDir()
			path := filepath.Join(parent, row.name)
			row.make(t, path)
			sweep(parent)
			if exists(path) == row.remove {
				t.Errorf("removed: %v", !row.remove)
			}
		})
	}
}

// Those who make a directory at the same time do not sweep one another's.
func TestMakeDirAtOnce(t *testing.T) {
	parent := t.TempDir()
	abandoned(t, filepath.Join(parent, dirPrefix+"1"))
	const many = 64
	var wg sync.WaitGroup
	made := make([]string, many)
	for i := range made {
		wg.Go(func() {
			path, err := MakeDir(parent)
			if err != nil {
				t.Error(err)
			}
			made[i] = path
		})
	}
	wg.Wait()
	for _, path := range made {
		if !exists(path) {
			t.Errorf("%s was swept", path)
		}
	}
	if exists(filepath.Join(parent, dirPrefix+"1")) {
		t.Error("what was abandoned is still there")
	}
}

func listensSoon(t *testing.T, path string) {
	t.Helper()
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.Bind(fd, &unix.SockaddrUnix{Name: path}); err != nil {
		t.Fatal(err)
	}
	listening := time.AfterFunc(20*time.Millisecond, func() { _ = unix.Listen(fd, 1) })
	t.Cleanup(func() {
		listening.Stop()
		_ = unix.Close(fd)
	})
}

// A socket that nobody listens at is replaced, and nothing else that is there.
func TestListenReplaces(t *testing.T) {
	for _, row := range []struct {
		what    string
		make    func(t *testing.T, path string)
		replace bool
	}{
		{"left", left, true},
		{"somebody listens", func(t *testing.T, path string) { t.Helper(); listens(t, path) }, false},
		{"a file", touch, false},
		{"a link to one that was left", func(t *testing.T, path string) {
			t.Helper()
			target := filepath.Join(t.TempDir(), "s")
			left(t, target)
			if err := os.Symlink(target, path); err != nil {
				t.Fatal(err)
			}
		}, false},
		{"datagrams", func(t *testing.T, path string) {
			t.Helper()
			conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = conn.Close() })
		}, false},
		{"bound, and listens in a moment", listensSoon, false},
	} {
		t.Run(row.what, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "s")
			row.make(t, path)
			before, err := os.Lstat(path)
			if err != nil {
				t.Fatal(err)
			}
			listener, err := Listen(path)
			if row.replace {
				if err != nil {
					t.Fatal(err)
				}
				_ = listener.Close()
				return
			}
			wants(t, err, "there is a file of that name\nfix: ")
			if now, err := os.Lstat(path); err != nil || !os.SameFile(before, now) {
				t.Errorf("it is gone: %v", err)
			}
		})
	}
}

// What another user left is not ours to remove or replace.
func TestAsRootAnotherUsersStays(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can make it")
	}
	const nobody = 65534
	parent := t.TempDir()
	dir, socket := filepath.Join(parent, dirPrefix+"123"), filepath.Join(parent, "s")
	abandoned(t, dir)
	left(t, socket)
	for _, path := range []string{dir, socket} {
		if err := os.Chown(path, nobody, nobody); err != nil {
			t.Fatal(err)
		}
	}
	sweep(parent)
	if !exists(dir) {
		t.Error("the directory was removed")
	}
	_, err := Listen(socket)
	wants(t, err, "there is a file of that name\nfix: ")
	if !exists(socket) {
		t.Error("the socket was removed")
	}
}

// Of many who find the same socket left, one gets the name and keeps it.
func TestListenReplacesOnce(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	left(t, path)
	umask := unix.Umask(0) // which they change at the same time here
	defer unix.Umask(umask)
	unix.Umask(umask)
	var wg sync.WaitGroup
	var mu sync.Mutex
	var got []net.Listener
	for range 5 {
		wg.Go(func() {
			listener, err := Listen(path)
			if err != nil {
				wants(t, err, "there is a file of that name")
				return
			}
			mu.Lock()
			defer mu.Unlock()
			got = append(got, listener)
		})
	}
	wg.Wait()
	if len(got) != 1 {
		t.Fatalf("%d have it", len(got))
	}
	defer got[0].Close()
	conn, err := net.Dial("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	_ = conn.Close()
}
