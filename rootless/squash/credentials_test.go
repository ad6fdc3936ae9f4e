package squash

import (
	"math/rand/v2"
	"os"
	"runtime"
	"testing"

	"golang.org/x/sys/unix"

	"bryo/fsroot/owner"
)

// The kernel itself says what becomes of a thread's users and groups. Who is not
// root has one of each, and tries in vain.
func TestAsTheKernel(t *testing.T) {
	const lives, calls = 200, 40
	for seed := range uint64(lives) {
		wrong := make(chan string)
		go func() {
			runtime.LockOSThread() // and ends with the goroutine
			wrong <- live(rand.New(rand.NewPCG(seed, 1)), calls)
		}()
		if what := <-wrong; what != "" {
			t.Fatalf("seed %d: %s", seed, what)
		}
	}
}

// kind is users, or groups.
type kind struct {
	set, setReal, setAll, setFiles uintptr
	tell                           func() (r, e, s int)
	of                             func(*Credentials) *Identity
}

func kinds() []kind {
	return []kind{
		{unix.SYS_SETUID, unix.SYS_SETREUID, unix.SYS_SETRESUID, unix.SYS_SETFSUID, unix.Getresuid, func(c *Credentials) *Identity { return &c.UID }},
		{unix.SYS_SETGID, unix.SYS_SETREGID, unix.SYS_SETRESGID, unix.SYS_SETFSGID, unix.Getresgid, func(c *Credentials) *Identity { return &c.GID }},
	}
}

// live makes random calls, and says where package squash would have answered otherwise.
func live(random *rand.Rand, calls int) string {
	c := Credentials{UID: Same(uint32(os.Getuid())), GID: Same(uint32(os.Getgid()))}
	for range calls {
		k := &kinds()[random.IntN(2)]
		before, i := c.UID, k.of(&c)
		errno, may := k.call(random, i, c.privileged())
		if may {
			c.changed(before)
		}
		if may != (errno == 0) {
			return "the kernel says " + errno.Error()
		}
		if r, e, s := k.tell(); uint32(r) != i.Real || uint32(e) != i.Effective || uint32(s) != i.Saved {
			return "the kernel has other ids"
		}
	}
	return ""
}

// call makes one, and says what the kernel and package squash say of it.
func (k *kind) call(random *rand.Rand, i *Identity, privileged bool) (errno unix.Errno, may bool) {
	ids := []uint32{0, 33, 42, uint32(os.Getuid()), noID}
	some := func(of int) uint32 { return ids[random.IntN(of)] }
	a, b, s := some(len(ids)), some(len(ids)), some(len(ids))
	switch random.IntN(4) {
	case 0:
		_, _, errno = unix.RawSyscall(k.set, uintptr(a), 0, 0)
		return errno, a != noID && i.set(privileged, a)
	case 1:
		_, _, errno = unix.RawSyscall(k.setReal, uintptr(a), uintptr(b), 0)
		return errno, i.setReal(privileged, a, b)
	case 2:
		b = some(len(ids) - 1) // without one, the one of files is left alone since Linux 6.2
		_, _, errno = unix.RawSyscall(k.setAll, uintptr(a), uintptr(b), uintptr(s))
		return errno, i.setAll(privileged, a, b, s)
	}
	old, _, _ := unix.RawSyscall(k.setFiles, uintptr(a), 0, 0)
	return 0, uint32(old) == i.setFiles(privileged, a)
}

func TestMayChown(t *testing.T) {
	alice := Credentials{UID: Same(1000), GID: Same(1000), Groups: Groups([]uint32{50, 10})}
	root := Credentials{}
	mine, roots := owner.Note{UID: 1000, GID: 1000}, owner.Note{}
	for _, row := range []struct {
		who      Credentials
		file     owner.Note
		uid, gid uint32
		may      bool
	}{
		{root, mine, 33, 33, true},
		{alice, mine, 1000, 50, true},
		{alice, mine, noID, 10, true},
		{alice, mine, noID, noID, true},
		{alice, mine, noID, 11, false},
		{alice, mine, 0, noID, false},
		{alice, roots, noID, 1000, false},
		{alice, roots, 1000, noID, false},
	} {
		if may := row.who.mayChown(row.file, row.uid, row.gid); may != row.may {
			t.Errorf("%v: %d:%d of %v: %v", row.who.UID, row.uid, row.gid, row.file, may)
		}
	}
}

// A command that becomes without end gets no more users.
func TestUsersAreBounded(t *testing.T) {
	u := users{list: []Credentials{{}}}
	for i := range uint32(mostUsers + 10) {
		if _, err := u.number(Credentials{UID: Same(i + 1)}); (err != nil) != (len(u.list) == mostUsers && i >= mostUsers-1) {
			t.Fatalf("user %d: %v", i, err)
		}
	}
	if n, err := u.number(Credentials{UID: Same(7)}); err != nil || u.list[n].UID != Same(7) {
		t.Errorf("one that is known: %d, %v", n, err)
	}
	groups := users{list: []Credentials{{}}}
	for i := range uint32(mostGroups/groupSize/1000 + 10) {
		list := make([]uint32, 1000)
		list[0] = i + 1
		if _, err := groups.number(Credentials{Groups: Groups(list)}); err != nil {
			return
		}
	}
	t.Error("groups are not bounded")
}

func TestDescriptor(t *testing.T) {
	for name, want := range map[string]int32{"/proc/self/fd/3": 3, "/dev/fd/0": 0, "/proc/self/fd/": -1, "/proc/self/fd/3/x": -1, "/proc/self/fd/-1": -1, "/dev/fd/99999999999": -1, "": -1, "fd/3": -1} {
		n, is := descriptor(name)
		if is != (want >= 0) || is && n != want {
			t.Errorf("%q: %d, %v", name, n, is)
		}
	}
}
