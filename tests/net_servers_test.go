package tests

import (
	"bufio"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// The ports of what is outside.
const (
	echoPort  = "7" // TCP and UDP
	httpPort  = "80"
	sumPort   = "9001" // reads all, and answers with a receipt
	pourPort  = "9002" // sends as much as asked for, and reads a receipt
	resetPort = "9003" // resets
	crowdPort = "9004" // holds
	deadPort  = "9999" // nobody
	housePort = "8080" // the host's own
)

// addresses are those at which everything is served.
func addresses() []string {
	return []string{peerAddr4, peerAddr6, farAddr4, farAddr6, thirdAddr, metadataAddr}
}

// hits counts who was reached, by address and port.
type hits struct {
	mutex sync.Mutex
	count map[string]int
}

func (h *hits) hit(what string) {
	h.mutex.Lock()
	defer h.mutex.Unlock()
	if h.count == nil {
		h.count = map[string]int{}
	}
	h.count[what]++
}

// all is a copy of the counts.
func (h *hits) all() map[string]int {
	h.mutex.Lock()
	defer h.mutex.Unlock()
	return maps.Clone(h.count)
}

func (h *hits) of(what string) int { return h.all()[what] }

// services are the servers outside.
type services struct {
	hits
	dns   hits           // questions: "udp who.test. A"
	sums  chan string    // receipts that clients sent
	files *http.ServeMux // more for the HTTP server to serve
}

// startServices starts every server at every address outside.
func startServices(t *testing.T, outside *place) *services {
	t.Helper()
	s := &services{sums: make(chan string, 64), files: http.NewServeMux()}
	s.files.HandleFunc("GET /hello", func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "hello from outside\n") })
	s.files.HandleFunc("GET /blob", blob)
	s.files.HandleFunc("PUT /sink", sink)
	for _, addr := range addresses() {
		for port, serve := range map[string]func(net.Conn){
			echoPort: echoConn, sumPort: sumConn, pourPort: s.pourConn, resetPort: resetConn, crowdPort: holdConn,
		} {
			acceptLoop(t, outside.listen(t, net.JoinHostPort(addr, port)), &s.hits, serve)
		}
		serveHTTP(t, outside.listen(t, net.JoinHostPort(addr, httpPort)), &s.hits, s.files)
		echoLoop(t, outside.packets(t, net.JoinHostPort(addr, echoPort)), &s.hits)
	}
	for _, addr := range []string{peerAddr4, peerAddr6, farAddr4, thirdAddr} {
		serveDNS(t, outside.packets(t, net.JoinHostPort(addr, "53")), outside.listen(t, net.JoinHostPort(addr, "53")), &s.dns)
	}
	return s
}

// startHouse starts servers in the host, at every address it has.
func startHouse(t *testing.T) *hits {
	t.Helper()
	h := &hits{}
	files := http.NewServeMux()
	files.HandleFunc("GET /", func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "hello from the host\n") })
	listener, err := net.Listen("tcp", ":"+housePort)
	if err != nil {
		t.Fatal(err)
	}
	serveHTTP(t, listener, h, files)
	packets, err := net.ListenPacket("udp", ":"+housePort)
	if err != nil {
		t.Fatal(err)
	}
	echoLoop(t, packets, h)
	return h
}

// listen makes a TCP listener there.
func (p *place) listen(t *testing.T, addr string) net.Listener {
	t.Helper()
	var listener net.Listener
	p.must(t, func() (err error) {
		listener, err = net.Listen("tcp", addr)
		return err
	})
	return listener
}

// packets makes a UDP socket there.
func (p *place) packets(t *testing.T, addr string) net.PacketConn {
	t.Helper()
	var conn net.PacketConn
	p.must(t, func() (err error) {
		conn, err = net.ListenPacket("udp", addr)
		return err
	})
	return conn
}

// dial connects from there; addr has no name.
func (p *place) dial(network, addr string) (conn net.Conn, err error) {
	err = p.do(func() (err error) {
		conn, err = net.DialTimeout(network, addr, longestWait)
		return err
	})
	return conn, err
}

func serveHTTP(t *testing.T, listener net.Listener, h *hits, files http.Handler) {
	server := &http.Server{Handler: files, ReadHeaderTimeout: longestWait, ConnState: func(conn net.Conn, state http.ConnState) {
		if state == http.StateNew {
			h.hit("tcp " + conn.LocalAddr().String())
		}
	}}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = server.Serve(listener)
	}()
	t.Cleanup(func() {
		_ = server.Close()
		<-ended
	})
}

// acceptLoop serves a listener's connections until the test ends.
func acceptLoop(t *testing.T, listener net.Listener, h *hits, serve func(net.Conn)) {
	var group sync.WaitGroup
	var open sync.Map
	group.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			h.hit("tcp " + conn.LocalAddr().String())
			open.Store(conn, nil)
			group.Go(func() {
				serve(conn)
				_ = conn.Close()
				open.Delete(conn)
			})
		}
	})
	t.Cleanup(func() {
		_ = listener.Close()
		open.Range(func(conn, _ any) bool {
			if conn, ok := conn.(net.Conn); ok {
				_ = conn.Close()
			}
			return true
		})
		group.Wait()
	})
}

func echoLoop(t *testing.T, packets net.PacketConn, h *hits) {
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		text := make([]byte, 1<<16)
		for {
			n, from, err := packets.ReadFrom(text)
			if errors.Is(err, net.ErrClosed) {
				return
			}
			if err == nil {
				h.hit("udp " + packets.LocalAddr().String())
				_, _ = packets.WriteTo(text[:n], from)
			}
		}
	}()
	t.Cleanup(func() {
		_ = packets.Close()
		<-ended
	})
}

func echoConn(conn net.Conn) { _, _ = io.Copy(conn, conn) }

func holdConn(conn net.Conn) { _, _ = io.Copy(io.Discard, conn) }

// resetConn lets the client's side get ready to read first.
func resetConn(conn net.Conn) {
	time.Sleep(20 * time.Millisecond)
	if tcp, ok := conn.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0)
	}
}

// sumConn reads until the client closes its half.
func sumConn(conn net.Conn) {
	sum := sha256.New()
	if n, err := io.Copy(sum, conn); err == nil {
		_, _ = fmt.Fprintf(conn, "%d %x\n", n, sum.Sum(nil))
	}
}

// pourConn closes its own half first, and reads what the client says then.
func (s *services) pourConn(conn net.Conn) {
	tcp, ok := conn.(*net.TCPConn)
	if !ok {
		return
	}
	lines := bufio.NewReader(conn)
	line, err := lines.ReadString('\n')
	n, numberErr := strconv.ParseInt(strings.TrimSpace(line), 10, 64)
	if errors.Join(err, numberErr) != nil {
		return
	}
	if _, err := io.Copy(conn, stream(n)); err != nil {
		return
	}
	_ = tcp.CloseWrite()
	receipt, _ := lines.ReadString('\n')
	s.sums <- receipt
}

// stream is what tests/netsite knows too.
func stream(n int64) io.Reader { return io.LimitReader(rand.NewChaCha8([32]byte{}), n) }

// receipt is what either side says of a stream that came whole.
func receipt(n int64) string {
	sum := sha256.New()
	_, _ = io.Copy(sum, stream(n))
	return fmt.Sprintf("%d %x\n", n, sum.Sum(nil))
}

// blob serves ?n= bytes of the stream.
func blob(w http.ResponseWriter, r *http.Request) {
	n, err := strconv.ParseInt(r.FormValue("n"), 10, 64)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	w.Header().Set("Content-Length", strconv.FormatInt(n, 10))
	_, _ = io.Copy(w, stream(n))
}

// sink answers with the sum of what is sent.
func sink(w http.ResponseWriter, r *http.Request) {
	sum := sha256.New()
	if n, err := io.Copy(sum, r.Body); err == nil {
		_, _ = fmt.Fprintf(w, "%d %x\n", n, sum.Sum(nil))
	}
}
