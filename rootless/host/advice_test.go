package host

import (
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func TestRootHint(t *testing.T) {
	for _, row := range []struct {
		err  error
		want string
	}{
		{unix.ENOENT, "give the path"},
		{unix.ENOTDIR, "archive of an image"},
		{unix.EACCES, "that you may enter"},
		{unix.EIO, ""},
	} {
		got := rootHint(row.err)
		if !strings.Contains(got, row.want) || strings.Count(got, "\n") > 1 || row.want == "" && got != "" {
			t.Errorf("%v: %q, want %q", row.err, got, row.want)
		}
	}
}
