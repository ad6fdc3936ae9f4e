package logs

import (
	"bytes"
	"io"
)

// tail counts lines from the end of the log.
type tail struct {
	reader *reader
	left   int           // lines to find
	seen   [streams]bool // has an entry further on
}

// skipToTail leaves of the files what has the last lines. It reads them
// backward, so that the size of the log does not matter.
func (r *reader) skipToTail() error {
	t := &tail{reader: r, left: r.options.Tail}
	for i := len(r.files) - 1; i >= 0; i-- {
		start, found, err := t.search(&r.files[i])
		if err != nil {
			return err
		}
		if found {
			r.files[i].offset = start
			closeAll(r.files[:i])
			r.files = r.files[i:]
			return nil
		}
	}
	return nil
}

// search goes through a file from its end to where the tail starts. The buffer
// has what comes before end, which is the end of a line, or, with skipping, in
// the middle of one that is too long, whose beginning is then a line without a
// newline, which is no entry.
func (t *tail) search(s *source) (start int64, found bool, err error) {
	end, filled, skipping := s.size, 0, false
	for {
		buffer := t.reader.buffer[:filled]
		before := buffer[:max(0, filled-1)] // without the newline of the last line
		if skipping {
			before = buffer
		}
		newline := bytes.LastIndexByte(before, '\n')
		line := buffer[newline+1:]
		first := newline < 0 && end == int64(filled)
		switch {
		case newline < 0 && filled == entryMax:
			skipping = true
			end -= int64(filled)
			filled = 0
		case newline >= 0 || first:
			if t.starts(line) {
				return end, true, nil
			}
			if first {
				return 0, false, nil
			}
			skipping = false
			end -= int64(len(line))
			filled = newline + 1
			continue
		}
		if filled, err = t.extend(s, end, filled); err != nil {
			return 0, false, err
		}
	}
}

// starts says whether the tail starts after a line.
func (t *tail) starts(line []byte) bool {
	entry, ok := parse(line)
	if !ok || !t.reader.options.want(&entry) {
		return false
	}
	if !entry.Partial || !t.seen[entry.Stream] { // the line ends here
		if t.left == 0 {
			return true
		}
		t.left--
	}
	t.seen[entry.Stream] = true
	return false
}

// extend puts before what is in the buffer what comes before it in the file.
func (t *tail) extend(s *source, end int64, filled int) (int, error) {
	if filled == len(t.reader.buffer) {
		t.reader.grow()
	}
	buffer := t.reader.buffer
	from := end - int64(filled)
	more := int(min(int64(len(buffer)-filled), from))
	copy(buffer[more:], buffer[:filled])
	for done := 0; done < more; {
		n, err := readAt(s.fd, buffer[done:more], from-int64(more)+int64(done))
		if err == nil && n == 0 {
			err = io.ErrUnexpectedEOF // somebody has truncated it
		}
		if err != nil {
			return 0, err
		}
		done += n
	}
	return filled + more, nil
}
