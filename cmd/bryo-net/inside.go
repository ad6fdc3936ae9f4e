package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"

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
	defer func() {
		for _, path := range tell.Remove {
			_ = os.RemoveAll(path)
		}
	}()
	stop, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		_, _ = io.Copy(io.Discard, lifeline)
		close(stop)
	}()
	err = ports.RunChild(tell.Opaque, stop)
	if err == nil {
		<-ended
	}
	return err
}
