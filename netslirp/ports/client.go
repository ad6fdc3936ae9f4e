package ports

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/rootless-containers/rootlesskit/v3/pkg/api/client"
	"github.com/rootless-containers/rootlesskit/v3/pkg/port"
	"golang.org/x/sys/unix"

	"bryo/netslirp"
)

// Client asks a container's network, over the socket that Serve answers on.
// What that one says is not trusted: it has read the container's packets.
type Client struct {
	manager port.Manager
}

// Dial makes a client of the socket at a path.
func Dial(path string) *Client {
	dialer := &net.Dialer{}
	connect := func(ctx context.Context, _, _ string) (net.Conn, error) {
		short, done, err := shorten(path)
		if err != nil {
			return nil, err
		}
		defer done()
		conn, err := dialer.DialContext(ctx, "unix", short)
		if err != nil {
			return nil, err
		}
		if peer, is := conn.(*net.UnixConn); !is || !own(peer) {
			return nil, errors.Join(fmt.Errorf("%s is not listened at by a process of yours", path), conn.Close())
		}
		return conn, nil
	}
	const patience = 30 * time.Second
	transport := &http.Transport{DialContext: connect, DisableKeepAlives: true}
	return &Client{client.NewWithHTTPClient(&http.Client{Transport: bounded{transport}, Timeout: patience}).PortManager()}
}

// bounded reads answers of a limited length.
type bounded struct{ http.RoundTripper }

// RoundTrip implements http.RoundTripper.
func (b bounded) RoundTrip(request *http.Request) (*http.Response, error) {
	const longest = 4 << 20
	response, err := b.RoundTripper.RoundTrip(request)
	if err == nil {
		response.Body = http.MaxBytesReader(nil, response.Body, longest)
	}
	return response, err
}

// List gives all ports.
func (c *Client) List(ctx context.Context) ([]netslirp.Published, error) {
	statuses, err := c.manager.ListPorts(ctx)
	if err != nil {
		return nil, unanswered(err)
	}
	list := make([]netslirp.Published, 0, len(statuses))
	for i := range statuses {
		one, err := parseStatus(&statuses[i])
		if err != nil {
			return nil, err
		}
		list = append(list, one)
	}
	slices.SortFunc(list, func(a, b netslirp.Published) int { return a.ID - b.ID })
	return list, nil
}

// Add publishes a port, and returns it with the host's port that was chosen.
func (c *Client) Add(ctx context.Context, publish netslirp.Publish) (netslirp.Published, error) {
	const tries = 16 // until a free port is still free
	for try := 0; ; try++ {
		chosen := publish
		if chosen.HostPort == 0 {
			free, err := freePort(publish)
			if err != nil {
				return netslirp.Published{}, fmt.Errorf("publish %s: %w", publish, err)
			}
			chosen.HostPort = free
		}
		status, err := c.manager.AddPort(ctx, spec(chosen))
		switch {
		case err == nil:
			return parseStatus(status)
		case publish.HostPort == 0 && strings.Contains(err.Error(), "address already in use") && try < tries:
		default:
			return netslirp.Published{}, unanswered(err)
		}
	}
}

// Remove ends what has the number.
func (c *Client) Remove(ctx context.Context, id int) error {
	return unanswered(c.manager.RemovePort(ctx, id))
}

// unanswered explains why nobody answers; other errors are the other side's own.
func unanswered(err error) error {
	if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ECONNREFUSED) {
		return errors.New("the container's network has ended\nfix: bryo ps shows whether the container runs")
	}
	return err
}

// parseStatus reads what the other side says of a port.
func parseStatus(status *port.Status) (netslirp.Published, error) {
	s := &status.Spec
	addr, err := netip.ParseAddr(s.ParentIP)
	family := strings.TrimRight(s.Proto, "46")
	const last = 1<<16 - 1
	if err != nil || addr.Zone() != "" || (family != "tcp" && family != "udp") || s.ParentPort <= 0 || s.ParentPort > last || s.ChildPort <= 0 || s.ChildPort > last {
		return netslirp.Published{}, fmt.Errorf("the container's network tells of a port that is none: %q", fmt.Sprint(*s))
	}
	p := netslirp.Published{ID: status.ID, Publish: netslirp.Publish{HostIP: addr, HostPort: uint16(s.ParentPort), ChildPort: uint16(s.ChildPort), Protocol: netslirp.TCP}}
	if family == "udp" {
		p.Protocol = netslirp.UDP
	}
	return p, nil
}
