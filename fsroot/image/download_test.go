package image

import (
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
				f, err := s.Download("docker.io/library/debian:latest ")
				if err != nil {
					t.Error(err)
					return
				}
				if inside.Add(1) != 1 {
					t.Error("two have it")
				}
				if names, err := os.ReadDir(f.Name()); err != nil || len(names) > 1 {
					t.Errorf("%v, %v", names, err)
				}
				if err := os.WriteFile(f.Name()+"/part", nil, 0o600); err != nil {
					t.Error(err)
				}
				if n%2 == 0 {
					if err := os.RemoveAll(f.Name()); err != nil {
						t.Error(err)
					}
				}
				inside.Add(-1)
				if err := f.Close(); err != nil {
					t.Error(err)
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
