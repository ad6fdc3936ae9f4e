package netslirp

import (
	"encoding/binary"
	"net"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"bryo/rootless/program"
)

// insideVariable says that the process is the test again, in a network
// namespace of its own.
const insideVariable = "BRYO_NETSLIRP_INSIDE"

func TestLoopbackListing(t *testing.T) {
	p := program.New()
	LoopbackUp(p)
	var b strings.Builder
	if err := p.List(&b); err != nil {
		t.Fatal(err)
	}
	request := make([]byte, 40)
	copy(request, "lo")
	binary.NativeEndian.PutUint16(request[16:], unix.IFF_UP|unix.IFF_RUNNING)
	got := b.String()
	for _, want := range []string{
		"# bring up lo\n",
		"socket(2, " + strconv.Itoa(unix.SOCK_DGRAM|unix.SOCK_CLOEXEC) + ", 0)",
		", " + strconv.Itoa(unix.SIOCSIFFLAGS) + ", " + strconv.Quote(string(request)) + ")",
		"close(",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("no %q in\n%s", want, got)
		}
	}
	if strings.Contains(got, "may fail") {
		t.Errorf("a failure would pass in silence:\n%s", got)
	}
}

// The calls bring up lo in a network namespace, where it was down.
func TestLoopbackUp(t *testing.T) {
	if os.Getenv(insideVariable) != "" {
		bringUp(t)
		return
	}
	inside(t)
}

// inside runs the test again, in user and network namespaces of its own.
func inside(t *testing.T) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "/proc/self/exe", "-test.run=^"+t.Name()+"$", "-test.v")
	cmd.Env = append(os.Environ(), insideVariable+"=1")
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  unix.CLONE_NEWUSER | unix.CLONE_NEWNET,
		UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}},
	}
	out, err := cmd.CombinedOutput()
	if err != nil && len(out) == 0 {
		t.Skip("no user namespaces here: ", err)
	}
	if strings.Contains(string(out), "--- SKIP: "+t.Name()) {
		t.Skip(string(out))
	}
	if err != nil || !strings.Contains(string(out), "--- PASS: "+t.Name()) {
		t.Errorf("%v\n%s", err, out)
	}
}

func bringUp(t *testing.T) {
	t.Helper()
	flags := func() net.Flags {
		lo, err := net.InterfaceByName("lo")
		if err != nil {
			t.Fatal(err)
		}
		return lo.Flags
	}
	if flags()&net.FlagUp != 0 {
		t.Fatal("lo is up already")
	}
	p := program.New()
	LoopbackUp(p)
	p.Exit(0)
	child, err := program.Start(p, 0, 2)
	if err != nil {
		t.Fatal(err)
	}
	var status unix.WaitStatus
	if _, err := unix.Wait4(child.PID, &status, 0, nil); err != nil || status != 0 {
		t.Errorf("status %#x, %v", status, err)
	}
	if flags()&net.FlagUp == 0 {
		t.Error("lo is down")
	}
}
