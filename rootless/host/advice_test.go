package host

import (
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func TestRootHint(t *testing.T) {
	for _, row := range []struct {
		path string
		err  error
		want string
	}{
		{"debian:latest", unix.ENOENT, "mmdebstrap"},
		{"docker.io/library/debian", unix.ENOENT, "mmdebstrap"},
		{"localhost:5000/x", unix.ENOENT, "mmdebstrap"},
		{"missing", unix.ENOENT, "give the path"},
		{"a/b.c", unix.ENOENT, "give the path"},
		{"./debian:latest", unix.ENOENT, "give the path"},
		{"/debian:latest", unix.ENOENT, "give the path"},
		{"debian:latest", unix.ENOTDIR, "unpacked into one"},
		{"debian:latest", unix.EACCES, "that you may enter"},
		{"debian:latest", unix.EIO, ""},
	} {
		got := rootHint(row.path, row.err)
		if !strings.Contains(got, row.want) || strings.Count(got, "\n") > 1 || row.want == "" && got != "" {
			t.Errorf("%s: %q, want %q", row.path, got, row.want)
		}
	}
}
