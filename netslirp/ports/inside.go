package ports

import (
	"io"

	"github.com/rootless-containers/rootlesskit/v3/pkg/port/builtin"
)

// RunChild is the side inside: it makes the connections that the other side
// asks for, until stop is closed. The caller is in the container's user and
// network namespaces, and still sees the host's files.
func RunChild(opaque map[string]string, stop <-chan struct{}) error {
	return builtin.NewChildDriver(io.Discard).RunChildDriver(opaque, stop, "")
}
