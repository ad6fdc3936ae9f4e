package program

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// Where an image's arena lies in memory. What is before it, code, ends below
// arenaGap, so that the two are in different pages where pages are as large
// as 64 KiB.
const (
	arenaGap  = 0x10010000
	arenaBase = arenaGap + 0x1000
	pageAlign = 0x10000
)

// Image is a sealed, executable memfd with a program in it, for ExecFD with
// any argv but one of two strings, which makes it a supervisor (see Become).
// The caller closes the descriptor; it has FD_CLOEXEC set.
func Image(p *Program, errorFD int) (fd int, err error) {
	file, err := imageBytes(p, errorFD)
	if err != nil {
		return -1, err
	}
	fd, err = sealed(file)
	return fd, errors.Join(err, unix.Munmap(file))
}

func sealed(file []byte) (fd int, err error) {
	fd, err = memfd("bryo-init")
	if err != nil {
		return -1, err
	}
	if err := seal(fd, file); err != nil {
		_ = unix.Close(fd)
		return -1, err
	}
	return fd, nil
}

// File is what Image's memfd holds, for a file system of the child's own where
// the kernel makes no executable memfd.
func File(p *Program, errorFD int) (string, error) {
	file, err := imageBytes(p, errorFD)
	if err != nil {
		return "", err
	}
	content := string(file)
	return content, unix.Munmap(file)
}

func seal(fd int, file []byte) error {
	for rest := file; len(rest) > 0; {
		n, err := unix.Write(fd, rest)
		if err != nil {
			return os.NewSyscallError("write memfd", err)
		}
		rest = rest[n:]
	}
	_, err := unix.FcntlInt(uintptr(fd), unix.F_ADD_SEALS,
		unix.F_SEAL_SEAL|unix.F_SEAL_SHRINK|unix.F_SEAL_GROW|unix.F_SEAL_WRITE)
	return os.NewSyscallError("seal memfd", err)
}

// memfd asks for an executable memfd; kernels before 6.3 do not know the flag
// and make every memfd executable. ErrNoExec says that vm.memfd_noexec is 2.
func memfd(name string) (int, error) {
	const flags = unix.MFD_CLOEXEC | unix.MFD_ALLOW_SEALING
	fd, err := unix.MemfdCreate(name, flags|unix.MFD_EXEC)
	if errors.Is(err, unix.EINVAL) {
		fd, err = unix.MemfdCreate(name, flags)
	}
	if errors.Is(err, unix.EACCES) {
		return -1, ErrNoExec
	}
	return fd, os.NewSyscallError("memfd_create", err)
}

// ErrNoExec means that the kernel makes no executable memfd.
var ErrNoExec = errors.New("vm.memfd_noexec=2 forbids executable memfds")

// room is zeroed memory outside the Go heap, which the caller unmaps.
func room(size int) ([]byte, error) {
	memory, err := unix.Mmap(-1, 0, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANON)
	if err != nil {
		return nil, fmt.Errorf("make room for the program: %w", err)
	}
	return memory, nil
}

// Parts of ELF files of 64 bits: elf(5).
const (
	headerLength        = 64
	programHeaderLength = 56

	elfMagic      = "\x7fELF\x02\x01\x01" // 64 bits, little endian
	elfExecutable = 2                     // ET_EXEC
	elfLoad       = 1                     // PT_LOAD
	elfStack      = 0x6474e551            // PT_GNU_STACK

	mayExecute, mayWrite, mayRead = 1, 2, 4
)

// segment is a part of a file that execve maps.
type segment struct {
	kind, flags           uint32
	offset, address, size uint64
}

// put writes the program header.
func (s segment) put(to []byte) {
	le := binary.LittleEndian
	le.PutUint32(to, s.kind)
	le.PutUint32(to[4:], s.flags)
	le.PutUint64(to[8:], s.offset)
	le.PutUint64(to[16:], s.address)
	le.PutUint64(to[24:], s.address)
	le.PutUint64(to[32:], s.size)
	le.PutUint64(to[40:], s.size)
	le.PutUint64(to[48:], pageAlign)
}
