package registry

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
	"oras.land/oras-go/v2/registry/remote/auth"
	"oras.land/oras-go/v2/registry/remote/errcode"
)

// endpoint is a repository at a registry, and how to ask it.
type endpoint struct {
	place

	scheme     string
	client     *auth.Client
	credential auth.Credential
	unverified bool
	pace       pace
}

// pace is how long to wait for a registry.
type pace struct {
	stall time.Duration // without progress; then the connection is given up
	pause time.Duration // before it is tried again, at first
}

const (
	tries   = 5       // in a row, of which none has come far
	advance = 1 << 20 // is far, in bytes
	trickle = 4 << 10 // bytes in the time of a stall are progress
)

func newEndpoint(p place, trust *tls.Config, credential auth.Credential, unverified bool, u user) *endpoint {
	if p.host == hub {
		p.host = hubServer
	}
	e := &endpoint{place: p, scheme: "https", credential: credential, unverified: unverified}
	e.pace = pace{stall: 30 * time.Second, pause: 500 * time.Millisecond}
	e.client = &auth.Client{
		Client: &http.Client{
			Transport:     newRoute(p.host, trust, unverified, u.getenv),
			CheckRedirect: followed,
		},
		Header:   http.Header{"User-Agent": {"bryo"}},
		Cache:    auth.NewCache(),
		ClientID: "bryo",
		Credential: func(_ context.Context, hostport string) (auth.Credential, error) {
			if hostport != e.host {
				return auth.EmptyCredential, nil
			}
			return e.credential, nil
		},
	}
	return e
}

func (e *endpoint) String() string { return e.host + "/" + e.repository }

// settle finds out what a registry on this machine speaks; all others speak
// HTTPS. No credentials are sent before.
func (e *endpoint) settle(ctx context.Context) error {
	if !isLoopback(e.host) {
		return nil
	}
	return e.again(ctx, func() (int64, error) { return 0, e.greet(ctx) })
}

func (e *endpoint) greet(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, e.pace.stall)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://"+e.host+"/v2/", http.NoBody)
	if err != nil {
		return err
	}
	resp, err := e.client.Client.Transport.RoundTrip(req)
	if err == nil {
		return resp.Body.Close()
	}
	if _, is := errors.AsType[tls.RecordHeaderError](err); is || strings.Contains(err.Error(), "server gave HTTP response to HTTPS client") {
		e.scheme = "http"
		return nil
	}
	return e.explain(err)
}

// answer is what a registry sends. Its body is given up if it stalls, or if the
// answer is closed.
type answer struct {
	*http.Response

	watch *watch
}

func (a *answer) Read(p []byte) (int, error) {
	n, err := a.Body.Read(p)
	a.watch.progress(n)
	if err != nil && !errors.Is(err, io.EOF) {
		err = &interruptedError{a.watch.cause(err)}
	}
	return n, err
}

func (a *answer) close() {
	_ = a.Body.Close()
	a.watch.stop()
}

// interruptedError is an answer that broke off.
type interruptedError struct{ cause error }

func (e *interruptedError) Error() string {
	return "the registry's answer broke off: " + e.cause.Error()
}

func (e *interruptedError) Unwrap() error { return e.cause }

// get asks for something below the repository.
func (e *endpoint) get(ctx context.Context, below string, header http.Header) (*answer, error) {
	ctx, w := watchOver(ctx, e.pace.stall)
	ctx = auth.WithScopes(ctx, auth.ScopeRepository(e.repository, auth.ActionPull))
	to := url.URL{Scheme: e.scheme, Host: e.host, Path: "/v2/" + e.repository + below}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, to.String(), http.NoBody)
	if err != nil {
		w.stop()
		return nil, err
	}
	req.Header = header
	resp, err := e.client.Do(req)
	if err != nil {
		w.stop()
		return nil, e.explain(w.cause(err))
	}
	a := &answer{resp, w}
	if resp.StatusCode != http.StatusOK && resp.StatusCode != http.StatusPartialContent {
		defer a.close()
		return nil, newStatusError(a)
	}
	return a, nil
}

// watch ends a context when there has been no progress for a time.
type watch struct {
	ctx    context.Context //nolint:containedctx // it is the one that is watched over
	cancel context.CancelCauseFunc
	stall  time.Duration
	timer  *time.Timer
	read   atomic.Int64
}

var errStalled = errors.New("the registry sends nothing more")

func watchOver(ctx context.Context, stall time.Duration) (context.Context, *watch) {
	w := &watch{stall: stall}
	w.ctx, w.cancel = context.WithCancelCause(ctx)
	w.timer = time.AfterFunc(stall, func() { w.cancel(errStalled) })
	return w.ctx, w
}

func (w *watch) progress(n int) {
	if w.read.Add(int64(n)) >= trickle {
		w.read.Store(0)
		w.timer.Reset(w.stall)
	}
}

func (w *watch) stop() {
	w.timer.Stop()
	w.cancel(nil)
}

// cause is why a request really failed.
func (w *watch) cause(err error) error {
	if cause := context.Cause(w.ctx); cause != nil && errors.Is(err, context.Canceled) {
		return cause
	}
	return err
}

// statusError is a registry that says no.
type statusError struct {
	code  int
	after time.Duration // when to ask again, if it says so
	text  string
}

func (e *statusError) Error() string {
	text := http.StatusText(e.code)
	if text == "" || e.text != "" {
		text = e.text
	}
	return fmt.Sprintf("the registry answers %d: %s", e.code, text)
}

func newStatusError(a *answer) *statusError {
	const most = 8 << 10
	e := &statusError{code: a.StatusCode}
	if seconds, err := strconv.ParseUint(a.Header.Get("Retry-After"), 10, 16); err == nil {
		e.after = time.Duration(seconds) * time.Second
	}
	var said struct {
		Errors errcode.Errors `json:"errors"`
	}
	if json.NewDecoder(io.LimitReader(a, most)).Decode(&said) == nil && len(said.Errors) > 0 {
		const short = 200
		first := errcode.Error{Code: said.Errors[0].Code, Message: said.Errors[0].Message}
		e.text = first.Error()[:min(len(first.Error()), short)]
	}
	return e
}

// again tries something until it succeeds, or trying is of no use any more. What
// is tried says how far it came.
func (e *endpoint) again(ctx context.Context, try func() (gained int64, err error)) error {
	const longest = time.Minute
	pause := e.pace.pause
	for n := 1; ; n++ {
		gained, err := try()
		if err == nil || ctx.Err() != nil || !temporary(err) {
			return err
		}
		if gained >= advance {
			n, pause = 1, e.pace.pause
		}
		if n == tries {
			return fmt.Errorf("%w (tried %d times)", err, tries)
		}
		wait := pause/2 + rand.N(pause) //nolint:gosec // so that many do not come at once
		if status, is := errors.AsType[*statusError](err); is {
			wait = max(wait, min(status.after, longest))
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(wait):
		}
		pause *= 2
	}
}

// temporary says whether it may be otherwise next time.
func temporary(err error) bool {
	if status, is := errors.AsType[*statusError](err); is {
		return busy(status.code)
	}
	if response, is := errors.AsType[*errcode.ErrorResponse](err); is { // of a token server
		return busy(response.StatusCode)
	}
	if isRefused(err) || errors.Is(err, context.Canceled) {
		return false
	}
	if _, is := errors.AsType[*interruptedError](err); is {
		return true
	}
	if network, is := errors.AsType[net.Error](err); is && network.Timeout() {
		return true
	}
	for _, broken := range []error{errStalled, io.EOF, io.ErrUnexpectedEOF, unix.ECONNRESET, unix.EPIPE} {
		if errors.Is(err, broken) {
			return true
		}
	}
	text := err.Error() // HTTP/2 has no types to ask for
	return strings.Contains(text, "http2: ") || strings.Contains(text, "stream error: ")
}

// busy says whether a status is about the server, and not about what it was asked.
func busy(status int) bool {
	switch status {
	case http.StatusRequestTimeout, http.StatusTooEarly, http.StatusTooManyRequests, http.StatusInternalServerError,
		http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		return true
	}
	return false
}

// explain says what a user can do about a connection that cannot be had.
func (e *endpoint) explain(err error) error {
	if refused, is := errors.AsType[*refusedError](err); is {
		return refused
	}
	var name *net.DNSError
	_, certificate := errors.AsType[*tls.CertificateVerificationError](err)
	_, record := errors.AsType[tls.RecordHeaderError](err)
	switch {
	case errors.Is(err, auth.ErrBasicCredentialNotFound):
		return fmt.Errorf("%s asks for credentials\nfix: podman login %s, or docker login %s", e.host, e.host, e.host)
	case certificate:
		return fmt.Errorf("%s: %w\nfix: put the certificate of its authority in ~/.config/containers/certs.d/%s/ca.crt", e.host, rootCause(err), e.host)
	case record, strings.Contains(err.Error(), "server gave HTTP response to HTTPS client"):
		return fmt.Errorf("%s does not speak https, and plain http is for this machine only\nfix: have it speak https", e.host)
	case errors.Is(err, unix.ECONNREFUSED):
		return fmt.Errorf("%s: nobody serves there: %w\nfix: look at the registry's name and port", e.host, unix.ECONNREFUSED)
	case errors.As(err, &name):
		return fmt.Errorf("%s: %w\nfix: look at the registry's name and at your network", e.host, name)
	}
	if response, is := errors.AsType[*errcode.ErrorResponse](err); is && (response.StatusCode == http.StatusUnauthorized || response.StatusCode == http.StatusForbidden) {
		return fmt.Errorf("%s does not take the credentials\nfix: podman login %s, or docker login %s", e.host, e.host, e.host)
	}
	if request, is := errors.AsType[*url.Error](err); is { // whose URL may have a signature in it
		err = request.Err
	}
	return fmt.Errorf("%s: %w", e.host, err)
}

func rootCause(err error) error {
	for {
		inner := errors.Unwrap(err)
		if inner == nil {
			return err
		}
		err = inner
	}
}
