package main

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"sync"
	"time"
)

// order is what an agent is told to do, answer what came of it. An agent is this
// executable inside a container, or beside one; it takes orders as JSON from
// its standard input, one after the other, and ends with it.
type order struct {
	Do      string
	Address string
	Millis  int
	Workers int
}

type answer struct {
	Value      float64 // bit/s, or things per second
	Bytes      float64 // that were moved
	Lost       float64 // share of datagrams, 0 to 1
	Congestion string  // the algorithm of TCP in the agent's network namespace
	Error      string
}

// agent does orders until there are no more.
func agent(in io.Reader, out io.Writer) error {
	orders, answers := json.NewDecoder(in), json.NewEncoder(out)
	ends := []func(){}
	defer func() {
		for _, end := range ends {
			end()
		}
	}()
	for {
		o := order{}
		if err := orders.Decode(&o); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
		var a answer
		var err error
		end := func() {}
		switch o.Do {
		case "serve":
			end, err = o.serve()
		case "iperf3-server":
			end, err = o.serveIperf3()
		default:
			a, err = o.obey()
		}
		ends = append(ends, end)
		if err != nil {
			a.Error = err.Error()
		}
		if err := answers.Encode(a); err != nil {
			return err
		}
	}
}

func (o order) serve() (end func(), err error) {
	s, err := listen(o.Address)
	if err != nil {
		return func() {}, err
	}
	return func() { _ = s.tcp.Close() }, nil
}

// limit is how long an order may take.
func (o order) limit() time.Duration { return o.span() + 5*time.Second }
func (o order) span() time.Duration  { return time.Duration(o.Millis) * time.Millisecond }

func (o order) obey() (answer, error) {
	switch o.Do {
	case "hello":
		return answer{Congestion: congestion()}, nil
	case "ready":
		return answer{}, o.ready()
	case "out":
		return o.crowd(o.send)
	case "in":
		return o.crowd(o.receive)
	case "rr":
		return o.crowd(o.echo)
	case "crr":
		return o.crowd(o.connect)
	case "udp":
		return o.datagrams()
	case "iperf3":
		return o.iperf3()
	case "iperf3-R":
		return o.iperf3("-R")
	case "load":
		return o.load()
	}
	return answer{}, fmt.Errorf("no such order: %s", o.Do)
}

// congestion asks for reno, which every namespace may have: without it a new
// one takes the machine's default, and bbr paces even a loopback. A container
// whose /proc/sys is closed keeps what its tool chose.
func congestion() string {
	// Which namespace the name leads to is a matter of the thread.
	const name = "/proc/sys/net/ipv4/tcp_congestion_control"
	_ = os.WriteFile(name, []byte("reno"), 0)
	text, _ := os.ReadFile(name)
	return strings.TrimSpace(string(text))
}

// crowd has workers do the same at once and adds up what they did.
func (o order) crowd(work func() (answer, error)) (answer, error) {
	sum, errs := answer{}, []error{}
	mu, all := sync.Mutex{}, sync.WaitGroup{}
	for range max(o.Workers, 1) {
		all.Go(func() {
			a, err := work()
			mu.Lock()
			defer mu.Unlock()
			sum.Value += a.Value
			sum.Bytes += a.Bytes
			if err != nil {
				errs = append(errs, err)
			}
		})
	}
	all.Wait()
	if n := len(errs); n > 1 { // mostly the same
		return sum, fmt.Errorf("%d of %d: %w", n, o.Workers, errs[0])
	}
	return sum, errors.Join(errs...)
}

// load opens all connections one by one, so that none starves before it is open.
// Then half of them send and half receive. What is moved is not counted.
func (o order) load() (answer, error) {
	conns, all := []*net.TCPConn{}, sync.WaitGroup{}
	defer all.Wait()
	defer func() {
		for _, conn := range conns {
			_ = reset(conn)
		}
	}()
	ask := binary.BigEndian.AppendUint32([]byte{askSink}, uint32(o.Millis))
	for i := range o.Workers {
		conn, err := o.dial()
		if err != nil {
			return answer{}, fmt.Errorf("connection %d of %d: %w", i+1, o.Workers, err)
		}
		conns = append(conns, conn)
	}
	for i, conn := range conns {
		all.Go(func() {
			if i%2 == 0 {
				_, _ = conn.Write(ask)
				_, _ = io.CopyBuffer(struct{ io.Writer }{conn}, endless{}, make([]byte, copySize))
			} else {
				_, _ = conn.Write([]byte{askSource})
				_, _ = io.CopyBuffer(struct{ io.Writer }{io.Discard}, struct{ io.Reader }{conn}, make([]byte, copySize))
			}
		})
	}
	time.Sleep(o.span())
	return answer{Value: float64(len(conns))}, nil
}

// endless is a source of bytes.
type endless struct{}

func (endless) Read(p []byte) (int, error) { return len(p), nil }

// dial connects and asks.
func (o order) dial(ask ...byte) (*net.TCPConn, error) {
	conn, err := net.DialTimeout("tcp", o.Address, 5*time.Second)
	if err != nil {
		return nil, err
	}
	_ = conn.SetDeadline(time.Now().Add(o.limit()))
	if len(ask) > 0 {
		if _, err := conn.Write(ask); err != nil {
			return nil, errors.Join(err, conn.Close())
		}
	}
	return conn.(*net.TCPConn), nil
}

// reset closes with RST, so that no port is kept in TIME_WAIT.
func reset(conn *net.TCPConn) error {
	return errors.Join(conn.SetLinger(0), conn.Close())
}

// ready waits until the server answers: networks come up while the agent runs.
func (o order) ready() error {
	var last error
	one := func() bool {
		last = o.once()
		return last == nil
	}
	if !await(10*time.Second, one) {
		return last
	}
	return nil
}

// once makes one connection for one byte.
func (o order) once() error {
	conn, err := o.dial(askOne)
	if err != nil {
		return err
	}
	_, err = io.ReadFull(conn, make([]byte, 1))
	return errors.Join(err, reset(conn))
}

func (o order) connect() (answer, error) {
	begin, n := time.Now(), 0
	for time.Since(begin) < o.span() {
		if err := o.once(); err != nil {
			return answer{}, err
		}
		n++
	}
	return answer{Value: float64(n) / time.Since(begin).Seconds()}, nil
}

func (o order) echo() (answer, error) {
	conn, err := o.dial(askEcho)
	if err != nil {
		return answer{}, err
	}
	defer func() { _ = reset(conn) }()
	file, err := blocking(conn)
	if err != nil {
		return answer{}, err
	}
	defer file.Close()
	one := make([]byte, 1)
	begin, n := time.Now(), 0
	for time.Since(begin) < o.span() {
		if _, err := file.Write(one); err != nil {
			return answer{}, err
		}
		if _, err := file.Read(one); err != nil {
			return answer{}, err
		}
		n++
	}
	return answer{Value: float64(n) / time.Since(begin).Seconds()}, nil
}

// send counts what arrived at the other end in the time of the order.
func (o order) send() (answer, error) {
	ask := binary.BigEndian.AppendUint32([]byte{askSink}, uint32(o.Millis))
	conn, err := o.dial(ask...)
	if err != nil {
		return answer{}, err
	}
	sender := sync.WaitGroup{}
	sender.Go(func() {
		data := make([]byte, copySize)
		for {
			if _, err := conn.Write(data); err != nil {
				return
			}
		}
	})
	count := [8]byte{}
	_, err = io.ReadFull(conn, count[:])
	err = errors.Join(err, reset(conn))
	sender.Wait()
	sum := float64(binary.BigEndian.Uint64(count[:]))
	return answer{Value: sum * 8 / o.span().Seconds(), Bytes: sum}, err
}

func (o order) receive() (answer, error) {
	conn, err := o.dial(askSource)
	if err != nil {
		return answer{}, err
	}
	data := make([]byte, copySize)
	begin, sum := time.Now(), 0
	_ = conn.SetReadDeadline(begin.Add(o.span()))
	for time.Since(begin) < o.span() {
		n, err := conn.Read(data)
		sum += n
		if err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
			return answer{}, errors.Join(err, reset(conn))
		}
	}
	took := time.Since(begin).Seconds()
	return answer{Value: float64(sum) * 8 / took, Bytes: float64(sum)}, reset(conn)
}

// datagrams sends as fast as it can; the figure is what arrived.
func (o order) datagrams() (answer, error) {
	conn, err := net.Dial("udp", o.Address)
	if err != nil {
		return answer{}, err
	}
	defer conn.Close()
	test := uint64(time.Now().UnixNano())
	data := make([]byte, datagramSize)
	binary.BigEndian.PutUint64(data, test)
	begin, sent := time.Now(), 0
	for time.Since(begin) < o.span() {
		if _, err := conn.Write(data); err == nil {
			sent++
		}
	}
	took := time.Since(begin).Seconds()
	time.Sleep(200 * time.Millisecond) // what is still on its way
	asker, err := o.dial(binary.BigEndian.AppendUint64([]byte{askCount}, test)...)
	if err != nil {
		return answer{}, err
	}
	count := [8]byte{}
	_, err = io.ReadFull(asker, count[:])
	came := float64(binary.BigEndian.Uint64(count[:]))
	return answer{
		Value: came / took, Bytes: came * datagramSize, Lost: 1 - came/float64(max(sent, 1)),
	}, errors.Join(err, reset(asker))
}
