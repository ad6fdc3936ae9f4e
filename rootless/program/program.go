package program

import (
	"math"
	"slices"
)

// Operation numbers that are no system calls. A system call number is never
// negative.
const (
	opCompare = -2 // fail with an errno unless value&mask == want
	opReap    = -3 // become the init of a PID namespace; never returns

	// opSupervise is for images without assembly: supervise the child behind a
	// pidfd, which is above 0, with all signals blocked; never returns.
	opSupervise = -4
)

// form says how an argument becomes a machine word.
type form uint8

const (
	immediate form = iota // the number itself
	text                  // address of a NUL-terminated string
	blob                  // address of bytes
	vector                // address of words
	address               // address of scratch memory
	load                  // the 8 bytes in scratch memory when the call is made
	end                   // address behind the arena's last byte
)

// Arg is one argument of an operation. Its zero value is 0 or NULL.
type Arg struct {
	form  form
	style style
	size  uint32 // scratch: offset into it
	n     uint64 // immediate: the value; vector, scratch: the index
	s     string // text and blob
}

// Num is an immediate number.
func Num[T ~int | ~uint | ~int64 | ~uint64 | ~uint32 | ~uintptr](n T) Arg {
	return Arg{n: uint64(n)}
}

// FD is a file descriptor that is open in the child from the start.
func FD(fd int) Arg { return Arg{n: uint64(fd), style: asFD} }

// CWD stands for the working directory where a call takes a directory.
func CWD() Arg { return Arg{n: math.MaxUint64 - 99, style: asFD} } // AT_FDCWD

// Text is a string as the kernel wants it, with a NUL behind it.
func Text(s string) Arg { return Arg{form: text, s: s} }

// Blob is bytes without a NUL.
func Blob(s string) Arg { return Arg{form: blob, s: s} }

// Errno is an error number as the kernel gives it.
type Errno = uint64

// op is one operation.
type op struct {
	step     step
	nr       int64
	args     [6]Arg
	given    uint8  // how many of them were given
	result   Arg    // address form: where the result goes
	tolerate uint64 // bit n: errno n is no failure; all ones: no errno is
	skip     int32  // operations to skip when an errno was tolerated
	retries  uint32 // how often EAGAIN makes the call again
	report   bool   // a tolerated errno is reported all the same
}

// step is the name of what one or more operations do together: it is the
// error's text and the heading in the listing.
type step struct{ verb, object string }

func (s step) String() string {
	if s.object == "" {
		return s.verb
	}
	return s.verb + " " + s.object
}

// scratch is memory in the arena that the kernel or the interpreter writes.
type scratch struct {
	name string
	size uint32
	init string // what it holds at first
	into Arg    // address form: it is part of another one
}

// Program is a list of operations. The zero value is empty and ready.
type Program struct {
	ops     []op
	vectors [][]Arg
	scratch []scratch
	step    step
}

// New is an empty program with room for a whole launch.
func New() *Program {
	return &Program{ops: make([]op, 0, 320), vectors: make([][]Arg, 0, 96), scratch: make([]scratch, 0, 96)}
}

// Len is the number of operations.
func (p *Program) Len() int { return len(p.ops) }

// Step names the operations that follow, as "mount /proc": verb and object.
func (p *Program) Step(verb, object string) { p.step = step{verb, object} }

// Vector is the address of 8-byte words: an argv, or a structure of the kernel.
// It is laid out before any call is made: for a result, take a Buffer and Into.
func (p *Program) Vector(words ...Arg) Arg {
	if slices.ContainsFunc(words, func(a Arg) bool { return a.form == load }) {
		panic("program: a result in a vector")
	}
	p.vectors = append(p.vectors, words)
	return Arg{form: vector, n: uint64(len(p.vectors) - 1)}
}

// Strings is the address of a NULL-terminated list of strings, as execve takes.
func (p *Program) Strings(list []string) Arg {
	words := make([]Arg, len(list)+1)
	for i, s := range list {
		words[i] = Text(s)
	}
	p.vectors = append(p.vectors, words)
	return Arg{form: vector, n: uint64(len(p.vectors) - 1), style: asStrings}
}

// Buffer is scratch memory in the arena. Offsets into it are in bytes.
type Buffer struct{ index uint64 }

// Buffer reserves size bytes that begin with init; name is for the listing.
func (p *Program) Buffer(name string, size int, init string) Buffer {
	p.scratch = append(p.scratch, scratch{name: name, size: uint32(size), init: init})
	return Buffer{uint64(len(p.scratch) - 1)}
}

// At is the address of the byte at off.
func (b Buffer) At(off int) Arg { return Arg{form: address, n: b.index, size: uint32(off)} }

// Load is the 8-byte word at off, read when the call is made.
func (b Buffer) Load(off int) Arg { return Arg{form: load, n: b.index, size: uint32(off)} }

// do appends a system call.
func (p *Program) do(nr int, args ...Arg) {
	o := op{step: p.step, nr: int64(nr), given: uint8(len(args))}
	copy(o.args[:], args)
	p.ops = append(p.ops, o)
}

// get appends a system call whose result later calls use.
func (p *Program) get(name string, nr int, args ...Arg) Arg {
	p.do(nr, args...)
	cell := p.Buffer(name, 8, "")
	p.last().result = cell.At(0)
	result := cell.Load(0)
	result.style = asFD
	return result
}

func (p *Program) last() *op { return &p.ops[len(p.ops)-1] }

// Into stores the last call's result at an address of a Buffer, as 8 bytes.
// Where later calls use the result, they read it from there.
func (p *Program) Into(at Arg) {
	o := p.last()
	if o.result.form == address {
		p.scratch[o.result.n].into = at
	}
	o.result = at
}

// Tolerate lets the last call fail with any of these errors, all below 64, and
// goes on with the next operation. Without errors it tolerates every one.
func (p *Program) Tolerate(errnos ...Errno) {
	if len(errnos) == 0 {
		p.last().tolerate = math.MaxUint64
	}
	for _, e := range errnos {
		if e > 63 {
			panic("program: an errno above 63 cannot be told from others")
		}
		p.last().tolerate |= 1 << e
	}
}

// Report makes the last call's tolerated errors known to the parent.
func (p *Program) Report() { p.last().report = true }

// BestEffort adds what do adds as something to go without: when a call of it
// fails the rest is left out, and the parent is told. Jumps in it stay what they
// are.
func (p *Program) BestEffort(do func()) {
	from := len(p.ops)
	do()
	for i := from; i < len(p.ops); i++ {
		if o := &p.ops[i]; o.skip == 0 {
			o.tolerate, o.report, o.skip = math.MaxUint64, true, int32(len(p.ops)-i-1)
		}
	}
}

// Retry makes the last call again up to n times on EAGAIN.
func (p *Program) Retry(n int) { p.last().retries = uint32(n) }

// Label is a jump whose target is not known yet.
type Label int

// SkipOn tolerates errors of the last call and then goes on at Land(label).
func (p *Program) SkipOn(errnos ...Errno) Label {
	p.Tolerate(errnos...)
	return Label(len(p.ops) - 1)
}

// Land is where a jump ends: the next operation to be added.
func (p *Program) Land(l Label) { p.ops[l].skip = int32(len(p.ops) - int(l) - 1) }

// Compare fails with errno unless value&mask == want.
func (p *Program) Compare(value Arg, mask, want uint64, errno Errno) {
	p.do(opCompare, value, Num(mask), Num(want), Num(errno))
}

// Same fails with errno unless both are the same.
func (p *Program) Same(one, other Arg, errno Errno) {
	p.do(opCompare, one, Num(^uint64(0)), other, Num(errno))
}

// Reap makes the process the init of its PID namespace: it gives the arena's
// memory back, forwards signals to the command, reaps, and exits with the
// command's status (128+n for a signal). No operation after it is reached.
// Only the program of an Image can do so.
func (p *Program) Reap(command Arg) {
	p.do(opReap, command, Arg{form: end})
}

func (p *Program) reaps() bool {
	return slices.ContainsFunc(p.ops, func(o op) bool { return o.nr == opReap })
}

// Address is where a result lies, for Into: a later call may replace it.
func (a Arg) Address() Arg { return Arg{form: address, n: a.n, size: a.size} }
