package main

import (
	"bufio"
	"encoding/binary"
	"encoding/json"
	"net/netip"
	"os"
	"sync"
	"time"

	"bryo/netslirp"
	"bryo/netslirp/stack"
)

// flowLog writes a JSON line for each flow that ended or was denied, and for
// each question for a name that was refused: what it was about to connect to
// is seen nowhere else. Each line is one write, so that nothing is lost with
// the process.
type flowLog struct {
	mu   sync.Mutex
	file *os.File
}

// flowLine is a line of the log. Bytes are counted from the container: sent
// went out of it. A question's line has the protocol "dns", and no addresses.
type flowLine struct {
	Time     time.Time      `json:"time"`
	Seconds  float64        `json:"seconds"`
	Protocol string         `json:"protocol"`
	Source   netip.AddrPort `json:"source,omitzero"`
	To       netip.AddrPort `json:"destination,omitzero"`
	Name     string         `json:"name,omitempty"`
	Verdict  string         `json:"verdict"`
	Sent     uint64         `json:"sent"`
	Received uint64         `json:"received"`
	Error    string         `json:"error,omitempty"`
}

func (l *flowLog) add(r stack.Record) {
	l.write(&flowLine{
		Time: r.Start, Seconds: r.End.Sub(r.Start).Seconds(), Protocol: r.Flow.Protocol.String(), Source: r.Flow.Source, To: r.Flow.Destination,
		Name: r.Name, Verdict: r.Verdict.String(), Sent: r.Sent, Received: r.Received, Error: r.Error,
	})
}

// refused adds the question for a name that the policy let nobody answer.
func (l *flowLog) refused(name string) {
	if name == "" {
		name = "." // the root's
	}
	l.write(&flowLine{Time: time.Now(), Protocol: "dns", Name: name, Verdict: netslirp.Deny.String()})
}

func (l *flowLog) write(line *flowLine) {
	text, err := json.Marshal(line)
	if err != nil {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	_, _ = l.file.Write(append(text, '\n')) // a full disk loses lines, not connections
}

// capture writes packets as pcap, with nanoseconds and without link headers:
// draft-ietf-opsawg-pcap.
type capture struct {
	mu   sync.Mutex
	file *os.File
	out  *bufio.Writer
	done chan struct{}
	wg   sync.WaitGroup
}

const pcapSnap = 1 << 18

func newCapture(file *os.File) (*capture, error) {
	const (
		magic   = 0xa1b23c4d
		major   = 2
		minor   = 4
		rawIP   = 101 // LINKTYPE_RAW
		size    = 64 << 10
		settled = 100 * time.Millisecond
	)
	c := &capture{file: file, out: bufio.NewWriterSize(file, size), done: make(chan struct{})}
	le := binary.LittleEndian
	h := le.AppendUint32(nil, magic)
	h = le.AppendUint16(h, major)
	h = le.AppendUint16(h, minor)
	h = append(h, make([]byte, 8)...) // time zone and accuracy
	h = le.AppendUint32(h, pcapSnap)
	h = le.AppendUint32(h, rawIP)
	if _, err := c.out.Write(h); err != nil {
		return nil, err
	}
	if err := c.out.Flush(); err != nil {
		return nil, err
	}
	c.wg.Go(func() {
		tick := time.NewTicker(settled)
		defer tick.Stop()
		for {
			select {
			case <-c.done:
				return
			case <-tick.C:
				c.flush()
			}
		}
	})
	return c, nil
}

func (c *capture) flush() {
	c.mu.Lock()
	defer c.mu.Unlock()
	_ = c.out.Flush()
}

// add writes one packet; after an error of the disk it writes no more.
func (c *capture) add(packet []byte, _ bool) {
	now := time.Now()
	le := binary.LittleEndian
	h := make([]byte, 0, 16)
	h = le.AppendUint32(h, uint32(now.Unix()))
	h = le.AppendUint32(h, uint32(now.Nanosecond()))
	kept := packet[:min(len(packet), pcapSnap)]
	h = le.AppendUint32(h, uint32(len(kept)))
	h = le.AppendUint32(h, uint32(len(packet)))
	c.mu.Lock()
	defer c.mu.Unlock()
	_, _ = c.out.Write(h)
	_, _ = c.out.Write(kept)
}

func (c *capture) close() {
	close(c.done)
	c.wg.Wait()
	c.flush()
	_ = c.file.Close()
}
