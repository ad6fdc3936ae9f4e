package dns

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"time"

	"golang.org/x/net/dns/dnsmessage"
)

// maxStray is how many datagrams that are not the answer are read past. More
// of them are an attempt to guess its id.
const maxStray = 16

var errStray = errors.New("not the answer")

// ask puts the question to one server, over UDP and, when a client that came by
// TCP would get less than there is, over TCP.
func (r *Resolver) ask(ctx context.Context, server netip.AddrPort, q *query, tcp bool) ([]byte, dnsmessage.Header, error) {
	answer, header, err := r.exchange(ctx, "udp", server, q)
	if err == nil && header.Truncated && tcp {
		return r.exchange(ctx, "tcp", server, q)
	}
	return answer, header, err
}

func (r *Resolver) exchange(ctx context.Context, network string, server netip.AddrPort, q *query) ([]byte, dnsmessage.Header, error) {
	ctx, cancel := context.WithTimeout(ctx, r.wait)
	defer cancel()
	var random [2]byte
	if _, err := rand.Read(random[:]); err != nil {
		return nil, dnsmessage.Header{}, err
	}
	id := binary.BigEndian.Uint16(random[:])
	message, err := q.forward(id)
	if err != nil {
		return nil, dnsmessage.Header{}, err
	}
	// A socket for each question, connected: the kernel picks a random port
	// and lets in what comes from the server alone, refusals included.
	var dialer net.Dialer
	conn, err := dialer.DialContext(ctx, network, server.String())
	if err != nil {
		return nil, dnsmessage.Header{}, err
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })()
	if network == "tcp" {
		return exchangeTCP(conn, q, message, id)
	}
	return exchangeUDP(conn, q, message, id)
}

func exchangeUDP(conn net.Conn, q *query, message []byte, id uint16) ([]byte, dnsmessage.Header, error) {
	if _, err := conn.Write(message); err != nil {
		return nil, dnsmessage.Header{}, err
	}
	buffer := make([]byte, maxQuery)
	for range maxStray {
		n, err := conn.Read(buffer)
		if err != nil {
			return nil, dnsmessage.Header{}, err
		}
		header, is := q.answers(buffer[:n], id)
		if !is {
			continue
		}
		if n == len(buffer) { // the kernel cut it off
			header.Truncated = true
			buffer[2] |= truncatedBit
		}
		return buffer[:n], header, nil
	}
	return nil, dnsmessage.Header{}, errStray
}

// truncatedBit is TC, in the third byte of a message.
const truncatedBit = 1 << 1

func exchangeTCP(conn net.Conn, q *query, message []byte, id uint16) ([]byte, dnsmessage.Header, error) {
	framed := binary.BigEndian.AppendUint16(make([]byte, 0, 2+len(message)), uint16(len(message)))
	if _, err := conn.Write(append(framed, message...)); err != nil {
		return nil, dnsmessage.Header{}, err
	}
	var size [2]byte
	if _, err := io.ReadFull(conn, size[:]); err != nil {
		return nil, dnsmessage.Header{}, fmt.Errorf("read size of answer: %w", err)
	}
	answer := make([]byte, binary.BigEndian.Uint16(size[:]))
	if _, err := io.ReadFull(conn, answer); err != nil {
		return nil, dnsmessage.Header{}, fmt.Errorf("read answer: %w", err)
	}
	header, is := q.answers(answer, id)
	if !is {
		return nil, dnsmessage.Header{}, errStray
	}
	return answer, header, nil
}

func hasQuestion(message []byte) bool { return binary.BigEndian.Uint16(message[4:]) == 1 }
