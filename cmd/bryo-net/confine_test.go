package main

import (
	"errors"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// confinedVariable says what a confined copy of the test is to try.
const confinedVariable = "BRYO_TEST_CONFINED"

func TestConfined(t *testing.T) {
	if try := os.Getenv(confinedVariable); try != "" {
		err := confineSelf([]string{"/etc"}, false)
		if errors.Is(err, unix.ENOTSUP) {
			t.Skip("built with cgo, which bryo-net never is: set CGO_ENABLED=0")
		}
		if err != nil {
			t.Fatal(err)
		}
		tries()[try].do(t)
		return
	}
	for name, row := range tries() {
		t.Run(name, func(t *testing.T) {
			cmd := exec.CommandContext(t.Context(), "/proc/self/exe", "-test.run=^TestConfined$", "-test.v")
			cmd.Env = append(os.Environ(), confinedVariable+"="+name)
			out, err := cmd.CombinedOutput()
			if strings.Contains(string(out), "SKIP") {
				t.Skipf("%s", out)
			}
			status, _ := cmd.ProcessState.Sys().(syscall.WaitStatus)
			if died := status.Signaled() && status.Signal() == unix.SIGSYS; died != row.dies || (err != nil && !row.dies) {
				t.Errorf("%v, dies %t\n%s", err, died, out)
			}
		})
	}
}

type try struct {
	do   func(t *testing.T)
	dies bool // by SIGSYS
}

func tries() map[string]try {
	return map[string]try{
		"read what is needed": {do: func(t *testing.T) {
			if _, err := os.ReadFile("/etc/passwd"); err != nil {
				t.Error(err)
			}
		}},
		"read another file": {do: func(t *testing.T) {
			if _, err := os.ReadFile("/proc/self/status"); err == nil {
				t.Error("it could be read")
			}
		}},
		"write": {do: func(t *testing.T) {
			for _, flags := range []int{os.O_WRONLY, os.O_RDWR, os.O_RDONLY | os.O_CREATE, os.O_RDONLY | os.O_TRUNC} {
				path := filepath.Join(os.TempDir(), "bryo-net-should-not-be")
				if f, err := os.OpenFile(path, flags, 0o600); err == nil {
					t.Errorf("flags %#x: it could be opened", flags)
					_ = f.Close()
				}
			}
		}},
		"execute":      {dies: true, do: func(*testing.T) { _ = syscall.Exec("/bin/true", []string{"true"}, nil) }},
		"fork":         {do: func(t *testing.T) { _, err := syscall.ForkExec("/bin/true", []string{"true"}, nil); refused(t, err) }},
		"unshare":      {dies: true, do: func(*testing.T) { _ = unix.Unshare(unix.CLONE_NEWUSER) }},
		"trace":        {dies: true, do: func(*testing.T) { _ = unix.PtraceAttach(1) }},
		"join":         {dies: true, do: func(*testing.T) { _ = unix.Setns(0, unix.CLONE_NEWNET) }},
		"kill":         {do: func(t *testing.T) { refused(t, unix.Kill(os.Getppid(), 0)) }},
		"packets":      {do: func(t *testing.T) { _, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW, 0); refused(t, err) }},
		"unix sockets": {do: func(t *testing.T) { _, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM, 0); refused(t, err) }},
		"netfilter": {do: func(t *testing.T) {
			_, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW, unix.NETLINK_NETFILTER)
			refused(t, err)
		}},
		"signals by a file": {do: func(t *testing.T) { _, err := unix.FcntlInt(0, unix.F_SETOWN, os.Getppid()); refused(t, err) }},
		"routes": {do: func(t *testing.T) {
			if r, err := openRoutes(); err != nil || !r.host(netip.MustParseAddr("127.0.0.1")) {
				t.Error(err)
			}
		}},
		"vsock":    {do: func(t *testing.T) { _, err := unix.Socket(unix.AF_VSOCK, unix.SOCK_STREAM, 0); refused(t, err) }},
		"a module": {do: func(t *testing.T) { refused(t, unix.Mkdir("/tmp/bryo-net-should-not-be", 0o700)) }},
		"code": {do: func(t *testing.T) {
			_, err := unix.Mmap(-1, 0, 4096, unix.PROT_READ|unix.PROT_EXEC, unix.MAP_PRIVATE|unix.MAP_ANON)
			refused(t, err)
		}},
		"threads and memory": {do: func(*testing.T) {
			done := make(chan int)
			for range 50 {
				go func() {
					runtime.LockOSThread()
					done <- len(make([]byte, 1<<20))
				}()
			}
			for range 50 {
				<-done
			}
			runtime.GC()
		}},
		"a connection": {do: connectTo},
	}
}

func refused(t *testing.T, err error) {
	t.Helper()
	if err == nil || !strings.Contains(err.Error(), "not permitted") {
		t.Errorf("%v, want operation not permitted", err)
	}
}

func connectTo(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	go func() {
		if conn, err := listener.Accept(); err == nil {
			_, _ = conn.Write([]byte("hello"))
			_ = conn.Close()
		}
	}()
	conn, err := net.Dial("tcp", listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	buf := make([]byte, 5)
	if n, err := conn.Read(buf); n != 5 || err != nil {
		t.Errorf("%d, %v", n, err)
	}
}
