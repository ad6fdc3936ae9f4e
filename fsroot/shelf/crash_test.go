package shelf

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"bryo/fsroot/image"
)

// workVariable says that the process is the test again, which works on a shelf; its
// value is the shelf, a layout, and what is to be done.
const workVariable = "BRYO_SHELF_WORK"

func worker(t *testing.T, words ...string) *exec.Cmd {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "/proc/self/exe", "-test.run=^TestWork$")
	cmd.Env = append(os.Environ(), workVariable+"="+strings.Join(words, "\n"))
	cmd.Stdout, cmd.Stderr = &bytes.Buffer{}, &bytes.Buffer{}
	return cmd
}

func TestWork(t *testing.T) {
	words := strings.Split(os.Getenv(workVariable), "\n")
	if len(words) < 3 {
		t.Skip("it is the other tests' helper")
	}
	s, err := image.OpenPath(words[0])
	must(t, err)
	switch words[2] {
	case "prune":
		_, err = Prune(s, true)
	default:
		_, err = tryAdd(s, words[1], words[2], nil)
	}
	must(t, err)
}

const manyFiles = 150 // of a layer

func many(t *testing.T, seed string) []byte {
	t.Helper()
	var names []string
	for i := range manyFiles {
		names = append(names, fmt.Sprintf("%s/%d/file=%s", seed, i, strings.Repeat(seed, 10)))
	}
	return layer(t, names...)
}

func bigLayout(t *testing.T) *layout {
	t.Helper()
	from := newLayout(t)
	from.image("web", ocispec.ImageConfig{}, many(t, "a"), many(t, "b"), many(t, "c"), many(t, "d"))
	return from
}

// finished are the layers that are complete, with their inodes.
func finished(t *testing.T, s *image.Shelf) map[string]uint64 {
	t.Helper()
	found := map[string]uint64{}
	dir := image.LayersDir(someMap)
	names, _ := s.Names(dir)
	for _, name := range names {
		layer := strings.TrimSuffix(name, "."+boot)
		info, err := os.Stat(filepath.Join(s.Path(), dir, name))
		if err == nil && info.IsDir() && !strings.Contains(layer, ".") {
			found[layer] = info.Sys().(*syscall.Stat_t).Ino //nolint:forcetypeassert // it is Linux
		}
	}
	return found
}

// Whenever who adds an image is killed, what was finished stays, and what was not
// is made again.
func TestKilled(t *testing.T) {
	s, from := newShelf(t), bigLayout(t)
	had := map[string]uint64{}
	killed := 0
	for round := range 30 {
		if round%10 == 9 {
			must(t, worker(t, s.Path(), from.dir, "prune").Run())
			had = map[string]uint64{}
		}
		if kill(t, worker(t, s.Path(), from.dir, "web")) {
			killed++
		}
		had = stayed(t, had, finished(t, s))
		if i, err := s.Lookup("stem:web"); err == nil {
			whole(t, s, i)
		}
	}
	if killed < 5 {
		t.Errorf("only %d were killed", killed)
	}
	whole(t, s, add(t, s, from.dir, "web"))
	stayed(t, had, finished(t, s))
	_, err := Prune(s, false)
	must(t, err)
	i, err := s.Lookup("stem:web")
	must(t, err)
	whole(t, s, i)
	names, err := s.Names(image.LayersDir(someMap))
	must(t, err)
	if len(names) != 4*2+1 { // with a record each, and the map
		t.Errorf("there are %v", names)
	}
	_, err = Prune(s, true)
	must(t, err)
	if left := leftovers(t, s); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
}

// kill ends a process at some moment, if it does not end before.
func kill(t *testing.T, cmd *exec.Cmd) bool {
	t.Helper()
	const most = 60
	must(t, cmd.Start())
	time.Sleep(time.Duration(rand.IntN(most)) * time.Millisecond)
	_ = cmd.Process.Kill()
	return cmd.Wait() != nil
}

// stayed fails for layers that were complete, and are gone or were made again.
func stayed(t *testing.T, before, now map[string]uint64) map[string]uint64 {
	t.Helper()
	for name, inode := range before {
		if now[name] != inode {
			t.Fatalf("layer %s was finished, and is gone", name)
		}
	}
	return now
}

// whole fails for an image that has not all its files.
func whole(t *testing.T, s *image.Shelf, i *image.Image) {
	t.Helper()
	files := 0
	for _, name := range i.Layers {
		found, err := filepath.Glob(filepath.Join(s.Path(), image.LayersDir(someMap), name, "*", "*", "file"))
		must(t, err)
		for _, path := range found {
			if info, err := os.Stat(path); err == nil && info.Size() == 10 {
				files++
			}
		}
	}
	if files != 4*manyFiles {
		t.Fatalf("the image has %d files", files)
	}
}

// Several add the same image, and one prunes meanwhile: all succeed.
func TestAtOnce(t *testing.T) {
	s, from := newShelf(t), bigLayout(t)
	for range 2 {
		var all []*exec.Cmd
		for n := range 6 {
			what := "web"
			if n == 0 {
				what = "prune"
			}
			cmd := worker(t, s.Path(), from.dir, what)
			must(t, cmd.Start())
			all = append(all, cmd)
		}
		for _, cmd := range all {
			if err := cmd.Wait(); err != nil {
				t.Errorf("%v: %s", err, cmd.Stdout)
			}
		}
		whole(t, s, add(t, s, from.dir, "web"))
		_, err := Prune(s, true)
		must(t, err)
	}
	if left := leftovers(t, s); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
}
