package registry

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/net/http/httpproxy"
)

// route is how requests of one registry travel. The user has named the registry,
// and perhaps a proxy; every other server is the registry's word, in a redirect
// or as where to fetch a token.
type route struct {
	host  string            // of the registry, as in a URL
	named http.RoundTripper // to it
	other http.RoundTripper // to all others
}

// RoundTrip implements http.RoundTripper. Plain HTTP does not leave this machine.
func (r *route) RoundTrip(req *http.Request) (*http.Response, error) {
	if req.URL.Scheme != "https" && (req.URL.Scheme != "http" || !isLoopback(req.URL.Host)) {
		return nil, &refusedError{fmt.Sprintf("the registry leads to %s, which is not https", where(req.URL))}
	}
	if req.URL.Host == r.host {
		return r.named.RoundTrip(req)
	}
	return r.other.RoundTrip(req)
}

// where is a URL without what is not for others to see: names and queries with
// signatures.
func where(u *url.URL) string { return u.Scheme + "://" + u.Host }

// isLoopback tells by its name that a host is this machine.
func isLoopback(host string) bool {
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	if host == "localhost" {
		return true
	}
	address, err := netip.ParseAddr(strings.Trim(host, "[]"))
	return err == nil && address.Unmap().IsLoopback()
}

// newRoute has no effects. trust is of the registry; others have to be in it, too, but
// do not see the user's own certificates.
func newRoute(host string, trust *tls.Config, unverified bool, getenv func(string) string) *route {
	proxies := proxySettings(getenv)
	inner := isLoopback(host)
	here := &atomic.Bool{} // the registry is on this machine, whatever it is called
	here.Store(inner)
	own := trust.Clone()
	own.InsecureSkipVerify = unverified && inner
	others := trust.Clone()
	others.Certificates = nil
	return &route{
		host:  host,
		named: transport(own, proxies, noted(here)),
		other: transport(others, proxies, guardedDial(inner, here, proxies)),
	}
}

const dialPatience = 20 * time.Second

type dialFunc = func(ctx context.Context, network, address string) (net.Conn, error)

func transport(trust *tls.Config, proxies *httpproxy.Config, dial dialFunc) *http.Transport {
	const headers = 64 << 10
	choose := proxies.ProxyFunc()
	return &http.Transport{
		Proxy:                  func(req *http.Request) (*url.URL, error) { return choose(req.URL) },
		DialContext:            dial,
		TLSClientConfig:        trust,
		TLSHandshakeTimeout:    dialPatience,
		ForceAttemptHTTP2:      true,
		DisableCompression:     true, // digests are of what is sent
		MaxResponseHeaderBytes: headers,
		MaxIdleConnsPerHost:    downloads,
		IdleConnTimeout:        dialPatience,
	}
}

// proxySettings are the usual variables, as curl and others read them.
func proxySettings(getenv func(string) string) *httpproxy.Config {
	either := func(name string) string {
		if value := getenv(name); value != "" {
			return value
		}
		return getenv(strings.ToLower(name))
	}
	return &httpproxy.Config{HTTPProxy: either("HTTP_PROXY"), HTTPSProxy: either("HTTPS_PROXY"), NoProxy: either("NO_PROXY")}
}

// dialNamed connects to the registry that the user has named. A name of this
// machine has to mean it: plain HTTP may follow.
func dialNamed(ctx context.Context, network, address string) (net.Conn, error) {
	d := &net.Dialer{Timeout: dialPatience}
	if isLoopback(address) {
		d.Control = checkAddress(func(ip netip.Addr) bool { return ip.IsLoopback() })
	}
	return d.DialContext(ctx, network, address)
}

// noted is dialNamed, and notes whether that has led to this machine.
func noted(here *atomic.Bool) dialFunc {
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		c, err := dialNamed(ctx, network, address)
		if err == nil && isOwn(c) {
			here.Store(true)
		}
		return c, err
	}
}

// isOwn says whether a connection leads to the address that it comes from, as one
// to an address of this machine's own does.
func isOwn(c net.Conn) bool {
	from, ok := c.LocalAddr().(*net.TCPAddr)
	to, too := c.RemoteAddr().(*net.TCPAddr)
	return ok && too && from.IP.Equal(to.IP)
}

// guardedDial connects to servers that a registry has named: not to this machine,
// unless the registry is on it itself, nor to what only the machine's own network
// has, as a cloud's metadata service. It looks at addresses, which no name can
// change afterwards. A proxy is the user's word.
func guardedDial(inner bool, here *atomic.Bool, proxies *httpproxy.Config) dialFunc {
	named := []string{proxyAddress(proxies.HTTPProxy), proxyAddress(proxies.HTTPSProxy)}
	guarded := &net.Dialer{Timeout: dialPatience, Control: checkAddress(func(ip netip.Addr) bool {
		return (inner || !ip.IsLoopback()) && !ip.IsLinkLocalUnicast() && !ip.IsUnspecified() && !ip.IsMulticast()
	})}
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		if slices.Contains(named, address) || inner && isLoopback(address) {
			return dialNamed(ctx, network, address)
		}
		c, err := guarded.DialContext(ctx, network, address)
		if err == nil && isOwn(c) && !here.Load() {
			err = errors.Join(refuse("the registry leads to this machine, by %s", address), c.Close())
		}
		if err != nil {
			return nil, err
		}
		return c, nil
	}
}

// checkAddress has a dialer refuse what a name has turned out to be.
func checkAddress(allowed func(netip.Addr) bool) func(network, address string, _ syscall.RawConn) error {
	return func(_, address string, _ syscall.RawConn) error {
		to, err := netip.ParseAddrPort(address)
		if err == nil && !allowed(to.Addr().Unmap()) {
			err = refuse("the registry leads to %s, where it may not lead you", to.Addr())
		}
		return err
	}
}

// proxyAddress is what a proxy is dialled as.
func proxyAddress(text string) string {
	if text == "" {
		return ""
	}
	u, err := url.Parse(text)
	if err != nil || u.Host == "" {
		if u, err = url.Parse("http://" + text); err != nil {
			return ""
		}
	}
	port := u.Port()
	if port == "" {
		port = map[string]string{"http": "80", "https": "443", "socks5": "1080", "socks5h": "1080"}[u.Scheme]
	}
	return net.JoinHostPort(u.Hostname(), port)
}

// refusedError is what a registry did that no registry has reason to do. Trying
// again is of no use.
type refusedError struct{ why string }

func (e *refusedError) Error() string { return e.why }

func refuse(format string, args ...any) error { return &refusedError{fmt.Sprintf(format, args...)} }

// followed bounds redirects; route and dialling look at where they lead, and the
// library takes credentials from those that lead elsewhere.
func followed(_ *http.Request, via []*http.Request) error {
	const most = 5
	if len(via) > most {
		return refuse("the registry redirects without end")
	}
	return nil
}

func isRefused(err error) bool {
	_, is := errors.AsType[*refusedError](err)
	return is
}
