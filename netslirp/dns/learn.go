package dns

import (
	"net/netip"
	"time"

	"golang.org/x/net/dns/dnsmessage"
)

// Bounds of what is taken from one answer: real ones are far smaller.
const (
	maxChain   = 16
	maxRecords = 1024
	maxAddrs   = 256
	minTTL     = time.Second
	maxTTL     = time.Hour
	hostTTL    = time.Minute // of names that were given, which do not change
)

type alias struct {
	target string
	ttl    uint32
}

type address struct {
	owner string
	addr  netip.Addr
	ttl   uint32
}

// fact says that a name leads to an address.
type fact struct {
	name string
	addr netip.Addr
	ttl  time.Duration
}

// learn gives what an answer says of the name that was asked for, and of those
// that its CNAMEs lead to. Records that no chain from the name reaches are as
// good as forged. A message that breaks off counts as far as it goes: the
// client may read it just so.
func learn(name string, message []byte) []fact {
	found := records(message)
	var facts []fact
	var chain []string
	ttl := uint32(maxTTL / time.Second)
	for len(chain) < maxChain {
		chain = append(chain, name)
		for _, a := range found.addrs {
			if a.owner != name {
				continue
			}
			for _, one := range chain {
				facts = append(facts, fact{name: one, addr: a.addr, ttl: max(minTTL, time.Duration(min(ttl, a.ttl))*time.Second)})
			}
		}
		next, has := found.aliases[name]
		if !has {
			break
		}
		delete(found.aliases, name) // a loop ends
		name, ttl = next.target, min(ttl, next.ttl)
	}
	return facts
}

// said is what the records of one answer say, each owner's first CNAME only.
type said struct {
	aliases map[string]alias
	addrs   []address
}

func records(message []byte) said {
	var parser dnsmessage.Parser
	s := said{aliases: map[string]alias{}}
	if _, err := parser.Start(message); err != nil || parser.SkipAllQuestions() != nil {
		return s
	}
	for range maxRecords {
		header, err := parser.AnswerHeader()
		if err != nil || len(s.addrs) == maxAddrs || s.add(&parser, header) != nil {
			break
		}
	}
	return s
}

func (s *said) add(parser *dnsmessage.Parser, header dnsmessage.ResourceHeader) error {
	owner := plainName(header.Name)
	switch {
	case header.Class != dnsmessage.ClassINET:
		return parser.SkipAnswer()
	case header.Type == dnsmessage.TypeCNAME:
		body, err := parser.CNAMEResource()
		if _, has := s.aliases[owner]; !has && err == nil {
			s.aliases[owner] = alias{plainName(body.CNAME), header.TTL}
		}
		return err
	case header.Type == dnsmessage.TypeA || header.Type == dnsmessage.TypeAAAA:
		addr, err := addrBody(parser, header.Type)
		if err == nil {
			s.addrs = append(s.addrs, address{owner, addr, header.TTL})
		}
		return err
	}
	return parser.SkipAnswer()
}

func addrBody(parser *dnsmessage.Parser, kind dnsmessage.Type) (netip.Addr, error) {
	if kind == dnsmessage.TypeA {
		body, err := parser.AResource()
		return netip.AddrFrom4(body.A), err
	}
	body, err := parser.AAAAResource()
	return netip.AddrFrom16(body.AAAA).Unmap(), err
}
