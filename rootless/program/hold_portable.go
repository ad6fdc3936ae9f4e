//go:build (!amd64 && !arm64) || portable

package program

import "golang.org/x/sys/unix"

// Held are the signals that Hold keeps back: none here.
type Held struct{}

// Hold needs a handler in assembly: on these machines a signal during the
// launch ends bryo, and the container with it.
func Hold() (*Held, error) { return &Held{}, nil }

// Watch has nothing to look at: the descriptor is none.
func (*Held) Watch(...unix.Signal) (fd int, err error) { return -1, nil }

// Take has nothing to take.
func Take(int) (unix.Signal, bool) { return 0, false }

// Release undoes Hold.
func (*Held) Release() error { return nil }
