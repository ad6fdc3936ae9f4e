package main

import (
	"errors"
	"io"
	"os"
	"os/exec"
	"testing"

	"golang.org/x/sys/unix"
)

// A process that has confined itself writes below the root, reads the image,
// and does nothing else with files. It cannot go back, and so is another one.
func TestConfined(t *testing.T) {
	if top := os.Getenv("CONFINED"); top != "" {
		confined(t, top)
		return
	}
	if abi, _, errno := unix.Syscall(unix.SYS_LANDLOCK_CREATE_RULESET, 0, 0, unix.LANDLOCK_CREATE_RULESET_VERSION); errno != 0 || abi < 2 {
		t.Skip("the kernel has no Landlock with rules for names in several directories")
	}
	top := t.TempDir()
	for _, dir := range []string{"root/d", "image", "outside"} {
		if err := os.MkdirAll(top+"/"+dir, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(top+"/"+dir+"/f", []byte("moss"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.CommandContext(t.Context(), "/proc/self/exe", "-test.run", "^TestConfined$", "-test.v")
	cmd.Env = append(os.Environ(), "CONFINED="+top)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

func confined(t *testing.T, top string) {
	t.Helper()
	open := func(name string) int {
		fd, err := unix.Open(top+"/"+name, unix.O_RDONLY|unix.O_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		return fd
	}
	root, image, outside := open("root"), open("image"), open("outside")
	if err := confineSelf(root, image); err != nil {
		t.Fatal(err)
	}
	openAt := func(dir int, name string, flags int) error {
		fd, err := unix.Openat(dir, name, flags|unix.O_CLOEXEC, 0o600)
		if err == nil {
			_, _ = io.ReadAll(os.NewFile(uintptr(fd), name))
		}
		return err
	}
	for _, row := range []struct {
		what    string
		do      error
		allowed bool
	}{
		{"make a file", openAt(root, "new", unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL), true},
		{"make one without a name", openAt(root, ".", unix.O_RDWR|unix.O_TMPFILE), true},
		{"link it elsewhere", unix.Linkat(root, "d/f", root, "g", 0), true},
		{"make a directory", unix.Mkdirat(root, "e", 0o700), true},
		{"remove it", unix.Unlinkat(root, "e", unix.AT_REMOVEDIR), true},
		{"read the image", openAt(image, "f", unix.O_RDONLY), true},
		{"change the image", openAt(image, "f", unix.O_WRONLY), false},
		{"remove the image", unix.Unlinkat(image, "f", 0), false},
		{"read outside", openAt(outside, "f", unix.O_RDONLY), false},
		{"write outside", openAt(outside, "new", unix.O_WRONLY|unix.O_CREAT), false},
		{"link from outside", unix.Linkat(outside, "f", root, "h", 0), false},
		{"link to outside", unix.Linkat(root, "d/f", outside, "h", 0), false},
		{"move to outside", unix.Renameat(root, "d/f", outside, "h"), false},
		{"read the host", openAt(root, "/etc/passwd", unix.O_RDONLY), false},
	} {
		denied := errors.Is(row.do, unix.EACCES) || errors.Is(row.do, unix.EXDEV)
		if row.allowed && row.do != nil || !row.allowed && !denied {
			t.Errorf("%s: %v", row.what, row.do)
		}
	}
}
