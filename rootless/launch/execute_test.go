package launch

import (
	"encoding/binary"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"bryo/rootless/program"
)

// elf is the beginning of an ELF file of 64 bits, little endian.
func elf(machine uint16, interpreter string) []byte {
	const headers, entry = 64, 56
	le := binary.LittleEndian
	head := make([]byte, headers+entry)
	copy(head, "\x7fELF\x02\x01\x01")
	le.PutUint16(head[16:], 2) // ET_EXEC
	le.PutUint16(head[18:], machine)
	le.PutUint32(head[20:], 1)
	le.PutUint64(head[32:], headers)
	le.PutUint16(head[52:], headers)
	le.PutUint16(head[54:], entry)
	le.PutUint16(head[56:], 1)
	le.PutUint32(head[headers:], 3) // PT_INTERP
	le.PutUint64(head[headers+8:], uint64(len(head)))
	le.PutUint64(head[headers+32:], uint64(len(interpreter)+1))
	return append(append(head, interpreter...), 0)
}

// own is e_machine of the machine that the test runs on.
func own() uint16 {
	if runtime.GOARCH == "arm64" {
		return 183
	}
	return 62
}

// changed is a header with one field written over.
func changed(head []byte, at int, bytes ...byte) []byte {
	head = append([]byte(nil), head...)
	copy(head[at:], bytes)
	return head
}

func TestExplain(t *testing.T) {
	const loader = "/lib64/ld-linux-x86-64.so.2"
	other := 245 - own() // the one of the two that this machine is not
	for _, row := range []struct {
		name  string
		errno unix.Errno
		head  []byte
		want  string
	}{
		{"not executable", unix.EACCES, elf(own(), loader), "chmod +x"},
		{"a script, not executable", unix.EACCES, []byte("#!/bin/sh\n"), "chmod +x"},
		{"another machine's", unix.ENOEXEC, elf(other, loader), "which this machine does not run"},
		{"arm64's", unix.ENOEXEC, elf(183, ""), "a program for arm64"},
		{"i386's", unix.ENOEXEC, elf(3, ""), "a program for i386"},
		{"a machine unheard of", unix.ENOEXEC, elf(9999, ""), "a program for machine 9999"},
		{"big endian", unix.ENOEXEC, changed(changed(elf(0, ""), 5, 2), 18, 0, 22), "a program for s390"},
		{"a damaged program", unix.ENOEXEC, elf(own(), loader)[:40], "damaged"},
		{"four bytes of one", unix.ENOEXEC, []byte("\x7fELF"), "damaged"},
		{"a text", unix.ENOEXEC, []byte("echo hello\n"), "neither a program"},
		{"an empty file", unix.ENOEXEC, []byte{}, "it is empty"},
		{"zeros", unix.ENOEXEC, make([]byte, 4096), "neither a program"},
		{"loader missing", unix.ENOENT, elf(own(), loader), "its loader " + loader + " is not"},
		{"loader in a place that is not told", unix.ENOENT, elf(own(), loader)[:80], "its interpreter is not in the container"},
		{"interpreter missing", unix.ENOENT, []byte("#!/usr/bin/python\nprint()\n"), "its interpreter /usr/bin/python is not in"},
		{"interpreter with an argument", unix.ENOENT, []byte("#! /usr/bin/env python\n"), "its interpreter /usr/bin/env is not in"},
		{"interpreter without a line end", unix.ENOENT, []byte("#!/x"), "its interpreter /x is not in"},
		{"windows line ends", unix.ENOENT, []byte("#!/bin/sh\r\necho\r\n"), "Windows line ends"},
		{"no interpreter", unix.ENOENT, []byte("#!\n"), "names no interpreter"},
		{"blanks for an interpreter", unix.ENOENT, []byte("#! \t \n/bin/sh"), "names no interpreter"},
		{"arguments too long", unix.E2BIG, elf(own(), ""), "argument list too long"},
		{"busy", unix.ETXTBSY, elf(own(), ""), "text file busy"},
		{"no memory", unix.ENOMEM, elf(own(), ""), "cannot allocate memory"},
	} {
		if got := explain(row.errno, row.head); !strings.Contains(got, row.want) {
			t.Errorf("%s: %q, want %q", row.name, got, row.want)
		}
	}
}

// A line end at the end of an argument is not what is missing.
func TestWindowsLineEndBehindAnArgument(t *testing.T) {
	if got := explain(unix.ENOENT, []byte("#!/usr/bin/env python\r\n")); strings.Contains(got, "env\\r") {
		t.Error(got)
	}
}

// What is of this machine, and is not executed all the same, is no program.
func TestObjectFileOfThisMachine(t *testing.T) {
	object := changed(elf(own(), ""), 16, 1) // ET_REL
	if got := explain(unix.ENOEXEC, object); strings.Contains(got, "which this machine does not run") {
		t.Error(got)
	}
}

// The kernel's word for each file, and what is made of it.
func TestExplainWhatTheKernelRefuses(t *testing.T) {
	other := 245 - own()
	for _, row := range []struct {
		name string
		mode os.FileMode
		file []byte
		want string
	}{
		{"another-machine", 0o755, elf(other, ""), "which this machine does not run"},
		{"empty", 0o755, nil, "it is empty"},
		{"text", 0o755, []byte("no program\n"), "neither a program"},
		{"no-interpreter", 0o755, []byte("#!/nothing/here\n"), "its interpreter /nothing/here"},
		{"windows", 0o755, []byte("#!/bin/sh\r\n"), "Windows line ends"},
		{"no-mode", 0o644, []byte("#!/bin/sh\n"), "chmod +x"},
		{"no-loader", 0o755, mustLoad(elf(own(), "/nothing/ld.so")), "its loader /nothing/ld.so"},
	} {
		path := filepath.Join(t.TempDir(), row.name)
		if err := os.WriteFile(path, row.file, row.mode); err != nil {
			t.Fatal(err)
		}
		var errno unix.Errno
		if err := exec.CommandContext(t.Context(), path).Run(); !errors.As(err, &errno) {
			t.Errorf("%s: %v", row.name, err)
			continue
		}
		if got := explain(errno, row.file); !strings.Contains(got, row.want) {
			t.Errorf("%s: %v, %q, want %q", row.name, errno, got, row.want)
		}
	}
}

// mustLoad adds a segment, which the kernel wants before it looks for a loader.
func mustLoad(head []byte) []byte { return append(head, make([]byte, 4096-len(head))...) }

func TestInterpreter(t *testing.T) {
	good := elf(own(), "/lib/ld.so")
	for _, row := range []struct {
		name string
		head []byte
		want string
	}{
		{"there", good, "/lib/ld.so"},
		{"any machine's", elf(183, "/lib/ld-musl-aarch64.so.1"), "/lib/ld-musl-aarch64.so.1"},
		{"none", changed(good, 64, 1), ""},
		{"32 bits", changed(good, 4, 1), ""},
		{"no ELF file", changed(good, 0, 'x'), ""},
		{"too short", good[:63], ""},
		{"a table outside", changed(good, 32, 0xff, 0xff), ""},
		{"a table at the end of all memory", changed(good, 32, 0xf0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff), ""},
		{"entries of no size", changed(good, 54, 0, 0), ""},
		{"entries too small", changed(good, 54, 8, 0), ""},
		{"more entries than there are", changed(changed(good, 64, 1), 56, 0xff, 0xff), ""},
		{"a name outside", changed(good, 64+8, 0xff, 0xff), ""},
		{"a name without end", changed(good, 64+32, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff), ""},
		{"a name that wraps", changed(changed(good, 64+8, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff), 64+32, 0x80), ""},
		{"an empty name", elf(own(), ""), ""},
	} {
		if got := interpreter(row.head); got != row.want {
			t.Errorf("%s: %q, want %q", row.name, got, row.want)
		}
	}
}

// Whatever a file begins with, there is one line to say.
func FuzzExplain(f *testing.F) {
	f.Add(uint8(unix.ENOENT), elf(62, "/lib/ld.so"))
	f.Add(uint8(unix.ENOEXEC), elf(183, ""))
	f.Add(uint8(unix.ENOENT), []byte("#!/bin/sh -e\r\n"))
	f.Add(uint8(unix.ENOENT), []byte("#!"))
	f.Add(uint8(unix.EACCES), []byte{})
	f.Add(uint8(unix.ENOENT), changed(elf(62, "x"), 32, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff))
	f.Fuzz(func(t *testing.T, errno uint8, head []byte) {
		before := string(head)
		if got := explain(unix.Errno(errno), head); got == "" {
			t.Errorf("errno %d, %q: nothing to say", errno, head)
		}
		if string(head) != before {
			t.Error("the file's beginning is changed")
		}
		if found := interpreter(head); found != "" && !strings.Contains(before, found) {
			t.Errorf("loader %q is not in %q", found, head)
		}
	})
}

func TestNotExecuted(t *testing.T) {
	try := func(path string, errno unix.Errno, data []byte) program.Failure {
		return program.Failure{Step: "execute " + path, Object: path, Call: "execve", Errno: program.Errno(errno), Tolerated: true, Data: data}
	}
	last := program.Failure{Object: "ls", Errno: program.Errno(unix.ENOENT)}
	for _, row := range []struct {
		name, command string
		tries         []program.Failure
		want          string
		found         bool
	}{
		{"nowhere in PATH", "ls", []program.Failure{try("/a/ls", unix.ENOENT, nil), try("/b/ls", unix.ENOENT, nil), last}, "ls: command not found in the container's PATH", false},
		{"no directory in PATH", "ls", []program.Failure{try("/a/ls", unix.ENOTDIR, nil), last}, "ls: command not found in the container's PATH", false},
		{"a flag", "-d", []program.Failure{last}, "-d: command not found in the container's PATH\nfix: flags of bryo's go before the name of the root file system or of the container", false},
		{"no PATH", "ls", []program.Failure{last}, "ls: command not found in the container's PATH", false},
		{"no such path", "/a/ls", []program.Failure{try("/a/ls", unix.ENOENT, nil), last}, "/a/ls: no such file in the container", false},
		{"the second, not executable", "ls", []program.Failure{try("/a/ls", unix.ENOENT, nil), try("/b/ls", unix.EACCES, []byte("x")), last}, "/b/ls: permission denied; make it executable", true},
		{"the first that is there explains", "ls", []program.Failure{try("/a/ls", unix.ENOEXEC, []byte("x")), try("/b/ls", unix.EACCES, []byte("x")), last}, "/a/ls: it is neither", true},
		{"there, and unreadable", "/a/ls", []program.Failure{try("/a/ls", unix.EACCES, nil), last}, "/a/ls: permission denied; is it a directory", true},
		{"a loop of links", "/a/ls", []program.Failure{try("/a/ls", unix.ELOOP, nil), last}, "/a/ls: too many levels of symbolic links", true},
		{"interpreter missing", "/a/ls", []program.Failure{try("/a/ls", unix.ENOENT, []byte("#!/x\n")), last}, "/a/ls: its interpreter /x", true},
		{"arguments too long", "/a/ls", []program.Failure{try("/a/ls", unix.E2BIG, []byte("\x7fELF")), last}, "/a/ls: argument list too long", true},
		{"an empty file", "/a/ls", []program.Failure{try("/a/ls", unix.ENOEXEC, []byte{}), last}, "/a/ls: it is empty", true},
	} {
		err := notExecuted(row.tries, row.command, "the container", false)
		var e *ExecError
		if !errors.As(err, &e) || !strings.HasPrefix(err.Error(), row.want) || e.Found != row.found {
			t.Errorf("%s: %v, want %q, found %t", row.name, err, row.want, row.found)
		}
	}
}

func TestOutcome(t *testing.T) {
	step := program.Failure{Step: "mount /proc", Object: "/proc", Call: "fsconfig", Errno: program.Errno(unix.EPERM)}
	tolerated := program.Failure{Step: "execute /a", Object: "/a", Call: "execve", Errno: program.Errno(unix.ENOENT), Tolerated: true}
	end := program.Failure{Step: "execute a", Object: "a", Call: program.CompareName, Errno: program.Errno(unix.ENOENT)}
	for _, row := range []struct {
		name     string
		failures []program.Failure
		want     string
	}{
		{"it runs", nil, ""},
		{"it runs at the second try", []program.Failure{tolerated}, ""},
		{"a step", []program.Failure{step}, "mount /proc: operation not permitted"},
		{"not executed", []program.Failure{tolerated, end}, "a: command not found in the container's PATH"},
		{"a step after tries", []program.Failure{tolerated, step}, "mount /proc: operation not permitted"},
	} {
		err := outcome(&program.Report{Failures: row.failures}, "the container", false)
		if got := errorText(err); got != row.want {
			t.Errorf("%s: %q, want %q", row.name, got, row.want)
		}
	}
	if err := outcome(&program.Report{Failures: []program.Failure{step}}, "the container", false); !errors.Is(err, unix.EPERM) {
		t.Errorf("%v is not EPERM", err)
	}
}

func errorText(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

func TestMeaning(t *testing.T) {
	for _, row := range []struct {
		verb, object, call string
		errno              unix.Errno
		want               string
	}{
		{"clone", "/srv/root", program.CompareName, unix.ESTALE, "replaced by another file"},
		{"mount", "/data", "move_mount", unix.EINVAL, "the source is a file and the target a directory"},
		{"mount", "/data", "fsconfig", unix.EINVAL, ""},
		{"mount", "/proc", "openat2", unix.ELOOP, "symbolic link in the root"},
		{"mount", "/dev", "openat2", unix.ELOOP, "symbolic link in the root"},
		{"mount", "/data", "openat2", unix.ELOOP, ""},
		{"mount", "/process", "openat2", unix.ELOOP, ""},
		{"tie", "the container to bryo", program.CompareName, unix.ESRCH, "bryo was ended"},
		{"set sysctl", "user/max_user_namespaces", "openat2", unix.EROFS, "--nest"},
		{"set sysctl", "net/ipv4/ip_forward", "openat2", unix.EROFS, ""},
		{"enter working directory", "/x", program.CompareName, unix.EXDEV, "does not lie in the root"},
		{"open", "/srv/root", "openat", unix.EMFILE, "ulimit -n"},
		{"open", "/srv/root", "openat", unix.ENOENT, ""},
		{"mount", "/proc", "fsmount", unix.EPERM, ""},
	} {
		f := &program.Failure{Step: row.verb + " " + row.object, Object: row.object, Call: row.call, Errno: program.Errno(row.errno)}
		if got := meaning(f); (got == "") != (row.want == "") || !strings.Contains(got, row.want) {
			t.Errorf("%s: %v: %q, want %q", f.Step, row.errno, got, row.want)
		}
	}
}
