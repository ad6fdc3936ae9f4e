package pack

import (
	"fmt"
	"io"

	"github.com/klauspost/compress/zstd"
	"github.com/klauspost/pgzip"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// compression is a way of compressing layers, and what these are called then.
type compression struct {
	name, mediaType string
	open            func(w io.Writer) (io.WriteCloser, error)
}

func compressions() []compression {
	return []compression{
		{"gzip", ocispec.MediaTypeImageLayerGzip, gzip},
		{"zstd", ocispec.MediaTypeImageLayerZstd, zstandard},
		{"none", ocispec.MediaTypeImageLayer, func(w io.Writer) (io.WriteCloser, error) { return asIs{w}, nil }},
	}
}

func compressionOf(name string) (compression, error) {
	for _, c := range compressions() {
		if c.name == name {
			return c, nil
		}
	}
	return compression{}, fmt.Errorf("compression %q\nfix: gzip, zstd or none", name)
}

type asIs struct{ io.Writer }

func (asIs) Close() error { return nil }

// gzip compresses blocks of the same size whatever the number of processors, so
// that the result is the same, too.
func gzip(w io.Writer) (io.WriteCloser, error) {
	const block, atOnce = 1 << 20, 4
	z := pgzip.NewWriter(w)
	return z, z.SetConcurrency(block, atOnce)
}

// zstandard has a window that any reader takes: RFC 8878, 3.1.1.1.2.
func zstandard(w io.Writer) (io.WriteCloser, error) {
	const window, atOnce = 8 << 20, 2
	return zstd.NewWriter(w, zstd.WithWindowSize(window), zstd.WithEncoderConcurrency(atOnce), zstd.WithEncoderLevel(zstd.SpeedDefault))
}

// counted counts what is written.
type counted struct {
	to io.Writer
	n  int64
}

func (c *counted) Write(p []byte) (int, error) {
	n, err := c.to.Write(p)
	c.n += int64(n)
	if err == nil && n < len(p) {
		err = io.ErrShortWrite
	}
	return n, err
}
