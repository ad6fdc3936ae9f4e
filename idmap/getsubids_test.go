package idmap

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestParseSubids(t *testing.T) {
	for _, row := range []struct {
		name, out string
		want      []Range
	}{
		{"nothing", "", nil},
		{"one", "0: me 100000 65536\n", []Range{{100000, 65536}}},
		{"several", "0: me 100000 65536\n1: me 300000 10\n", []Range{{100000, 65536}, {300000, 10}}},
		{"without a last newline", "0: me 100000 65536", []Range{{100000, 65536}}},
		{"a name with spaces", "0: DOMAIN\\domain user 100000 65536\n", []Range{{100000, 65536}}},
		{"a uid for a name", "0: 1000 100000 65536\n", []Range{{100000, 65536}}},
		{"an empty range", "0: me 100000 0\n1: me 5 1\n", []Range{{5, 1}}},
		{"all ids", "0: me 0 4294967295\n", []Range{{0, NoID}}},
	} {
		if got, err := parseSubids(row.out); err != nil || !slices.Equal(got, row.want) {
			t.Errorf("%s: %v, %v, want %v", row.name, got, err, row.want)
		}
	}
}

func TestParseSubidsRefuses(t *testing.T) {
	for _, row := range []struct{ name, out, cause string }{
		{"an empty line", "\n", "not of the form"},
		{"no index", "me 100000 65536\n", "not of the form"},
		{"a word for an index", "me: me 100000 65536\n", "not of the form"},
		{"no user", "0: 100000 65536\n", "not of the form"},
		{"a file's line", "me:100000:65536\n", "not of the form"},
		{"a message", "Error fetching ranges\n", "not of the form"},
		{"a negative start", "0: me -1 5\n", "start: "},
		{"the reserved id", "0: me 4294967295 1\n", "start: id 4294967295 is reserved"},
		{"33 bits of start", "0: me 4294967296 1\n", "start: "},
		{"33 bits of count", "0: me 1 4294967296\n", "count: "},
		{"bad after good", "0: me 1 1\n1: me x 1\n", "start: "},
	} {
		got, err := parseSubids(row.out)
		if got != nil || !strings.Contains(errorText(err), row.cause) || err == nil {
			t.Errorf("%s: %v, %v, want an error with %q", row.name, got, err, row.cause)
		}
	}
}

func FuzzParseSubids(f *testing.F) {
	for _, seed := range []string{"", "0: me 100000 65536\n", "0: me 1 1\n1: a b 2 2", "0:", ": : :", "0: me 4294967295 1\n"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, out string) {
		ranges, err := parseSubids(out)
		if err != nil {
			if ranges != nil {
				t.Errorf("%q: %v with its error", out, ranges)
			}
			return
		}
		if len(ranges) > strings.Count(out, ":") {
			t.Errorf("%q: %d ranges", out, len(ranges))
		}
		var again strings.Builder
		for i, r := range ranges {
			if r.Count == 0 || r.Start == NoID {
				t.Errorf("%q: %v", out, r)
			}
			fmt.Fprintf(&again, "%d: me %d %d\n", i, r.Start, r.Count)
		}
		if got, err := parseSubids(again.String()); err != nil || !slices.Equal(got, ranges) {
			t.Errorf("%q: %v, read again %v, %v", out, ranges, got, err)
		}
	})
}

// script makes a program of a shell script.
func script(t *testing.T, body string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "script")
	if err := os.WriteFile(path, []byte("#!/bin/sh\n"+body+"\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestAnswer(t *testing.T) {
	for _, row := range []struct {
		name, body string
		want       string
		cause      string
	}{
		{"ranges", `echo "0: $1 5 6"`, "[{5 6}]", ""},
		{"a user without ranges", `echo Error fetching ranges >&2; exit 1`, "[]", ""},
		{"ranges and a failure", `echo "0: me 5 6"; exit 1`, "[]", "exit status 1"},
		{"another failure", `exit 2`, "[]", "exit status 2"},
		{"no sense", `echo hello`, "[]", "not of the form"},
		{"killed", `kill -9 $$`, "[]", "signal: killed"},
		{"no end to it", `while :; do echo "0: me 5 6"; done`, "[]", "signal: "},
		{"nothing of the environment", `test -z "$HOME" && echo "0: me 5 6"`, "[{5 6}]", ""},
		{"an end of input", `cat; echo "0: me 5 6"`, "[{5 6}]", ""},
	} {
		t.Setenv("HOME", "/home/me")
		q, err := ask(script(t, row.body), "me")
		if err != nil {
			t.Fatal(err)
		}
		got, err := q.ranges()
		if fmt.Sprint(got) != row.want || !strings.Contains(errorText(err), row.cause) || row.cause == "" && err != nil {
			t.Errorf("%s: %v, %v, want %s, %q", row.name, got, err, row.want, row.cause)
		}
	}
}

func TestAskNeedsAProgram(t *testing.T) {
	if _, err := ask(filepath.Join(t.TempDir(), "none")); err == nil {
		t.Error("a missing program was started")
	}
}
