package registry

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"net/http"
	"os"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sys/unix"
)

// download is a blob that is being written.
type download struct {
	ocispec.Descriptor

	to   *layout
	tell func(done int64)

	file    *os.File
	sum     hash.Hash
	at      int64 // how much there is, all of which is in the sum
	resumed bool  // some of it is from an earlier time
}

// download brings a blob into the layout, unless it is there.
func (e *endpoint) download(ctx context.Context, to *layout, blob ocispec.Descriptor, tell func(done int64)) (err error) {
	d := &download{Descriptor: blob, to: to, tell: tell}
	defer func() {
		if d.file != nil {
			err = errors.Join(err, d.file.Close())
		}
	}()
	if there, err := d.open(ctx); there || err != nil {
		return err
	}
	return e.again(ctx, func() (int64, error) {
		from := d.at
		err := d.fetch(ctx, e)
		if err == nil {
			err = d.finish()
		}
		return d.at - from, err
	})
}

func (d *download) partial() string { return blobsDir + "/." + d.Digest.Encoded() }

// open finds what there is of the blob, once nobody else writes it; or that it
// is there.
func (d *download) open(ctx context.Context) (there bool, err error) {
	const private = 0o600
	for {
		if d.to.has(d.Descriptor) {
			return true, nil
		}
		d.file, err = d.to.root.OpenFile(d.partial(), os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW, private)
		if err != nil {
			return false, err
		}
		if err := flock(ctx, d.file); err != nil {
			return false, err
		}
		mine, err := d.file.Stat()
		if err != nil {
			return false, err
		}
		now, err := d.to.root.Lstat(d.partial())
		if err == nil && os.SameFile(mine, now) {
			return false, d.resume()
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return false, err
		}
		if err := d.file.Close(); err != nil { // who had it has finished it
			return false, err
		}
		d.file = nil
	}
}

// resume takes into the sum what is there.
func (d *download) resume() (err error) {
	d.sum = sha256.New()
	d.at, err = io.Copy(d.sum, io.NewSectionReader(d.file, 0, d.Size+1))
	if err == nil && d.at > d.Size {
		return d.restart()
	}
	d.resumed = d.at > 0
	return err
}

func (d *download) restart() error {
	d.sum.Reset()
	d.at, d.resumed = 0, false
	return d.file.Truncate(0)
}

// fetch asks for what is missing, and writes it.
func (d *download) fetch(ctx context.Context, e *endpoint) error {
	if d.at == d.Size {
		return nil
	}
	header := http.Header{}
	if d.at > 0 {
		header.Set("Range", fmt.Sprintf("bytes=%d-", d.at))
	}
	a, err := e.get(ctx, "/blobs/"+d.Digest.String(), header)
	if status, is := errors.AsType[*statusError](err); is && status.code == http.StatusRequestedRangeNotSatisfiable && d.at > 0 {
		if err := d.restart(); err != nil {
			return err
		}
		a, err = e.get(ctx, "/blobs/"+d.Digest.String(), http.Header{})
	}
	if err != nil {
		return err
	}
	defer a.close()
	if err := d.check(a); err != nil {
		return err
	}
	return d.copy(a)
}

// check compares what a registry says that it sends with what it was asked for.
func (d *download) check(a *answer) error {
	if a.StatusCode == http.StatusPartialContent {
		var first, last, size int64
		_, err := fmt.Sscanf(a.Header.Get("Content-Range"), "bytes %d-%d/%d", &first, &last, &size)
		if err != nil || first != d.at || size != d.Size || d.at == 0 {
			return refuse("the registry sends %.80q of %s, which was not asked for", a.Header.Get("Content-Range"), d.Digest)
		}
	} else if d.at > 0 { // it knows no ranges
		if err := d.restart(); err != nil {
			return err
		}
	}
	if a.ContentLength >= 0 && a.ContentLength != d.Size-d.at {
		return refuse("the registry has %d bytes of %s, and said %d", d.at+a.ContentLength, d.Digest, d.Size)
	}
	return nil
}

func (d *download) copy(a *answer) error {
	const size = 128 << 10
	buffer := make([]byte, size)
	for {
		n, err := a.Read(buffer)
		if int64(n) > d.Size-d.at {
			return refuse("the registry sends more than the %d bytes that it said %s has", d.Size, d.Digest)
		}
		if n > 0 {
			if _, err := d.file.WriteAt(buffer[:n], d.at); err != nil {
				return err
			}
			d.sum.Write(buffer[:n])
			d.at += int64(n)
			d.tell(d.at)
		}
		switch {
		case errors.Is(err, io.EOF) && d.at == d.Size:
			return nil
		case errors.Is(err, io.EOF):
			return &interruptedError{io.ErrUnexpectedEOF}
		case err != nil:
			return err
		}
	}
}

// finish gives the blob its name. Bytes from an earlier time may be what is
// wrong, as after a power failure: then all is asked for once more.
func (d *download) finish() error {
	if found := hex.EncodeToString(d.sum.Sum(nil)); found != d.Digest.Encoded() {
		resumed := d.resumed
		if err := d.restart(); err != nil {
			return err
		}
		err := refuse("the registry sends something else than %s: it has sha256:%s", d.Digest, found)
		if resumed {
			return &interruptedError{errors.New("what was there of it is not it")}
		}
		return errors.Join(err, d.to.root.Remove(d.partial()))
	}
	if err := unix.Fchmod(int(d.file.Fd()), filesMode); err != nil {
		return os.NewSyscallError("fchmod", err)
	}
	if err := d.file.Sync(); err != nil {
		return err
	}
	return d.to.root.Rename(d.partial(), blobName(d.Digest))
}
