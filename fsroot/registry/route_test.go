package registry

import (
	"net"
	"os"
	"os/exec"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"golang.org/x/net/http/httpproxy"
	"golang.org/x/sys/unix"
)

// A registry elsewhere does not lead to this machine by an address that is none of
// the loopback's; one that is on it by that address does.
func TestOwnAddress(t *testing.T) {
	const role, own = "BRYO_TEST_OWN_ADDRESS", "192.0.2.1"
	if os.Getenv(role) == "" {
		cmd := exec.Command("/proc/self/exe", "-test.run=^TestOwnAddress$")
		cmd.Env = append(os.Environ(), role+"=1")
		cmd.SysProcAttr = &syscall.SysProcAttr{
			Cloneflags:  unix.CLONE_NEWUSER | unix.CLONE_NEWNET,
			UidMappings: []syscall.SysProcIDMap{{HostID: os.Geteuid(), Size: 1}},
			GidMappings: []syscall.SysProcIDMap{{HostID: os.Getegid(), Size: 1}},
		}
		if err := cmd.Start(); err != nil {
			t.Skipf("no user and network namespaces here: %v", err)
		}
		if err := cmd.Wait(); err != nil {
			t.Errorf("in a network of its own: %v", err)
		}
		return
	}
	giveAddress(t, own)
	server, err := net.Listen("tcp", own+":0")
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	dial := func(f dialFunc) error {
		c, err := f(t.Context(), "tcp", server.Addr().String())
		if err == nil {
			_ = c.Close()
		}
		return err
	}
	here := &atomic.Bool{}
	guarded := guardedDial(false, here, &httpproxy.Config{})
	if err := dial(guarded); err == nil || !isRefused(err) || !strings.Contains(err.Error(), "leads to this machine") {
		t.Errorf("a registry elsewhere leads to this machine: %v", err)
	}
	if err := dial(noted(here)); err != nil {
		t.Error(err)
	}
	if err := dial(guarded); err != nil {
		t.Errorf("a registry on this machine: %v", err)
	}
}

// giveAddress gives an address to lo.
func giveAddress(t *testing.T, address string) {
	t.Helper()
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	lo, err := unix.NewIfreq("lo")
	if err == nil {
		err = lo.SetInet4Addr(net.ParseIP(address).To4())
	}
	if err == nil {
		err = unix.IoctlIfreq(fd, unix.SIOCSIFADDR, lo)
	}
	if err == nil {
		lo.SetUint16(unix.IFF_UP)
		err = unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, lo)
	}
	if err != nil {
		t.Fatal(err)
	}
}
