//go:build (amd64 || arm64) && !portable

package program

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

// The descriptors that a random program begins with; those from 110 on are
// its own.
const (
	dirFD, readFD, writeFD, memFD, recordFD, firstFD, lastFD = 100, 101, 102, 103, 104, 100, 115
)

// generator makes a program of harmless calls out of bytes.
type generator struct {
	data    []byte
	p       *Program
	values  []Arg
	scratch Buffer
	stats   []Buffer
	pending []Label
}

func (g *generator) next() uint64 {
	if len(g.data) == 0 {
		return 0
	}
	b := g.data[0]
	g.data = g.data[1:]
	return uint64(b)
}

func pick[T any](g *generator, of ...T) T { return of[g.next()%uint64(len(of))] }

// program is what the bytes say, closed up so that nothing but its own
// descriptors exists.
func generate(data []byte) (*Program, []Buffer) {
	g := &generator{data: data, p: New()}
	g.p.CloseRange(0, firstFD-1, 0)
	g.p.CloseRange(lastFD+1, math.MaxUint32, 0)
	g.p.Syscall(unix.SYS_UMASK, Num(0o22))
	g.scratch = g.p.Buffer("b", 64, "The quick brown fox jumps")
	for n := 0; len(g.data) > 0 && n < 200; n++ {
		g.operation()
		g.modify()
		if len(g.pending) > 0 && g.next()%4 == 0 {
			g.land()
		}
	}
	for len(g.pending) > 0 {
		g.land()
	}
	if g.next()%2 == 0 {
		g.p.Exit(int(g.next()))
	}
	return g.p, g.stats
}

func (g *generator) land() {
	g.p.Land(g.pending[len(g.pending)-1])
	g.pending = g.pending[:len(g.pending)-1]
}

func (g *generator) fd() Arg {
	if len(g.values) > 0 && g.next()%2 == 0 {
		return pick(g, g.values...)
	}
	return FD(firstFD + int(g.next()%16) - 1)
}

// name is relative and leads nowhere else, through symbolic links neither.
func (g *generator) name() string { return pick(g, "a", "b", "c", "a/b", "b/a", "", ".") }

func (g *generator) operation() {
	p := g.p
	switch g.next() % 18 {
	case 0:
		p.Dup3(g.fd(), firstFD+5+int(g.next()%11), pick(g, 0, uint64(unix.O_CLOEXEC), 1))
	case 1:
		g.values = append(g.values, p.Openat2("file", g.fd(), g.name(), g.openFlags(), g.mode(), g.resolve()))
	case 2:
		p.Mkdirat(g.fd(), g.name(), g.mode())
	case 3:
		p.Symlinkat(pick(g, "a", "b", "c"), g.fd(), g.name())
	case 4:
		p.Write(g.fd(), strings.Repeat("x", int(g.next()%64)))
	case 5:
		p.Read(g.fd(), g.scratch, int(g.next()%32), int(g.next()%33))
	case 6:
		g.values = append(g.values, p.SyscallResult("at", unix.SYS_LSEEK, g.fd(), Num(g.next()), Num(g.next()%6)))
	case 7:
		g.values = append(g.values, p.SyscallResult("fcntl", unix.SYS_FCNTL, g.fd(),
			Num(pick(g, unix.F_GETFD, unix.F_SETFD, unix.F_GETFL, unix.F_DUPFD, 77)), Num(firstFD+g.next()%16)))
	case 8:
		g.values = append(g.values, p.SyscallResult("umask", unix.SYS_UMASK, Num(g.next()|g.next()<<8)))
	default:
		g.otherOperation()
	}
}

func (g *generator) otherOperation() {
	p := g.p
	switch g.next() % 12 {
	case 10: // every argument can come from memory
		offset := func() Arg { return g.scratch.Load(int(g.next() % 57)) }
		p.Syscall(unix.SYS_COPY_FILE_RANGE, g.fd(), pick(g, Arg{}, g.scratch.At(0), offset()), g.fd(),
			pick(g, Arg{}, g.scratch.At(8), offset()), Num(g.next()), pick(g, Arg{}, offset()))
	case 11: // ENOTSOCK is above 64
		p.Syscall(unix.SYS_LISTEN, g.fd(), Num(0))
	case 0:
		g.stat()
	case 1, 2, 3:
		g.compare()
	case 4:
		p.Close(g.fd())
	case 5:
		p.Fchmod(g.fd(), g.mode()|0o700)
	case 6: // a call that is none
		p.Syscall(5000+int(g.next()), Num(g.next()), g.scratch.At(0), Text("x"), Blob("y"), p.Vector(Text("z")), g.fd())
	case 7:
		p.Syscall(unix.SYS_UNLINKAT, g.fd(), Text(g.name()), Num(pick(g, 0, unix.AT_REMOVEDIR)))
	case 8:
		p.WriteFrom(g.fd(), g.scratch, int(g.next()%32), int(g.next()%32))
	case 9:
		p.Syscall(unix.SYS_WRITEV, g.fd(), p.Vector(Blob("abc"), Num(g.next()%4), Text("def"), Num(g.next()%4)), Num(g.next()%4))
	}
}

func (g *generator) openFlags() uint64 {
	return pick(g, uint64(unix.O_RDONLY), unix.O_RDWR|unix.O_CREAT, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL,
		unix.O_PATH, unix.O_DIRECTORY, unix.O_RDWR|unix.O_TRUNC, unix.O_WRONLY|unix.O_APPEND, unix.O_NOFOLLOW) | unix.O_NONBLOCK
}

func (g *generator) mode() uint64 { return pick(g, uint64(0), 0o700, 0o755, 0o640, 0o4777) }

func (g *generator) resolve() uint64 {
	return pick(g, uint64(unix.RESOLVE_BENEATH), unix.RESOLVE_IN_ROOT) | pick(g, uint64(0), unix.RESOLVE_NO_SYMLINKS, 1<<40)
}

// stat looks at what is the same in both runs: a file's type and mode.
func (g *generator) stat() {
	b := g.p.Statx(g.fd())
	g.stats = append(g.stats, b)
	g.modify()
	g.p.Compare(b.Load(StatxMode), 0xffff, pick(g, uint64(0o40700), 0o100644, 0o100600, 0o10600, 0), g.errno())
}

func (g *generator) compare() {
	value := g.scratch.Load(int(g.next() % 57))
	if len(g.values) > 0 && g.next()%2 == 0 {
		value = pick(g, g.values...)
	}
	if g.next()%4 == 0 {
		g.p.Same(value, g.scratch.Load(int(g.next()%57)), g.errno())
		return
	}
	g.p.Compare(value, pick(g, math.MaxUint64, g.next(), 0, 0xff00), pick(g, 0, g.next(), firstFD+g.next()%16), g.errno())
}

func (g *generator) errno() Errno { return pick(g, 1, ebadf, eagain, einval, 63, 64, 95, 4095) }

// modify changes what becomes of the last call.
func (g *generator) modify() {
	switch g.next() % 8 {
	case 0, 1, 2:
		g.p.Tolerate()
	case 3:
		g.p.Tolerate(ebadf, enoent, eagain, Errno(unix.EEXIST), einval)
	case 4:
		g.pending = append(g.pending, g.p.SkipOn())
	case 5:
		g.pending = append(g.pending, g.p.SkipOn(ebadf, enoent, Errno(unix.EEXIST)))
	case 6:
		g.p.Tolerate(pick(g, ebadf, enoent, 63, 1))
	}
	switch g.next() % 8 {
	case 0:
		g.p.Report()
	case 1:
		g.p.Retry(int(g.next()))
	case 2:
		g.p.Into(g.scratch.At(int(g.next() % 57)))
	}
}

// trial is what one interpreter made of a program.
type trial struct {
	status  unix.WaitStatus
	arena   []byte
	records []byte
	files   string
}

// try carries the program out in a child, in an empty directory.
func try(t *testing.T, p *Program, stats []Buffer, arena []byte, portable bool) trial {
	t.Helper()
	clear(arena)
	base := uintptr(unsafe.Pointer(&arena[0]))
	p.assemble(arena, uint64(base), recordFD)
	dir := t.TempDir()
	records := beginnings(t, dir)
	pid, err := forkMasked(0, base, portable)
	if err != nil {
		t.Fatal(err)
	}
	result := trial{status: wait(t, pid), files: listing(t, dir)}
	result.records = make([]byte, 1<<16)
	n, err := unix.Read(records, result.records)
	if err != nil && !errors.Is(err, unix.EAGAIN) {
		t.Fatal(err)
	}
	result.records = result.records[:max(n, 0)]
	for fd := firstFD; fd <= lastFD; fd++ {
		_ = unix.Close(fd)
	}
	_ = unix.Close(records)
	l := layout{p: p, mem: make([]byte, len(arena)), next: headerSize + (len(p.ops)+1)*opSize}
	l.place()
	for _, b := range stats {
		clear(arena[l.scratch[b.index]:][:256]) // times and inodes are of their own
	}
	result.arena = bytes.Clone(arena)
	return result
}

// beginnings opens the descriptors that a random program has.
func beginnings(t *testing.T, dir string) (records int) {
	t.Helper()
	var p, e [2]int
	opened, err := unix.Open(dir, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	memory, err2 := unix.MemfdCreate("memory", unix.MFD_CLOEXEC)
	if err := errors.Join(err, err2, unix.Pipe2(p[:], unix.O_NONBLOCK|unix.O_CLOEXEC), unix.Pipe2(e[:], unix.O_NONBLOCK|unix.O_CLOEXEC)); err != nil {
		t.Fatal(err)
	}
	for to, from := range map[int]int{dirFD: opened, readFD: p[0], writeFD: p[1], memFD: memory, recordFD: e[1]} {
		if err := errors.Join(unix.Dup3(from, to, unix.O_CLOEXEC), unix.Close(from)); err != nil {
			t.Fatal(err)
		}
	}
	return e[0]
}

// listing is what a program left in its directory.
func listing(t *testing.T, dir string) string {
	t.Helper()
	var b strings.Builder
	err := filepath.WalkDir(dir, func(path string, entry os.DirEntry, err error) error {
		if err != nil && !errors.Is(err, os.ErrPermission) {
			return err
		}
		info, err := entry.Info()
		if err != nil {
			return err
		}
		fmt.Fprintf(&b, "%s %v", strings.TrimPrefix(path, dir), info.Mode())
		if !info.IsDir() {
			fmt.Fprintf(&b, " %d", info.Size())
		}
		b.WriteByte('\n')
		if info.IsDir() {
			_ = os.Chmod(path, 0o700) // so that it can be removed
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// compareInterpreters fails unless both do the same.
func compareInterpreters(t *testing.T, data []byte) trial {
	t.Helper()
	p, stats := generate(data)
	arena, err := unix.Mmap(-1, 0, p.size(), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED|unix.MAP_ANON)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = unix.Munmap(arena) }()
	a, b := try(t, p, stats, arena, false), try(t, p, stats, arena, true)
	var text strings.Builder
	_ = p.List(&text)
	switch {
	case a.status != b.status:
		t.Errorf("status %#x from the assembly, %#x from Go:\n%s", uint32(a.status), uint32(b.status), text.String())
	case !bytes.Equal(a.records, b.records):
		t.Errorf("records %x from the assembly, %x from Go:\n%s", a.records, b.records, text.String())
	case a.files != b.files:
		t.Errorf("files from the assembly\n%sfrom Go\n%s:\n%s", a.files, b.files, text.String())
	case !bytes.Equal(a.arena, b.arena):
		for i := range a.arena {
			if a.arena[i] != b.arena[i] {
				t.Fatalf("byte %d of the arena is %#x from the assembly, %#x from Go:\n%s", i, a.arena[i], b.arena[i], text.String())
			}
		}
	case !a.status.Exited():
		t.Errorf("both ended by status %#x:\n%s", uint32(a.status), text.String())
	}
	return a
}

func TestInterpretersAgree(t *testing.T) {
	random := rand.NewChaCha8([32]byte{1})
	failed, whole := 0, 0
	for range 300 {
		data := make([]byte, 600)
		_, _ = random.Read(data)
		if compareInterpreters(t, data).status.ExitStatus() == failureCode {
			failed++
		} else {
			whole++
		}
	}
	if failed < 30 || whole < 3 {
		t.Errorf("%d programs failed, %d did not: too few of a kind to say much", failed, whole)
	}
}

func FuzzInterpreters(f *testing.F) {
	f.Add([]byte("\x01\x02\x03"))
	f.Add(bytes.Repeat([]byte{4, 1, 9, 0}, 20))
	f.Fuzz(func(t *testing.T, data []byte) { compareInterpreters(t, data) })
}
