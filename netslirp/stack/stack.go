package stack

import (
	"context"
	"fmt"
	"net/netip"
	"runtime"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv4"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv6"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
	"gvisor.dev/gvisor/pkg/tcpip/transport/icmp"
	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"
	"gvisor.dev/gvisor/pkg/tcpip/transport/udp"

	"bryo/netslirp"
	"bryo/netslirp/loop"
)

// Flow is one connection, or the datagrams between two addresses, as the
// container sees it.
type Flow struct {
	Protocol            netslirp.Protocol
	Source, Destination netip.AddrPort
}

// Decision is what happens to a flow.
type Decision struct {
	Verdict netslirp.Verdict
	Dial    netip.AddrPort // where the host's socket connects
	Name    string         // what the container knows the address by
}

// Record is a flow that has ended, or never began.
type Record struct {
	Start, End     time.Time
	Flow           Flow
	Dial           netip.AddrPort
	Name           string
	Verdict        netslirp.Verdict
	Sent, Received uint64 // bytes out of and into the container
	Error          string
}

// DNSHandler answers a query in the wire format of DNS; nil is no answer.
type DNSHandler interface {
	Answer(ctx context.Context, query []byte, tcp bool) []byte
}

// Options is what a Stack is made of. FD and Decide are needed.
type Options struct {
	FD       int  // a TUN device with vnet headers, or a packet socket
	Ethernet bool // it is a packet socket
	MTU      uint32
	Decide   func(Flow) Decision
	DNS      DNSHandler
	Rate     netslirp.Rate
	Log      func(Record)
	Tap      func(packet []byte, inbound bool)
	UDPIdle  time.Duration // 0 for a minute
	// KeepAlive is how long either end of a connection may be silent before it is
	// asked for a sign of life, seconds; 0 for a minute. One that gives none, asked
	// three times within as long again, is dead.
	KeepAlive time.Duration
}

// Stack is a running network.
type Stack struct {
	options     Options
	stack       *stack.Stack
	link        *link
	loop        *loop.Loop
	flows       sync.WaitGroup
	ctx         context.Context //nolint:containedctx // the lifetime of all flows: gVisor's handlers have none
	cancel      context.CancelFunc
	up, down    *rate.Limiter
	udp         udpTable
	pings       pingTable
	sequences   sequences
	connections atomic.Int64
	requests    chan *tcp.ForwarderRequest // to goroutines that wait for one
	spare       atomic.Int32               // how many do
	waiting     waiting
	batches     sync.Pool // of datagrams
	tidied      uint64    // packets that had come when memory was given back last
	closing     sync.Once
	begun       sync.Mutex   // orders begin and Close
	streams     atomic.Int32 // of questions to our name server
}

const nic = 1

// New makes the stack; nothing is read before Run.
func New(options Options) (*Stack, error) {
	s := &Stack{options: options, requests: make(chan *tcp.ForwarderRequest)}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	s.up, s.down = limiter(options.Rate.Up), limiter(options.Rate.Down)
	if s.options.UDPIdle == 0 {
		s.options.UDPIdle = time.Minute
	}
	if s.options.KeepAlive == 0 {
		s.options.KeepAlive = time.Minute
	}
	s.batches.New = func() any { return new(batch) }
	var err error
	if s.link, err = newLink(options); err != nil {
		return nil, err
	}
	if s.loop, err = loop.New(s.link); err != nil {
		return nil, err
	}
	s.stack = stack.New(stack.Options{
		NetworkProtocols:   []stack.NetworkProtocolFactory{ipv4.NewProtocol, ipv6.NewProtocol},
		TransportProtocols: []stack.TransportProtocolFactory{tcp.NewProtocol, udp.NewProtocol, icmp.NewProtocol4, icmp.NewProtocol6},
	})
	if err := s.configure(); err != nil {
		return nil, err
	}
	s.stack.SetTransportProtocolHandler(tcp.ProtocolNumber, s.syn(tcp.NewForwarder(s.stack, firstWindow, mostPending, s.acceptTCP).HandlePacket))
	s.stack.SetTransportProtocolHandler(udp.ProtocolNumber, udp.NewForwarder(s.stack, s.acceptUDP).HandlePacket)
	s.link.echo = s.echo
	return s, nil
}

func limiter(bytes uint64) *rate.Limiter {
	if bytes == 0 {
		return nil
	}
	const least = 256 << 10 // a burst: with less, every write would be cut small
	return rate.NewLimiter(rate.Limit(bytes), max(least, int(bytes/10)))
}

func (s *Stack) configure() error {
	sack := tcpip.TCPSACKEnabled(true)
	receive := tcpip.TCPReceiveBufferSizeRangeOption{Min: 4 << 10, Default: firstBuffer, Max: mostBuffer}
	send := tcpip.TCPSendBufferSizeRangeOption{Min: 4 << 10, Default: sendBuffer, Max: mostBuffer}
	moderate := tcpip.TCPModerateReceiveBufferOption(true)
	wait := tcpip.TCPTimeWaitTimeoutOption(time.Second)
	for _, option := range []tcpip.SettableTransportProtocolOption{&sack, &receive, &send, &moderate, &wait} {
		if err := s.stack.SetTransportProtocolOption(tcp.ProtocolNumber, option); err != nil {
			return fmt.Errorf("set up TCP: %s", err)
		}
	}
	if err := s.stack.CreateNIC(nic, s.link); err != nil {
		return fmt.Errorf("set up the link: %s", err)
	}
	if err := s.stack.SetSpoofing(nic, true); err != nil {
		return fmt.Errorf("set up the link: %s", err)
	}
	if err := s.stack.SetPromiscuousMode(nic, true); err != nil {
		return fmt.Errorf("set up the link: %s", err)
	}
	for _, a := range []struct {
		addr     netip.Addr
		protocol tcpip.NetworkProtocolNumber
	}{
		{netslirp.Gateway4(), ipv4.ProtocolNumber},
		{netslirp.DNS4(), ipv4.ProtocolNumber},
		{netslirp.Gateway6(), ipv6.ProtocolNumber},
		{netslirp.DNS6(), ipv6.ProtocolNumber},
	} {
		address := tcpip.ProtocolAddress{Protocol: a.protocol, AddressWithPrefix: tcpip.AddrFromSlice(a.addr.AsSlice()).WithPrefix()}
		if err := s.stack.AddProtocolAddress(nic, address, stack.AddressProperties{}); err != nil {
			return fmt.Errorf("set up addresses: %s", err)
		}
	}
	s.stack.SetRouteTable([]tcpip.Route{{Destination: header.IPv4EmptySubnet, NIC: nic}, {Destination: header.IPv6EmptySubnet, NIC: nic}})
	return nil
}

// Run moves packets until the context is done, which is no error, or the
// device is gone.
func (s *Stack) Run(ctx context.Context) error {
	stop := context.AfterFunc(ctx, s.loop.Stop)
	defer stop()
	tidy := time.AfterFunc(quiet, s.tidy)
	defer tidy.Stop()
	s.loop.OnPark(func() { tidy.Reset(quiet) })
	err := s.loop.Run(s.options.FD)
	s.loop.End()
	return err
}

// quiet is how long no packet comes before memory is given back: longer than
// netstack remembers a connection that has ended.
const quiet = 1500 * time.Millisecond

// tidy gives memory back to the kernel once packets have stopped coming.
func (s *Stack) tidy() {
	if now := s.link.packets.Load(); now != s.tidied {
		s.tidied = now
		runtime.GC() // what pools keep goes with the second collection
		debug.FreeOSMemory()
	}
}

// Loop is where all of the stack's sockets are, and others may be. It runs with
// Run, until Close.
func (s *Stack) Loop() *loop.Loop { return s.loop }

// Close ends every flow and waits for what they hold. Run has returned, or was
// never called.
func (s *Stack) Close() {
	s.closing.Do(func() {
		s.begun.Lock()
		s.cancel()
		s.begun.Unlock()
		s.loop.Stop()
		s.loop.End()
		s.stack.Close()
		s.flows.Wait()
		s.link.close()
		_ = s.loop.Close()
	})
}

// begin counts a flow that Close waits for; false says that it is too late for
// one. Whoever gets true calls s.flows.Done.
func (s *Stack) begin() bool {
	s.begun.Lock()
	defer s.begun.Unlock()
	if s.ctx.Err() != nil {
		return false
	}
	s.flows.Add(1)
	return true
}

// ask makes room for one more that asks our name server, which leaves with
// asked: a container may have very many ports to ask from.
func (s *Stack) ask() bool {
	if s.streams.Add(1) > mostAsking {
		s.streams.Add(-1)
		return false
	}
	s.loop.Invite()
	return true
}

func (s *Stack) asked() {
	s.streams.Add(-1)
	s.loop.Dismiss()
}

// start begins a record.
func (s *Stack) start(f Flow, d Decision) *Record {
	return &Record{Start: time.Now(), Flow: f, Dial: d.Dial, Name: d.Name, Verdict: d.Verdict}
}

func (s *Stack) end(r *Record, err error) {
	if s.options.Log == nil {
		return
	}
	if err != nil {
		r.Error = err.Error()
	}
	r.End = time.Now()
	s.options.Log(*r)
}

func addr(a tcpip.Address) netip.Addr {
	got, _ := netip.AddrFromSlice(a.AsSlice())
	return got
}

// flow is the flow of a connection that the container began: netstack's local
// side is the world's.
func flow(p netslirp.Protocol, id stack.TransportEndpointID) Flow {
	return Flow{
		Protocol:    p,
		Source:      netip.AddrPortFrom(addr(id.RemoteAddress), id.RemotePort),
		Destination: netip.AddrPortFrom(addr(id.LocalAddress), id.LocalPort),
	}
}

func isDNS(to netip.AddrPort) bool {
	const domain = 53
	return to.Port() == domain && (to.Addr() == netslirp.DNS4() || to.Addr() == netslirp.DNS6())
}
