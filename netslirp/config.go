package netslirp

import (
	"net/netip"
	"time"
)

// Driver says what connects a container's own network namespace.
type Driver string

// The drivers that bryo-net runs; none needs no process at all.
const (
	DriverNone        Driver = ""
	DriverUser        Driver = "user"
	DriverSlirp4netns Driver = "slirp4netns"
	DriverPasta       Driver = "pasta"
)

// ProgramDirs are where administrators put the programs of other drivers.
func ProgramDirs() []string {
	return []string{"/usr/local/bin", "/usr/bin", "/bin", "/usr/sbin"}
}

// Config is what bryo tells bryo-net about the network of one container. It
// travels as JSON, decided and checked.
type Config struct {
	Driver       Driver
	Link         LinkKind
	MTU          uint32
	Nameservers  []netip.Addr // --dns; none for those of the host's resolv.conf
	HostLoopback Loopback
	Rules        []Rule // first match; when none matches, Default decides
	Default      Verdict
	Rate         Rate
	Log          bool // a descriptor for JSON lines is passed
	Pcap         bool // a descriptor for packets is passed
	Publish      []Publish
	PortSocket   string        // path of the socket that adds and removes ports; "" for none
	UDPIdle      time.Duration // 0 for the default
	PID          int           // of the container's PID 1, for drivers that are programs
}

// Ports says that ports of the host may lead into the container.
func (c *Config) Ports() bool { return len(c.Publish) > 0 || c.PortSocket != "" }

// Waits says that the command must not run before bryo-net is ready.
func (c *Config) Waits() bool {
	return c.Ports() || (c.Driver != DriverNone && c.Driver != DriverUser)
}

// LinkKind is what carries packets between the container and bryo-net.
type LinkKind uint8

// TUN is the default; a veth pair with a packet socket at its other end stands
// in where there is no /dev/net/tun.
const (
	TUN LinkKind = iota
	Veth
)

// Loopback is what of the host's loopback the gateway's address leads to.
type Loopback struct {
	Open  bool
	Ports []PortRange // none for all, when Open
}

// PortRange is a range of ports, both ends included.
type PortRange struct{ First, Last uint16 }

// Has says whether a port is in the range.
func (r PortRange) Has(port uint16) bool { return r.First <= port && port <= r.Last }

// Rate limits what flows, in bytes a second; 0 is no limit. Up is out of the
// container.
type Rate struct{ Up, Down uint64 }

// The network as the container sees it. The names are slirp4netns's words.
const (
	Interface  = "eth0"
	DefaultMTU = 1500
	PeerMTU    = 65520 // what slirp4netns and pasta are at their best with
	Bits4      = 24
	Bits6      = 64
)

// Address4 is the container's address.
func Address4() netip.Addr { return netip.AddrFrom4([4]byte{10, 0, 2, 100}) }

// Gateway4 is where packets leave to, and with --host-loopback the host.
func Gateway4() netip.Addr { return netip.AddrFrom4([4]byte{10, 0, 2, 2}) }

// DNS4 answers questions for names.
func DNS4() netip.Addr { return netip.AddrFrom4([4]byte{10, 0, 2, 3}) }

// Address6 is Address4's twin.
func Address6() netip.Addr { return twin(0x100) }

// Gateway6 is Gateway4's twin.
func Gateway6() netip.Addr { return twin(2) }

// DNS6 is DNS4's twin.
func DNS6() netip.Addr { return twin(3) }

func twin(host uint16) netip.Addr {
	return netip.AddrFrom16([16]byte{0: 0xfd, 14: byte(host >> 8), 15: byte(host)})
}
