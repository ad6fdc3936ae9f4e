package main

import (
	"net"
	"os"
	"path/filepath"
	"testing"
)

// What is removed is what had the name when the order came.
func TestRemover(t *testing.T) {
	exists := func(path string) bool {
		_, err := os.Lstat(path)
		return err == nil
	}
	listen := func(t *testing.T, path string) {
		t.Helper()
		listener, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
		if err != nil {
			t.Fatal(err)
		}
		listener.SetUnlinkOnClose(false)
		t.Cleanup(func() { _ = listener.Close() })
	}
	write := func(t *testing.T, path string) {
		t.Helper()
		if err := os.WriteFile(path, nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	mkdir := func(t *testing.T, path string) {
		t.Helper()
		if err := os.Mkdir(path, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	nothing := func(*testing.T, string) {}
	for _, row := range []struct {
		name          string
		before, later func(*testing.T, string)
		left          bool
	}{
		{"the socket", listen, nothing, false},
		{"another's socket", listen, func(t *testing.T, path string) {
			t.Helper()
			_ = os.Remove(path)
			listen(t, path)
		}, true},
		{"a file", write, nothing, true},
		{"nothing, and a file later", nothing, write, true},
		{"the directory of the ports", mkdir, func(t *testing.T, path string) {
			t.Helper()
			write(t, filepath.Join(path, ".bp.sock"))
			write(t, filepath.Join(path, ".bp-ready.pipe"))
		}, false},
		{"a directory with more in it", mkdir, func(t *testing.T, path string) {
			t.Helper()
			write(t, filepath.Join(path, "other"))
		}, true},
	} {
		t.Run(row.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "x")
			row.before(t, path)
			remove := remover(path)
			row.later(t, path)
			remove()
			if exists(path) != row.left {
				t.Errorf("it is left: %v", !row.left)
			}
		})
	}
}
