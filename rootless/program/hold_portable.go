//go:build (!amd64 && !arm64) || portable

package program

// Held are the signals that Hold keeps back: none here.
type Held struct{}

// Hold needs a handler in assembly: on these machines a signal during the
// launch ends bryo, and the container with it.
func Hold() (*Held, error) { return &Held{}, nil }

// Release undoes Hold.
func (*Held) Release() error { return nil }
