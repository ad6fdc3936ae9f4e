package tree

import (
	"os"
	"testing"

	"golang.org/x/sys/unix"
)

// A file has its name when it is complete, and another one at no time that stays;
// also where there are no files without a name.
func TestNewFile(t *testing.T) {
	for _, named := range []bool{false, true} {
		top := t.TempDir()
		plant(t, top, "half", "done")
		dir := opened(t, top)
		for _, commit := range []bool{false, true} {
			f, err := Create(dir, "half", 0o640)
			if err != nil {
				t.Fatal(err)
			}
			if named && !f.named { // as a file system without O_TMPFILE has it
				must(t, f.Close(), f.clear())
				fd, err := unix.Openat(dir, "half", unix.O_RDWR|unix.O_CREAT|unix.O_EXCL, 0o640)
				must(t, err)
				f.File, f.named = os.NewFile(uintptr(fd), "half"), true
			}
			_, err = f.WriteString("new")
			must(t, err)
			end := f.Abort
			if commit {
				end = func() error { return f.Commit("done") }
			}
			must(t, end(), f.Close())
			text, err := os.ReadFile(top + "/done")
			if replaced := string(text) == "new"; err != nil || replaced != commit {
				t.Errorf("named %v, committed %v: %q, %v", named, commit, text, err)
			}
		}
		names, err := os.ReadDir(top)
		must(t, err)
		if len(names) != 1 {
			t.Errorf("named %v: left are %v", named, names)
		}
	}
}
