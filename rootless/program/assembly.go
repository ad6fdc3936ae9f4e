//go:build (amd64 || arm64) && !portable

package program

import (
	"encoding/binary"
	"errors"
	"strconv"
	"unsafe"

	"golang.org/x/sys/unix"
)

// The sealed ELF, whose entry is the interpreter's code:
//
//	file 0       ELF header, two program headers
//	     0x100   code           -> imageBase, read and execute
//	     0x1000  arena          -> arenaBase, private, read and write
const (
	imageBase = 0x10000000
	codeAt    = 0x100
	arenaAt   = arenaBase % pageAlign
)

// sharing: until it executes something the child has no memory of its own.
const sharing = unix.CLONE_VM

// clone makes a child with clone3(2) that runs the interpreter.
func clone(args, size, arena uintptr) (pid, errno uintptr)

// enter runs the interpreter in this process.
func enter(arena uintptr)

// code is where the interpreter's machine code lies in this process.
func code() (start, end uintptr)

// startable is the program and the flags as clone takes them.
func startable(p *Program, flags uint64) (*Program, uint64) { return p, flags }

// imageBytes is the file, in memory of its own that the caller unmaps.
func imageBytes(p *Program, errorFD int) ([]byte, error) {
	size := arenaAt + p.size()
	file, err := room(size)
	if err != nil {
		return nil, err
	}
	start, end := code()
	machineCode := unsafe.Slice((*byte)(pointer(start)), end-start)
	if codeAt+len(machineCode) > arenaAt {
		return nil, errors.Join(errors.New("the interpreter outgrew its page"), unix.Munmap(file))
	}
	elfHeader(file)
	segment{elfLoad, mayRead | mayExecute, 0, imageBase, arenaAt}.put(file[headerLength:])
	segment{elfLoad, mayRead | mayWrite, arenaAt, arenaBase, uint64(size - arenaAt)}.put(file[headerLength+programHeaderLength:])
	copy(file[codeAt:], machineCode)
	p.assemble(file[arenaAt:], arenaBase, errorFD)
	return file, nil
}

// elfHeader writes what execve needs: elf(5).
func elfHeader(file []byte) {
	le := binary.LittleEndian
	copy(file, elfMagic)
	le.PutUint16(file[16:], elfExecutable)
	le.PutUint16(file[18:], machine)
	le.PutUint32(file[20:], 1)                // EV_CURRENT
	le.PutUint64(file[24:], imageBase+codeAt) // e_entry
	le.PutUint64(file[32:], headerLength)     // e_phoff
	le.PutUint16(file[52:], headerLength)
	le.PutUint16(file[54:], programHeaderLength)
	le.PutUint16(file[56:], 2) // e_phnum
}

// supervisor is the image that waits for pidfd, and its environment.
func supervisor(image, pidfd int) (file int, env []string, err error) {
	return image, []string{"pidfd=" + strconv.Itoa(pidfd)}, nil
}
