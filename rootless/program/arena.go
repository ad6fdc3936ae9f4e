package program

import (
	"encoding/binary"
	"math"

	"golang.org/x/sys/unix"
)

// The arena, as the interpreters read it; all words are 8 bytes:
//
//	header   0 error fd | 8 record: operation's address, errno | 24 unused
//	op 0     64: number | 6 arguments | flags | tolerated errnos | skip | result | retries
//	op 1     160: ...
//	last     exit_group(125), for a program that has no end of its own
//	data     strings, vectors, scratch memory
//
// flags: bits 0 to 5 say which arguments are addresses to load the word from,
// bit 63 that a tolerated error is reported. skip is in bytes. A failed
// operation writes the record to the error fd and ends the process with 125.
const (
	headerSize  = 64
	opSize      = 96
	recordSize  = 16
	reportFlag  = 1 << 63
	failureCode = 125
)

// layout places a program's data behind its operations.
type layout struct {
	p       *Program
	base    uint64 // address of the arena in the process that runs it
	mem     []byte
	next    int   // where the next string or vector goes
	scratch []int // where each scratch buffer begins
}

// size is how much memory the program needs at most.
func (p *Program) size() int {
	n := headerSize + (len(p.ops)+1)*opSize
	for i := range p.ops {
		for j := range p.ops[i].args {
			n += p.ops[i].args[j].dataSize()
		}
	}
	for _, v := range p.vectors {
		n += 8 * len(v)
		for i := range v {
			n += v[i].dataSize()
		}
	}
	for i := range p.scratch {
		n += align(int(p.scratch[i].size))
	}
	return n
}

func align(n int) int { return (n + 7) &^ 7 }

func (a *Arg) dataSize() int {
	if a.form == text || a.form == blob {
		return align(len(a.s) + 1)
	}
	return 0
}

// assemble lays the program out in mem, which is zero and at least size()
// long, for a process in which mem's first byte is at base.
func (p *Program) assemble(mem []byte, base uint64, errorFD int) {
	l := layout{p: p, base: base, mem: mem, next: headerSize + (len(p.ops)+1)*opSize}
	l.put(0, uint64(errorFD))
	l.place()
	vectors := make([]uint64, len(p.vectors))
	for i, v := range p.vectors {
		at := l.next
		l.next += 8 * len(v)
		for j := range v {
			l.put(at+8*j, l.word(&v[j], vectors))
		}
		vectors[i] = base + uint64(at)
	}
	for i := range p.ops {
		l.op(headerSize+i*opSize, &p.ops[i], vectors)
	}
	l.op(headerSize+len(p.ops)*opSize, &op{nr: unix.SYS_EXIT_GROUP, args: [6]Arg{Num(failureCode)}}, vectors)
}

// place lays out the scratch memory; a cell that is part of a Buffer (see
// Into) takes no place of its own.
func (l *layout) place() {
	l.scratch = make([]int, len(l.p.scratch))
	for i := range l.p.scratch {
		s := &l.p.scratch[i]
		if s.into.form == address {
			continue
		}
		l.scratch[i] = l.next
		copy(l.mem[l.next:], s.init)
		l.next += align(int(s.size))
	}
	for i := range l.p.scratch {
		if into := l.p.scratch[i].into; into.form == address {
			l.scratch[i] = l.scratch[into.n] + int(into.size)
		}
	}
}

func (l *layout) put(at int, word uint64) { binary.LittleEndian.PutUint64(l.mem[at:], word) }

func (l *layout) op(at int, o *op, vectors []uint64) {
	var flags uint64
	l.put(at, uint64(o.nr))
	for i := range o.args {
		a := &o.args[i]
		if a.form == load {
			flags |= 1 << i
		}
		if *a != (Arg{}) {
			l.put(at+8+8*i, l.word(a, vectors))
		}
	}
	if o.report {
		flags |= reportFlag
	}
	l.put(at+56, flags)
	l.put(at+64, o.tolerate)
	l.put(at+72, uint64(o.skip)*opSize)
	if o.result.form == address {
		l.put(at+80, l.word(&o.result, nil))
	}
	l.put(at+88, uint64(o.retries))
}

// word is what the argument becomes; strings are placed as they come. A
// vector refers only to vectors made before it.
func (l *layout) word(a *Arg, vectors []uint64) uint64 {
	switch a.form {
	case text, blob:
		at := l.next
		copy(l.mem[at:], a.s)
		l.next += align(len(a.s) + 1)
		return l.base + uint64(at)
	case vector:
		return vectors[a.n]
	case address, load:
		return l.base + uint64(l.scratch[a.n]) + uint64(a.size)
	case end:
		return l.base + uint64(len(l.mem))
	case immediate:
	}
	return a.n
}

// Failure is an operation that failed, or that was reported though tolerated.
type Failure struct {
	Step      string // what was being done, as in the listing
	Object    string // the step's second part
	Call      string // the system call's name
	Errno     Errno
	Index     int    // which operation
	Tolerated bool   // reported only: the program went on
	Data      []byte // what the program sent behind it (see Send)
}

// failure finds the operation of a record; ok is false when the address is
// none of this program's.
func (p *Program) failure(base, at uint64, errno Errno) (f Failure, ok bool) {
	offset := at - base - headerSize
	if at < base || offset%opSize != 0 || offset/opSize >= uint64(len(p.ops)) {
		return Failure{}, false
	}
	o := &p.ops[offset/opSize]
	return Failure{
		Step: o.step.String(), Object: o.step.object, Call: callName(o.nr), Errno: errno, Index: int(offset / opSize),
		Tolerated: o.tolerate == math.MaxUint64 || errno < 64 && o.tolerate&(1<<errno) != 0,
	}, true
}

// What stands in a record in place of an operation's address.
const (
	dataFollows = math.MaxUint64     // Send: the number of valid bytes, and 4 KiB less the record
	forked      = math.MaxUint64 - 1 // Announce: a process id
)
