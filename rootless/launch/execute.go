package launch

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"runtime"
	"strings"

	"golang.org/x/sys/unix"

	"bryo/rootless/program"
)

// An ExecError is a command that could not be executed.
type ExecError struct {
	Path  string
	Found bool   // it is there but cannot run: exit code 126, otherwise 127
	Rules bool   // rules of Landlock may be why
	Why   string // a clause
}

func (e *ExecError) Error() string {
	if e.Rules {
		return e.Path + ": permission denied\nfix: have --landlock allow x for it, and for its loader or interpreter"
	}
	return e.Path + ": " + e.Why
}

// notExecuted says why none of the command's paths could be executed: the
// first that is there at all explains it.
func notExecuted(tries []program.Failure, name, where string, rules bool) error {
	for i := range tries {
		try := &tries[i]
		errno := unix.Errno(try.Errno)
		switch {
		case !try.Tolerated:
		case errors.Is(errno, unix.EACCES) && rules:
			return &ExecError{Path: try.Object, Found: true, Rules: true}
		case try.Data != nil:
			return &ExecError{Path: try.Object, Found: true, Why: explain(errno, try.Data)}
		case errors.Is(errno, unix.EACCES) && !strings.Contains(name, "/"): // a directory of PATH that is not the user's
		case errors.Is(errno, unix.EACCES):
			return &ExecError{Path: try.Object, Found: true, Why: "permission denied; is it a directory, not executable, or on a noexec mount?"}
		case !errors.Is(errno, unix.ENOENT) && !errors.Is(errno, unix.ENOTDIR):
			return &ExecError{Path: try.Object, Found: true, Why: errno.Error()}
		}
	}
	return &ExecError{Path: name, Why: notThere(name, where)}
}

func notThere(name, where string) string {
	switch {
	case strings.Contains(name, "/"):
		return "no such file in " + where
	case strings.HasPrefix(name, "-"):
		return "command not found in " + where + "'s PATH\nfix: flags of bryo's go before the name of the root file system or of the container"
	}
	return "command not found in " + where + "'s PATH"
}

// explain reads the beginning of a file that execve refused with errno.
func explain(errno unix.Errno, head []byte) string {
	switch {
	case errors.Is(errno, unix.EACCES):
		return "permission denied; make it executable (chmod +x), or mount it without noexec"
	case errors.Is(errno, unix.ENOEXEC):
		return explainFormat(head)
	case !errors.Is(errno, unix.ENOENT):
		return errno.Error()
	case bytes.HasPrefix(head, []byte("#!")):
		return explainScript(head)
	}
	if loader := interpreter(head); loader != "" {
		return fmt.Sprintf("its loader %s is not in the container", loader)
	}
	return "its interpreter is not in the container"
}

// explainScript names the interpreter of a script that is not there.
func explainScript(head []byte) string {
	line, _, _ := bytes.Cut(head[2:], []byte("\n"))
	fields := strings.Fields(string(line))
	if len(fields) == 0 {
		return "its first line names no interpreter"
	}
	if len(fields) == 1 && bytes.HasSuffix(line, []byte("\r")) {
		return fmt.Sprintf("its interpreter %q is not in the container: the script has Windows line ends (mend it with sed -i 's/\\r$//')", fields[0]+"\r")
	}
	return fmt.Sprintf("its interpreter %s is not in the container", fields[0])
}

// Where an ELF header has what is needed here: elf(5).
const (
	elfMagic     = "\x7fELF"
	elfClassAt   = 4
	elfOrderAt   = 5
	elfMachineAt = 18
	elfHeader    = 64
)

// explainFormat says what kind of file the kernel does not execute.
func explainFormat(head []byte) string {
	switch {
	case len(head) == 0:
		return "it is empty"
	case !bytes.HasPrefix(head, []byte(elfMagic)):
		return "it is neither a program of this architecture nor a script with a #! line"
	case len(head) < elfHeader:
		return "it is a damaged program"
	case architecture(head) == thisMachine():
		return "it is no executable file: an object file or a library"
	}
	return fmt.Sprintf("it is a program for %s, which this machine does not run", architecture(head))
}

// architecture names an ELF file's machine: e_machine of elf.h.
func architecture(head []byte) string {
	machine := order(head).Uint16(head[elfMachineAt:])
	for _, m := range []struct {
		number uint16
		name   string
	}{
		{3, "i386"},
		{8, "mips"},
		{20, "powerpc"},
		{21, "powerpc64"},
		{22, "s390"},
		{40, "arm"},
		{62, "x86-64"},
		{183, "arm64"},
		{243, "riscv"},
		{258, "loongarch"},
	} {
		if m.number == machine {
			return m.name
		}
	}
	return fmt.Sprintf("machine %d", machine)
}

// thisMachine is what architecture calls the machine that bryo was built for.
func thisMachine() string {
	if runtime.GOARCH == "amd64" {
		return "x86-64"
	}
	return runtime.GOARCH
}

func order(head []byte) binary.ByteOrder {
	const bigEndian = 2
	if head[elfOrderAt] == bigEndian {
		return binary.BigEndian
	}
	return binary.LittleEndian
}

// interpreter is the loader that a 64-bit ELF file of this machine asks for,
// if its beginning tells: the segment of type PT_INTERP.
func interpreter(head []byte) string {
	const class64, interp = 2, 3
	if len(head) < elfHeader || !bytes.HasPrefix(head, []byte(elfMagic)) || head[elfClassAt] != class64 {
		return ""
	}
	le := binary.LittleEndian
	table, size, count := le.Uint64(head[32:]), uint64(le.Uint16(head[54:])), uint64(le.Uint16(head[56:]))
	const least = 56 // of Elf64_Phdr
	for i := range count {
		at := table + i*size
		if size < least || at > uint64(len(head)) || at+least > uint64(len(head)) {
			return ""
		}
		if le.Uint32(head[at:]) != interp {
			continue
		}
		offset, length := le.Uint64(head[at+8:]), le.Uint64(head[at+32:])
		if end := offset + length; end >= offset && end <= uint64(len(head)) {
			return string(bytes.TrimRight(head[offset:end], "\x00"))
		}
	}
	return ""
}
