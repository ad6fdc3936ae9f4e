package main

import (
	"strings"
	"testing"
)

// What is typed comes out again but for the keys, however it is cut.
func TestKeysThatLeave(t *testing.T) {
	for _, c := range []struct {
		keys, typed, data string
		leave             bool
	}{
		{"ctrl-p,ctrl-q", "abc", "abc", false},
		{"ctrl-p,ctrl-q", "a\x10\x11b", "a", true},
		{"ctrl-p,ctrl-q", "a\x10b\x10", "a\x10b\x10", false},
		{"ctrl-p,ctrl-q", "\x10\x10\x11", "\x10", true},
		{"a,a,b", "aaab", "a", true},
		{"a,b,a,c", "ababac", "ab", true},
		{"a,b,a,b,c", "ababab", "ababab", false},
		{"ctrl-@", "\x00", "", true},
		{"x", "yyx", "yy", true},
		{noKeys, "\x10\x11", "\x10\x11", false},
	} {
		for size := 1; size <= len(c.typed); size++ {
			f := keyFinder{all: keysOf(c.keys)}
			var data []byte
			left := false
			for rest := c.typed; rest != "" && !left; {
				n := min(size, len(rest))
				var now []byte
				now, left = f.look([]byte(rest[:n]))
				data, rest = append(data, now...), rest[n:]
			}
			data = append(data, f.rest()...)
			if string(data) != c.data || left != c.leave {
				t.Errorf("%s, %q by %d: %q, %v", c.keys, c.typed, size, data, left)
			}
		}
	}
}

func TestParseKeys(t *testing.T) {
	for text, want := range map[string]string{
		"": "", "ctrl-p,ctrl-q": "\x10\x11", "ctrl-P": "\x10", "a,B,1": "aB1", "ctrl-],ctrl-\\,ctrl-^,ctrl-_,ctrl-[,ctrl-@": "\x1d\x1c\x1e\x1f\x1b\x00",
	} {
		got, err := parseKeys(text)
		if err != nil || string(keysOf(got)) != want {
			t.Errorf("%q is %q, %v", text, keysOf(got), err)
		}
	}
	for _, text := range []string{",", "ab", "ctrl-", "ctrl-1", "ctrl-pp", "a,", "ä", " ", "\x10", "alt-x"} {
		if _, err := parseKeys(text); err == nil || !strings.Contains(err.Error(), "is no key") {
			t.Errorf("%q: %v", text, err)
		}
	}
}
