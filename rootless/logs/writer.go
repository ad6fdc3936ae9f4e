package logs

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// lineMax is the most that an entry holds: a longer line is several.
	lineMax = 16 << 10
	// batchMax is where a batch is written though the call has more to say.
	batchMax = 64 << 10
)

// What a log has without other options, and the most files that it may have.
const (
	DefaultSize  = 10 << 20
	DefaultFiles = 3
	MostFiles    = filesMax
)

// Options say how a log is kept. The zero value is a good one.
type Options struct {
	Format   Format
	MaxSize  int64 // of a file, in bytes; 0 is 10 MiB. One entry may be longer
	MaxFiles int   // with the one that is written, up to 100; 0 is 3
}

// Writer appends to a log. It is for one goroutine at a time.
type Writer struct {
	dir     int
	fd      int
	options Options
	size    int64 // of the file
	limit   int64 // the size to rotate at

	lines   [streams][]byte // not finished yet, without a newline
	at      time.Time       // of this call
	head    []byte          // of the entries of this call
	batch   []byte          // entries to write
	marks   []mark          // where they end
	torn    bool            // the batch begins with the rest of an entry that the file has the beginning of
	dropped int64
	stuck   bool  // that files are not rotated has been told
	fault   error // the first of this call
}

// mark is an entry of the batch.
type mark struct {
	end    int
	weight int64 // the bytes that are dropped if it is
}

// Open opens the log in a directory, and makes it if there is none. The
// descriptor of the directory must stay open as long as the Writer is used. If
// the file ends in the middle of a line, the first entry begins a new one.
func Open(dir int, o Options) (*Writer, error) {
	if o.MaxSize == 0 {
		o.MaxSize = DefaultSize
	}
	if o.MaxFiles == 0 {
		o.MaxFiles = DefaultFiles
	}
	if o.MaxSize < 0 || o.MaxFiles < 0 || o.MaxFiles > filesMax || o.Format > Plain {
		return nil, fmt.Errorf("log options out of range: %+v", o)
	}
	fd, size, torn, err := openLatest(dir)
	if err != nil {
		return nil, err
	}
	w := &Writer{dir: dir, fd: fd, options: o, size: size, limit: o.MaxSize}
	if torn {
		w.resume([]byte("\n"))
	}
	return w, nil
}

// resume has the batch begin with the rest of an entry.
func (w *Writer) resume(rest []byte) {
	w.torn = true
	w.batch = append(w.batch[:0], rest...)
	w.marks = append(w.marks[:0], mark{end: len(rest)})
}

// Write makes entries of what a stream has said, in chunks of any kind. The line
// that is not finished is kept, up to 16 KiB of it. An error says that entries
// were dropped, of this call's data or of what was kept; the next call tries
// again, and says in the log how much was lost.
func (w *Writer) Write(s Stream, at time.Time, data []byte) error {
	w.begin(at)
	w.head = appendHead(w.head[:0], w.options.Format, s, at)
	held := w.lines[s]
	for len(data) > 0 {
		piece, ended := cut(data, lineMax-len(held))
		data = data[len(piece):]
		text := piece
		if len(held) > 0 {
			held = append(held, piece...)
			text = held
		}
		switch {
		case ended:
			w.put(w.head, text, false)
			held = held[:0]
		case len(text) == lineMax:
			n := whole(text)
			w.put(w.head, text[:n], true)
			held = append(held[:0], text[n:]...)
		case len(held) == 0:
			held = append(held, piece...)
		}
	}
	w.lines[s] = held
	return w.end()
}

// cut takes a line, with its newline, from the front of data, or as much of one
// as there is, up to n bytes.
func cut(data []byte, n int) (piece []byte, ended bool) {
	data = data[:min(n, len(data))]
	i := bytes.IndexByte(data, '\n')
	if i < 0 {
		return data, false
	}
	return data[:i+1], true
}

// Flush writes the lines that are not finished as partial entries.
func (w *Writer) Flush(at time.Time) error {
	w.begin(at)
	for s, held := range w.lines {
		if len(held) > 0 {
			w.head = appendHead(w.head[:0], w.options.Format, Stream(s), at)
			w.put(w.head, held, true)
			w.lines[s] = held[:0]
		}
	}
	return w.end()
}

// Close closes the file, and forgets what is held.
func (w *Writer) Close() error {
	if err := unix.Close(w.fd); err != nil {
		return fmt.Errorf("close log: %w", err)
	}
	return nil
}

// Dropped is how many bytes were lost that the log does not tell of yet.
func (w *Writer) Dropped() int64 { return w.dropped }

// begin begins a call: what was dropped before is told first.
func (w *Writer) begin(at time.Time) {
	w.at, w.fault = at, nil
	if w.dropped > 0 {
		// If this entry is not written, it gives the number back.
		told := w.dropped
		w.dropped = 0
		w.note(strconv.FormatInt(told, 10)+" bytes were dropped", told)
	}
}

// end writes what the call has left.
func (w *Writer) end() error {
	if len(w.marks) > 0 {
		w.commit(len(w.marks))
	}
	return w.fault
}

// note adds an entry of the Writer's own.
func (w *Writer) note(text string, weight int64) {
	head := appendHead(nil, w.options.Format, Bryo, w.at)
	w.add(head, []byte(text+"\n"), false, weight)
}

func (w *Writer) put(head, data []byte, partial bool) {
	w.add(head, data, partial, int64(len(data)))
}

// add adds an entry to the batch, and writes what does not fit any more.
func (w *Writer) add(head, data []byte, partial bool, weight int64) {
	w.batch = appendEntry(w.batch, w.options.Format, head, data, partial)
	w.marks = append(w.marks, mark{len(w.batch), weight})
	if w.size+int64(len(w.batch)) > w.limit {
		w.makeRoom()
	}
	if len(w.batch) >= batchMax {
		w.commit(len(w.marks))
	}
}

// makeRoom gives the last entry of the batch a new file. Where that fails, the
// old one grows: the next attempt is a while later.
func (w *Writer) makeRoom() {
	if before := len(w.marks) - 1; before > 0 {
		w.commit(before)
	}
	if w.torn || w.size == 0 {
		return
	}
	fd, err := rotate(w.dir, w.options.MaxFiles)
	if err == nil {
		_ = unix.Close(w.fd)
		w.fd, w.size, w.limit, w.stuck = fd, 0, w.options.MaxSize, false
		return
	}
	w.limit = w.size + int64(len(w.batch)) + w.options.MaxSize/8
	if !w.stuck {
		w.stuck = true
		w.note("the log is not rotated and grows: "+err.Error(), 0)
	}
}

// commit writes the first entries of the batch. The rest of one that is written
// in part stays in the batch, for it must come next; those after it are dropped.
func (w *Writer) commit(count int) {
	end := w.marks[count-1].end
	n, err := write(w.fd, w.batch[:end])
	w.size += int64(n)
	rest := 0
	if err != nil {
		if w.fault == nil {
			w.fault = fmt.Errorf("write log: %w", err)
		}
		first, start := 0, 0 // the first that is not written, and where it begins
		for w.marks[first].end <= n {
			start = w.marks[first].end
			first++
		}
		if n > start || first == 0 && w.torn {
			rest = w.marks[first].end - n
			first++
		}
		for _, m := range w.marks[first:count] {
			w.dropped += m.weight
		}
	}
	w.keep(n, rest, count)
}

// keep leaves in the batch the rest of a torn entry, and the entries after the
// first ones.
func (w *Writer) keep(from, rest, count int) {
	end, marks := w.marks[count-1].end, w.marks[:0]
	if w.torn = rest > 0; w.torn {
		marks = append(marks, mark{end: rest})
	}
	for _, m := range w.marks[count:] {
		marks = append(marks, mark{m.end - end + rest, m.weight})
	}
	after := w.batch[end:]
	w.batch = append(w.batch[:0], w.batch[from:from+rest]...)
	w.batch = append(w.batch, after...)
	w.marks = marks
}

// State is what a Writer holds in memory, for a process that takes over.
type State struct {
	Stdout  []byte `json:"stdout,omitempty"` // the line that is not finished
	Stderr  []byte `json:"stderr,omitempty"`
	Bryo    []byte `json:"bryo,omitempty"`
	Torn    []byte `json:"torn,omitempty"` // the rest of an entry that a full disk has cut
	Dropped int64  `json:"dropped,omitempty"`
}

// Pending says whether State would hold anything.
func (w *Writer) Pending() bool {
	held := w.torn || w.dropped > 0
	for _, line := range w.lines {
		held = held || len(line) > 0
	}
	return held
}

// Export returns a copy of what the Writer holds; it is to write no more.
func (w *Writer) Export() State {
	return State{
		Stdout: bytes.Clone(w.lines[Stdout]), Stderr: bytes.Clone(w.lines[Stderr]), Bryo: bytes.Clone(w.lines[Bryo]),
		Torn: bytes.Clone(w.batch), Dropped: w.dropped,
	}
}

// Import has a Writer that was just opened go on where another one stopped. The
// rest of a torn entry is dropped if the file does not end with its beginning.
func (w *Writer) Import(s State) error {
	for _, line := range [][]byte{s.Stdout, s.Stderr, s.Bryo} {
		if len(line) >= lineMax || bytes.IndexByte(line, '\n') >= 0 {
			return errors.New("import log state: no unfinished line")
		}
	}
	if i := bytes.IndexByte(s.Torn, '\n'); i != len(s.Torn)-1 || s.Dropped < 0 {
		return errors.New("import log state: no rest of an entry")
	}
	w.lines = [streams][]byte{bytes.Clone(s.Stdout), bytes.Clone(s.Stderr), bytes.Clone(s.Bryo)}
	w.dropped = s.Dropped
	if w.torn && len(s.Torn) > 0 {
		w.resume(s.Torn)
	}
	return nil
}
