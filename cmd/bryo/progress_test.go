package main

import (
	"os"
	"strings"
	"testing"

	"bryo/fsroot/fetch"
)

func TestBar(t *testing.T) {
	for _, row := range []struct {
		done, all int64
		rate      string
		width     int
		want      string
	}{
		{0, 1 << 20, "", 80, "moss         [........................................] 0 B/1 MiB "},
		{1 << 19, 1 << 20, "3 MiB/s", 80, "moss         [####################....................] 512 KiB/1 MiB 3 MiB/s"},
		{1 << 20, 1 << 20, "", 40, "moss         [###########] 1 MiB/1 MiB "},
		{1 << 19, 1 << 20, "", 30, "moss         512 KiB/1 MiB "},
		{1 << 19, 1 << 20, "", 10, "moss     "},
		{0, 0, "", 80, "moss         0 B/0 B "},
		{9, 3, "", 41, "moss         [################] 9 B/3 B "},
		{1, 2, "", 0, ""},
	} {
		if got := bar("moss", row.done, row.all, row.rate, row.width); got != row.want || len(got) > max(row.width-1, 0) {
			t.Errorf("%+v: %q", row, got)
		}
	}
}

// Where there is no terminal, a line for each part tells that it is there, and
// nothing that a registry says is anything but text.
func TestProgressIsLines(t *testing.T) {
	for quiet, want := range map[bool]string{
		false: "1 of 3 layers are there\nbryo: warning: \\x1b[31mred\naaaaaaaaaaaa 2 KiB\n\\x1b\\x1b 0 B\n",
		true:  "bryo: warning: \\x1b[31mred\n",
	} {
		f, err := os.Create(t.TempDir() + "/said")
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		p := newProgress(streams{err: f}, quiet)
		name := "sha256:" + strings.Repeat("a", 64)
		for _, e := range []fetch.Event{
			{Image: &fetch.Image{Missing: []fetch.Blob{{Digest: name, Size: 2048}, {Digest: "sha256:\x1b\x1b"}}, Skipped: 1}},
			{Warning: "\x1b[31mred"},
			{Progress: &fetch.Progress{Digest: name, Done: 1024}},
			{Progress: &fetch.Progress{Digest: "sha256:other", Done: 1024}},
			{Progress: &fetch.Progress{Digest: name, Done: 4096}},
			{Progress: &fetch.Progress{Digest: name, Done: 2048}},
			{Progress: &fetch.Progress{Digest: "sha256:\x1b\x1b"}},
		} {
			p.show(&e)
		}
		p.end()
		said, err := os.ReadFile(f.Name())
		if err != nil || string(said) != want {
			t.Errorf("%q, %v, want %q", said, err, want)
		}
	}
}
