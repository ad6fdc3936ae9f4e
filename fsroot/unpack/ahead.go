package unpack

import "io"

// ahead reads a stream in a goroutine of its own, so that it is decompressed
// while files are written.
type ahead struct {
	full, free chan chunk
	stop, done chan struct{}
	now        chunk
	rest       []byte
}

type chunk struct {
	data []byte
	err  error
}

func readAhead(r io.Reader) *ahead {
	// Small ones would have the two wait for each other at each large file.
	const chunks, size = 8, 512 << 10
	a := &ahead{full: make(chan chunk, chunks), free: make(chan chunk, chunks), stop: make(chan struct{}), done: make(chan struct{})}
	for range chunks {
		a.free <- chunk{data: make([]byte, size)}
	}
	go a.fill(r)
	return a
}

func (a *ahead) fill(r io.Reader) {
	defer close(a.done)
	for {
		select {
		case <-a.stop:
			return
		case c := <-a.free:
			n, err := fillChunk(r, c.data[:cap(c.data)])
			a.full <- chunk{c.data[:n], err}
			if err != nil {
				return
			}
		}
	}
}

func fillChunk(r io.Reader, p []byte) (n int, err error) {
	for n < len(p) && err == nil {
		var more int
		more, err = r.Read(p[n:])
		n += more
	}
	return n, err
}

// Read reads what the goroutine has read.
func (a *ahead) Read(p []byte) (int, error) {
	for len(a.rest) == 0 {
		if a.now.err != nil {
			return 0, a.now.err
		}
		if a.now.data != nil {
			a.free <- a.now
		}
		a.now = <-a.full
		a.rest = a.now.data
	}
	n := copy(p, a.rest)
	a.rest = a.rest[n:]
	return n, nil
}

// Close waits for the goroutine to end.
func (a *ahead) Close() {
	close(a.stop)
	<-a.done
}
