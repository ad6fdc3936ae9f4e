package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"os/exec"
	"strconv"
	"time"
)

// serveIperf3 starts a server of the program whose figures others know.
func (o order) serveIperf3() (end func(), err error) {
	none := func() {}
	path, at, err := o.findIperf3()
	if err != nil {
		return none, err
	}
	cmd := exec.Command(path, "-s", "-B", at.Addr().String(), "-p", strconv.Itoa(int(at.Port())))
	if err := cmd.Start(); err != nil {
		return none, err
	}
	return func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	}, nil
}

func (o order) findIperf3() (path string, at netip.AddrPort, err error) {
	path, missing := lookup("iperf3")
	if missing != "" {
		return "", at, errors.New(missing)
	}
	at, err = netip.ParseAddrPort(o.Address)
	return path, at, err
}

// iperf3 runs a client of it, which takes whole seconds.
func (o order) iperf3(options ...string) (answer, error) {
	path, at, err := o.findIperf3()
	if err != nil {
		return answer{}, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), o.limit())
	defer cancel()
	seconds := (o.span() + time.Second - 1) / time.Second
	argv := append([]string{"-J", "-c", at.Addr().String(), "-p", strconv.Itoa(int(at.Port())), "-t", strconv.Itoa(int(seconds))}, options...)
	text, failed := exec.CommandContext(ctx, path, argv...).Output()
	said := struct {
		Error string
		End   struct {
			Received struct {
				Bytes float64
				Rate  float64 `json:"bits_per_second"`
			} `json:"sum_received"`
		}
	}{}
	if err := json.Unmarshal(text, &said); err != nil {
		return answer{}, fmt.Errorf("iperf3: %w", errors.Join(failed, err))
	}
	if said.Error != "" {
		return answer{}, fmt.Errorf("iperf3: %s", said.Error)
	}
	return answer{Value: said.End.Received.Rate, Bytes: said.End.Received.Bytes}, nil
}
