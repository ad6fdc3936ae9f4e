package logs

import (
	"bytes"
	"fmt"
	"slices"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// entryMax is too long for a line, with its newline.
	entryMax = 1 << 20
	// often is the time between two looks at a file that is followed.
	often = 100 * time.Millisecond
)

// ReadOptions say what is read of a log.
type ReadOptions struct {
	Since   time.Time // the first time, if set
	Until   time.Time // the first time that is too late, if set
	Tail    int       // so many of the last lines; -1 is all
	Streams []Stream  // none is all

	// Follow, if set, waits for more until it is closed and what was there by
	// then is read, or until Until.
	Follow <-chan struct{}

	// Gap, if set, is called where files were rotated away before they were
	// read.
	Gap func()
}

// Read calls yield for the entries of the log in a directory, oldest first, and
// ends with the first error that yield returns. The Data of an entry is good
// until yield returns. Lines that are no entries or have 1 MiB or more are
// skipped, and so is the last one if it is not finished. With Tail, a line
// counts where it ends: other streams' pieces between those of a long one may
// cost it its beginning.
//
// A log that is not there is unix.ENOENT, unless it is followed. Who follows and
// is slower than the files rotate loses what is in the oldest, and is told by Gap.
func Read(dir int, o ReadOptions, yield func(Entry) error) error {
	r := &reader{dir: dir, options: o, yield: yield, buffer: make([]byte, 64<<10), counter: &counter{fd: -1, blind: true}}
	if o.Follow != nil && o.Gap != nil {
		r.counter = openCounter(dir)
	}
	defer r.counter.close()
	defer func() { closeAll(r.files) }()
	var err error
	r.files, r.known, err = openAllCounted(dir, r.counter)
	if err != nil {
		return err
	}
	if len(r.files) == 0 && o.Follow == nil {
		return fmt.Errorf("read log: %w", unix.ENOENT)
	}
	if o.Tail >= 0 {
		if err := r.skipToTail(); err != nil {
			return err
		}
	}
	if err := r.drainAll(); err != nil || o.Follow == nil {
		return err
	}
	return r.follow()
}

type reader struct {
	dir     int
	options ReadOptions
	yield   func(Entry) error
	files   []source // to read, oldest first
	buffer  []byte
	counter *counter
	known   int // of the rotations: the latest of the files came with it
}

func (r *reader) follow() error {
	ticker := time.NewTicker(often)
	defer ticker.Stop()
	for {
		var over bool
		select {
		case <-r.options.Follow:
			over = true
		case now := <-ticker.C:
			over = !r.options.Until.IsZero() && now.After(r.options.Until)
		}
		if err := r.refresh(); err != nil {
			return err
		}
		if err := r.drainAll(); err != nil || over {
			return err
		}
	}
}

// refresh looks how long the file at hand has become, and for those that came
// after it. A file that is no longer the latest has its last size: the Writer
// goes on in the next one before the name changes.
func (r *reader) refresh() error {
	id, found, err := latestID(r.dir)
	if err != nil {
		return err
	}
	if found && find(r.files, id) < 0 {
		if err := r.advance(); err != nil {
			return err
		}
	}
	for i := range r.files {
		if err := r.files[i].measure(); err != nil {
			return err
		}
	}
	return nil
}

// advance opens the files after the one at hand. If that has no name any more,
// they are those that were written later, and some before them may be missing.
func (r *reader) advance() error {
	files, rotations, err := openAllCounted(r.dir, r.counter)
	came := rotations - r.known
	r.known = rotations
	if err != nil {
		return err
	}
	if len(r.files) == 0 { // the first one was made without a rotation
		if r.files = files; len(files) > 0 {
			files[0].gap = !r.counter.blind && came >= len(files)
		}
		return nil
	}
	at := r.files[len(r.files)-1]
	known := find(files, at.id)
	gap := known < 0 && (r.counter.blind || came > len(files))
	for i, file := range files {
		if i > known && (known >= 0 || file.modified >= at.modified) {
			file.gap, gap = gap, false
			r.files = append(r.files, file)
		} else {
			file.close()
		}
	}
	return nil
}

// drainAll reads all files, and keeps the last one open.
func (r *reader) drainAll() error {
	for len(r.files) > 0 {
		if err := r.drain(&r.files[0]); err != nil {
			return err
		}
		if len(r.files) == 1 {
			return nil
		}
		r.files[0].close()
		r.files = r.files[1:]
	}
	return nil
}

// drain reads a file up to its size. A line that is not finished is read anew
// the next time.
func (r *reader) drain(s *source) error {
	if s.gap && r.options.Gap != nil {
		r.options.Gap()
	}
	s.gap = false
	filled := 0
	for {
		room := r.buffer[filled:]
		room = room[:min(int64(len(room)), s.size-s.offset-int64(filled))]
		n, err := readAt(s.fd, room, s.offset+int64(filled))
		if err != nil || n == 0 {
			return err
		}
		filled += n
		taken, err := r.takeLines(s, r.buffer[:filled])
		if err != nil {
			return err
		}
		if taken == 0 && filled == entryMax {
			s.skipping = true
		}
		if s.skipping {
			taken = filled
		}
		s.offset += int64(taken)
		filled = copy(r.buffer, r.buffer[taken:filled])
		if filled == len(r.buffer) {
			r.grow()
		}
	}
}

// grow doubles the buffer. That it is full of one line comes before: it has
// entryMax bytes at most.
func (r *reader) grow() {
	r.buffer = append(r.buffer, make([]byte, len(r.buffer))...)
}

// takeLines takes the finished lines at the front, and returns their length.
func (r *reader) takeLines(s *source, data []byte) (taken int, err error) {
	for {
		n := bytes.IndexByte(data[taken:], '\n') + 1
		if n == 0 {
			return taken, nil
		}
		line := data[taken : taken+n]
		taken += n
		if s.skipping || n == entryMax {
			s.skipping = false
			continue
		}
		if entry, ok := parse(line); ok && r.options.want(&entry) {
			if err := r.yield(entry); err != nil {
				return taken, err
			}
		}
	}
}

func (o *ReadOptions) want(e *Entry) bool {
	return (o.Since.IsZero() || !e.Time.Before(o.Since)) &&
		(o.Until.IsZero() || e.Time.Before(o.Until)) &&
		(len(o.Streams) == 0 || slices.Contains(o.Streams, e.Stream))
}
