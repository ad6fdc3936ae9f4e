package stack

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"sync/atomic"
	"testing"
	"time"

	"bryo/netslirp"
)

func TestZZ(t *testing.T) {
	if os.Getenv("ZZ") == "" {
		t.Skip("x")
	}
	if !again(t, true) {
		return
	}
	sink, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var n atomic.Int64
	go func() {
		b := make([]byte, 2000)
		for {
			if _, _, err := sink.ReadFrom(b); err != nil {
				return
			}
			n.Add(1)
		}
	}()
	dial := netip.MustParseAddrPort(sink.LocalAddr().String())
	world(t, Options{MTU: 1500, Decide: func(Flow) Decision { return Decision{Verdict: netslirp.Allow, Dial: dial} }}, tun(1500), func(*Stack) {
		c, err := net.Dial("udp", net.JoinHostPort(netslirp.Gateway4().String(), "5000"))
		if err != nil {
			t.Error(err)
			return
		}
		end := time.Now().Add(2 * time.Second)
		sent := 0
		for time.Now().Before(end) {
			if _, err := c.Write(make([]byte, 1400)); err == nil {
				sent++
			}
		}
		time.Sleep(100 * time.Millisecond)
		fmt.Println("sent/s", sent/2, "received/s", n.Load()/2)
		t.Error("show")
	})
}
