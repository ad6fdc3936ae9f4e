package stack

import (
	"context"
	"encoding/binary"
	"io"
	"time"

	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"
)

// acceptDNS answers questions that come as a stream, each behind its length:
// RFC 1035, 4.2.2.
func (s *Stack) acceptDNS(request *tcp.ForwarderRequest) {
	if s.options.DNS == nil || !s.ask() {
		request.Complete(true)
		return
	}
	defer s.asked()
	conn, _, err := accept(request)
	if err != nil {
		return
	}
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
