package dns

import (
	"encoding/binary"
	"errors"
	"net/netip"
	"strings"

	"golang.org/x/net/dns/dnsmessage"
)

const (
	headerSize   = 12
	maxQuery     = 4096
	minUDP       = 512  // RFC 1035, without EDNS
	maxUDP       = 1232 // no fragments on any path: DNS flag day 2020
	maxTCP       = 65535
	typeIXFR     = dnsmessage.Type(251)
	maxQueryOpts = 4 // additional records; OPT, and TSIG perhaps
)

// query is what of a client's message counts.
type query struct {
	header   dnsmessage.Header
	question dnsmessage.Question
	name     string // of the question, lower case, no dot at the end
	edns     bool
	size     int // of the answer the client takes
	dnssec   bool
}

var errFormat = errors.New("not one plain question")

// parseQuery reads a message of a client. Without an error the question is
// whole; with errFormat at least the header is.
func parseQuery(message []byte, tcp bool) (query, error) {
	var (
		parser dnsmessage.Parser
		q      query
		err    error
	)
	if q.header, err = parser.Start(message); err != nil {
		return q, err
	}
	q.size = minUDP
	if tcp {
		q.size = maxTCP
	}
	if len(message) > maxQuery || !plainCounts(message) {
		return q, errFormat
	}
	if q.question, err = parser.Question(); err != nil {
		return q, errFormat
	}
	q.name = plainName(q.question.Name)
	if parser.SkipAllQuestions() != nil || parser.SkipAllAnswers() != nil || parser.SkipAllAuthorities() != nil {
		return q, errFormat
	}
	return q, q.readOptions(&parser, tcp)
}

// plainCounts says that there is one question and no answer to it.
func plainCounts(message []byte) bool {
	count := func(i int) int { return int(binary.BigEndian.Uint16(message[4+2*i:])) }
	return count(0) == 1 && count(1) == 0 && count(2) == 0 && count(3) <= maxQueryOpts
}

func (q *query) readOptions(parser *dnsmessage.Parser, tcp bool) error {
	for {
		header, err := parser.AdditionalHeader()
		switch {
		case errors.Is(err, dnsmessage.ErrSectionDone):
			return nil
		case err != nil:
			return errFormat
		case header.Type == dnsmessage.TypeOPT && q.edns:
			return errFormat // RFC 6891: one at most
		case header.Type == dnsmessage.TypeOPT:
			q.edns, q.dnssec = true, header.DNSSECAllowed()
			if !tcp {
				q.size = max(minUDP, int(header.Class))
			}
		}
		if parser.SkipAdditional() != nil {
			return errFormat
		}
	}
}

// refusal is the code for questions that are not passed on: other classes tell
// about the resolver itself, transfers are not for clients.
func (q *query) refusal() dnsmessage.RCode {
	switch {
	case q.header.OpCode != 0:
		return dnsmessage.RCodeNotImplemented
	case q.question.Class != dnsmessage.ClassINET:
		return dnsmessage.RCodeRefused
	case q.question.Type == dnsmessage.TypeAXFR || q.question.Type == typeIXFR:
		return dnsmessage.RCodeRefused
	}
	return dnsmessage.RCodeSuccess
}

// forward writes the question anew, for a resolver.
func (q *query) forward(id uint16) ([]byte, error) {
	builder := dnsmessage.NewBuilder(make([]byte, 0, minUDP), dnsmessage.Header{
		ID:               id,
		RecursionDesired: q.header.RecursionDesired,
		AuthenticData:    q.header.AuthenticData,
		CheckingDisabled: q.header.CheckingDisabled,
	})
	if err := errors.Join(builder.StartQuestions(), builder.Question(q.question)); err != nil {
		return nil, err
	}
	if err := q.addOPT(&builder, min(q.size, maxUDP)); err != nil {
		return nil, err
	}
	return builder.Finish()
}

// reply answers without a resolver.
func (q *query) reply(code dnsmessage.RCode, truncated bool, addrs []netip.Addr) []byte {
	builder := dnsmessage.NewBuilder(make([]byte, 0, minUDP), dnsmessage.Header{
		ID:                 q.header.ID,
		Response:           true,
		OpCode:             q.header.OpCode,
		Truncated:          truncated,
		RecursionDesired:   q.header.RecursionDesired,
		RecursionAvailable: true,
		CheckingDisabled:   q.header.CheckingDisabled,
		RCode:              code,
	})
	var err error
	if q.question.Name.Length > 0 {
		err = errors.Join(builder.StartQuestions(), builder.Question(q.question))
	}
	if len(addrs) > 0 {
		err = errors.Join(err, q.addAddrs(&builder, addrs))
	}
	err = errors.Join(err, q.addOPT(&builder, maxUDP))
	message, finishErr := builder.Finish()
	if errors.Join(err, finishErr) != nil {
		return nil
	}
	if len(message) > q.size && !truncated {
		return q.reply(code, true, nil)
	}
	return message
}

func (q *query) addAddrs(builder *dnsmessage.Builder, addrs []netip.Addr) error {
	if err := builder.StartAnswers(); err != nil {
		return err
	}
	header := dnsmessage.ResourceHeader{Name: q.question.Name, Class: dnsmessage.ClassINET, TTL: uint32(hostTTL.Seconds())}
	for _, addr := range addrs {
		var err error
		if addr.Is4() {
			err = builder.AResource(header, dnsmessage.AResource{A: addr.As4()})
		} else {
			err = builder.AAAAResource(header, dnsmessage.AAAAResource{AAAA: addr.As16()})
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// addOPT answers EDNS with EDNS, and asks with it who was asked with it.
func (q *query) addOPT(builder *dnsmessage.Builder, size int) error {
	if !q.edns {
		return nil
	}
	var header dnsmessage.ResourceHeader
	if err := header.SetEDNS0(size, dnsmessage.RCodeSuccess, q.dnssec); err != nil {
		return err
	}
	return errors.Join(builder.StartAdditionals(), builder.OPTResource(header, dnsmessage.OPTResource{}))
}

// fit gives a resolver's answer the client's id, and if it is larger than the
// client takes, only says so.
func (q *query) fit(answer []byte) []byte {
	if len(answer) > q.size {
		return q.reply(dnsmessage.RCodeSuccess, true, nil)
	}
	binary.BigEndian.PutUint16(answer, q.header.ID)
	return answer
}

// answers says whether a message is the answer to the question, sent with id.
// A resolver that fails need not repeat the question.
func (q *query) answers(message []byte, id uint16) (dnsmessage.Header, bool) {
	var parser dnsmessage.Parser
	header, err := parser.Start(message)
	if err != nil || header.ID != id || !header.Response || header.OpCode != 0 {
		return header, false
	}
	if binary.BigEndian.Uint16(message[4:]) == 0 {
		return header, retries(header.RCode)
	}
	question, err := parser.Question()
	return header, err == nil && binary.BigEndian.Uint16(message[4:]) == 1 &&
		question.Type == q.question.Type && question.Class == q.question.Class && plainName(question.Name) == q.name
}

// retries says that another resolver may know better.
func retries(code dnsmessage.RCode) bool {
	switch code {
	case dnsmessage.RCodeFormatError, dnsmessage.RCodeServerFailure, dnsmessage.RCodeNotImplemented, dnsmessage.RCodeRefused:
		return true
	case dnsmessage.RCodeSuccess, dnsmessage.RCodeNameError:
	}
	return false
}

func plainName(name dnsmessage.Name) string {
	return strings.TrimSuffix(asciiLower(string(name.Data[:name.Length])), ".")
}

// asciiLower leaves other bytes alone, unlike strings.ToLower, which maps some
// onto letters.
func asciiLower(name string) string {
	out := []byte(name)
	for i, c := range out {
		if 'A' <= c && c <= 'Z' {
			out[i] = c + 'a' - 'A'
		}
	}
	return string(out)
}
