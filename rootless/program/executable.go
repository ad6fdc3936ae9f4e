package program

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Where there is no machine code to copy, an image is a copy of this very
// executable. Its entry is carryOut instead of the Go runtime, which never
// starts; so it has one thread, and nothing but the arena for data:
//
//	file 0      this executable: what its program headers load
//	     arena  64 KiB aligned, and 0x1000 -> arenaBase, private, read and write
//	     behind program headers: the executable's, one for the arena

// stageInGo is the entry.
//
//go:nosplit
//go:norace
func stageInGo() { carryOut(arenaBase) }

// executableImage is the file, in memory of its own that the caller unmaps.
func executableImage(p *Program, errorFD int) ([]byte, error) {
	self, err := mapSelf()
	if err != nil {
		return nil, err
	}
	defer func() { _ = unix.Munmap(self) }()
	headers, end, err := loaded(self)
	if err != nil {
		return nil, err
	}
	arena := (end+pageAlign-1)&^(pageAlign-1) + arenaBase%pageAlign
	table := arena + p.size()
	file, err := room(table + len(headers) + 2*programHeaderLength)
	if err != nil {
		return nil, err
	}
	copy(file, self[:end])
	p.assemble(file[arena:table], arenaBase, errorFD)
	behind := table + copy(file[table:], headers)
	segment{kind: elfStack, flags: mayRead | mayWrite}.put(file[behind:])
	segment{elfLoad, mayRead | mayWrite, uint64(arena), arenaBase, uint64(p.size())}.put(file[behind+programHeaderLength:])
	entry := stageInGo
	le := binary.LittleEndian
	le.PutUint64(file[24:], **(**uint64)(unsafe.Pointer(&entry))) // e_entry
	le.PutUint64(file[32:], uint64(table))                        // e_phoff
	le.PutUint16(file[56:], uint16(len(headers)/programHeaderLength+2))
	clear(file[40:48]) // e_shoff: there are no sections
	clear(file[58:64])
	return file, nil
}

// mapSelf is this process's executable.
func mapSelf() ([]byte, error) {
	file, err := os.Open("/proc/self/exe")
	if err != nil {
		return nil, err
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return nil, err
	}
	self, err := unix.Mmap(int(file.Fd()), 0, int(info.Size()), unix.PROT_READ, unix.MAP_PRIVATE)
	if err != nil {
		return nil, fmt.Errorf("map the executable: %w", err)
	}
	return self, nil
}

// loaded is an executable's program headers of what is loaded, and where the
// last of it ends.
func loaded(self []byte) (headers []byte, end int, err error) {
	le := binary.LittleEndian
	if len(self) < headerLength || string(self[:len(elfMagic)]) != elfMagic || le.Uint16(self[16:]) != elfExecutable {
		return nil, 0, errors.New("this program was not built as an executable at a fixed address (-buildmode=exe)")
	}
	at, count := int(le.Uint64(self[32:])), int(le.Uint16(self[56:]))
	for h := self[at:]; count > 0; h, count = h[programHeaderLength:], count-1 {
		if le.Uint32(h) != elfLoad {
			continue
		}
		if le.Uint64(h[16:])+le.Uint64(h[40:]) > arenaGap {
			return nil, 0, errors.New("this program is too large to carry a launch")
		}
		headers = append(headers, h[:programHeaderLength]...)
		end = max(end, int(le.Uint64(h[8:])+le.Uint64(h[32:])))
	}
	return headers, end, nil
}
