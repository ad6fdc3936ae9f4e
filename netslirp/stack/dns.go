package stack

import (
	"context"
	"encoding/binary"
	"io"
	"time"

	"gvisor.dev/gvisor/pkg/tcpip/adapters/gonet"
	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"
	"gvisor.dev/gvisor/pkg/tcpip/transport/udp"
	"gvisor.dev/gvisor/pkg/waiter"
)

const (
	dnsPatience  = 10 * time.Second
	mostQuestion = 4096
	mostAsking   = 512 // ports and streams that ask our name server
)

// acceptDNS answers questions that come as a stream, each behind its length:
// RFC 1035, 4.2.2.
func (s *Stack) acceptDNS(request *tcp.ForwarderRequest) {
	if s.options.DNS == nil || !s.ask() {
		request.Complete(true)
		return
	}
	defer s.asked()
	queue := &waiter.Queue{}
	endpoint, err := s.handshake(request, queue)
	if err != nil {
		return
	}
	conn := gonet.NewTCPConn(queue, endpoint)
	defer conn.Close()
	stop := context.AfterFunc(s.ctx, func() { _ = conn.Close() })
	defer stop()
	for {
		_ = conn.SetDeadline(time.Now().Add(dnsPatience))
		var length [2]byte
		if _, err := io.ReadFull(conn, length[:]); err != nil {
			return
		}
		question := make([]byte, binary.BigEndian.Uint16(length[:]))
		if len(question) > mostQuestion {
			return
		}
		if _, err := io.ReadFull(conn, question); err != nil {
			return
		}
		answer := s.options.DNS.Answer(s.ctx, question, true)
		const longest = 65535
		if answer == nil || len(answer) > longest {
			return
		}
		if _, err := conn.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(answer))), answer...)); err != nil {
			return
		}
	}
}

// acceptQuestion answers datagrams to our name server.
func (s *Stack) acceptQuestion(request *udp.ForwarderRequest) bool {
	if s.options.DNS == nil {
		return false
	}
	if !s.ask() {
		return true // lost, as on a wire: it is asked again
	}
	queue := &waiter.Queue{}
	endpoint, failed := request.CreateEndpoint(queue)
	if failed != nil {
		s.asked()
		return true
	}
	conn := gonet.NewUDPConn(queue, endpoint)
	if !s.begin() {
		s.asked()
		_ = conn.Close()
		return true
	}
	go func() {
		defer s.flows.Done()
		defer s.asked()
		defer conn.Close()
		stop := context.AfterFunc(s.ctx, func() { _ = conn.Close() })
		defer stop()
		buf := make([]byte, mostQuestion)
		for {
			_ = conn.SetReadDeadline(time.Now().Add(dnsPatience))
			n, err := conn.Read(buf)
			if err != nil {
				return
			}
			if answer := s.options.DNS.Answer(s.ctx, append([]byte(nil), buf[:n]...), false); answer != nil {
				_, _ = conn.Write(answer)
			}
		}
	}()
	return true
}
