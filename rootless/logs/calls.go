package logs

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

const (
	latest   = "log"
	upcoming = "log.new" // becomes the latest

	filesMax = 100
)

// nameOf is that of the n-th file, from the latest.
func nameOf(n int) string {
	if n == 0 {
		return latest
	}
	return latest + "." + strconv.Itoa(n)
}

// openFile opens a regular file only: one that somebody put in its place could
// block (fifo(7)) or lead elsewhere.
func openFile(dir int, name string, flags int) (fd int, stat unix.Stat_t, err error) {
	const safe = unix.O_CLOEXEC | unix.O_NOFOLLOW | unix.O_NONBLOCK | unix.O_NOCTTY
	fd, err = again(func() (int, error) { return unix.Openat(dir, name, flags|safe, 0o600) })
	if err != nil {
		return -1, stat, fmt.Errorf("open %s: %w", name, err)
	}
	err = unix.Fstat(fd, &stat)
	if err == nil && stat.Mode&unix.S_IFMT != unix.S_IFREG {
		err = errors.New("no regular file")
	}
	if err != nil {
		_ = unix.Close(fd)
		return -1, stat, fmt.Errorf("open %s: %w", name, err)
	}
	return fd, stat, nil
}

// openLatest opens the file to append to. It is torn if it does not end with a
// newline.
func openLatest(dir int) (fd int, size int64, torn bool, err error) {
	fd, stat, err := openFile(dir, latest, unix.O_RDWR|unix.O_APPEND|unix.O_CREAT)
	if err != nil || stat.Size == 0 {
		return fd, 0, false, err
	}
	var last [1]byte
	n, err := readAt(fd, last[:], stat.Size-1)
	if err != nil {
		_ = unix.Close(fd)
		return -1, 0, false, err
	}
	return fd, stat.Size, n == 1 && last[0] != '\n', nil
}

// rotate makes a new latest file and moves the names of the others up. The new
// one is there before any name changes: a full disk changes none.
func rotate(dir, files int) (fd int, err error) {
	fd, _, err = openFile(dir, upcoming, unix.O_RDWR|unix.O_APPEND|unix.O_CREAT|unix.O_TRUNC)
	if err != nil {
		return -1, err
	}
	for n := files - 1; n > 0 && err == nil; n-- {
		err = rename(dir, nameOf(n-1), nameOf(n))
		if errors.Is(err, unix.ENOENT) {
			err = nil // there are not that many yet, or somebody has removed it
		}
	}
	if err == nil {
		if err = rename(dir, upcoming, latest); err != nil && files > 1 {
			_ = rename(dir, nameOf(1), latest)
		}
	}
	if err != nil {
		_ = unix.Close(fd)
		_ = unix.Unlinkat(dir, upcoming, 0)
		return -1, err
	}
	prune(dir, files)
	return fd, nil
}

// prune removes files of a time when there were to be more.
func prune(dir, files int) {
	for n := files; n < filesMax; n++ {
		if unix.Unlinkat(dir, nameOf(n), 0) != nil {
			return
		}
	}
}

func rename(dir int, from, to string) error {
	if err := unix.Renameat(dir, from, dir, to); err != nil {
		return fmt.Errorf("rename %s: %w", from, err)
	}
	return nil
}

// write returns how much is written; if that is not all, why.
func write(fd int, data []byte) (written int, err error) {
	for written < len(data) {
		n, err := again(func() (int, error) { return unix.Write(fd, data[written:]) })
		if err != nil {
			return written, os.NewSyscallError("write", err)
		}
		if n == 0 {
			return written, os.NewSyscallError("write", unix.EIO)
		}
		written += n
	}
	return written, nil
}

func readAt(fd int, b []byte, offset int64) (int, error) {
	n, err := again(func() (int, error) { return unix.Pread(fd, b, offset) })
	return max(n, 0), os.NewSyscallError("read", err)
}

func again(call func() (int, error)) (int, error) {
	for {
		n, err := call()
		if !errors.Is(err, unix.EINTR) {
			return n, err
		}
	}
}

// identity is the same for all names of a file.
type identity struct{ device, inode uint64 }

// source is a file that is read.
type source struct {
	fd       int
	id       identity
	modified int64 // in nanoseconds
	size     int64 // up to which it is read, this time
	offset   int64 // of the next line
	skipping bool  // offset is in a line that is too long
	gap      bool  // files that came before are gone, and not read
}

func sourceOf(fd int, stat *unix.Stat_t) source {
	return source{
		fd: fd, id: identity{stat.Dev, stat.Ino},
		modified: stat.Mtim.Nano(), size: stat.Size,
	}
}

func (s *source) close() { _ = unix.Close(s.fd) }

// measure looks how long the file is by now.
func (s *source) measure() error {
	var stat unix.Stat_t
	if err := unix.Fstat(s.fd, &stat); err != nil {
		return os.NewSyscallError("stat", err)
	}
	s.size, s.modified = stat.Size, stat.Mtim.Nano()
	s.offset = min(s.offset, s.size) // somebody has truncated it
	return nil
}

// latestID says which file is the latest; none is for a moment of a rotation.
func latestID(dir int) (id identity, found bool, err error) {
	var stat unix.Stat_t
	switch err := unix.Fstatat(dir, latest, &stat, unix.AT_SYMLINK_NOFOLLOW); {
	case errors.Is(err, unix.ENOENT):
		return identity{}, false, nil
	case err != nil:
		return identity{}, false, fmt.Errorf("stat %s: %w", latest, err)
	}
	return sourceOf(-1, &stat).id, true, nil
}

// openAll opens all files of the log, as they are at one moment, the oldest first.
func openAll(dir int) ([]source, error) {
	for range 1000 {
		before, had, err := latestID(dir)
		if err != nil {
			return nil, err
		}
		files, err := openUpward(dir)
		if err != nil {
			return nil, err
		}
		after, has, err := latestID(dir)
		if err == nil && had == has && before == after {
			return files, nil
		}
		closeAll(files)
		if err != nil {
			return nil, err
		}
	}
	return nil, errors.New("read log: it rotates all the time")
}

// openUpward goes from the latest to the oldest, as a rotation meanwhile moves
// the files: one can be met twice, and none is missed. Of a rotation under way
// one name is missing; where two are, the end is.
func openUpward(dir int) ([]source, error) {
	files := []source{}
	for n, missing := 0, 0; n < filesMax && missing < 2; n++ {
		fd, stat, err := openFile(dir, nameOf(n), unix.O_RDONLY)
		if errors.Is(err, unix.ENOENT) {
			missing++
			continue
		}
		if err != nil {
			closeAll(files)
			return nil, err
		}
		missing = 0
		file := sourceOf(fd, &stat)
		if find(files, file.id) >= 0 {
			file.close()
			continue
		}
		files = append([]source{file}, files...)
	}
	return files, nil
}

func find(files []source, id identity) int {
	for i := range files {
		if files[i].id == id {
			return i
		}
	}
	return -1
}

func closeAll(files []source) {
	for i := range files {
		files[i].close()
	}
}

// counter counts the rotations of a log, by inotify(7): the latest file gets its
// name at each. One that is blind has missed some, or could not be had.
type counter struct {
	fd        int
	rotations int
	blind     bool
}

func openCounter(dir int) *counter {
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err != nil {
		return &counter{fd: -1, blind: true}
	}
	c := &counter{fd: fd}
	// The kernel makes one of two equal events that follow each other: those of
	// the other name are between.
	const moves = unix.IN_MOVED_FROM | unix.IN_MOVED_TO
	if _, err := unix.InotifyAddWatch(fd, "/proc/self/fd/"+strconv.Itoa(dir), moves|unix.IN_ONLYDIR); err != nil {
		c.blind = true
	}
	return c
}

func (c *counter) close() {
	if c.fd >= 0 {
		_ = unix.Close(c.fd)
	}
}

// update counts what has happened by now.
func (c *counter) update() {
	const most = 1000 // of reads: more than the kernel keeps events
	events := make([]byte, 16<<10)
	for i := 0; !c.blind; i++ {
		n, err := again(func() (int, error) { return unix.Read(c.fd, events) })
		if errors.Is(err, unix.EAGAIN) {
			return
		}
		c.blind = err != nil || i == most || !c.take(events[:max(n, 0)])
	}
}

// take reads struct inotify_event, one after the other.
func (c *counter) take(events []byte) (whole bool) {
	const mask, length = 4, 12
	for len(events) >= unix.SizeofInotifyEvent {
		end := unix.SizeofInotifyEvent + int(binary.NativeEndian.Uint32(events[length:]))
		what := binary.NativeEndian.Uint32(events[mask:])
		if what&unix.IN_Q_OVERFLOW != 0 || end > len(events) {
			return false
		}
		name, _, _ := bytes.Cut(events[unix.SizeofInotifyEvent:end], []byte{0})
		if what&unix.IN_MOVED_TO != 0 && string(name) == latest {
			c.rotations++
		}
		events = events[end:]
	}
	return true
}

// openAllCounted is openAll, with the number of rotations at that moment.
func openAllCounted(dir int, c *counter) (files []source, rotations int, err error) {
	for range 100 {
		c.update()
		before := c.rotations
		if files, err = openAll(dir); err != nil {
			return nil, 0, err
		}
		if c.update(); c.blind || c.rotations == before {
			return files, before, nil
		}
		closeAll(files)
	}
	c.blind = true
	files, err = openAll(dir)
	return files, 0, err
}
