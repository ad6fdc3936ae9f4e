package squash

import (
	"encoding/binary"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// users are all credentials that processes have, or had. The first is of those
// that never changed it.
type users struct {
	list   []Credentials
	index  map[Credentials]int
	groups int // bytes of them
}

// A command that becomes more users than these gets no more.
const (
	mostUsers  = 1 << 16
	mostGroups = 16 << 20
)

// number finds credentials, or adds them.
func (u *users) number(c Credentials) (int, error) {
	if n, known := u.index[c]; known {
		return n, nil
	}
	if len(u.list) >= mostUsers || u.groups+len(c.Groups) > mostGroups {
		return 0, unix.EAGAIN
	}
	if u.index == nil {
		u.index = map[Credentials]int{}
	}
	n := len(u.list)
	u.list, u.groups = append(u.list, c), u.groups+len(c.Groups)
	u.index[c] = n
	return n, nil
}

// credentials are the caller's.
func (c *call) credentials() Credentials {
	var limit unix.Rlimit
	list := c.server.users.list
	if unix.Prlimit(int(c.pid), unix.RLIMIT_LOCKS, nil, &limit) != nil || limit.Cur >= uint64(len(list)) {
		return list[0]
	}
	who := list[limit.Cur]
	if (who.Keep || who.Capable) && who.Program != c.program() {
		who.Keep, who.Capable, who.Program = false, false, ""
	}
	return who
}

// program tells what the caller executes from what it has executed before: by
// where its arguments lie, which the kernel chooses anew at each execve (argument
// arg_start of proc_pid_stat(5)).
func (c *call) program() string {
	const behindName, most = 45, 4096
	fd, err := unix.Openat(c.server.proc, strconv.Itoa(int(c.pid))+"/stat", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return ""
	}
	defer unix.Close(fd)
	var b [most]byte
	n, _ := unix.Read(fd, b[:])
	text := string(b[:max(n, 0)])
	fields := strings.Fields(text[strings.LastIndexByte(text, ')')+1:])
	if len(fields) <= behindName {
		return ""
	}
	return fields[behindName]
}

// become gives the caller others.
func (c *call) become(to Credentials) answer {
	n, err := c.server.users.number(to)
	if err != nil {
		return failed(err)
	}
	var limit unix.Rlimit
	if err := unix.Prlimit(int(c.pid), unix.RLIMIT_LOCKS, nil, &limit); err != nil {
		return failed(err)
	}
	limit.Cur = uint64(n)
	if !c.waits() {
		return asEver()
	}
	if err := unix.Prlimit(int(c.pid), unix.RLIMIT_LOCKS, &limit, nil); err != nil {
		return failed(err)
	}
	return answer{}
}

// change is a call that changes a user or a group: do says whether it may.
func change(kind func(*Credentials) *Identity, ids int, do func(c *call, i *Identity, privileged bool) bool) func(*call) answer {
	return func(c *call) answer {
		if ids == 1 && c.id32(0) == noID {
			return failed(unix.EINVAL)
		}
		to := c.credentials()
		before := to.UID
		if !do(c, kind(&to), to.privileged()) {
			return failed(unix.EPERM)
		}
		to.changed(before)
		return c.become(to)
	}
}

// tell is a call that asks for an id.
func tell(id func(*Credentials) uint32) func(*call) answer {
	return func(c *call) answer {
		who := c.credentials()
		return answer{value: int64(id(&who))}
	}
}

func (c *call) tellAll(i Identity) answer {
	for at, id := range []uint32{i.Real, i.Effective, i.Saved} {
		if err := writeMemory(int(c.pid), c.args[at], binary.NativeEndian.AppendUint32(nil, id)); err != nil {
			return failed(err)
		}
	}
	return answer{}
}

// setFiles is setfsuid(2) and its like, which never fail.
func setFiles(kind func(*Credentials) *Identity) func(*call) answer {
	return func(c *call) answer {
		to := c.credentials()
		before := kind(&to).setFiles(to.privileged(), c.id32(0))
		_ = c.become(to)
		return answer{value: int64(before)}
	}
}

func (c *call) setGroups() answer {
	const most = 65536
	count := int(int32(c.args[0]))
	to := c.credentials()
	switch {
	case !to.privileged():
		return failed(unix.EPERM)
	case count < 0 || count > most:
		return failed(unix.EINVAL)
	}
	list := make([]byte, count*groupSize)
	for read := 0; read < len(list); {
		n, err := readMemory(int(c.pid), c.args[1]+uint64(read), list[read:])
		if err != nil || n <= 0 {
			return failed(unix.EFAULT)
		}
		read += n
	}
	to.Groups = string(list)
	return c.become(to)
}

// keep is PR_SET_KEEPCAPS, which the kernel does, too.
func (c *call) keep() answer {
	to := c.credentials()
	if keep := c.args[1] == 1; keep != to.Keep {
		to.Keep, to.Program = keep, c.program()
		_ = c.become(to)
	}
	return asEver()
}

func (c *call) groups() answer {
	who := c.credentials()
	room, count := int(int32(c.args[0])), len(who.Groups)/groupSize
	if room < 0 || room > 0 && room < count {
		return failed(unix.EINVAL)
	}
	if room > 0 {
		if err := writeMemory(int(c.pid), c.args[1], []byte(who.Groups)); err != nil {
			return failed(err)
		}
	}
	return answer{value: int64(count)}
}

func identityHandlers() map[int32]func(*call) answer {
	uid := func(c *Credentials) *Identity { return &c.UID }
	gid := func(c *Credentials) *Identity { return &c.GID }
	set := func(c *call, i *Identity, p bool) bool { return i.set(p, c.id32(0)) }
	setReal := func(c *call, i *Identity, p bool) bool { return i.setReal(p, c.id32(0), c.id32(1)) }
	setAll := func(c *call, i *Identity, p bool) bool { return i.setAll(p, c.id32(0), c.id32(1), c.id32(2)) }
	const one, two, three = 1, 2, 3
	return map[int32]func(*call) answer{
		unix.SYS_GETUID:    tell(func(c *Credentials) uint32 { return c.UID.Real }),
		unix.SYS_GETEUID:   tell(func(c *Credentials) uint32 { return c.UID.Effective }),
		unix.SYS_GETGID:    tell(func(c *Credentials) uint32 { return c.GID.Real }),
		unix.SYS_GETEGID:   tell(func(c *Credentials) uint32 { return c.GID.Effective }),
		unix.SYS_GETRESUID: func(c *call) answer { return c.tellAll(c.credentials().UID) },
		unix.SYS_GETRESGID: func(c *call) answer { return c.tellAll(c.credentials().GID) },
		unix.SYS_GETGROUPS: (*call).groups,
		unix.SYS_SETGROUPS: (*call).setGroups,
		unix.SYS_SETUID:    change(uid, one, set),
		unix.SYS_SETGID:    change(gid, one, set),
		unix.SYS_SETREUID:  change(uid, two, setReal),
		unix.SYS_SETREGID:  change(gid, two, setReal),
		unix.SYS_SETRESUID: change(uid, three, setAll),
		unix.SYS_SETRESGID: change(gid, three, setAll),
		unix.SYS_SETFSUID:  setFiles(uid),
		unix.SYS_SETFSGID:  setFiles(gid),
		unix.SYS_PRCTL:     (*call).keep,
	}
}
