package program

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

// The sealed ELF, whose entry is the interpreter's code:
//
//	file 0       ELF header, two program headers
//	     0x100   code           -> imageBase, read and execute
//	     0x1000  arena          -> imageBase+0x11000, private, read and write
//
// The gap between the two in memory keeps them in different pages where
// pages are as large as 64 KiB.
const (
	imageBase = 0x10000000
	codeAt    = 0x100
	arenaAt   = 0x1000
	arenaBase = imageBase + 0x11000
	pageAlign = 0x10000
)

// code is where the interpreter's machine code lies in this process.
func code() (start, end uintptr)

// Image is a sealed, executable memfd with a program in it, for ExecFD. Run
// with one argument it carries the program out; with two it supervises (see
// Become). The caller closes the descriptor; it has FD_CLOEXEC set.
func Image(p *Program, errorFD int) (fd int, err error) {
	file, err := imageBytes(p, errorFD)
	if err != nil {
		return -1, err
	}
	defer func() { err = errors.Join(err, unix.Munmap(file)) }()
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

// imageBytes is the file, in memory of its own that the caller unmaps.
func imageBytes(p *Program, errorFD int) ([]byte, error) {
	size := arenaAt + p.size()
	file, err := unix.Mmap(-1, 0, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANON)
	if err != nil {
		return nil, fmt.Errorf("make room for the program: %w", err)
	}
	start, end := code()
	machine := unsafe.Slice((*byte)(pointer(start)), end-start)
	if codeAt+len(machine) > arenaAt {
		return nil, errors.Join(errors.New("the interpreter outgrew its page"), unix.Munmap(file))
	}
	elfHeader(file, uint64(size-arenaAt))
	copy(file[codeAt:], machine)
	p.assemble(file[arenaAt:], arenaBase, errorFD)
	return file, nil
}

// elfHeader writes what execve needs: elf(5).
func elfHeader(file []byte, arena uint64) {
	const headerLength, programHeaderLength = 64, 56
	le := binary.LittleEndian
	copy(file, "\x7fELF\x02\x01\x01")         // 64 bits, little endian
	le.PutUint16(file[16:], 2)                // ET_EXEC
	le.PutUint16(file[18:], machine)          // e_machine
	le.PutUint32(file[20:], 1)                // EV_CURRENT
	le.PutUint64(file[24:], imageBase+codeAt) // e_entry
	le.PutUint64(file[32:], headerLength)     // e_phoff
	le.PutUint16(file[52:], headerLength)
	le.PutUint16(file[54:], programHeaderLength)
	le.PutUint16(file[56:], 2) // e_phnum
	segment := func(at int, flags uint32, offset, address, size uint64) {
		le.PutUint32(file[at:], 1) // PT_LOAD
		le.PutUint32(file[at+4:], flags)
		le.PutUint64(file[at+8:], offset)
		le.PutUint64(file[at+16:], address)
		le.PutUint64(file[at+24:], address)
		le.PutUint64(file[at+32:], size)
		le.PutUint64(file[at+40:], size)
		le.PutUint64(file[at+48:], pageAlign)
	}
	segment(headerLength, 4|1, 0, imageBase, arenaAt)
	segment(headerLength+programHeaderLength, 4|2, arenaAt, arenaBase, arena)
}
