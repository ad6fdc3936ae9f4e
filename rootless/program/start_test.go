package program

import (
	"fmt"
	"math"
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

const (
	everyNamespace = unix.CLONE_NEWUSER | unix.CLONE_NEWNS | unix.CLONE_NEWPID | unix.CLONE_NEWUTS | unix.CLONE_NEWIPC |
		unix.CLONE_NEWCGROUP | unix.CLONE_NEWTIME | unix.CLONE_NEWNET
	ownPIDs = unix.CLONE_NEWUSER | unix.CLONE_NEWPID

	ebadf, enoent, eagain, einval = Errno(unix.EBADF), Errno(unix.ENOENT), Errno(unix.EAGAIN), Errno(unix.EINVAL)
)

// bad appends a call that fails with EBADF.
func bad(p *Program) { p.Fchdir(FD(-1)) }

// modes are the ways to have a program carried out.
func modes() []mode {
	return append(otherModes(), mode{"child", run}, mode{"image", runImage}, mode{"forked", runForked(false)})
}

type mode struct {
	name string
	run  func(*testing.T, uint64, func(*Program, *pipes)) outcome
}

func TestStart(t *testing.T) {
	for _, test := range []struct {
		name     string
		flags    uint64
		build    func(p *Program, x *pipes)
		code     int
		output   string
		failures []Failure
	}{
		{name: "writes and exits", code: 7, output: "hello", build: func(p *Program, x *pipes) {
			p.Write(FD(x.outFD), "hello")
			p.Exit(7)
		}},
		{name: "in new namespaces it is PID 1", flags: everyNamespace, output: "deep", build: func(p *Program, x *pipes) {
			p.Step("name", "the host")
			p.Syscall(unix.SYS_SETHOSTNAME, Blob("deep"), Num(4))
			p.Compare(p.SyscallResult("pid", unix.SYS_GETPID), math.MaxUint64, 1, einval)
			name := p.Buffer("uname", 390, "")
			p.Syscall(unix.SYS_UNAME, name.At(0))
			p.WriteFrom(FD(x.outFD), name, 65, 4)
			p.Exit(0)
		}},
		{
			name: "names the step that fails", code: 125, output: "a",
			failures: []Failure{{Step: "go nowhere", Call: "fchdir", Errno: ebadf, Index: 1}},
			build: func(p *Program, x *pipes) {
				p.Step("say", "a")
				p.Write(FD(x.outFD), "a")
				p.Step("go", "nowhere")
				bad(p)
				p.Write(FD(x.outFD), "b")
			},
		},
		{
			name: "an error number of many digits", code: 125,
			failures: []Failure{{Step: "own", Call: CompareName, Errno: 4095}},
			build: func(p *Program, _ *pipes) {
				p.Step("own", "")
				p.Compare(Num(1), 1, 0, 4095)
			},
		},
		{name: "tolerates every error", output: "b", build: func(p *Program, x *pipes) {
			bad(p)
			p.Tolerate()
			p.Compare(Num(1), 1, 0, 4095)
			p.Tolerate()
			p.Write(FD(x.outFD), "b")
			p.Exit(0)
		}},
		{name: "tolerates the named errors", output: "b", build: func(p *Program, x *pipes) {
			bad(p)
			p.Tolerate(enoent, ebadf)
			p.Compare(Num(1), 1, 0, 63)
			p.Tolerate(63)
			p.Write(FD(x.outFD), "b")
			p.Exit(0)
		}},
		{
			name: "tolerates no other error", code: 125,
			failures: []Failure{{Call: "fchdir", Errno: ebadf}},
			build:    func(p *Program, _ *pipes) { bad(p); p.Tolerate(enoent, eagain); p.Exit(0) },
		},
		{
			name: "64 more is another error", code: 125,
			failures: []Failure{{Call: CompareName, Errno: 64 + ebadf}},
			build: func(p *Program, _ *pipes) {
				p.Compare(Num(1), 1, 0, 64+ebadf)
				p.Tolerate(ebadf)
				p.Exit(0)
			},
		},
		{
			name: "64 is no error number of the first 64", code: 125,
			failures: []Failure{{Call: CompareName, Errno: 64}},
			build: func(p *Program, _ *pipes) {
				p.Compare(Num(1), 1, 0, 64)
				p.Tolerate(0)
				p.Exit(0)
			},
		},
		{
			name: "an error number above 64 is one", code: 125,
			failures: []Failure{{Call: callName(unix.SYS_LISTEN), Errno: Errno(unix.ENOTSOCK)}},
			build: func(p *Program, x *pipes) {
				p.Syscall(unix.SYS_LISTEN, FD(x.outFD), Num(0))
				p.Exit(0)
			},
		},
		{name: "skips on an error", output: "c", build: func(p *Program, x *pipes) {
			bad(p)
			there := p.SkipOn(ebadf)
			p.Write(FD(x.outFD), "a")
			p.Write(FD(x.outFD), "b")
			p.Land(there)
			p.Write(FD(x.outFD), "c")
			p.Exit(0)
		}},
		{name: "skips nothing without an error", output: "ab", build: func(p *Program, x *pipes) {
			p.Close(FD(x.errorFD))
			there := p.SkipOn(ebadf)
			p.Write(FD(x.outFD), "a")
			p.Land(there)
			p.Write(FD(x.outFD), "b")
			p.Exit(0)
		}},
		{
			name: "reports what it tolerates", output: "a",
			failures: []Failure{
				{Step: "try", Call: "fchdir", Errno: ebadf, Tolerated: true},
				{Step: "try", Call: CompareName, Errno: 7, Index: 2, Tolerated: true},
				{Step: "try", Call: CompareName, Errno: 95, Index: 4, Tolerated: true},
			},
			build: func(p *Program, x *pipes) {
				p.Step("try", "")
				bad(p)
				p.Tolerate(ebadf)
				p.Report()
				p.Write(FD(x.outFD), "a")
				p.Compare(Num(1), 2, 2, 7)
				there := p.SkipOn()
				p.Report()
				p.Exit(1)
				p.Land(there)
				p.Compare(Num(1), 2, 2, 95)
				p.Tolerate()
				p.Report()
				p.Exit(0)
			},
		},
		{name: "compares under a mask", build: func(p *Program, _ *pipes) {
			b := p.Buffer("word", 16, "\x00\x00\x00\x00\x00\x00\x00\x00\x34\x12\x00\x00\x00\x00\x00\x80")
			p.Compare(b.Load(8), 0xff00, 0x1200, 5)
			p.Compare(b.Load(8), math.MaxUint64, 1<<63|0x1234, 5)
			p.Compare(b.Load(0), math.MaxUint64, 0, 5)
			p.Exit(0)
		}},
		{
			name: "runs off its end", code: 125, build: func(p *Program, _ *pipes) { bad(p); p.Tolerate() },
		},
		{
			name: "lands behind its end", code: 125, build: func(p *Program, _ *pipes) {
				bad(p)
				there := p.SkipOn()
				p.Exit(1)
				p.Land(there)
			},
		},
	} {
		for _, mode := range modes() {
			if test.flags != 0 && mode.name != "child" && mode.name != "portable" {
				continue
			}
			t.Run(test.name+"/"+mode.name, func(t *testing.T) {
				o := mode.run(t, test.flags, test.build)
				o.want(t, test.code, test.output)
				o.wantFailures(t, test.failures...)
			})
		}
	}
}

func TestRetry(t *testing.T) {
	var p [2]int
	if err := unix.Pipe2(p[:], unix.O_CLOEXEC|unix.O_NONBLOCK); err != nil {
		t.Fatal(err)
	}
	defer unix.Close(p[0])
	defer unix.Close(p[1])
	read := func(retries int) func(*Program, *pipes) {
		return func(prog *Program, x *pipes) {
			b := prog.Buffer("b", 1, "")
			prog.Read(FD(p[0]), b, 0, 1)
			prog.Retry(retries)
			prog.WriteFrom(FD(x.outFD), b, 0, 1)
			prog.Exit(0)
		}
	}
	o := run(t, 0, read(3))
	o.want(t, 125, "")
	o.wantFailures(t, Failure{Call: "read", Errno: eagain})

	written := make(chan error)
	go func() {
		time.Sleep(20 * time.Millisecond)
		_, err := unix.Write(p[1], []byte("x"))
		written <- err
	}()
	run(t, 0, read(math.MaxInt32)).want(t, 0, "x")
	if err := <-written; err != nil {
		t.Fatal(err)
	}
}

func TestMemory(t *testing.T) {
	for _, test := range []struct {
		name, output string
		build        func(p *Program, x *pipes)
	}{
		{"a vector of blobs", "onetwo!", func(p *Program, x *pipes) {
			v := p.Vector(Blob("one"), Num(3), Blob("two!x"), Num(4))
			p.Syscall(unix.SYS_WRITEV, FD(x.outFD), v, Num(2))
		}},
		{"a vector in a vector", "deep", func(p *Program, x *pipes) {
			pair, b := p.Buffer("pair", 16, ""), p.Buffer("b", 8, "")
			p.Syscall(unix.SYS_SOCKETPAIR, Num(unix.AF_UNIX), Num(unix.SOCK_DGRAM), Num(0), pair.At(0))
			message := p.Vector(Arg{}, Arg{}, p.Vector(Blob("deep"), Num(4)), Num(1), Arg{}, Arg{}, Arg{})
			p.Syscall(unix.SYS_SENDMSG, pair.Load(0), message, Num(0))
			p.Read(pair.Load(4), b, 0, 8)
			p.WriteFrom(FD(x.outFD), b, 0, 4)
		}},
		{"strings of every length keep to themselves", "1.22.333.4444.55555.666666.7777777.88888888.", func(p *Program, x *pipes) {
			for i := 1; i <= 8; i++ {
				p.Write(FD(x.outFD), strings.Repeat(string(rune('0'+i)), i)+".")
			}
		}},
		{"buffers hold what they begin with", "abcdef", func(p *Program, x *pipes) {
			one, two := p.Buffer("one", 5, "abc"), p.Buffer("two", 3, "def")
			p.WriteFrom(FD(x.outFD), one, 0, 3)
			p.WriteFrom(FD(x.outFD), two, 0, 3)
		}},
		{"a read goes to its offset", "..ab....", func(p *Program, x *pipes) {
			from, to := p.Openat("zero", CWD(), "/proc/self/comm", unix.O_RDONLY, 0), p.Buffer("to", 8, "........")
			p.PrctlName("ab")
			p.Read(from, to, 2, 2)
			p.WriteFrom(FD(x.outFD), to, 0, 8)
			p.Close(from)
		}},
		{"a result is the argument of later calls", "x", func(p *Program, x *pipes) {
			fd := p.SyscallResult("copy", unix.SYS_FCNTL, FD(x.outFD), Num(unix.F_DUPFD), Num(300))
			p.Compare(fd, math.MaxUint64, 300, einval)
			p.Write(fd, "x")
		}},
		{"every argument can be a result", "xyz", func(p *Program, x *pipes) {
			from := p.SyscallResult("from", unix.SYS_MEMFD_CREATE, Text("from"), Num(0))
			to := p.SyscallResult("to", unix.SYS_MEMFD_CREATE, Text("to"), Num(0))
			p.Write(from, "wxyz")
			b := p.Buffer("b", 64, "\x01\x00\x00\x00\x00\x00\x00\x00")
			length := p.Buffer("length", 16, "\x00\x00\x00\x00\x00\x00\x00\x00\x03")
			none := p.Buffer("none", 8, "")
			p.Syscall(unix.SYS_COPY_FILE_RANGE, from, b.At(0), to, none.Load(0), length.Load(8), none.Load(0))
			p.Syscall(unix.SYS_LSEEK, to, none.Load(0), none.Load(0))
			n := p.SyscallResult("n", unix.SYS_READ, to, b.At(8), length.Load(8))
			p.Syscall(unix.SYS_WRITE, FD(x.outFD), b.At(8), n)
		}},
		{"Into keeps the result for later calls", "\x2c\x01\x00\x00\x00\x00\x00\x00x", func(p *Program, x *pipes) {
			b := p.Buffer("b", 16, "")
			fd := p.SyscallResult("copy", unix.SYS_FCNTL, FD(x.outFD), Num(unix.F_DUPFD), Num(300))
			p.Into(b.At(8))
			p.WriteFrom(fd, b, 8, 8)
			p.Write(b.Load(8), "x")
		}},
		{"Into a buffer that is made later", "x", func(p *Program, x *pipes) {
			fd := p.SyscallResult("copy", unix.SYS_FCNTL, FD(x.outFD), Num(unix.F_DUPFD), Num(300))
			p.Into(p.Buffer("b", 8, "").At(0))
			p.Buffer("c", 8, "")
			p.Write(fd, "x")
		}},
		{"Into for a call without a named result", "3", func(p *Program, x *pipes) {
			b := p.Buffer("b", 16, "........0000000")
			p.Write(FD(x.outFD), "")
			p.Into(b.At(0))
			p.Compare(b.Load(0), math.MaxUint64, 0, einval)
			p.Syscall(unix.SYS_FCNTL, FD(x.outFD), Num(unix.F_DUPFD), Num(51))
			p.Into(b.At(0))
			p.WriteFrom(FD(x.outFD), b, 0, 1)
		}},
		{"a whole program of 500 operations", strings.Repeat("x", 500), func(p *Program, x *pipes) {
			for range 500 {
				p.Write(FD(x.outFD), "x")
			}
		}},
	} {
		for _, mode := range modes() {
			t.Run(test.name+"/"+mode.name, func(t *testing.T) {
				o := mode.run(t, 0, func(p *Program, x *pipes) {
					test.build(p, x)
					p.Exit(0)
				})
				o.want(t, 0, test.output)
			})
		}
	}
}

func TestExecve(t *testing.T) {
	o := run(t, 0, func(p *Program, x *pipes) {
		unblock(p)
		p.Dup3(FD(x.outFD), 1, 0)
		p.Execve(executable(), p.Strings([]string{"self", "", "b c"}), helperEnv(p, "args"))
	})
	o.want(t, 0, fmt.Sprintf("[\"\" \"b c\"] [\"%s=args\"]\n", helperVariable))
	o = run(t, 0, func(p *Program, _ *pipes) {
		p.Step("execute", "nothing")
		p.Execve("/nonexistent", p.Strings([]string{"x"}), p.Strings(nil))
	})
	o.want(t, 125, "")
	o.wantFailures(t, Failure{Step: "execute nothing", Call: "execve", Errno: enoent})
}

func TestSend(t *testing.T) {
	text := strings.Repeat("why ", 300)
	path := t.TempDir() + "/text"
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	o := run(t, 0, func(p *Program, x *pipes) {
		p.Step("try", "it")
		bad(p)
		p.Tolerate()
		p.Report()
		from, b := p.Openat("text", CWD(), path, unix.O_RDONLY, 0), p.Sendable()
		p.Read(from, b, SendableData, SendableSize)
		p.Into(b.At(SendableLength))
		p.Send(FD(x.errorFD), b)
		p.Step("end", "here")
		bad(p)
	})
	o.want(t, 125, "")
	o.wantFailures(t, Failure{Step: "try it", Call: "fchdir", Errno: ebadf, Tolerated: true}, Failure{Step: "end here", Call: "fchdir", Errno: ebadf, Index: 4})
	if got := o.report.Failures[0]; string(got.Data) != text || got.Object != "it" {
		t.Errorf("object %q, %d bytes came, want %d", got.Object, len(got.Data), len(text))
	}
	if f, failed := o.report.Failed(); !failed || f.Object != "here" {
		t.Errorf("what ended the program: %+v, %v", f, failed)
	}
}

func TestReadReportRefusesStrangeRecords(t *testing.T) {
	p := New()
	p.Exit(0)
	c := &Child{program: p}
	for name, record := range map[string]string{
		"half a record":          strings.Repeat("x", 8),
		"half of what was sent":  strings.Repeat("\xff", 100),
		"the address of nothing": strings.Repeat("\x01", 16),
	} {
		if report, err := c.ReadReport(strings.NewReader(record), p); err == nil {
			t.Errorf("%s: %+v", name, report)
		}
	}
}

func TestStartErrors(t *testing.T) {
	p := New()
	p.Reap(Num(2))
	if c, err := Start(p, 0, 2); err == nil {
		t.Errorf("a child reaps on its parent's stack: %+v", c)
	}
	p = New()
	p.Exit(0)
	const everyBit = 1 << 63
	if c, err := Start(p, everyBit, 2); err == nil || !strings.HasPrefix(err.Error(), "clone3: ") {
		t.Errorf("clone3 with a flag that is none: %+v, %v", c, err)
	}
}

func TestSignalMaskComesBack(t *testing.T) {
	before := signalMasks(t)
	run(t, 0, func(p *Program, _ *pipes) { p.Exit(0) }).want(t, 0, "")
	if after := signalMasks(t); after != before {
		t.Errorf("blocked signals were %s, are %s", before, after)
	}
}

func signalMasks(t *testing.T) string {
	t.Helper()
	status, err := os.ReadFile("/proc/thread-self/status")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(status), "SigBlk:")
	mask, _, _ := strings.Cut(rest, "\n")
	return strings.TrimSpace(mask)
}

func TestChildBlocksSignals(t *testing.T) {
	o := run(t, 0, func(p *Program, x *pipes) {
		fd, b := p.Openat("status", CWD(), "/proc/thread-self/status", unix.O_RDONLY, 0), p.Buffer("b", 4096, "")
		n := p.SyscallResult("n", unix.SYS_READ, fd, b.At(0), Num(4096))
		p.Syscall(unix.SYS_WRITE, FD(x.outFD), b.At(0), n)
		p.Exit(0)
	})
	if !strings.Contains(o.output, "SigBlk:\tfffffffe3bfa3000") && !strings.Contains(o.output, "SigBlk:\tfffffffffffbfeff") {
		t.Errorf("not all signals are blocked:\n%s", o.output)
	}
	if !strings.Contains(o.output, "SigCgt:\t0000000000000000") {
		t.Errorf("handlers are left:\n%s", o.output)
	}
}

func TestProgramRefusesNonsense(t *testing.T) {
	for name, build := range map[string]func(p *Program){
		"a result in a vector":        func(p *Program) { p.Vector(p.Openat("fd", CWD(), "/", 0, 0)) },
		"an errno that has no bit":    func(p *Program) { bad(p); p.Tolerate(64) },
		"EOPNOTSUPP to be skipped on": func(p *Program) { bad(p); p.SkipOn(Errno(unix.EOPNOTSUPP)) },
	} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%s was taken", name)
				}
			}()
			build(New())
		}()
	}
}
