package squash

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"runtime"

	"golang.org/x/sys/unix"
)

// server answers the calls of a container's processes.
type server struct {
	listener int
	proc     int // the host's /proc, which is also the working directory
	root     mounted
	oneRoot  bool
	devices  bool
	users    users
	births   []birth
	calls    map[int32]func(*call) answer
}

// Options are what a container has.
type Options struct {
	Initial Credentials // of who has never changed its user
	Devices bool        // files may be made that stand for devices
	OneRoot bool        // nobody can have another one
}

// Serve answers until all processes with the filter are gone.
func Serve(listener, proc int, o Options) error {
	// The root is this thread's own, to be that of whoever asks.
	runtime.LockOSThread()
	if err := unix.Unshare(unix.CLONE_FS); err != nil {
		return os.NewSyscallError("unshare", err)
	}
	if err := unix.Fchdir(proc); err != nil {
		return os.NewSyscallError("fchdir", err)
	}
	unix.Umask(0)
	handOver(listener)
	s := &server{listener: listener, proc: proc, devices: o.Devices, oneRoot: o.OneRoot, users: users{list: []Credentials{o.Initial}}, calls: handlers()}
	defer s.born(0) // what was made last
	for {
		timeout := -1
		if len(s.births) > 0 {
			timeout = pause
		}
		more, err := await(listener, timeout)
		switch {
		case errors.Is(err, unix.ETIMEDOUT):
			s.born(0)
			continue
		case err != nil || !more:
			return err
		}
		var n notification
		switch err := receive(listener, &n); {
		case errors.Is(err, unix.EINTR), errors.Is(err, unix.ENOENT): // it was killed meanwhile
			continue
		case err != nil:
			return fmt.Errorf("receive a call: %w", err)
		}
		s.born(n.pid)
		c := &call{notification: n, server: s}
		a := c.answer()
		send(listener, &response{id: n.id, value: a.value, errno: -int32(a.errno), flags: a.flags})
	}
}

// NameSelf sets the name that ps shows.
func NameSelf(proc int) error {
	fd, err := unix.Openat(proc, "self/comm", unix.O_WRONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return os.NewSyscallError("open", err)
	}
	defer unix.Close(fd)
	_, err = unix.Write(fd, []byte("bryo-squash"))
	return os.NewSyscallError("write", err)
}

// answer is what becomes of a call.
type answer struct {
	value int64
	errno unix.Errno
	flags uint32
}

// asEver has the kernel do what was asked for.
func asEver() answer { return answer{flags: unix.SECCOMP_USER_NOTIF_FLAG_CONTINUE} }

// failed is an answer with an error.
func failed(err error) answer {
	var errno unix.Errno
	if !errors.As(err, &errno) {
		errno = unix.EIO
	}
	return answer{value: -1, errno: errno}
}

// call is one that somebody waits for.
type call struct {
	notification

	server *server
}

func (c *call) answer() answer {
	handler := c.server.calls[c.number]
	if handler == nil {
		return asEver()
	}
	return handler(c)
}

// waits says whether what was looked up by the caller's number was the caller's.
func (c *call) waits() bool { return waits(c.server.listener, c.id) }

func (c *call) fd(i int) int32    { return int32(c.args[i]) }
func (c *call) id32(i int) uint32 { return uint32(c.args[i]) }

// handlers are the calls that are asked about, of the machine's own ABI.
func handlers() map[int32]func(*call) answer {
	const cwd = unix.AT_FDCWD
	m := map[int32]func(*call) answer{
		unix.SYS_FCHOWN:    func(c *call) answer { return c.chown(target{fd: c.fd(0), flags: unix.AT_EMPTY_PATH}, 1) },
		unix.SYS_FCHOWNAT:  func(c *call) answer { return c.chown(target{c.fd(0), c.args[1], uint32(c.args[4])}, 2) },
		unix.SYS_FSTAT:     func(c *call) answer { return c.stat(target{fd: c.fd(0), flags: unix.AT_EMPTY_PATH}, 1) },
		sysFstatat:         func(c *call) answer { return c.stat(target{c.fd(0), c.args[1], uint32(c.args[3])}, 2) },
		unix.SYS_STATX:     func(c *call) answer { return c.statx(target{c.fd(0), c.args[1], uint32(c.args[2])}) },
		unix.SYS_MKNODAT:   func(c *call) answer { return c.make(target{c.fd(0), c.args[1], 0}, 2) },
		unix.SYS_OPENAT:    func(c *call) answer { return c.create(target{c.fd(0), c.args[1], 0}) },
		unix.SYS_OPENAT2:   (*call).openat2,
		unix.SYS_MKDIRAT:   func(c *call) answer { return c.create(target{c.fd(0), c.args[1], 0}) },
		unix.SYS_SYMLINKAT: func(c *call) answer { return c.create(target{c.fd(1), c.args[2], 0}) },
	}
	maps.Copy(m, identityHandlers())
	maps.Copy(m, oldHandlers(cwd))
	return m
}
