package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"bryo/rootless/confine"
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

// The filter holds by itself: where a kernel has no Landlock, it is what remains.
func TestFiltered(t *testing.T) {
	if what := os.Getenv("FILTERED"); what != "" {
		// From another thread: the filter is for all of them.
		loaded, tried := make(chan struct{}), make(chan error)
		go func() {
			runtime.LockOSThread()
			<-loaded
			tried <- filtered()[what].do()
		}()
		if _, _, errno := syscall.AllThreadsSyscall6(unix.SYS_PRCTL, unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0, 0); errno != 0 {
			t.Fatal(errno) // launch.Helper does it
		}
		if err := confine.AllowOnly(callRules()); err != nil {
			t.Fatal(err)
		}
		close(loaded)
		if err := <-tried; err != nil {
			t.Fatal(err)
		}
		return
	}
	for what, row := range filtered() {
		cmd := exec.CommandContext(t.Context(), "/proc/self/exe", "-test.run", "^TestFiltered$", "-test.v")
		cmd.Env = append(os.Environ(), "FILTERED="+what)
		cmd.Dir = t.TempDir()
		out, err := cmd.CombinedOutput()
		status, _ := cmd.ProcessState.Sys().(syscall.WaitStatus)
		if died := status.Signaled() && status.Signal() == unix.SIGSYS; died != row.dies || err != nil && !died {
			t.Errorf("%s: %v, ended by the filter: %t\n%s", what, err, died, out)
		}
	}
}

type filteredCall struct {
	do   func() error
	dies bool // by SIGSYS
}

func filtered() map[string]filteredCall {
	refused := func(err error) error {
		if err == nil {
			return errors.New("it is allowed")
		}
		if !errors.Is(err, unix.EPERM) {
			return fmt.Errorf("%w, and not EPERM", err)
		}
		return nil
	}
	const mode = 0o600
	return map[string]filteredCall{
		"files": {do: func() error {
			err := os.WriteFile("f", []byte("moss"), mode)
			return errors.Join(err, os.Mkdir("d", mode), os.Link("f", "g"), os.Rename("g", "h"), os.Symlink("f", "l"), os.Chmod("f", mode), os.Remove("h"), os.RemoveAll("d"))
		}},
		"pipe":      {do: func() error { return unix.Mkfifoat(unix.AT_FDCWD, "p", mode) }},
		"device":    {do: func() error { return refused(unix.Mknodat(unix.AT_FDCWD, "c", unix.S_IFCHR|mode, 1<<8|3)) }},
		"disk":      {do: func() error { return refused(unix.Mknodat(unix.AT_FDCWD, "b", unix.S_IFBLK|mode, 0)) }},
		"socket":    {do: func() error { _, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM, 0); return refused(err) }},
		"terminal":  {do: func() error { _, err := unix.IoctlGetInt(0, unix.TIOCSTI); return refused(err) }},
		"signal":    {do: func() error { return refused(unix.Kill(os.Getppid(), 0)) }},
		"handle":    {do: func() error { _, _, err := unix.NameToHandleAt(unix.AT_FDCWD, "/", 0); return refused(err) }},
		"directory": {do: func() error { return refused(unix.Chdir("/")) }},
		"new ids":   {do: func() error { return refused(unix.Setresuid(0, 0, 0)) }},
		"code": {do: func() error {
			_, err := unix.Mmap(-1, 0, 4096, unix.PROT_EXEC, unix.MAP_PRIVATE|unix.MAP_ANON)
			return refused(err)
		}},
		"file":       {do: func() error { _, err := unix.MemfdCreate("f", 0); return refused(err) }},
		"fork":       {do: func() error { _, err := syscall.ForkExec("/bin/true", nil, nil); return refused(err) }},
		"execute":    {dies: true, do: func() error { return syscall.Exec("/bin/true", []string{"true"}, nil) }},
		"mount":      {dies: true, do: func() error { return unix.Mount("", "/", "", unix.MS_BIND, "") }},
		"root":       {dies: true, do: func() error { return unix.Chroot(".") }},
		"namespaces": {dies: true, do: func() error { return unix.Unshare(unix.CLONE_NEWUSER) }},
		"keys":       {dies: true, do: func() error { _, err := unix.KeyctlInt(unix.KEYCTL_GET_KEYRING_ID, 0, 0, 0, 0); return err }},
	}
}
