package tests

import (
	"strings"
	"sync"
	"testing"
)

// tail is output that is looked at while it grows.
type tail struct {
	mutex sync.Mutex
	text  strings.Builder
}

func (o *tail) Write(b []byte) (int, error) {
	o.mutex.Lock()
	defer o.mutex.Unlock()
	return o.text.Write(b)
}

func (o *tail) String() string {
	o.mutex.Lock()
	defer o.mutex.Unlock()
	return o.text.String()
}

// await waits until the output has a word, and returns what stands behind it.
func (o *tail) await(t *testing.T, word string) string {
	t.Helper()
	if !holds(func() bool { return strings.Contains(o.String(), word) }) {
		t.Fatalf("no %q in the output:\n%s", word, o)
	}
	_, rest, _ := strings.Cut(o.String(), word)
	return rest
}
