package dns

import (
	"encoding/binary"
	"io"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"
)

// upstream is a server that answers what its function says; nil is silence.
type upstream struct {
	addr    netip.Addr
	port    uint16
	mu      sync.Mutex
	queries []string // "udp example.org. TypeA"
}

type answerer func(network string, query []byte) [][]byte

// startUpstream serves UDP and TCP on one port; 0 is for one that is free.
func startUpstream(t testing.TB, addr string, port uint16, answer answerer) *upstream {
	t.Helper()
	u := &upstream{addr: netip.MustParseAddr(addr)}
	var packets *net.UDPConn
	var streams net.Listener
	for try := 0; ; try++ {
		var err error
		packets, err = net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.AddrPortFrom(u.addr, port)))
		if err != nil {
			t.Skip("no socket on ", addr, ": ", err)
		}
		local := packets.LocalAddr().(*net.UDPAddr).AddrPort()
		if streams, err = net.Listen("tcp", local.String()); err == nil {
			u.port = local.Port()
			break
		}
		packets.Close()
		if port != 0 || try == 10 {
			t.Skip("no port for both: ", err)
		}
	}
	var group sync.WaitGroup
	group.Go(func() { u.packets(packets, answer) })
	group.Go(func() { u.streams(streams, answer) })
	t.Cleanup(func() {
		packets.Close()
		streams.Close()
		group.Wait()
	})
	return u
}

func (u *upstream) packets(conn *net.UDPConn, answer answerer) {
	buffer := make([]byte, 65536)
	for {
		n, from, err := conn.ReadFromUDPAddrPort(buffer)
		if err != nil {
			return
		}
		u.note("udp", buffer[:n])
		for _, message := range answer("udp", buffer[:n]) {
			_, _ = conn.WriteToUDPAddrPort(message, from)
		}
	}
}

func (u *upstream) streams(listener net.Listener, answer answerer) {
	for {
		conn, err := listener.Accept()
		if err != nil {
			return
		}
		_ = conn.SetDeadline(time.Now().Add(5 * time.Second))
		var size [2]byte
		if _, err := io.ReadFull(conn, size[:]); err == nil {
			query := make([]byte, binary.BigEndian.Uint16(size[:]))
			if _, err := io.ReadFull(conn, query); err == nil {
				u.note("tcp", query)
				for _, message := range answer("tcp", query) {
					_, _ = conn.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(message))), message...))
				}
			}
		}
		conn.Close()
	}
}

func (u *upstream) note(network string, query []byte) {
	var m dnsmessage.Message
	text := network + " broken"
	if err := m.Unpack(query); err == nil && len(m.Questions) == 1 {
		text = network + " " + m.Questions[0].Name.String() + " " + m.Questions[0].Type.String()
	}
	u.mu.Lock()
	u.queries = append(u.queries, text)
	u.mu.Unlock()
}

func (u *upstream) asked() string {
	u.mu.Lock()
	defer u.mu.Unlock()
	return strings.Join(u.queries, ", ")
}

// resolver asks the servers and learns into names.
func resolver(t testing.TB, options Options, servers ...*upstream) (*Resolver, *Names) {
	t.Helper()
	names := NewNames()
	options.Learn = names.Learn
	for _, one := range servers {
		options.Nameservers = append(options.Nameservers, one.addr)
	}
	r := New(options)
	if len(servers) > 0 {
		r.port = servers[0].port
	}
	r.wait = 2 * time.Second
	t.Cleanup(r.Close)
	return r, names
}

func name(text string) dnsmessage.Name { return dnsmessage.MustNewName(text) }

func ask(t testing.TB, text string, kind dnsmessage.Type, change ...func(*dnsmessage.Message)) []byte {
	t.Helper()
	m := dnsmessage.Message{
		Header:    dnsmessage.Header{ID: 4711, RecursionDesired: true},
		Questions: []dnsmessage.Question{{Name: name(text), Type: kind, Class: dnsmessage.ClassINET}},
	}
	for _, f := range change {
		f(&m)
	}
	return pack(t, m)
}

func edns(t testing.TB, size int, options ...dnsmessage.Option) func(*dnsmessage.Message) {
	return func(m *dnsmessage.Message) {
		var header dnsmessage.ResourceHeader
		if err := header.SetEDNS0(size, 0, true); err != nil {
			t.Fatal(err)
		}
		m.Additionals = append(m.Additionals, dnsmessage.Resource{Header: header, Body: &dnsmessage.OPTResource{Options: options}})
	}
}

func pack(t testing.TB, m dnsmessage.Message) []byte {
	t.Helper()
	message, err := m.Pack()
	if err != nil {
		t.Fatal(err)
	}
	return message
}

func unpack(t testing.TB, message []byte) dnsmessage.Message {
	t.Helper()
	var m dnsmessage.Message
	if err := m.Unpack(message); err != nil {
		t.Fatalf("%v: %x", err, message)
	}
	return m
}

// record reads "NAME TTL A 192.0.2.1" and the like.
func record(text string) dnsmessage.Resource {
	fields := strings.Fields(text)
	ttl, _ := time.ParseDuration(fields[1] + "s")
	r := dnsmessage.Resource{Header: dnsmessage.ResourceHeader{Name: name(fields[0]), Class: dnsmessage.ClassINET, TTL: uint32(ttl.Seconds())}}
	switch fields[2] {
	case "A":
		r.Body = &dnsmessage.AResource{A: netip.MustParseAddr(fields[3]).As4()}
	case "AAAA":
		r.Body = &dnsmessage.AAAAResource{AAAA: netip.MustParseAddr(fields[3]).As16()}
	case "CNAME":
		r.Body = &dnsmessage.CNAMEResource{CNAME: name(fields[3])}
	case "TXT":
		r.Body = &dnsmessage.TXTResource{TXT: fields[3:]}
	}
	return r
}

// response answers a query with records.
func response(query []byte, code dnsmessage.RCode, records ...string) []byte {
	var m dnsmessage.Message
	if m.Unpack(query) != nil {
		return nil
	}
	m.Response, m.RecursionAvailable, m.RCode, m.Additionals = true, true, code, nil
	for _, text := range records {
		m.Answers = append(m.Answers, record(text))
	}
	message, err := m.Pack()
	if err != nil {
		return nil
	}
	return message
}

func answering(code dnsmessage.RCode, records ...string) answerer {
	return func(_ string, query []byte) [][]byte { return [][]byte{response(query, code, records...)} }
}

func silent(string, []byte) [][]byte { return nil }
