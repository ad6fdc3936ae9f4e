package program

import (
	"debug/elf"
	"errors"
	"io"
	"math"
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func TestImageRunsFromItsMemfd(t *testing.T) {
	o := runImage(t, 0, func(p *Program, x *pipes) {
		b := p.Buffer("link", 64, "")
		n := p.SyscallResult("n", unix.SYS_READLINKAT, CWD(), Text("/proc/self/exe"), b.At(0), Num(64))
		p.Syscall(unix.SYS_WRITE, FD(x.outFD), b.At(0), n)
		p.Exit(3)
	})
	o.want(t, 3, "/memfd:bryo-init (deleted)")
}

func TestImageNamesTheStepThatFails(t *testing.T) {
	o := runImage(t, 0, func(p *Program, x *pipes) {
		p.Step("mount", "/tmp")
		bad(p)
		p.Tolerate(ebadf)
		p.Report()
		p.Step("go", "nowhere")
		bad(p)
	})
	o.want(t, 125, "")
	o.wantFailures(t, Failure{Step: "mount /tmp", Call: "fchdir", Errno: ebadf, Tolerated: true}, Failure{Step: "go nowhere", Call: "fchdir", Errno: ebadf, Index: 1})
}

func TestImageForks(t *testing.T) {
	o := runImage(t, 0, func(p *Program, x *pipes) {
		child := p.Fork(0, uint64(unix.SIGCHLD))
		p.Compare(child, math.MaxUint64, 0, einval)
		parent := p.SkipOn()
		p.Write(FD(x.outFD), "child.")
		p.Exit(9)
		p.Land(parent)
		status := p.Buffer("status", 8, "")
		p.Syscall(unix.SYS_WAIT4, child, status.At(0), Num(0), Num(0))
		p.Compare(status.Load(0), 0xffff, 9<<8, einval)
		p.Write(FD(x.outFD), "parent.")
		p.Exit(4)
	})
	o.want(t, 4, "child.parent.")
}

func TestImageExecutesAnother(t *testing.T) {
	second := New()
	second.Exit(6)
	fd, err := Image(second, 2)
	if errors.Is(err, ErrNoExec) {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	high, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD, 100) // survives the first execve
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(high)
	o := runImage(t, 0, func(p *Program, x *pipes) {
		p.ExecFD(FD(high), p.Strings([]string{"again"}), p.Strings(nil))
	})
	o.want(t, 6, "")
}

func TestImageIsSealed(t *testing.T) {
	p := New()
	p.Exit(0)
	fd, err := Image(p, 2)
	if errors.Is(err, ErrNoExec) {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	file := os.NewFile(uintptr(fd), "image")
	defer file.Close()
	before, err := io.ReadAll(io.NewSectionReader(file, 0, 1<<20))
	if err != nil {
		t.Fatal(err)
	}
	for name, try := range map[string]func() error{
		"write":  func() error { _, err := file.WriteAt([]byte("x"), 0); return err },
		"append": func() error { _, err := file.WriteAt([]byte("x"), int64(len(before))); return err },
		"shrink": func() error { return file.Truncate(1) },
		"map": func() error {
			_, err := unix.Mmap(fd, 0, 4096, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
			return err
		},
		"unseal": func() error { _, err := unix.FcntlInt(uintptr(fd), unix.F_ADD_SEALS, unix.F_SEAL_WRITE); return err },
		"reopen and write": func() error {
			again, err := os.OpenFile("/proc/self/fd/"+itoa(fd), os.O_WRONLY, 0)
			if err != nil {
				return err
			}
			defer again.Close()
			_, err = again.Write([]byte("x"))
			return err
		},
	} {
		if err := try(); !errors.Is(err, unix.EPERM) {
			t.Errorf("%s: %v, want %v", name, err, unix.EPERM)
		}
	}
	after, err := io.ReadAll(io.NewSectionReader(file, 0, 1<<20))
	if err != nil || string(after) != string(before) {
		t.Errorf("the image changed: %v", err)
	}
	if flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0); err != nil || flags&unix.FD_CLOEXEC == 0 {
		t.Errorf("descriptor flags %d, %v", flags, err)
	}
}

func TestImageIsAnExecutable(t *testing.T) {
	p := New()
	p.Write(FD(1), strings.Repeat("long ", 40000))
	p.Exit(0)
	fd, err := Image(p, 2)
	if errors.Is(err, ErrNoExec) {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	file := os.NewFile(uintptr(fd), "image")
	defer file.Close()
	parsed, err := elf.NewFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if parsed.Type != elf.ET_EXEC || len(parsed.Progs) == 0 {
		t.Errorf("%+v", parsed.FileHeader)
	}
	const largestPage = 1 << 16
	var end uint64
	for _, s := range parsed.Progs {
		if s.Type != elf.PT_LOAD {
			continue
		}
		if s.Flags&(elf.PF_W|elf.PF_X) == elf.PF_W|elf.PF_X {
			t.Errorf("memory to write and execute: %+v", s.ProgHeader)
		}
		if s.Vaddr%largestPage != s.Off%largestPage {
			t.Errorf("no page can map this: %+v", s.ProgHeader)
		}
		if s.Vaddr/largestPage < end {
			t.Errorf("two segments in one page: %+v", s.ProgHeader)
		}
		end = (s.Vaddr+s.Memsz-1)/largestPage + 1
	}
}
