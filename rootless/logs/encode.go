package logs

import (
	"encoding/base64"
	"encoding/binary"
	"math/bits"
	"time"
	"unicode/utf8"
)

// appendHead appends what the entries of a stream at a time have in common.
func appendHead(b []byte, f Format, s Stream, at time.Time) []byte {
	if f == Plain {
		b = at.UTC().AppendFormat(b, time.RFC3339Nano)
		b = append(b, ' ')
		b = append(b, s.String()...)
		return append(b, ' ')
	}
	b = append(b, `{"time":"`...)
	b = at.UTC().AppendFormat(b, time.RFC3339Nano)
	b = append(b, `","stream":"`...)
	b = append(b, s.String()...)
	return append(b, `",`...)
}

// appendEntry appends an entry. Its data ends with the only newline there is in
// it, or is partial and has none.
func appendEntry(b []byte, f Format, head, data []byte, partial bool) []byte {
	b = append(b, head...)
	switch {
	case f == Plain && partial:
		b = append(b, 'P', ' ')
		b = append(b, data...)
		return append(b, '\n')
	case f == Plain:
		b = append(b, 'F', ' ')
		return append(b, data...)
	case utf8.Valid(data):
		b = append(b, `"log":"`...)
		b = appendEscaped(b, data)
	default:
		b = append(b, `"log64":"`...)
		b = base64.StdEncoding.AppendEncode(b, data)
	}
	if partial {
		return append(b, "\",\"partial\":true}\n"...)
	}
	return append(b, "\"}\n"...)
}

// appendEscaped appends the inside of a JSON string (RFC 8259, 7).
func appendEscaped(b, text []byte) []byte {
	for {
		n := unescaped(text)
		b = append(b, text[:n]...)
		if n == len(text) {
			return b
		}
		switch c := text[n]; c {
		case '"', '\\':
			b = append(b, '\\', c)
		case '\n':
			b = append(b, '\\', 'n')
		case '\r':
			b = append(b, '\\', 'r')
		case '\t':
			b = append(b, '\\', 't')
		default:
			const digits = "0123456789abcdef"
			b = append(b, '\\', 'u', '0', '0', digits[c>>4], digits[c&15])
		}
		text = text[n+1:]
	}
}

// unescaped counts the bytes that come before the first one to escape. It looks
// at eight at a time: a byte below n has its top bit set in (x - n) &^ x, and one
// that is c is zero in x ^ c. The lowest bit found is right; a borrow makes
// wrong ones above it only.
func unescaped(text []byte) int {
	const ones, tops = 0x0101010101010101, 0x8080808080808080
	i := 0
	for ; i+8 <= len(text); i += 8 {
		x := binary.LittleEndian.Uint64(text[i:])
		quote, slash := x^ones*'"', x^ones*'\\'
		found := ((x-ones*' ')&^x | (quote-ones)&^quote | (slash-ones)&^slash) & tops
		if found != 0 {
			return i + bits.TrailingZeros64(found)/8
		}
	}
	for i < len(text) && text[i] >= ' ' && text[i] != '"' && text[i] != '\\' {
		i++
	}
	return i
}

// whole is the length of a text without the rune that its end cuts in two.
func whole(text []byte) int {
	for n := len(text) - 1; n >= max(0, len(text)-utf8.UTFMax+1); n-- {
		if utf8.RuneStart(text[n]) {
			if utf8.FullRune(text[n:]) {
				return len(text)
			}
			return n
		}
	}
	return len(text)
}
