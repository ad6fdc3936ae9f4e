package ports

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"sync"
	"time"

	"github.com/rootless-containers/rootlesskit/v3/pkg/api/router"
	"golang.org/x/sys/unix"
)

// Listen makes the socket that ports are added and removed through, in place of
// one of the user's that nobody listens at any more.
func Listen(path string) (net.Listener, error) {
	listener, err := listenAlone(path)
	if errors.Is(err, unix.EADDRINUSE) {
		if unlock, cleared := clearStale(path); cleared {
			listener, err = listenAlone(path)
			unlock()
		}
	}
	if errors.Is(err, unix.EADDRINUSE) {
		return nil, fmt.Errorf("--port-socket %s: there is a file of that name\nfix: remove it, if no container uses it, or choose another name", path)
	}
	if err != nil {
		return nil, fmt.Errorf("--port-socket %s: %w", path, errors.Unwrap(err))
	}
	listener.SetUnlinkOnClose(false) // it would remove whatever has the name by then
	socket, err := Pin(path)
	if err != nil {
		_ = listener.Close()
		return nil, fmt.Errorf("--port-socket %w", err)
	}
	return &ownOnly{UnixListener: listener, socket: socket}, nil
}

// listenAlone makes it the user's alone from the first moment on: the umask is
// 0177 while it is made, before there is any other thread that makes files.
func listenAlone(path string) (*net.UnixListener, error) {
	const others = 0o177
	short, done, err := shorten(path)
	if err != nil {
		return nil, err
	}
	defer done()
	defer unix.Umask(unix.Umask(others))
	return net.ListenUnix("unix", &net.UnixAddr{Name: short, Net: "unix"})
}

// ownOnly accepts connections of the user's own processes.
type ownOnly struct {
	*net.UnixListener
	socket *Socket
	once   sync.Once
}

// Close implements net.Listener.
func (l *ownOnly) Close() error {
	l.once.Do(l.socket.Remove)
	return l.UnixListener.Close()
}

// Accept implements net.Listener.
func (l *ownOnly) Accept() (net.Conn, error) {
	for {
		conn, err := l.AcceptUnix()
		if err != nil {
			return nil, err
		}
		if own(conn) {
			return conn, nil
		}
		_ = conn.Close()
	}
}

// own asks the kernel who is at the other end: SO_PEERCRED of unix(7).
func own(conn *net.UnixConn) bool {
	raw, err := conn.SyscallConn()
	if err != nil {
		return false
	}
	var peer *unix.Ucred
	var failed error
	err = raw.Control(func(fd uintptr) { peer, failed = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED) })
	return err == nil && failed == nil && int(peer.Uid) == os.Geteuid()
}

// Serve answers rootlesskit's interface, which rootlessctl speaks, until the
// context is done.
func (p *Ports) Serve(ctx context.Context, listener net.Listener) error {
	const (
		most     = 32
		longest  = 64 << 10
		patience = 10 * time.Second
	)
	mux := http.NewServeMux()
	router.AddRoutes(mux, &router.Backend{PortDriver: manager{p}})
	server := &http.Server{
		Handler: http.MaxBytesHandler(mux, longest), ReadTimeout: patience, WriteTimeout: patience, IdleTimeout: patience, MaxHeaderBytes: longest,
	}
	stop := context.AfterFunc(ctx, func() { _ = server.Close() })
	defer stop()
	if err := server.Serve(limit(listener, most)); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}
