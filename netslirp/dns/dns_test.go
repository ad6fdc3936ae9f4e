package dns

import (
	"bytes"
	"context"
	"encoding/binary"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"
)

func TestForward(t *testing.T) {
	server := startUpstream(t, "127.0.0.1", 0, answering(0,
		"www.example.org. 300 CNAME edge.example.net.", "edge.example.net. 20 A 192.0.2.1", "stray.example. 60 A 192.0.2.9"))
	r, names := resolver(t, Options{}, server)
	answer := unpack(t, r.Answer(t.Context(), ask(t, "WWW.example.org.", dnsmessage.TypeA), false))
	if answer.ID != 4711 || !answer.Response || len(answer.Answers) != 3 || answer.Questions[0].Name != name("WWW.example.org.") {
		t.Errorf("%+v", answer)
	}
	if got := names.Lookup(netip.MustParseAddr("192.0.2.1")); !slices.Equal(got, []string{"www.example.org", "edge.example.net"}) {
		t.Error(got)
	}
	if got := names.Lookup(netip.MustParseAddr("192.0.2.9")); len(got) != 0 {
		t.Error("a stray record counts: ", got)
	}
	if got := server.asked(); got != "udp WWW.example.org. TypeA" {
		t.Error(got)
	}
}

// What leaves is the question that was judged, under an id of our own, and
// nothing that the client added.
func TestForwardWritesAnew(t *testing.T) {
	var mu sync.Mutex
	var seen [][]byte
	server := startUpstream(t, "127.0.0.1", 0, func(_ string, query []byte) [][]byte {
		mu.Lock()
		defer mu.Unlock()
		seen = append(seen, bytes.Clone(query))
		return [][]byte{response(query, 0)}
	})
	r, _ := resolver(t, Options{}, server)
	secret := dnsmessage.Option{Code: 65001, Data: []byte("secret")}
	query := append(ask(t, "example.org.", dnsmessage.TypeTXT, edns(t, 4000, secret), func(m *dnsmessage.Message) { m.CheckingDisabled = true }), "secret"...)
	ids := map[uint16]bool{}
	for range 8 {
		if answer := r.Answer(t.Context(), query, false); answer == nil || binary.BigEndian.Uint16(answer) != 4711 {
			t.Fatalf("%x", answer)
		}
	}
	mu.Lock()
	defer mu.Unlock()
	for _, one := range seen {
		m := unpack(t, one)
		ids[m.ID] = true
		if bytes.Contains(one, []byte("secret")) || !m.CheckingDisabled || !m.RecursionDesired {
			t.Errorf("%x", one)
		}
		if len(m.Additionals) != 1 || m.Additionals[0].Header.Class != maxUDP || !m.Additionals[0].Header.DNSSECAllowed() {
			t.Errorf("%+v", m.Additionals)
		}
	}
	if len(ids) < 6 {
		t.Error("ids repeat: ", ids)
	}
}

// A compressed name that points into the header would change with the id.
func TestPointerIntoHeader(t *testing.T) {
	var judged []string
	server := startUpstream(t, "127.0.0.1", 0, answering(0))
	r, _ := resolver(t, Options{Allowed: func(name string) bool {
		judged = append(judged, name)
		return true
	}}, server)
	query := []byte{
		1, 'a', 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, // id is the label "a", and the flags end it
		0xc0, 0, 0, 1, 0, 1,
	}
	r.Answer(t.Context(), query, false)
	if got := server.asked(); !slices.Equal(judged, []string{"a"}) || got != "udp a. TypeA" {
		t.Errorf("judged %q, asked %q", judged, got)
	}
}

func TestAnswerHere(t *testing.T) {
	server := startUpstream(t, "127.0.0.1", 0, answering(0, "example.org. 60 A 192.0.2.1"))
	var refused []string
	r, names := resolver(t, Options{
		Refused: func(name string) { refused = append(refused, name) },
		Hosts: map[string][]netip.Addr{
			"DB.internal.": {netip.MustParseAddr("192.0.2.7"), netip.MustParseAddr("2001:db8::7")},
			"four.test":    {netip.MustParseAddr("192.0.2.8")},
		},
		Allowed: func(name string) bool { return name == "example.org" },
	}, server)
	class := func(c dnsmessage.Class) func(*dnsmessage.Message) {
		return func(m *dnsmessage.Message) { m.Questions[0].Class = c }
	}
	for _, row := range []struct {
		query []byte
		want  string
	}{
		{ask(t, "db.INTERNAL.", dnsmessage.TypeA), "RCodeSuccess 192.0.2.7"},
		{ask(t, "db.internal.", dnsmessage.TypeAAAA), "RCodeSuccess 2001:db8::7"},
		{ask(t, "db.internal.", dnsmessage.TypeALL), "RCodeSuccess 192.0.2.7 2001:db8::7"},
		{ask(t, "db.internal.", dnsmessage.TypeMX), "RCodeSuccess"},
		{ask(t, "four.test.", dnsmessage.TypeAAAA), "RCodeSuccess"},
		{ask(t, "example.com.", dnsmessage.TypeA), "RCodeRefused"},
		{ask(t, ".", dnsmessage.TypeNS), "RCodeRefused"},
		{ask(t, "version.bind.", dnsmessage.TypeTXT, class(dnsmessage.ClassCHAOS)), "RCodeRefused"},
		{ask(t, "example.org.", dnsmessage.TypeAXFR), "RCodeRefused"},
		{ask(t, "example.org.", typeIXFR), "RCodeRefused"},
		{ask(t, "example.org.", dnsmessage.TypeA, func(m *dnsmessage.Message) { m.OpCode = 5 }), "RCodeNotImplemented"},
		{ask(t, "example.org.", dnsmessage.TypeA, func(m *dnsmessage.Message) { m.Questions = nil }), "RCodeFormatError"},
		{ask(t, "example.org.", dnsmessage.TypeA, func(m *dnsmessage.Message) { m.Questions = append(m.Questions, m.Questions[0]) }), "RCodeFormatError"},
		{ask(t, "example.org.", dnsmessage.TypeA, func(m *dnsmessage.Message) { m.Answers = append(m.Answers, record("a. 1 A 1.1.1.1")) }), "RCodeFormatError"},
		{ask(t, "example.org.", dnsmessage.TypeA, edns(t, 512), edns(t, 512)), "RCodeFormatError"},
		{append(ask(t, "example.org.", dnsmessage.TypeA), make([]byte, maxQuery)...), "RCodeFormatError"},
		{[]byte("\x12\x67\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x03a.b\x00\x00\x01\x00\x01"), "RCodeFormatError"},
		{[]byte("\x12\x67\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\xc0\x0c\x00\x01\x00\x01"), "RCodeFormatError"},
		{ask(t, "example.org.", dnsmessage.TypeA, func(m *dnsmessage.Message) { m.Response = true }), "nothing"},
		{[]byte("\x12\x67\x01\x00\x00\x01"), "nothing"},
		{nil, "nothing"},
	} {
		for _, tcp := range []bool{false, true} {
			if got := summary(t, r.Answer(t.Context(), row.query, tcp)); got != row.want {
				t.Errorf("%q: %s, want %s", row.query, got, row.want)
			}
		}
	}
	if got := server.asked(); got != "" {
		t.Error("asked elsewhere: ", got)
	}
	if got := names.Lookup(netip.MustParseAddr("2001:db8::7")); !slices.Equal(got, []string{"db.internal"}) {
		t.Error(got)
	}
	if want := []string{"example.com", "example.com", "", ""}; !slices.Equal(refused, want) { // by the policy, not for their form
		t.Errorf("told of %q, want %q", refused, want)
	}
}

func summary(t *testing.T, answer []byte) string {
	t.Helper()
	if answer == nil {
		return "nothing"
	}
	m := unpack(t, answer)
	if !m.Response {
		t.Errorf("no response: %+v", m)
	}
	text := m.RCode.String()
	if m.Truncated {
		text += " TC"
	}
	for _, one := range m.Answers {
		switch body := one.Body.(type) {
		case *dnsmessage.AResource:
			text += " " + netip.AddrFrom4(body.A).String()
		case *dnsmessage.AAAAResource:
			text += " " + netip.AddrFrom16(body.AAAA).String()
		default:
			text += " " + one.Header.Type.String()
		}
	}
	return text
}

// The full answer has 3000 bytes; over UDP the server says that it is cut,
// unless it is the kind of server that sends more than it was asked for.
func TestSizes(t *testing.T) {
	var long []string
	for range 15 {
		long = append(long, "example.org. 60 TXT "+strings.Repeat("x", 200))
	}
	polite := func(network string, query []byte) [][]byte {
		answer := response(query, 0, long...)
		if network == "udp" {
			answer = response(query, 0)
			answer[2] |= truncatedBit
		}
		return [][]byte{answer}
	}
	for _, row := range []struct {
		about  string
		answer answerer
		edns   int // 0 for none
		tcp    bool
		want   string
		asked  string
	}{
		{"TC passes", polite, 0, false, "TC 0", "udp"},
		{"TC passes with EDNS", polite, 4096, false, "TC 0", "udp"},
		{"TCP gets all", polite, 0, true, "15", "udp tcp"},
		{"TCP gets all with EDNS", polite, 512, true, "15", "udp tcp"},
		{"too much is cut", answering(0, long...), 0, false, "TC 0", "udp"},
		{"too much for EDNS is cut", answering(0, long...), 2000, false, "TC 0", "udp"},
		{"nonsense size is 512", answering(0, long...), 1, false, "TC 0", "udp"},
		{"EDNS takes it", answering(0, long...), 4096, false, "15", "udp"},
	} {
		t.Run(row.about, func(t *testing.T) {
			server := startUpstream(t, "127.0.0.1", 0, row.answer)
			r, _ := resolver(t, Options{}, server)
			query := ask(t, "example.org.", dnsmessage.TypeTXT)
			if row.edns != 0 {
				query = ask(t, "example.org.", dnsmessage.TypeTXT, edns(t, row.edns))
			}
			answer := r.Answer(t.Context(), query, row.tcp)
			m := unpack(t, answer)
			got := strconv.Itoa(len(m.Answers))
			if m.Truncated {
				got = "TC " + got
			}
			if got != row.want || m.ID != 4711 || !row.tcp && len(answer) > max(512, row.edns) {
				t.Errorf("%s, want %s; %d bytes", got, row.want, len(answer))
			}
			if got := strings.ReplaceAll(strings.ReplaceAll(server.asked(), " example.org. TypeTXT", ""), ",", ""); got != row.asked {
				t.Error(got)
			}
		})
	}
}

func TestHostsTooLarge(t *testing.T) {
	var addrs []netip.Addr
	for i := range 100 {
		addrs = append(addrs, netip.AddrFrom4([4]byte{192, 0, 2, byte(i)}))
	}
	r, _ := resolver(t, Options{Hosts: map[string][]netip.Addr{"many.test": addrs}})
	if answer := r.Answer(t.Context(), ask(t, "many.test.", dnsmessage.TypeA), false); len(answer) > 512 || !unpack(t, answer).Truncated {
		t.Error(len(answer))
	}
	if answer := r.Answer(t.Context(), ask(t, "many.test.", dnsmessage.TypeA), true); len(unpack(t, answer).Answers) != 100 {
		t.Error(len(answer))
	}
}

func TestServersInTurn(t *testing.T) {
	good := answering(0, "example.org. 60 A 192.0.2.1")
	const found = "RCodeSuccess 192.0.2.1"
	for _, row := range []struct {
		about         string
		first, second answerer // nil for a closed port
		want          string
		asked         int // of the first
	}{
		{"closed", nil, good, found, 0},
		{"silent", silent, good, found, 1},
		{"SERVFAIL", answering(dnsmessage.RCodeServerFailure), good, found, 1},
		{"REFUSED", answering(dnsmessage.RCodeRefused), good, found, 1},
		{"NXDOMAIN is an answer", answering(dnsmessage.RCodeNameError), good, "RCodeNameError", 1},
		{"all silent", silent, silent, "RCodeServerFailure", rounds},
		{"all closed", nil, nil, "RCodeServerFailure", 0},
		{"all refuse", answering(dnsmessage.RCodeRefused), answering(dnsmessage.RCodeRefused), "RCodeRefused", rounds},
		{"no question in the failure", func(_ string, query []byte) [][]byte {
			return [][]byte{{query[0], query[1], 0x80, 1, 0, 0, 0, 0, 0, 0, 0, 0}}
		}, nil, "RCodeServerFailure", rounds},
	} {
		t.Run(row.about, func(t *testing.T) {
			r, _ := resolver(t, Options{Nameservers: []netip.Addr{netip.MustParseAddr("127.0.0.1"), netip.MustParseAddr("127.0.0.2")}})
			r.wait = 100 * time.Millisecond
			first := &upstream{}
			switch {
			case row.first != nil:
				first = startUpstream(t, "127.0.0.1", 0, row.first)
				r.port = first.port
				if row.second != nil {
					startUpstream(t, "127.0.0.2", r.port, row.second)
				}
			case row.second != nil:
				r.port = startUpstream(t, "127.0.0.2", 0, row.second).port
			default:
				r.port = 1 // nothing is there
			}
			if got := summary(t, r.Answer(t.Context(), ask(t, "example.org.", dnsmessage.TypeA), false)); got != row.want {
				t.Errorf("%s, want %s", got, row.want)
			}
			if got := strings.Count(first.asked(), "udp"); got != row.asked {
				t.Errorf("asked %d times", got)
			}
		})
	}
}

func TestForgedAnswers(t *testing.T) {
	forged := func(query []byte) [][]byte {
		otherID, otherName, noResponse := response(query, 0, "example.org. 60 A 192.0.2.66"), response(query, 0), response(query, 0)
		otherID[0]++
		m := dnsmessage.Message{}
		_ = m.Unpack(otherName)
		m.Questions[0].Name = name("example.com.")
		otherName, _ = m.Pack()
		noResponse[2] &^= 0x80
		return [][]byte{{}, {1, 2}, otherID, otherName, noResponse, query}
	}
	server := startUpstream(t, "127.0.0.1", 0, func(_ string, query []byte) [][]byte {
		return append(forged(query), response(query, 0, "example.org. 60 A 192.0.2.1"))
	})
	r, _ := resolver(t, Options{}, server)
	if got := summary(t, r.Answer(t.Context(), ask(t, "example.org.", dnsmessage.TypeA), false)); got != "RCodeSuccess 192.0.2.1" {
		t.Error(got)
	}
	flood := startUpstream(t, "127.0.0.1", 0, func(_ string, query []byte) [][]byte {
		return slices.Repeat(forged(query), 10)
	})
	r, names := resolver(t, Options{}, flood)
	if got := summary(t, r.Answer(t.Context(), ask(t, "example.org.", dnsmessage.TypeA), false)); got != "RCodeServerFailure" {
		t.Error(got)
	}
	if got := names.Lookup(netip.MustParseAddr("192.0.2.66")); len(got) != 0 {
		t.Error(got)
	}
}

func TestResolvConfChanges(t *testing.T) {
	first := startUpstream(t, "127.0.0.1", 0, answering(0, "example.org. 60 A 192.0.2.1"))
	startUpstream(t, "127.0.0.2", first.port, answering(0, "example.org. 60 A 192.0.2.2"))
	dir := t.TempDir()
	path := filepath.Join(dir, "resolv.conf")
	write := func(name, content string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	r, _ := resolver(t, Options{ResolvConf: path})
	r.port = first.port
	check := func(about, want string) {
		t.Helper()
		r.conf.checked = r.conf.checked.Add(-checkEvery)
		if got := summary(t, r.Answer(t.Context(), ask(t, "example.org.", dnsmessage.TypeA), false)); got != "RCodeSuccess "+want {
			t.Errorf("%s: %s, want %s", about, got, want)
		}
	}
	check("no file is 127.0.0.1", "192.0.2.1")
	write("a", "nameserver 127.0.0.2\n")
	if err := os.Symlink("a", path); err != nil {
		t.Fatal(err)
	}
	check("a link", "192.0.2.2")
	write("b", "nameserver 127.0.0.1\n")
	if err := os.Rename(filepath.Join(dir, "b"), filepath.Join(dir, "a")); err != nil {
		t.Fatal(err)
	}
	check("another behind the link", "192.0.2.1")
	write("a", "nameserver 127.0.0.2 # longer\n")
	check("written in place", "192.0.2.2")
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	check("gone: the last is kept", "192.0.2.2")
	if err := os.Mkdir(path, 0o700); err != nil {
		t.Fatal(err)
	}
	check("no file: the last is kept", "192.0.2.2")
	if got := r.conf.nameservers(); got[0] != netip.MustParseAddr("127.0.0.2") {
		t.Error(got)
	}
}

func TestTooManyAtOnce(t *testing.T) {
	server := startUpstream(t, "127.0.0.1", 0, silent)
	r, _ := resolver(t, Options{}, server)
	r.slots = make(chan struct{}, 2)
	r.wait = time.Minute
	ctx, cancel := context.WithCancel(t.Context())
	var group sync.WaitGroup
	query := ask(t, "example.org.", dnsmessage.TypeA)
	for range 2 {
		group.Go(func() {
			if got := r.Answer(ctx, query, false); got != nil {
				t.Errorf("%x", got)
			}
		})
	}
	for strings.Count(server.asked(), "udp") < 2 {
		time.Sleep(time.Millisecond)
	}
	if got := r.Answer(t.Context(), query, false); got != nil {
		t.Errorf("%x", got)
	}
	cancel()
	group.Wait()
}

func TestClose(t *testing.T) {
	server := startUpstream(t, "127.0.0.1", 0, silent)
	r, _ := resolver(t, Options{}, server)
	r.wait = time.Minute
	var group sync.WaitGroup
	query := ask(t, "example.org.", dnsmessage.TypeA)
	group.Go(func() { r.Answer(context.Background(), query, false) })
	for server.asked() == "" {
		time.Sleep(time.Millisecond)
	}
	r.Close()
	r.Close()
	group.Wait()
	if got := r.Answer(t.Context(), query, false); got != nil {
		t.Errorf("%x", got)
	}
}
