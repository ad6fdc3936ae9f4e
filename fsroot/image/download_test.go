package image

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
)

// A download's directory is for one at a time, also when who had it removes it.
func TestDownload(t *testing.T) {
	path := t.TempDir() + "/shelf"
	if err := os.Mkdir(path, 0o700); err != nil {
		t.Fatal(err)
	}
	var inside atomic.Int32
	var group sync.WaitGroup
	for range 8 {
		group.Go(func() {
			s, err := OpenPath(path)
			if err != nil {
				t.Error(err)
				return
			}
			defer s.Close()
			for n := range 50 {
				if err := downloadAlone(s, &inside, n%2 == 0); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	group.Wait()
	s, err := OpenPath(path)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	one, err := s.Download("one")
	if err != nil {
		t.Fatal(err)
	}
	defer one.Close()
	other, err := s.Download("other") // which does not wait
	if err != nil || other.Name() == one.Name() {
		t.Fatal(err)
	}
	if err := other.Close(); err != nil {
		t.Error(err)
	}
}

// downloadAlone has the directory for a moment, and removes it or not.
func downloadAlone(s *Shelf, inside *atomic.Int32, remove bool) error {
	f, err := s.Download("docker.io/library/debian:latest ")
	if err != nil {
		return err
	}
	defer f.Close()
	if inside.Add(1) != 1 {
		return errors.New("two have it")
	}
	names, err := os.ReadDir(f.Name())
	if err == nil && len(names) > 1 {
		err = fmt.Errorf("there are %v", names)
	}
	err = errors.Join(err, os.WriteFile(f.Name()+"/part", nil, 0o600))
	inside.Add(-1) // once it is removed, another may have the name
	if remove {
		err = errors.Join(err, os.RemoveAll(f.Name()))
	}
	return err
}

// Layers under another map are none.
func TestDigests(t *testing.T) {
	path := t.TempDir()
	s, err := OpenPath(path)
	if err == nil {
		defer s.Close()
	}
	digest, diffID := "sha256:"+repeat("a"), "sha256:"+repeat("b")
	if err != nil || s.NoteDigest(digest, diffID) != nil || s.NoteDigest("sha256:"+repeat("c"), "sha256:"+repeat("d")) != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(path+"/"+LayersDir("map")+"/"+LayerName(diffID), 0o755); err != nil {
		t.Fatal(err)
	}
	for idMap, want := range map[string]int{"map": 1, "other": 0} {
		if got, err := s.Digests(idMap); err != nil || len(got) != want || want == 1 && got[0] != digest {
			t.Errorf("%s: %q, %v", idMap, got, err)
		}
	}
}

func repeat(digit string) string { return strings.Repeat(digit, 64) }
