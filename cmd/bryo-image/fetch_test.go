package main

import (
	"errors"
	"net"
	"os"
	"os/exec"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// A process that has confined itself for a download writes to the layout, reads
// the resolver's settings, connects, and does nothing else. What a download has
// no reason to try ends it.
func TestConfinedFetch(t *testing.T) {
	if top := os.Getenv("CONFINED_FETCH"); top != "" {
		confinedFetch(t, top, os.Getenv("CONFINED_TRY"))
		return
	}
	if abi, _, errno := unix.Syscall(unix.SYS_LANDLOCK_CREATE_RULESET, 0, 0, unix.LANDLOCK_CREATE_RULESET_VERSION); errno != 0 || abi < 1 {
		t.Skip("the kernel has no Landlock")
	}
	top := t.TempDir()
	for _, dir := range []string{"layout", "outside"} {
		if err := os.Mkdir(top+"/"+dir, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(top+"/"+dir+"/f", []byte("moss"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for try, dies := range map[string]bool{"": false, "execute": true, "trace": true, "namespace": true} {
		cmd := exec.CommandContext(t.Context(), "/proc/self/exe", "-test.run", "^TestConfinedFetch$", "-test.v")
		cmd.Env = append(os.Environ(), "CONFINED_FETCH="+top, "CONFINED_TRY="+try)
		out, err := cmd.CombinedOutput()
		status, _ := cmd.ProcessState.Sys().(syscall.WaitStatus)
		if died := status.Signaled() && status.Signal() == unix.SIGSYS; died != dies || err != nil && !dies {
			t.Errorf("%s: %v\n%s", try, err, out)
		}
	}
}

func dieOf(try string) {
	switch try {
	case "execute":
		_ = unix.Exec("/bin/true", []string{"true"}, nil)
	case "trace":
		_ = unix.PtraceAttach(os.Getppid())
	case "namespace":
		_ = unix.Unshare(unix.CLONE_NEWUSER)
	}
}

func openAt(dir int, name string, flags int) error {
	fd, err := unix.Openat(dir, name, flags|unix.O_CLOEXEC, 0o600)
	if err == nil {
		_ = unix.Close(fd)
	}
	return err
}

func connect(network, address string) error {
	c, err := net.Dial(network, address)
	if err == nil {
		_ = c.Close()
	}
	return err
}

func confinedFetch(t *testing.T, top, try string) {
	t.Helper()
	open := func(name string) int {
		fd, err := unix.Open(top+"/"+name, unix.O_RDONLY|unix.O_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		return fd
	}
	layout, outside := open("layout"), open("outside")
	server, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	if err := confineFetch(layout); err != nil {
		t.Fatal(err)
	}
	dieOf(try)
	for _, row := range []struct {
		what    string
		do      error
		allowed bool
	}{
		{"make a file", openAt(layout, "new", unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL), true},
		{"rename it", unix.Renameat(layout, "new", layout, "newer"), true},
		{"make a directory", unix.Mkdirat(layout, "d", 0o700), true},
		{"read the resolver's settings", openAt(layout, "/etc/resolv.conf", unix.O_RDONLY), true},
		{"connect", connect("tcp", server.Addr().String()), true},
		{"read outside", openAt(outside, "f", unix.O_RDONLY), false},
		{"write outside", openAt(outside, "new", unix.O_WRONLY|unix.O_CREAT), false},
		{"move outside", unix.Renameat(layout, "newer", outside, "newer"), false},
		{"remove outside", unix.Unlinkat(outside, "f", 0), false},
		{"read of processes", openAt(layout, "/proc/self/environ", unix.O_RDONLY), false},
		{"write settings", openAt(layout, "/etc/new", unix.O_WRONLY|unix.O_CREAT), false},
		{"reach a socket file", connect("unix", top+"/socket"), false},
		{"make a link", unix.Symlinkat("x", layout, "link"), false},
		{"make a device", unix.Mknodat(layout, "null", unix.S_IFCHR, 0), false},
		{"kill", unix.Kill(os.Getppid(), 0), false},
		{"a raw socket", func() error { _, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW, 0); return err }(), false},
		{"a terminal's input", unix.IoctlSetPointerInt(0, unix.TIOCSTI, 0), false},
	} {
		denied := errors.Is(row.do, unix.EACCES) || errors.Is(row.do, unix.EXDEV) || errors.Is(row.do, unix.EPERM)
		if row.allowed && row.do != nil || !row.allowed && !denied {
			t.Errorf("%s: %v", row.what, row.do)
		}
	}
	if err := os.WriteFile(top+"/layout/never", nil, 0o600); err != nil {
		t.Errorf("by its path: %v", err)
	}
}
