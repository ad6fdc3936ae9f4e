package netslirp

import (
	"net"
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"bryo/rootless/program"
)

func TestVethListing(t *testing.T) {
	p := program.New()
	VethPair(p, DefaultMTU)
	var b strings.Builder
	if err := p.List(&b); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"# make a veth pair for eth0\n", "# bring up bryo0\n",
		"# open a packet socket on bryo0\n", "# configure network device eth0\n", "# cut early what is no TCP\n",
	} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("no %q in\n%s", want, b.String())
		}
	}
	if strings.Contains(b.String(), "/dev/net/tun") {
		t.Errorf("it needs /dev/net/tun:\n%s", b.String())
	}
}

// The pair is as a TUN device is, and its packet socket has what is sent.
func TestVethPair(t *testing.T) {
	if os.Getenv(insideVariable) == "" {
		inside(t)
		return
	}
	const ethernet = 14
	fd := carryOut(t, func(p *program.Program) program.Arg { return VethPair(p, DefaultMTU) })
	checkDevice(t)
	eth, err := net.InterfaceByName(Interface)
	if mac := VethMAC(); err != nil || string(eth.HardwareAddr) != string(mac[:]) {
		t.Errorf("%+v, %v", eth, err)
	}
	if peer, err := net.InterfaceByName(vethPeer); err == nil {
		t.Errorf("the other end is here, too: %+v", peer)
	}
	if flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFL, 0); err != nil || flags&unix.O_NONBLOCK == 0 {
		t.Errorf("flags %#x, %v", flags, err)
	}
	checkFrames(t, fd, ethernet)
}

// A second pair of the same names is refused, and the refusal is read.
func TestVethReportsFailure(t *testing.T) {
	if os.Getenv(insideVariable) == "" {
		inside(t)
		return
	}
	build := func(p *program.Program) program.Arg { return VethPair(p, DefaultMTU) }
	carryOut(t, build)
	if _, err := start(t, build); err == nil || !strings.Contains(err.Error(), "make a veth pair for eth0") {
		t.Errorf("got %v", err)
	}
}
