package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// A client waits this long for what should come, and for what should not.
const (
	patience = 15 * time.Second
	silence  = 3 * time.Second
)

// stream is the bytes that both ends of a transfer know.
func stream(n int64) io.Reader {
	return io.LimitReader(rand.NewChaCha8([32]byte{}), n)
}

// word says how a call went, in one word.
func word(err error) string {
	var unresolved *net.DNSError
	switch {
	case errors.As(err, &unresolved):
		return "unresolved"
	case err == nil:
		return "open"
	case errors.Is(err, unix.ECONNREFUSED):
		return "refused"
	case errors.Is(err, unix.ECONNRESET), errors.Is(err, unix.EPIPE):
		return "reset"
	case errors.Is(err, unix.EHOSTUNREACH), errors.Is(err, unix.ENETUNREACH), errors.Is(err, unix.ENETDOWN):
		return "unreachable"
	case errors.Is(err, unix.EACCES), errors.Is(err, unix.EPERM):
		return "forbidden"
	case errors.Is(err, os.ErrDeadlineExceeded), errors.Is(err, unix.ETIMEDOUT):
		return "timeout"
	case errors.Is(err, io.EOF):
		return "eof"
	}
	return strings.ReplaceAll(err.Error(), " ", "_")
}

// dial prints for each address how a TCP connection goes, and after how many
// milliseconds.
func dial(addrs []string, out io.Writer) error {
	for _, addr := range addrs {
		start := time.Now()
		conn, err := net.DialTimeout("tcp", addr, patience)
		fmt.Fprintln(out, addr, word(err), time.Since(start).Milliseconds())
		if err == nil {
			_ = conn.Close()
		}
	}
	return nil
}

// ask sends a datagram to each address and prints what comes of it: the answer,
// an error, or "silence".
func ask(addrs []string, out io.Writer) error {
	for _, addr := range addrs {
		fmt.Fprintln(out, addr, question(addr, []byte("hello"), silence))
	}
	return nil
}

func question(addr string, text []byte, wait time.Duration) string {
	conn, err := net.Dial("udp", addr)
	if err != nil {
		return word(err)
	}
	defer func() { _ = conn.Close() }()
	if _, err := conn.Write(text); err != nil {
		return word(err)
	}
	_ = conn.SetReadDeadline(time.Now().Add(wait))
	answer := make([]byte, 1<<16)
	n, err := conn.Read(answer)
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		return "silence"
	case err != nil:
		return word(err)
	case !bytes.Equal(answer[:n], text):
		return "garbled"
	}
	return "answer"
}

// datagram has a datagram of a size echoed.
func datagram(args []string, out io.Writer) error {
	n, err := strconv.Atoi(args[1])
	if err != nil {
		return err
	}
	text, err := io.ReadAll(stream(int64(n)))
	if err != nil {
		return err
	}
	fmt.Fprintln(out, args[1], question(args[0], text, patience))
	return nil
}

// lookup prints the addresses of each name, in order, in one line.
func lookup(names []string, out io.Writer) error {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	resolver := &net.Resolver{PreferGo: true}
	for _, name := range names {
		addrs, err := resolver.LookupHost(ctx, name)
		var fault *net.DNSError
		switch {
		case errors.As(err, &fault) && fault.IsNotFound:
			addrs = []string{"none"}
		case err != nil:
			return err
		}
		slices.Sort(addrs)
		fmt.Fprintln(out, name, strings.Join(addrs, " "))
	}
	return nil
}

// give sends a stream, closes its half, and compares what the server says that
// it got.
func give(args []string, out io.Writer) error {
	conn, n, err := transfer(args)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()
	sum := sha256.New()
	if _, err := io.Copy(conn, io.TeeReader(stream(n), sum)); err != nil {
		return fmt.Errorf("send: %w", err)
	}
	if err := conn.CloseWrite(); err != nil {
		return err
	}
	receipt, err := io.ReadAll(conn)
	if err != nil {
		return fmt.Errorf("read the receipt: %w", err)
	}
	if want := fmt.Sprintf("%d %x\n", n, sum.Sum(nil)); string(receipt) != want {
		return fmt.Errorf("the server got %q, not %q", receipt, want)
	}
	fmt.Fprintln(out, "gave", n)
	return nil
}

// take asks for a stream, reads it until the server closes its half, and sends
// a receipt on the other.
func take(args []string, out io.Writer) error {
	conn, n, err := transfer(args)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()
	if _, err := fmt.Fprintln(conn, n); err != nil {
		return err
	}
	got, want := sha256.New(), sha256.New()
	received, err := io.Copy(got, conn)
	if err != nil {
		return fmt.Errorf("receive: %w", err)
	}
	_, _ = io.Copy(want, stream(n))
	if received != n || !bytes.Equal(got.Sum(nil), want.Sum(nil)) {
		return fmt.Errorf("%d bytes of %d came, or others", received, n)
	}
	if _, err := fmt.Fprintf(conn, "%d %x\n", n, got.Sum(nil)); err != nil {
		return fmt.Errorf("send the receipt: %w", err)
	}
	fmt.Fprintln(out, "took", n)
	return nil
}

func transfer(args []string) (*net.TCPConn, int64, error) {
	n, err := strconv.ParseInt(args[1], 10, 64)
	if err != nil {
		return nil, 0, err
	}
	conn, err := net.DialTimeout("tcp", args[0], patience)
	if err != nil {
		return nil, 0, err
	}
	tcp, ok := conn.(*net.TCPConn)
	if !ok {
		return nil, 0, fmt.Errorf("%T is no TCP connection", conn)
	}
	return tcp, n, tcp.SetDeadline(time.Now().Add(4 * patience))
}

// read prints how a connection ends on which the server acts.
func read(args []string, out io.Writer) error {
	conn, err := net.DialTimeout("tcp", args[0], patience)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()
	_ = conn.SetDeadline(time.Now().Add(patience))
	_, err = conn.Read(make([]byte, 1))
	fmt.Fprintln(out, word(err))
	return nil
}

// echo serves TCP and UDP at each address until it is killed.
func echo(addrs []string, out io.Writer) error {
	faults := make(chan error)
	for _, addr := range addrs {
		listener, err := net.Listen("tcp", addr)
		if err != nil {
			return err
		}
		packets, err := net.ListenPacket("udp", addr)
		if err != nil {
			return err
		}
		go func() { faults <- echoStreams(listener) }()
		go func() { faults <- echoPackets(packets) }()
	}
	fmt.Fprintln(out, "listening")
	return <-faults
}

func echoStreams(listener net.Listener) error {
	for {
		conn, err := listener.Accept()
		if err != nil {
			return err
		}
		go func() {
			_, _ = io.Copy(conn, conn)
			_ = conn.Close()
		}()
	}
}

func echoPackets(packets net.PacketConn) error {
	text := make([]byte, 1<<16)
	for {
		n, from, err := packets.ReadFrom(text)
		if err != nil {
			return err
		}
		_, _ = packets.WriteTo(text[:n], from)
	}
}
