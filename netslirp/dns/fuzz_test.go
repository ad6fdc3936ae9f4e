package dns

import (
	"encoding/binary"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"
)

// FuzzAnswer has a hostile client.
func FuzzAnswer(f *testing.F) {
	f.Add(ask(f, "example.org.", dnsmessage.TypeA), false)
	f.Add(ask(f, "db.test.", dnsmessage.TypeAAAA, edns(f, 4096, dnsmessage.Option{Code: 10, Data: []byte("cookie")})), true)
	f.Add([]byte("\x01a\x00\x00\x00\x01\x00\x00\x00\x00\x00\x00\xc0\x00\x00\x01\x00\x01"), false)
	server := startUpstream(f, "127.0.0.1", 0, answering(0, "example.org. 60 A 192.0.2.1"))
	r, _ := resolver(f, Options{Hosts: map[string][]netip.Addr{"db.test": {netip.MustParseAddr("192.0.2.7")}}}, server)
	r.wait = 100 * time.Millisecond
	f.Fuzz(func(t *testing.T, query []byte, tcp bool) {
		answer := r.Answer(t.Context(), query, tcp)
		if answer == nil {
			return
		}
		q, _ := parseQuery(query, tcp)
		var parser dnsmessage.Parser
		header, err := parser.Start(answer)
		if err != nil || !header.Response || header.ID != q.header.ID || len(answer) > q.size {
			t.Fatalf("%+v, %v: %x", header, err, answer)
		}
	})
}

// FuzzUpstream has a hostile server, which knows the id and the question.
func FuzzUpstream(f *testing.F) {
	query := ask(f, "example.org.", dnsmessage.TypeA)
	f.Add(response(query, 0, "example.org. 60 CNAME b.", "b. 60 A 192.0.2.1")[2:], true)
	f.Add(response(query, dnsmessage.RCodeServerFailure)[2:], false)
	f.Add([]byte{0x82, 0, 0, 1}, true)
	var (
		mu   sync.Mutex
		body []byte
	)
	server := startUpstream(f, "127.0.0.1", 0, func(_ string, query []byte) [][]byte {
		mu.Lock()
		defer mu.Unlock()
		// So many that no time is lost waiting for more.
		return slices.Repeat([][]byte{append(query[:2:2], body[:min(len(body), 60000)]...)}, maxStray)
	})
	r, _ := resolver(f, Options{}, server)
	r.wait = 50 * time.Millisecond
	f.Fuzz(func(t *testing.T, reply []byte, tcp bool) {
		mu.Lock()
		body = reply
		mu.Unlock()
		answer := r.Answer(t.Context(), query, tcp)
		switch {
		case len(answer) < headerSize:
			t.Fatalf("%x", answer)
		case binary.BigEndian.Uint16(answer) != 4711 || !tcp && len(answer) > minUDP:
			t.Fatalf("%x", answer)
		}
	})
}
