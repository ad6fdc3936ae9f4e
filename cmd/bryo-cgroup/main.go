// Bryo-cgroup asks systemd's user manager for the cgroup of a container. It is
// not for people: bryo executes it where limits are asked for, so that no other
// start pays for D-Bus.
//
//	bryo-cgroup scope SOCKET UNIT PID    make a scope of its own for the process
//	bryo-cgroup enter SOCKET UNIT PID    put the process into the one that is there
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"time"
)

// patience bounds all of it: systemd answers in milliseconds.
const patience = 20 * time.Second

func main() { os.Exit(run(os.Args[1:])) }

func run(args []string) int {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- carryOut(ctx, args) }() // a peer that is silent at first knows no context
	var err error
	select {
	case err = <-done:
	case <-ctx.Done():
		err = errors.New("ask systemd for a cgroup: no answer")
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

func carryOut(ctx context.Context, args []string) error {
	const all = 4
	if len(args) != all {
		return errors.New("bryo executes bryo-cgroup; there is nothing to do by hand")
	}
	pid, err := strconv.ParseUint(args[3], 10, 31)
	if err != nil || pid == 0 {
		return fmt.Errorf("%q is no process", args[3])
	}
	m, err := connect(ctx, args[1])
	if err != nil {
		return fmt.Errorf("ask systemd for a cgroup: %w", err)
	}
	defer m.close()
	switch args[0] {
	case "scope":
		err = m.makeScope(ctx, args[2], uint32(pid))
	case "enter":
		err = m.enter(ctx, args[2], uint32(pid))
	default:
		return fmt.Errorf("%q is nothing to do", args[0])
	}
	if err != nil {
		return fmt.Errorf("ask systemd for a cgroup: %w", err)
	}
	return nil
}
