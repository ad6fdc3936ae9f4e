package dns

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/net/dns/dnsmessage"
)

// Options says where answers come from and what becomes of them. The functions
// are called from many goroutines at once; they get names in lower case with no
// dot at the end.
type Options struct {
	Nameservers []netip.Addr            // none for those of ResolvConf, read again when it changes
	ResolvConf  string                  // path of the host's resolv.conf
	Hosts       map[string][]netip.Addr // answered here, before anything else
	Learn       func(name string, addr netip.Addr, ttl time.Duration)
	Allowed     func(name string) bool // nil for every name
	Refused     func(name string)      // is told of each question that Allowed ended; may be nil
}

// Resolver answers questions; New makes one.
type Resolver struct {
	options Options
	conf    conf
	port    uint16
	wait    time.Duration // for one answer
	slots   chan struct{} // one for each question that is being answered

	closing   context.Context // ends every question, whosever it is
	cancel    context.CancelFunc
	closeOnce sync.Once
}

const (
	port     = 53
	wait     = 2 * time.Second
	rounds   = 2   // as resolv.conf(5) has attempts
	inFlight = 256 // questions; a client asks again for those that are dropped
)

// New returns a resolver. It holds no descriptor and runs no goroutine between
// questions.
func New(options Options) *Resolver {
	hosts := make(map[string][]netip.Addr, len(options.Hosts))
	for name, addrs := range options.Hosts {
		hosts[strings.TrimSuffix(asciiLower(name), ".")] = addrs
	}
	options.Hosts = hosts
	closing, cancel := context.WithCancel(context.Background())
	return &Resolver{
		options: options,
		conf:    conf{path: options.ResolvConf},
		port:    port,
		wait:    wait,
		slots:   make(chan struct{}, inFlight),
		closing: closing,
		cancel:  cancel,
	}
}

// Close ends the questions that are being answered, and waits for them. Later
// ones get no answer.
func (r *Resolver) Close() {
	r.closeOnce.Do(func() {
		r.cancel()
		for range cap(r.slots) {
			r.slots <- struct{}{}
		}
	})
}

// Answer gives the answer to a message of a client, or nil for none: when it is
// no question, or when too many are being answered. It is never larger than the
// client takes; what is gets the TC bit instead. A name that is not allowed is
// REFUSED rather than NXDOMAIN: it may well exist, and nobody caches this.
func (r *Resolver) Answer(ctx context.Context, message []byte, tcp bool) []byte {
	select {
	case r.slots <- struct{}{}:
	default:
		return nil
	}
	defer func() { <-r.slots }()

	q, err := parseQuery(message, tcp)
	switch {
	case q.header.Response || err != nil && !errors.Is(err, errFormat):
		return nil
	case err != nil:
		return q.reply(dnsmessage.RCodeFormatError, false, nil)
	}
	if code := q.refusal(); code != dnsmessage.RCodeSuccess {
		return q.reply(code, false, nil)
	}
	if addrs, has := r.options.Hosts[q.name]; has {
		return r.answerHost(&q, addrs)
	}
	if r.options.Allowed != nil && !r.options.Allowed(q.name) {
		if r.options.Refused != nil {
			r.options.Refused(q.name)
		}
		return q.reply(dnsmessage.RCodeRefused, false, nil)
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(r.closing, cancel)() //nolint:contextcheck // a question ends with its client or with the resolver
	return r.forward(ctx, &q, tcp)
}

// answerHost has an empty answer for the other family and every other type:
// the name exists, and the host's resolvers know nothing of it.
func (r *Resolver) answerHost(q *query, addrs []netip.Addr) []byte {
	var match []netip.Addr
	for _, addr := range addrs {
		addr = addr.Unmap().WithZone("")
		all := q.question.Type == dnsmessage.TypeALL
		if all || addr.Is4() && q.question.Type == dnsmessage.TypeA || addr.Is6() && q.question.Type == dnsmessage.TypeAAAA {
			match = append(match, addr)
			r.tell(fact{q.name, addr, hostTTL})
		}
	}
	return q.reply(dnsmessage.RCodeSuccess, false, match)
}

// forward asks the servers in turn, and all of them again before it gives up.
func (r *Resolver) forward(ctx context.Context, q *query, tcp bool) []byte {
	var refused []byte // better than an answer of our own: it may say why
	servers := r.servers()
	for range rounds {
		for _, server := range servers {
			answer, header, err := r.ask(ctx, server, q, tcp)
			switch {
			case ctx.Err() != nil:
				return nil
			case err != nil:
			case retries(header.RCode):
				refused = answer
			default:
				for _, one := range learn(q.name, answer) {
					r.tell(one)
				}
				return q.fit(answer)
			}
		}
	}
	if refused != nil && hasQuestion(refused) {
		return q.fit(refused)
	}
	return q.reply(dnsmessage.RCodeServerFailure, false, nil)
}

func (r *Resolver) servers() []netip.AddrPort {
	addrs := r.options.Nameservers
	if len(addrs) == 0 {
		addrs = r.conf.nameservers()
	}
	servers := make([]netip.AddrPort, 0, len(addrs))
	for _, addr := range addrs {
		if server := netip.AddrPortFrom(addr, r.port); !slices.Contains(servers, server) {
			servers = append(servers, server)
		}
	}
	return servers
}

func (r *Resolver) tell(f fact) {
	if r.options.Learn != nil {
		r.options.Learn(f.name, f.addr, f.ttl)
	}
}
