package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"bryo/netslirp"
	"bryo/netslirp/ports"
)

// inside is the side in the container's user and network namespaces: it makes
// the connections to published ports, and outlives bryo-net by a moment to
// remove what that one can no longer.
func inside() error {
	if err := unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0); err != nil {
		return os.NewSyscallError("prctl", err)
	}
	unix.CloseOnExec(netslirp.InsideLifelineFD)
	lifeline := bufio.NewReader(os.NewFile(netslirp.InsideLifelineFD, "lifeline"))
	line, err := lifeline.ReadBytes('\n')
	if errors.Is(err, io.EOF) {
		return nil // bryo-net could not begin
	}
	var tell order
	if err == nil {
		err = json.Unmarshal(line, &tell)
	}
	if err != nil {
		return fmt.Errorf("read the order: %w", err)
	}
	for _, path := range tell.Remove {
		defer remover(path)()
	}
	stop, done := make(chan struct{}), make(chan error, 1)
	go func() { done <- ports.RunChild(tell.Opaque, stop) }()
	_, _ = io.Copy(io.Discard, lifeline) // until bryo-net has ended
	close(stop)
	const patience = time.Second
	select {
	case err := <-done:
		return err
	case <-time.After(patience): // it waits for a side that is gone; the process ends
		return nil
	}
}

// remover removes what the path names now, when bryo-net has just made it:
// later another container's socket may have the name.
func remover(path string) func() {
	if info, err := os.Lstat(path); err == nil && info.IsDir() {
		return func() { ports.RemoveDir(path) }
	}
	socket, err := ports.Pin(path)
	if err != nil {
		return func() {} // it is gone, or nothing of ours
	}
	return socket.Remove
}
