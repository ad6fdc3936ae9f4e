package tree

import (
	"bytes"
	"errors"
	"io"

	"golang.org/x/sys/unix"
)

// copySparse puts what is read at an offset of a file that is empty behind it,
// and says where it ends; what ends in a hole is to be made as long. It makes
// holes of what is zeros, as a file has them that is larger than any disk. The
// second half of buf is zeros.
func copySparse(fd int, in io.Reader, buf []byte, at int64) (end int64, err error) {
	chunk, zeros := buf[:len(buf)/2], buf[len(buf)/2:]
	for {
		n, err := io.ReadFull(in, chunk)
		switch {
		case errors.Is(err, io.EOF):
			return at, nil
		case err != nil && (n == 0 || !errors.Is(err, io.ErrUnexpectedEOF)): // an archive that is cut off
			return at, err
		}
		if n < len(chunk) || !bytes.Equal(chunk, zeros) {
			if err := writeAt(fd, chunk[:n], at); err != nil {
				return at, err
			}
		}
		at += int64(n)
	}
}

func writeAt(fd int, data []byte, at int64) error {
	for len(data) > 0 {
		n, err := unix.Pwrite(fd, data, at)
		if err != nil && !errors.Is(err, unix.EINTR) {
			return err
		}
		n = max(n, 0)
		data, at = data[n:], at+int64(n)
	}
	return nil
}
