package monitor

import (
	"bytes"
	"strings"
	"testing"
)

// message is what Cut takes off.
type message struct {
	kind Kind
	data string
}

// cutAll takes all messages off a buffer.
func cutAll(buf []byte) (list []message, rest []byte, err error) {
	for {
		kind, data, left, ok, err := Cut(buf)
		if err != nil || !ok {
			return list, left, err
		}
		list = append(list, message{kind, string(data)})
		buf = left
	}
}

func TestCut(t *testing.T) {
	big := strings.Repeat("x", mostMessage)
	for _, row := range []struct {
		name, buf string
		want      []message
		rest, err string
	}{
		{"nothing", "", nil, "", ""},
		{"half a head", "i\x01\x00\x00", nil, "i\x01\x00\x00", ""},
		{"a head", "i\x01\x00\x00\x00", nil, "i\x01\x00\x00\x00", ""},
		{"one", "i\x01\x00\x00\x00a", []message{{Input, "a"}}, "", ""},
		{"an empty one", "e\x00\x00\x00\x00", []message{{EndOfInput, ""}}, "", ""},
		{"two and a half", "i\x01\x00\x00\x00as\x04\x00\x00\x00\x01\x02\x03\x04i\x02\x00\x00\x00b", []message{{Input, "a"}, {Size, "\x01\x02\x03\x04"}}, "i\x02\x00\x00\x00b", ""},
		{"an unknown kind", "?\x01\x00\x00\x00a", []message{{'?', "a"}}, "", ""},
		{"the biggest", "i\x00\x00\x01\x00" + big, []message{{Input, big}}, "", ""},
		{"bigger", "i\x01\x00\x01\x00" + big, nil, "i\x01\x00\x01\x00" + big, "a message of 65537 bytes"},
		{"as big as can be", "i\xff\xff\xff\xff", nil, "i\xff\xff\xff\xff", "a message of 4294967295 bytes"},
	} {
		got, rest, err := cutAll([]byte(row.buf))
		if len(got) != len(row.want) || string(rest) != row.rest || (err == nil) != (row.err == "") || err != nil && err.Error() != row.err {
			t.Errorf("%s: %d messages, rest %q, %v", row.name, len(got), rest, err)
			continue
		}
		for i := range got {
			if got[i] != row.want[i] {
				t.Errorf("%s: message %d is %q", row.name, i, got[i])
			}
		}
	}
}

// FuzzCut has messages be the same however they arrive, and be what Append makes.
func FuzzCut(f *testing.F) {
	f.Add([]byte("i\x01\x00\x00\x00as\x04\x00\x00\x00\x01\x02\x03\x04e\x00\x00\x00\x00q\x01\x00\x00\x00\x07"), uint8(3))
	f.Add([]byte("i\xff\xff\xff\xff"), uint8(1))
	f.Add([]byte("o\x00\x00\x01\x00"), uint8(0))
	f.Fuzz(func(t *testing.T, text []byte, step uint8) {
		whole, rest, failed := cutAll(text)
		var parts []message
		var buf, again []byte
		var err error
		for left := text; len(left) > 0 && err == nil; {
			n := min(int(step)+1, len(left))
			var some []message
			some, buf, err = cutAll(append(buf, left[:n]...))
			parts, left = append(parts, some...), left[n:]
		}
		if len(parts) != len(whole) || (err == nil) != (failed == nil) {
			t.Fatalf("%d messages and %v, in parts %d and %v", len(whole), failed, len(parts), err)
		}
		for i, m := range whole {
			if parts[i] != m {
				t.Errorf("message %d: %q, in parts %q", i, m, parts[i])
			}
			again = Append(again, m.kind, []byte(m.data))
		}
		if !bytes.Equal(append(again, rest...), text) {
			t.Errorf("%q has become %q and %q", text, again, rest)
		}
	})
}
