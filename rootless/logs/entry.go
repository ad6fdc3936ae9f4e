package logs

import (
	"bytes"
	"encoding/json"
	"slices"
	"time"
)

// Stream is where an entry comes from.
type Stream uint8

// Bryo is what the Writer itself says.
const (
	Stdout Stream = iota
	Stderr
	Bryo
	streams = iota
)

func (s Stream) String() string {
	return streamNames()[s]
}

func streamNames() [streams]string {
	return [streams]string{"stdout", "stderr", "bryo"}
}

// Format is how entries stand in the file. A reader takes both in one.
type Format uint8

// The formats, see the package.
const (
	JSON Format = iota
	Plain
)

// Entry is a line, or a part of one.
type Entry struct {
	Time    time.Time
	Stream  Stream
	Partial bool   // the line goes on in the next entry of the stream
	Data    []byte // with the newline that ends the line, unless it is partial
}

// record is an entry in JSON. One of the two logs is there.
type record struct {
	Time    time.Time `json:"time"`
	Stream  string    `json:"stream"`
	Log     *string   `json:"log"`
	Log64   *[]byte   `json:"log64"`
	Partial bool      `json:"partial"`
}

// parse takes a line with its newline; without one it is torn. The data of a
// plain entry is part of it.
func parse(line []byte) (entry Entry, ok bool) {
	switch {
	case !bytes.HasSuffix(line, []byte("\n")):
		return Entry{}, false
	case line[0] == '{':
		return parseJSON(line)
	default:
		return parsePlain(line)
	}
}

func parseJSON(line []byte) (entry Entry, ok bool) {
	var r record
	if err := json.Unmarshal(line, &r); err != nil || (r.Log == nil) == (r.Log64 == nil) {
		return Entry{}, false
	}
	stream, ok := parseStream(r.Stream)
	entry = Entry{Time: r.Time, Stream: stream, Partial: r.Partial}
	if r.Log != nil {
		entry.Data = []byte(*r.Log)
	} else {
		entry.Data = *r.Log64
	}
	return entry, ok
}

func parsePlain(line []byte) (entry Entry, ok bool) {
	stamp, rest, _ := bytes.Cut(line, []byte(" "))
	stream, rest, _ := bytes.Cut(rest, []byte(" "))
	tag, text, found := bytes.Cut(rest, []byte(" "))
	if !found || len(tag) != 1 {
		return Entry{}, false
	}
	switch tag[0] {
	case 'F':
		entry.Data = text
	case 'P':
		entry.Partial, entry.Data = true, text[:len(text)-1]
	default:
		return Entry{}, false
	}
	at, err := time.Parse(time.RFC3339Nano, string(stamp))
	if err != nil {
		return Entry{}, false
	}
	entry.Time = at
	entry.Stream, ok = parseStream(string(stream))
	return entry, ok
}

func parseStream(name string) (s Stream, ok bool) {
	names := streamNames()
	i := slices.Index(names[:], name)
	return Stream(max(i, 0)), i >= 0
}
