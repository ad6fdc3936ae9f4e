package tree

import (
	"archive/tar"
	"bytes"
	"fmt"
	"strconv"
	"strings"
	"testing"
)

// record is an entry of an archive as its bytes are, which archive/tar would not
// write.
func record(kind byte, name, link, size, body string) string {
	const block, usual = 512, "0000644\x00"
	h := make([]byte, block)
	put := func(at int, text string) { copy(h[at:], text) }
	put(0, name)
	put(100, usual)
	put(108, "0000000\x00")
	put(116, "0000000\x00")
	if size == "" {
		size = fmt.Sprintf("%011o\x00", len(body))
	}
	put(124, size)
	put(136, "00000000000\x00")
	put(148, "        ")
	h[156] = kind
	put(157, link)
	put(257, "ustar\x0000")
	sum := 0
	for _, b := range h {
		sum += int(b)
	}
	put(148, fmt.Sprintf("%06o\x00 ", sum))
	return string(h) + body + strings.Repeat("\x00", (block-len(body)%block)%block)
}

// pax is a header of records for the next entry.
func pax(records ...string) string {
	var b strings.Builder
	for i := 0; i+1 < len(records); i += 2 {
		rest := " " + records[i] + "=" + records[i+1] + "\n"
		size := len(rest) + 1
		for len(strconv.Itoa(size))+len(rest) != size {
			size++
		}
		fmt.Fprintf(&b, "%d%s", size, rest)
	}
	return record('x', "pax", "", "", b.String())
}

// sparseEntry is a file that GNU tar's records tell the size and the pieces of.
func sparseEntry(size, table, data string) string {
	table += strings.Repeat("\x00", (512-len(table)%512)%512)
	return pax("GNU.sparse.major", "1", "GNU.sparse.minor", "0", "GNU.sparse.name", "f", "GNU.sparse.realsize", size) +
		record('0', "GNUSparseFile.0/f", "", "", table+data)
}

// Archives that say in one place something else than in another reach nothing
// outside, and make neither large files nor endless ones.
func TestHostileRecords(t *testing.T) {
	file := func(body string) string { return record('0', "f", "", "", body) }
	whole := file("fine")
	for _, row := range []struct {
		name, text string
		want       string // below the root
		fault      bool
	}{
		{"a path in records", pax("path", "../outside/secret") + whole, "outside/ outside/secret=fine", false},
		{"an absolute one", pax("path", "/outside/../../outside/new") + whole, "outside/ outside/new=fine", false},
		{"a path with a zero", pax("path", "a\x00b") + whole, "", true},
		{"an empty path", pax("path", "") + whole, "f=fine", false},
		{"a long path in records", pax("path", strings.Repeat("n/", 3000)+"f") + whole, "", true},
		{"a link's target in records", pax("linkpath", "../outside/secret") + record('1', "h", "f", "", ""), "", true},
		{"a link out, and a file through it", pax("linkpath", "../outside") + record('2', "l", "", "", "") + pax("path", "l/secret") + whole, "l -> ../outside", true},
		{"a size in records", pax("size", "4") + record('0', "f", "", "00000000000\x00", "fine"), "f=fine", false},
		{"a negative size in records", pax("size", "-4") + whole, "", true},
		{"an endless size in records", pax("size", "9223372036854775807") + whole, "", true},
		{"a size that is no number", pax("size", "0x4") + whole, "", true},
		{"a negative size", record('0', "f", "", "\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xfc", "fine"), "", true},
		{"a size in base 256", record('0', "f", "", "\x80\x7f\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", "fine"), "", true},
		{"a size without an end", record('0', "f", "", "77777777777\x00", "fine"), "", true},
		{"records for all", record('g', "pax", "", "", "31 path=../../outside/secret01\n") + whole, "f=fine", false},
		{"records of the wrong length", record('x', "pax", "", "", "99 path=f\n") + whole, "", true},
		{"records of no length", record('x', "pax", "", "", "0 path=f\n") + whole, "", true},
		{"many records", pax("comment", strings.Repeat("c", 2<<20)) + whole, "", true},
		{"records without a file", pax("path", "x"), "", false},
		{"a long name of GNU's", record('L', "././@LongLink", "", "", "../outside/secret\x00") + whole, "outside/ outside/secret=fine", false},
		{"a long target of GNU's", record('K', "././@LongLink", "", "", "../outside/secret\x00") + record('1', "h", "", "", ""), "", true},
		{"a name without an end", record('L', "././@LongLink", "", "", strings.Repeat("n", 2<<20)) + whole, "", true},
		{"a directory with a content", record('5', "d", "", "", "pwned") + whole, "", true},
		{"a link with a content", whole + record('1', "h", "f", "", "pwned"), "", true},
		{"a kind that nobody knows", record('Z', "z", "", "", "pwned") + whole, "f=fine", false},
		{"a volume's label", record('V', "../outside/secret", "", "", "") + whole, "f=fine outside/", false},
		{"the rest of another volume", record('M', "f", "", "", "pwned") + whole, "f=fine", false},
		{"a sparse file", sparseEntry("6", "1\n2\n4\n", "fine"), "f=\x00\x00fine", false},
		{"a vast sparse file", sparseEntry("1125899906842624", "1\n0\n4\n", "fine"), "", true},
		{"one of a negative size", sparseEntry("-1", "1\n0\n4\n", "fine"), "", true},
		{"pieces behind the end", sparseEntry("4", "1\n2\n4\n", "fine"), "", true},
		{"pieces in each other", sparseEntry("8", "2\n0\n4\n2\n4\n", "finefine"), "", true},
		{"more pieces than there are", sparseEntry("8", "99999999\n0\n4\n", "fine"), "", true},
		{"pieces larger than their data", sparseEntry("1000", "1\n0\n1000\n", "fine"), "", true},
		{"a sparse file with another name", pax("GNU.sparse.major", "1", "GNU.sparse.minor", "0", "GNU.sparse.name", "../outside/secret", "GNU.sparse.realsize", "0") +
			record('0', "f", "", "", "0\n"+strings.Repeat("\x00", 510)), "outside/ outside/secret=", false},
	} {
		t.Run(row.name, func(t *testing.T) {
			top := t.TempDir()
			plant(t, top, "outside/secret", "here/")
			image := NewImage(opened(t, top+"/here"), Limits{Bytes: 1 << 20, Entries: 100})
			err := image.Apply(bytes.NewReader([]byte(row.text + strings.Repeat("\x00", 1024))))
			if (err != nil) != row.fault {
				t.Errorf("%v", err)
			}
			if got := listing(t, top+"/here"); got != row.want && (!row.fault || row.want != "") {
				t.Errorf("%q, want %q", got, row.want)
			}
			if got := listing(t, top+"/outside"); got != "secret=outside/secret" {
				t.Errorf("outside: %s", got)
			}
		})
	}
}

// Names are bounded together, however few bytes of an archive they take.
func TestManyEntries(t *testing.T) {
	const most = 100
	image := NewImage(opened(t, t.TempDir()), Limits{Bytes: 1 << 20, Entries: most})
	read := bytes.NewReader([]byte(strings.Repeat(record(tar.TypeReg, "f", "", "", ""), most+1)))
	if err := image.Apply(read); err == nil || !strings.Contains(err.Error(), "more files than are allowed") {
		t.Errorf("the same name again and again: %v", err)
	}
}
