package main

import (
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// What a client asks a server for is the first byte of its connection:
//
//	+------+-----------------+
//	| 's'  | milliseconds, 4 |  sink: takes data that long, answers with their count, 8
//	| 'S'  |                 |  source: sends until the client closes
//	| 'e'  |                 |  echo: a byte for each byte
//	| 'c'  |                 |  one byte back
//	| 'u'  | test, 8         |  how many datagrams of that test came, 8
//	+------+-----------------+
//
// A datagram begins with the number of its test, 8.
const (
	askSink   = 's'
	askSource = 'S'
	askEcho   = 'e'
	askOne    = 'c'
	askCount  = 'u'
)

const (
	datagramSize = 1400
	copySize     = 128 << 10 // as iperf3
	longest      = 30 * time.Second
)

// netServer serves what the network's tables need on one port of TCP and UDP.
type netServer struct {
	tcp net.Listener
	udp *net.UDPConn

	all  sync.WaitGroup
	mu   sync.Mutex
	came map[uint64]uint64 // datagrams of each test
}

// listen starts a server. It serves until it is closed.
func listen(address string) (*netServer, error) {
	at, err := netip.ParseAddrPort(address)
	if err != nil {
		return nil, err
	}
	s := &netServer{came: map[uint64]uint64{}}
	if s.tcp, err = net.Listen("tcp", address); err != nil {
		return nil, err
	}
	if s.udp, err = net.ListenUDP("udp", net.UDPAddrFromAddrPort(at)); err != nil {
		return nil, errors.Join(err, s.tcp.Close())
	}
	_ = s.udp.SetReadBuffer(4 << 20)
	s.all.Go(s.accept)
	s.all.Go(s.count)
	return s, nil
}

// close waits for the connections that are open, which have deadlines.
func (s *netServer) close() error {
	err := errors.Join(s.tcp.Close(), s.udp.Close())
	s.all.Wait()
	return err
}

func (s *netServer) accept() {
	for {
		conn, err := s.tcp.Accept()
		if err != nil {
			return
		}
		s.all.Go(func() {
			defer conn.Close()
			_ = conn.SetDeadline(time.Now().Add(longest))
			_ = s.serve(conn)
		})
	}
}

func (s *netServer) serve(conn net.Conn) error {
	ask := [1]byte{}
	if _, err := io.ReadFull(conn, ask[:]); err != nil {
		return err
	}
	switch ask[0] {
	case askSink:
		return sink(conn)
	case askSource:
		_, err := io.CopyBuffer(struct{ io.Writer }{conn}, endless{}, make([]byte, copySize))
		return err
	case askEcho:
		return echo(conn.(*net.TCPConn))
	case askOne:
		_, err := conn.Write(ask[:])
		if err == nil {
			_, err = conn.Read(ask[:]) // the client's reset
		}
		return err
	case askCount:
		return s.tell(conn)
	}
	return nil
}

func echo(conn *net.TCPConn) error {
	file, err := blocking(conn)
	if err != nil {
		return err
	}
	defer file.Close()
	one := [1]byte{}
	for {
		if _, err := file.Read(one[:]); err != nil {
			return err
		}
		if _, err := file.Write(one[:]); err != nil {
			return err
		}
	}
}

// blocking is the connection as a file whose calls block, without Go's poller
// in between, which would be much of a round trip. None of them blocks for long.
func blocking(conn *net.TCPConn) (*os.File, error) {
	file, err := conn.File()
	if err != nil {
		return nil, err
	}
	fd := int(file.Fd()) // makes it blocking, see os.File.Fd
	limit := unix.NsecToTimeval(int64(longest / 6))
	if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &limit); err != nil {
		return nil, errors.Join(err, file.Close())
	}
	return file, nil
}

// sink counts what comes in the time that the client named. Then it goes on
// reading until the client has heard the count: a reset might overtake it.
func sink(conn net.Conn) error {
	head := [4]byte{}
	if _, err := io.ReadFull(conn, head[:]); err != nil {
		return err
	}
	end := time.Now().Add(time.Duration(binary.BigEndian.Uint32(head[:])) * time.Millisecond)
	_ = conn.SetReadDeadline(end)
	data := make([]byte, copySize)
	sum := uint64(0)
	for time.Now().Before(end) {
		n, err := conn.Read(data)
		sum += uint64(n)
		if err != nil {
			break
		}
	}
	_ = conn.SetReadDeadline(time.Now().Add(longest))
	if _, err := conn.Write(binary.BigEndian.AppendUint64(nil, sum)); err != nil {
		return err
	}
	for {
		if _, err := conn.Read(data); err != nil {
			return err
		}
	}
}

func (s *netServer) tell(conn net.Conn) error {
	head := [8]byte{}
	if _, err := io.ReadFull(conn, head[:]); err != nil {
		return err
	}
	s.mu.Lock()
	n := s.came[binary.BigEndian.Uint64(head[:])]
	s.mu.Unlock()
	_, err := conn.Write(binary.BigEndian.AppendUint64(nil, n))
	return err
}

func (s *netServer) count() {
	data := make([]byte, 2*datagramSize)
	for {
		n, _, err := s.udp.ReadFromUDPAddrPort(data)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil || n < 8 {
			continue
		}
		s.mu.Lock()
		s.came[binary.BigEndian.Uint64(data)]++
		s.mu.Unlock()
	}
}
