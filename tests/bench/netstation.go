package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"syscall"
	"time"
)

// station is an agent and the pipes to it.
type station struct {
	process *os.Process
	orders  *os.File
	answers *os.File
	errs    *os.File
	out     *json.Encoder
	in      *json.Decoder
	broken  error // no answers come in order any more
}

// place starts a command whose end is an agent.
func (n *network) place(argv []string, cloning uintptr) (*station, error) {
	errs, err := n.errs()
	if err != nil {
		return nil, err
	}
	inR, inW, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	outR, outW, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	s := &station{orders: inW, answers: outR, errs: errs, out: json.NewEncoder(inW), in: json.NewDecoder(outR)}
	n.starters[0].do(func() {
		n.mu.Lock()
		defer n.mu.Unlock()
		s.process, err = os.StartProcess(argv[0], argv, &os.ProcAttr{
			Dir: n.site.dir, Env: n.env, Files: []*os.File{inR, outW, errs},
			Sys: &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setsid: true, Cloneflags: cloning},
		})
		if err == nil {
			n.waited[s.process.Pid] = true
		}
	})
	return s, errors.Join(err, inR.Close(), outW.Close())
}

// ask gives an order and waits for its answer, which comes in time or never.
func (s *station) ask(o order) (answer, error) {
	a := answer{}
	if s.broken != nil {
		return a, s.broken
	}
	if err := s.out.Encode(o); err != nil {
		s.broken = fmt.Errorf("tell the agent: %w", err)
		return a, s.broken
	}
	_ = s.answers.SetReadDeadline(time.Now().Add(o.limit() + 15*time.Second))
	if err := s.in.Decode(&a); err != nil {
		s.broken = fmt.Errorf("hear from the agent: %w", err)
		return a, s.broken
	}
	if a.Error != "" {
		return a, errors.New(a.Error)
	}
	return a, nil
}

// words is what the command printed as errors so far.
func (s *station) words() string {
	text, _ := os.ReadFile(s.errs.Name())
	return string(text)
}

// dismiss ends the command, by force if the end of its orders is not enough.
func (n *network) dismiss(s *station) {
	_ = s.orders.Close()
	if s.process != nil {
		clock := time.AfterFunc(3*time.Second, func() { _ = s.process.Kill() })
		_ = n.wait(s.process)
		clock.Stop()
	}
	_ = s.answers.Close()
	printed(s.errs)
}
