package program

import (
	"fmt"
	"io"
	"strconv"
	"strings"
	"unicode"

	"golang.org/x/sys/unix"
)

// style says how the listing prints a number.
type style uint8

const (
	asSigned style = iota
	asUnsigned
	asHex
	asOctal
	asFD
	asStrings
	asPointer
	openFlags
	resolveFlags
	openTreeFlags
	atFlags
	fsopenFlags
	fsconfigCommand
	fsmountFlags
	mountAttributes
	propagationFlags
	moveMountFlags
	mountFlags
	umountFlags
	cloneFlags
	prctlOption
	fcntlCommand
)

// List prints the program, a step's name above its calls, a call a line in
// strace's words.
func (p *Program) List(w io.Writer) error {
	var b strings.Builder
	var heading step
	for i := range p.ops {
		o := &p.ops[i]
		if i == 0 || o.step != heading {
			heading = o.step
			fmt.Fprintf(&b, "# %s\n", printable(heading.String()))
		}
		fmt.Fprintf(&b, "%s%s\n", p.call(o), p.notes(i))
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// printable is a name that a terminal shows and does not obey.
func printable(unsafeName string) string {
	if !strings.ContainsFunc(unsafeName, func(r rune) bool { return !unicode.IsPrint(r) }) {
		return unsafeName
	}
	quoted := strconv.Quote(unsafeName)
	return quoted[1 : len(quoted)-1]
}

func (p *Program) call(o *op) string {
	switch o.nr {
	case opCompare:
		want := fmt.Sprintf("%#x", o.args[2].n)
		if o.args[2].form != immediate {
			want = p.show(&o.args[2])
		}
		return fmt.Sprintf("expect %s & %#x == %s, else %s",
			p.show(&o.args[0]), o.args[1].n, want, unix.ErrnoName(unix.Errno(o.args[3].n)))
	case opReap:
		return fmt.Sprintf("reap: forward signals to %s, collect children, exit as it does", p.show(&o.args[0]))
	case opSupervise:
		return fmt.Sprintf("supervise: forward signals to %s, exit as it does", p.show(&o.args[0]))
	}
	shown := make([]string, o.given)
	for i := range shown {
		shown[i] = p.show(&o.args[i])
	}
	return callName(o.nr) + "(" + strings.Join(shown, ", ") + ")"
}

// notes is what stands behind a call: its result's name and what may fail.
func (p *Program) notes(index int) string {
	var b strings.Builder
	o := &p.ops[index]
	if o.result.form == address {
		b.WriteString(" = " + p.show(&Arg{form: load, n: o.result.n, size: o.result.size}))
	}
	if o.tolerate == 0 {
		return b.String()
	}
	b.WriteString("  // may fail")
	if o.tolerate != ^uint64(0) {
		for e := range 64 {
			if o.tolerate&(1<<e) != 0 {
				b.WriteString(" " + unix.ErrnoName(unix.Errno(e)))
			}
		}
	}
	if o.skip > 0 {
		fmt.Fprintf(&b, ", then skip %d", o.skip)
	}
	return b.String()
}

// longest is how much of a string the listing shows.
const longest = 120

func (p *Program) show(a *Arg) string {
	switch a.form {
	case text, blob:
		if len(a.s) > longest {
			return strconv.Quote(a.s[:longest]) + "..."
		}
		return strconv.Quote(a.s)
	case vector:
		return p.showVector(a)
	case address, load:
		name := p.scratch[a.n].name + "." + strconv.FormatUint(a.n, 10)
		if a.size > 0 {
			name += "+" + strconv.FormatUint(uint64(a.size), 10)
		}
		if a.form == address {
			return "&" + name
		}
		return name
	case end:
		return "end of program"
	case immediate:
	}
	return number(a.style, a.n)
}

func (p *Program) showVector(a *Arg) string {
	words := p.vectors[a.n]
	if a.style == asStrings {
		words = words[:len(words)-1]
	}
	shown := make([]string, len(words))
	for i := range words {
		shown[i] = p.show(&words[i])
	}
	if a.style == asStrings {
		return "[" + strings.Join(shown, ", ") + "]"
	}
	return "{" + strings.Join(shown, ", ") + "}"
}

func number(s style, n uint64) string {
	switch s { //nolint:exhaustive // all others are flags
	case asPointer:
		if n == 0 {
			return "NULL"
		}
		return "0x" + strconv.FormatUint(n, 16)
	case asUnsigned:
		return strconv.FormatUint(n, 10)
	case asHex:
		return "0x" + strconv.FormatUint(n, 16)
	case asOctal:
		return "0" + strconv.FormatUint(n, 8)
	case asFD:
		if int64(n) == unix.AT_FDCWD {
			return "AT_FDCWD"
		}
		return strconv.FormatInt(int64(n), 10)
	case prctlOption, fsconfigCommand, fcntlCommand:
		return choice(s, n)
	case asSigned, asStrings:
		return strconv.FormatInt(int64(n), 10)
	default:
		return flagNames(s, n)
	}
}

func choice(s style, n uint64) string {
	for _, f := range flagTable(s) {
		if f.bits == n {
			return f.name
		}
	}
	return strconv.FormatUint(n, 10)
}

func flagNames(s style, n uint64) string {
	var names []string
	for _, f := range flagTable(s) {
		if f.bits != 0 && n&f.bits == f.bits {
			names = append(names, f.name)
			n &^= f.bits
		}
	}
	if n != 0 || len(names) == 0 {
		names = append(names, "0x"+strconv.FormatUint(n, 16))
	}
	if len(names) == 1 && names[0] == "0x0" {
		return "0"
	}
	return strings.Join(names, "|")
}
