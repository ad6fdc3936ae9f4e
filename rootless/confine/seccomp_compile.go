package confine

import (
	"cmp"
	"fmt"
	"maps"
	"slices"

	"golang.org/x/sys/unix"
)

// Compile makes the program that the kernel runs for every call.
func (f *Filter) Compile() ([]unix.SockFilter, error) { return Compile(*f) }

// Compile makes one program of the filters of several architectures: classic
// BPF over struct seccomp_data. It first looks at the architecture, which costs
// the least at loading time, then finds the call's number in a binary tree.
func Compile(filters ...Filter) ([]unix.SockFilter, error) {
	a := &assembler{returns: map[Action]int{}}
	next := a.ret(ActKillProcess)
	for i := range slices.Backward(filters) {
		f := &filters[i]
		if err := f.check(); err != nil {
			return nil, err
		}
		elsewhere := next
		tree := a.tree(f.spans(), f.Default)
		tree = a.load(numberAt, tree)
		next = a.jump(jumpEqual, f.Architecture.Audit, tree, elsewhere)
	}
	a.load(architectureAt, next)
	if a.position() > unix.BPF_MAXINSNS {
		return nil, fmt.Errorf("%w: %d instructions, %d are allowed", ErrFilter, a.position(), unix.BPF_MAXINSNS)
	}
	slices.Reverse(a.program)
	return a.program, nil
}

// Where the fields of struct seccomp_data are. Machines with big ends are not
// supported.
const (
	numberAt       = 0
	architectureAt = 4
	argumentsAt    = 16
)

// Instructions: bpf_common.h.
const (
	loadWord         = unix.BPF_LD | unix.BPF_W | unix.BPF_ABS
	and              = unix.BPF_ALU | unix.BPF_AND | unix.BPF_K
	jumpAlways       = unix.BPF_JMP | unix.BPF_JA
	jumpEqual        = unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K
	jumpGreater      = unix.BPF_JMP | unix.BPF_JGT | unix.BPF_K
	jumpGreaterEqual = unix.BPF_JMP | unix.BPF_JGE | unix.BPF_K
	giveBack         = unix.BPF_RET | unix.BPF_K
)

// span is the calls from one number on up to the next span.
type span struct {
	first  uint32
	rules  []CallRule // none for action
	action Action
}

// spans parts all numbers among what is said of them, into as few spans as can
// be: the kernel reads, compiles and tries out all of a filter when it is loaded.
func (f *Filter) spans() []span {
	byNumber := map[uint32][]CallRule{}
	for _, r := range f.Rules {
		byNumber[r.Number] = append(byNumber[r.Number], r)
	}
	list := []span{{first: 0, action: f.Default}}
	unknown := ActErrno(unix.ENOSYS)
	if f.Newest != 0 {
		list = append(list, span{first: f.Newest + 1, action: unknown})
	}
	if f.Architecture.X32 {
		list = append(list, span{first: x32Bit, action: unknown})
	}
	for _, number := range slices.Sorted(maps.Keys(byNumber)) {
		at, found := slices.BinarySearchFunc(list, number, func(s span, n uint32) int { return cmp.Compare(s.first, n) })
		next := at
		if found {
			next++
		}
		own := []span{{first: number, rules: byNumber[number]}}
		if first := own[0].rules[0]; len(first.Conditions) == 0 {
			own[0] = span{first: number, action: first.Action}
		}
		if behind := number + 1; next == len(list) || list[next].first != behind {
			rest := list[next-1]
			rest.first = behind
			own = append(own, rest)
		}
		list = slices.Replace(list, at, next, own...)
	}
	return slices.CompactFunc(list, func(a, b span) bool { return a.rules == nil && b.rules == nil && a.action == b.action })
}

// assembler emits instructions from the last to the first, so that the target
// of every jump, which only leads forward, is known. A position is counted from
// the end.
type assembler struct {
	program []unix.SockFilter
	returns map[Action]int
}

func (a *assembler) position() int { return len(a.program) }

func (a *assembler) emit(i unix.SockFilter) int {
	a.program = append(a.program, i)
	return len(a.program)
}

// distance is how many instructions a jump that is emitted next passes over.
func (a *assembler) distance(to int) int { return a.position() - to }

const farthest = 255 // what a conditional jump passes over

// ret is an instruction that ends with action, an earlier one if that is near.
func (a *assembler) ret(action Action) int {
	const near = farthest - 8
	if at, there := a.returns[action]; there && a.distance(at) < near {
		return at
	}
	at := a.emit(unix.SockFilter{Code: giveBack, K: uint32(action)})
	a.returns[action] = at
	return at
}

// reachable is to, or a jump there that is close enough.
func (a *assembler) reachable(to int) int {
	const spare = 2 // what may be emitted between this and the jump
	if a.distance(to)+spare <= farthest {
		return to
	}
	return a.emit(unix.SockFilter{Code: jumpAlways, K: uint32(a.distance(to))})
}

// jump goes on at one position if the comparison with k holds, or at another.
func (a *assembler) jump(code uint16, k uint32, holds, not int) int {
	holds = a.reachable(holds)
	not = a.reachable(not)
	return a.emit(unix.SockFilter{Code: code, Jt: uint8(a.distance(holds)), Jf: uint8(a.distance(not)), K: k})
}

// load loads a word and goes on with what was emitted last, which next must be.
func (a *assembler) load(offset uint32, next int) int {
	if a.distance(next) != 0 {
		a.emit(unix.SockFilter{Code: jumpAlways, K: uint32(a.distance(next))})
	}
	return a.emit(unix.SockFilter{Code: loadWord, K: offset})
}

// tree finds the span of the number that is loaded.
func (a *assembler) tree(list []span, byDefault Action) int {
	if len(list) == 1 {
		if list[0].rules == nil {
			return a.ret(list[0].action)
		}
		return a.chain(list[0].rules, byDefault)
	}
	middle := len(list) / 2
	upper := a.tree(list[middle:], byDefault)
	lower := a.tree(list[:middle], byDefault)
	return a.jump(jumpGreaterEqual, list[middle].first, upper, lower)
}

// chain tries the rules of one call in turn.
func (a *assembler) chain(rules []CallRule, byDefault Action) int {
	for i, r := range rules {
		if len(r.Conditions) == 0 { // those behind it never count
			rules, byDefault = rules[:i], r.Action
			break
		}
	}
	next := a.ret(byDefault)
	for _, r := range slices.Backward(rules) {
		failed := next
		next = a.ret(r.Action)
		for _, c := range slices.Backward(r.Conditions) {
			next = a.condition(c, next, failed)
		}
	}
	return next
}

// condition compares an argument, its halves one after the other.
func (a *assembler) condition(c Condition, holds, not int) int {
	low, high := argumentsAt+8*uint32(c.Index), argumentsAt+8*uint32(c.Index)+4
	if c.Comparison == NotEqual || c.Comparison == Less || c.Comparison == LessEqual {
		holds, not = not, holds
	}
	lowK, highK := uint32(c.Value), uint32(c.Value>>32)
	switch c.Comparison {
	case Greater, LessEqual:
		return a.ordered(jumpGreater, low, high, c.Value, holds, not)
	case GreaterEqual, Less:
		return a.ordered(jumpGreaterEqual, low, high, c.Value, holds, not)
	case Equal, NotEqual, MaskedEqual:
	}
	mask := ^uint64(0)
	if c.Comparison == MaskedEqual {
		mask = c.Mask
	}
	next := a.masked(low, uint32(mask), a.jump(jumpEqual, lowK, holds, not))
	return a.masked(high, uint32(mask>>32), a.jump(jumpEqual, highK, next, not))
}

// masked loads a word and keeps the bits of a mask.
func (a *assembler) masked(offset, mask uint32, next int) int {
	if mask != ^uint32(0) {
		next = a.emit(unix.SockFilter{Code: and, K: mask})
	}
	return a.load(offset, next)
}

// ordered compares by size: the high half decides unless it is equal.
func (a *assembler) ordered(code uint16, low, high uint32, value uint64, holds, not int) int {
	next := a.load(low, a.jump(code, uint32(value), holds, not))
	same := a.jump(jumpEqual, uint32(value>>32), next, not)
	return a.load(high, a.jump(jumpGreater, uint32(value>>32), holds, same))
}
