package main

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"bryo/fsroot/image"
)

func TestWithRoom(t *testing.T) {
	shelf, err := image.OpenPath(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer shelf.Close()
	for _, row := range []struct {
		err  error
		want string
	}{
		{fmt.Errorf("write names: %w", unix.ENOSPC), "bryo prune --images"},
		{errors.New("layer 1: etc/passwd: no space left on device"), "bryo prune --images"}, // as bryo-image tells it
		{errors.Join(unix.EDQUOT, unix.EDQUOT), "bryo prune --images"},
		{fmt.Errorf("make blobs: %w", unix.EROFS), "XDG_DATA_HOME"},
		{unix.EACCES, ""},
		{fmt.Errorf("keep images: %w\nfix: look", unix.EROFS), "look"},
	} {
		got := withRoom(shelf, row.err)
		_, fix, _ := strings.Cut(got.Error(), "\nfix: ")
		if !errors.Is(got, row.err) || !strings.Contains(fix, row.want) || row.want == "" && fix != "" {
			t.Errorf("%v: %v, want %q", row.err, got, row.want)
		}
	}
	if err := withRoom(shelf, nil); err != nil {
		t.Errorf("nothing: %v", err)
	}
}
