package program

import (
	"debug/elf"
	"errors"
	"io"
	"math"
	"os"
	"os/exec"
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
	o := runImage(t, 0, func(p *Program, _ *pipes) {
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
	o := runImage(t, 0, func(p *Program, _ *pipes) {
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
	checkSegments(t, parsed)
}

// checkSegments looks whether pages of 64 KiB can map the arena on its own.
func checkSegments(t *testing.T, file *elf.File) {
	t.Helper()
	const largestPage = 1 << 16
	var end, arenas uint64
	for _, s := range file.Progs {
		if s.Type != elf.PT_LOAD {
			continue
		}
		if s.Flags&(elf.PF_W|elf.PF_X) == elf.PF_W|elf.PF_X {
			t.Errorf("memory to write and execute: %+v", s.ProgHeader)
		}
		if s.Vaddr%s.Align != s.Off%s.Align {
			t.Errorf("no page can map this: %+v", s.ProgHeader)
		}
		if s.Vaddr == arenaBase {
			arenas++
			if s.Vaddr/largestPage < end || s.Align != largestPage {
				t.Errorf("the arena shares a page: %+v", s.ProgHeader)
			}
		}
		end = (s.Vaddr+s.Memsz-1)/largestPage + 1
	}
	if arenas != 1 {
		t.Errorf("%d segments for the arena", arenas)
	}
}

// emulatorVariable names a program that executes what this machine cannot.
const emulatorVariable = "BRYO_PROGRAM_EMULATOR"

// asFile is an image in a plain file, ready to be executed.
func asFile(t *testing.T, build func(p *Program)) *exec.Cmd {
	t.Helper()
	p := New()
	build(p)
	image, err := imageBytes(p, 2)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = unix.Munmap(image) }()
	path := t.TempDir() + "/image"
	if err := os.WriteFile(path, image, 0o700); err != nil {
		t.Fatal(err)
	}
	if emulator := os.Getenv(emulatorVariable); emulator != "" {
		return exec.Command(emulator, path)
	}
	return exec.Command(path)
}

// plainFork is Fork where there is no clone3; the signals are blocked.
func plainFork(p *Program) (child Arg, parent Label) {
	blockSignals(p) // as they are in a child of Start
	child = p.SyscallResult("child", unix.SYS_CLONE, Num(int(unix.SIGCHLD)), Num(0), Num(0), Num(0), Num(0))
	p.Compare(child, math.MaxUint64, 0, einval)
	return child, p.SkipOn(einval)
}

func blockSignals(p *Program) {
	all := p.Buffer("all signals", 8, strings.Repeat("\xff", 8))
	p.Syscall(unix.SYS_RT_SIGPROCMASK, Num(unix.SIG_SETMASK), all.At(0), Num(0), Num(8))
}

func TestImageIsAFileToo(t *testing.T) {
	for _, test := range []struct {
		name   string
		code   int
		output string
		build  func(p *Program)
	}{
		{"exits", 3, "hello", func(p *Program) {
			p.Write(FD(1), "hello")
			p.Exit(3)
		}},
		{"fails", 125, "", func(p *Program) { bad(p) }},
		{"reaps a command that exits", 42, "", func(p *Program) {
			child, parent := plainFork(p)
			p.Exit(42)
			p.Land(parent)
			p.Reap(child)
		}},
		{"reaps a command that dies of a signal", 128 + 9, "", func(p *Program) {
			child, parent := plainFork(p)
			p.Syscall(unix.SYS_KILL, p.SyscallResult("me", unix.SYS_GETPID), Num(9))
			p.Land(parent)
			p.Reap(child)
		}},
		{"forwards what came before", 128 + 15, "", func(p *Program) {
			child, parent := plainFork(p)
			unblock(p)
			p.Syscall(unix.SYS_PPOLL, Num(0), Num(0), p.Vector(Num(30), Num(0)), Num(0))
			p.Exit(1)
			p.Land(parent)
			p.Syscall(unix.SYS_KILL, p.SyscallResult("me", unix.SYS_GETPID), Num(15))
			p.Reap(child)
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			output, err := asFile(t, test.build).Output()
			code := 0
			if exit := (*exec.ExitError)(nil); errors.As(err, &exit) {
				code = exit.ExitCode()
			} else if err != nil {
				t.Fatal(err)
			}
			if code != test.code || string(output) != test.output {
				t.Errorf("exit code %d, output %q; want %d, %q", code, output, test.code, test.output)
			}
		})
	}
}
