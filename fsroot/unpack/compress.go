package unpack

import (
	"bufio"
	"bytes"
	"compress/bzip2"
	"errors"
	"fmt"
	"io"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"github.com/xi2/xz"
)

// How far a stream may grow when it is decompressed: an honest one stays below
// mostRatio, or below fineSize.
const (
	mostRatio = 500
	fineSize  = 1 << 30
)

// What decompression may hold in memory: the window of zstd --ultra -20, which is
// four times what all decoders have to have, and that of xz -9.
const (
	zstdWindow = 32 << 20
	xzDict     = 64 << 20
)

// memoryFault says what to do about a stream that needs more than that.
func memoryFault(err error) error {
	switch {
	case errors.Is(err, zstd.ErrWindowSizeExceeded), errors.Is(err, zstd.ErrDecoderSizeExceeded):
		return fmt.Errorf("%w: it needs more than %d MiB of memory\nfix: decompress it first: zstd -d --long=31", err, zstdWindow>>20) //nolint:mnd // to MiB
	case errors.Is(err, xz.ErrMemlimit):
		return fmt.Errorf("%w: it needs more than %d MiB of memory\nfix: decompress it first: xz -d", err, xzDict>>20) //nolint:mnd // to MiB
	}
	return err
}

// format is a way of compressing, and how its streams begin.
type format struct {
	magic string
	open  func(r io.Reader) (io.Reader, func(), error)
}

func formats() []format {
	return []format{
		{"\x1f\x8b", openGzip},
		{"\x28\xb5\x2f\xfd", openZstd},
		{"\xfd7zXZ\x00", openXZ},
		{"BZh", func(r io.Reader) (io.Reader, func(), error) { return bzip2.NewReader(r), func() {}, nil }},
	}
}

func openGzip(r io.Reader) (io.Reader, func(), error) {
	z, err := gzip.NewReader(r)
	return z, func() {}, err
}

func openZstd(r io.Reader) (io.Reader, func(), error) {
	z, err := zstd.NewReader(r, zstd.WithDecoderMaxWindow(zstdWindow), zstd.WithDecoderLowmem(true), zstd.WithDecoderConcurrency(1))
	if err != nil {
		return nil, nil, err
	}
	return z, z.Close, nil
}

func openXZ(r io.Reader) (io.Reader, func(), error) {
	z, err := xz.NewReader(r, xzDict)
	return z, func() {}, err
}

// decompress finds out by the first bytes how a stream is compressed, if it is.
// The second result ends it.
func decompress(r io.Reader) (io.Reader, func(), error) {
	const window, longestMagic = 256 << 10, 6
	counted := &counter{from: r}
	in := bufio.NewReaderSize(counted, window)
	begin, err := in.Peek(longestMagic)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, nil, err
	}
	for _, f := range formats() {
		if !bytes.HasPrefix(begin, []byte(f.magic)) {
			continue
		}
		out, end, err := f.open(in)
		if err != nil {
			return nil, nil, fmt.Errorf("decompress: %w", memoryFault(err))
		}
		return &grown{from: out, compressed: counted}, end, nil
	}
	return in, func() {}, nil
}

// counter counts what is read.
type counter struct {
	from io.Reader
	n    int64
}

func (c *counter) Read(p []byte) (int, error) {
	n, err := c.from.Read(p)
	c.n += int64(n)
	return n, err
}

// grown is a decompressed stream, which ends in an error if it is a bomb.
type grown struct {
	from       io.Reader
	compressed *counter
	n          int64
}

var errBomb = errors.New("the archive is a bomb: it grows more than 500 times when it is decompressed")

func (g *grown) Read(p []byte) (int, error) {
	n, err := g.from.Read(p)
	g.n += int64(n)
	switch {
	case g.n > fineSize && g.n/mostRatio > g.compressed.n:
		return n, errBomb
	case err != nil && !errors.Is(err, io.EOF):
		return n, fmt.Errorf("decompress: %w", memoryFault(err))
	}
	return n, err
}
