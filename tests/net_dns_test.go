package tests

import (
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/netip"
	"strings"
	"testing"

	"golang.org/x/net/dns/dnsmessage"
)

// record is the addresses of a name, and for how many seconds they hold.
type record struct {
	ttl   uint32
	addrs []string
}

// zone has the names that the servers outside know. Some lead where no
// container may go.
func zone() map[string]record {
	const long, short = 300, 1
	return map[string]record{
		"web.test.":              {long, []string{peerAddr4, peerAddr6}},
		"v6.test.":               {long, []string{peerAddr6}},
		"intranet.corp.test.":    {long, []string{farAddr4}},
		"registry.example.org.":  {long, []string{farAddr4, farAddr6}},
		"a.b.example.org.":       {long, []string{farAddr4}},
		"brief.example.org.":     {short, []string{farAddr4}},
		"example.org.":           {long, []string{thirdAddr}},
		"other.example.net.":     {long, []string{thirdAddr}},
		"rebind.example.org.":    {long, []string{"127.0.0.1", metadataAddr, hostAddr4, "::1", "::ffff:127.0.0.1"}},
		"metadata.example.org.":  {long, []string{metadataAddr}},
		"localhost.example.org.": {long, []string{"127.0.0.1"}},
	}
}

// answer resolves one question. The name who.test. has the address of the
// server that was asked; big.test. has more text than fits into a datagram.
func answer(question []byte, asked netip.Addr, limit int, network string, h *hits) ([]byte, error) {
	var parser dnsmessage.Parser
	header, err := parser.Start(question)
	if err != nil {
		return nil, err
	}
	q, err := parser.Question()
	if err != nil {
		return nil, err
	}
	name := strings.ToLower(q.Name.String())
	h.hit(network + " " + name + " " + strings.TrimPrefix(q.Type.String(), "Type"))
	found, known := zone()[name]
	switch name {
	case "who.test.":
		found, known = record{1, []string{asked.String()}}, true
	case "big.test.":
		known = true
	}
	reply := dnsmessage.Header{ID: header.ID, Response: true, RecursionAvailable: true, RecursionDesired: header.RecursionDesired}
	if !known {
		reply.RCode = dnsmessage.RCodeNameError
	}
	whole, err := build(reply, q, found, name)
	if err == nil && len(whole) > limit {
		reply.Truncated = true
		return build(reply, q, record{}, "")
	}
	return whole, err
}

func build(header dnsmessage.Header, q dnsmessage.Question, found record, name string) ([]byte, error) {
	b := dnsmessage.NewBuilder(nil, header)
	b.EnableCompression()
	errs := []error{b.StartQuestions(), b.Question(q), b.StartAnswers()}
	resource := dnsmessage.ResourceHeader{Name: q.Name, Class: dnsmessage.ClassINET, TTL: found.ttl}
	for _, text := range found.addrs {
		addr := netip.MustParseAddr(text)
		switch {
		case q.Type == dnsmessage.TypeA && addr.Is4():
			errs = append(errs, b.AResource(resource, dnsmessage.AResource{A: addr.As4()}))
		case q.Type == dnsmessage.TypeAAAA && addr.Is6():
			errs = append(errs, b.AAAAResource(resource, dnsmessage.AAAAResource{AAAA: addr.As16()}))
		}
	}
	if name == "big.test." && q.Type == dnsmessage.TypeTXT {
		for range 20 {
			errs = append(errs, b.TXTResource(resource, dnsmessage.TXTResource{TXT: []string{strings.Repeat("x", 200)}}))
		}
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	return b.Finish()
}

// serveDNS answers questions by both protocols.
func serveDNS(t *testing.T, packets net.PacketConn, listener net.Listener, h *hits) {
	t.Helper()
	const datagram = 1232
	asked := netip.MustParseAddrPort(packets.LocalAddr().String()).Addr()
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		text := make([]byte, 1<<16)
		for {
			n, from, err := packets.ReadFrom(text)
			if errors.Is(err, net.ErrClosed) {
				return
			} else if err != nil {
				continue
			}
			if reply, err := answer(text[:n], asked, datagram, "udp", h); err == nil {
				_, _ = packets.WriteTo(reply, from)
			}
		}
	}()
	t.Cleanup(func() {
		_ = packets.Close()
		<-ended
	})
	acceptLoop(t, listener, &hits{}, func(conn net.Conn) {
		for {
			question, err := frame(conn)
			if err != nil {
				return
			}
			reply, err := answer(question, asked, 1<<16-1, "tcp", h)
			if err != nil {
				return
			}
			if _, err := conn.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(reply))), reply...)); err != nil {
				return
			}
		}
	})
}

// frame reads a message of DNS over TCP, whose length stands before it.
func frame(r io.Reader) ([]byte, error) {
	var length uint16
	if err := binary.Read(r, binary.BigEndian, &length); err != nil {
		return nil, err
	}
	message := make([]byte, length)
	_, err := io.ReadFull(r, message)
	return message, err
}
