package state

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"testing"
)

// TestCached computes once, and again whatever was kept is not what it was.
func TestCached(t *testing.T) {
	value := []byte("a\nvalue\x00")
	for _, row := range []struct {
		what   string
		damage func(dir, file string) error
		again  int // how often it is computed afterwards, in two calls
	}{
		{"nothing", func(string, string) error { return nil }, 0},
		{"another byte", func(_, file string) error {
			text, err := os.ReadFile(file)
			text[len(text)-1] ^= 1
			return errors.Join(err, os.WriteFile(file, text, fileMode))
		}, 1},
		{"half", func(_, file string) error { return os.Truncate(file, 70) }, 1},
		{"no checksum", func(_, file string) error { return os.WriteFile(file, value, fileMode) }, 1},
		{"empty", func(_, file string) error { return os.Truncate(file, 0) }, 1},
		{"half a new one", func(_, file string) error { return os.WriteFile(file+".new", value[:3], fileMode) }, 0},
		{"gone", func(_, file string) error { return os.Remove(file) }, 1},
		{"all gone", func(dir, _ string) error { return os.RemoveAll(dir) }, 1},
		{"others may write", func(dir, _ string) error { return os.Chmod(dir, 0o777) }, 2},
		{"a directory in its place", func(_, file string) error { return errors.Join(os.Remove(file), os.Mkdir(file, dirMode)) }, 2},
		{"a file in the directory's place", func(dir, _ string) error {
			return errors.Join(os.RemoveAll(dir), os.WriteFile(dir, nil, fileMode))
		}, 2},
	} {
		t.Run(row.what, func(t *testing.T) {
			s := opened(t)
			count := 0
			cached := func(key string) {
				t.Helper()
				got, err := Cached(key, func() ([]byte, error) { count++; return value, nil })
				if err != nil || !bytes.Equal(got, value) {
					t.Errorf("%q, %v", got, err)
				}
			}
			cached("key")
			cached("key")
			if count != 1 {
				t.Errorf("computed %d times", count)
			}
			dir := filepath.Join(s.path, "cache")
			must(t, row.damage(dir, filepath.Join(dir, checksum([]byte("key")))))
			count = 0
			cached("key")
			cached("key")
			if count != row.again {
				t.Errorf("computed %d times, want %d", count, row.again)
			}
		})
	}
}

// TestCachedFailure keeps no error, and nothing of another key.
func TestCachedFailure(t *testing.T) {
	s := opened(t)
	no := errors.New("no")
	for range 2 {
		if _, err := Cached("key", func() ([]byte, error) { return nil, no }); !errors.Is(err, no) {
			t.Error(err)
		}
	}
	for _, key := range []string{"", "key", "other", "../key"} {
		got, err := Cached(key, func() ([]byte, error) { return []byte(key), nil })
		if err != nil || string(got) != key {
			t.Errorf("%q: %q, %v", key, got, err)
		}
	}
	if got := s.within(t, "cache"); len(got) != 4 {
		t.Errorf("kept %q", got)
	}
	t.Setenv("XDG_RUNTIME_DIR", filepath.Join(t.TempDir(), "nothing"))
	got, err := Cached("key", func() ([]byte, error) { return []byte("new"), nil })
	if err != nil || string(got) != "new" {
		t.Errorf("without a store: %q, %v", got, err)
	}
}
