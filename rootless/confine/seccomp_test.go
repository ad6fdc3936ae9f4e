package confine

import (
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"testing"

	"golang.org/x/sys/unix"
)

// call is a struct seccomp_data.
type call struct {
	number, architecture uint32
	arguments            [6]uint64
}

// evaluate is what a filter means, without any BPF.
func evaluate(f *Filter, c call) Action {
	switch {
	case c.architecture != f.Architecture.Audit:
		return ActKillProcess
	case f.Architecture.X32 && c.number >= x32Bit:
		return ActErrno(unix.ENOSYS)
	}
	known := false
	for _, r := range f.Rules {
		if r.Number != c.number {
			continue
		}
		known = true
		if meets(r.Conditions, c) {
			return r.Action
		}
	}
	if f.Newest != 0 && c.number > f.Newest && !known {
		return ActErrno(unix.ENOSYS)
	}
	return f.Default
}

func meets(conditions []Condition, c call) bool {
	for _, condition := range conditions {
		a := c.arguments[condition.Index]
		holds := map[Comparison]bool{
			Equal: a == condition.Value, NotEqual: a != condition.Value, Greater: a > condition.Value, GreaterEqual: a >= condition.Value,
			Less: a < condition.Value, LessEqual: a <= condition.Value, MaskedEqual: a&condition.Mask == condition.Value,
		}
		if !holds[condition.Comparison] {
			return false
		}
	}
	return true
}

var errBPF = errors.New("the kernel would refuse this program")

func compares(code uint16, word, k uint32) bool {
	switch code {
	case jumpEqual:
		return word == k
	case jumpGreater:
		return word > k
	}
	return word >= k
}

// interpret carries a program out as the kernel does.
func interpret(program []unix.SockFilter, c call) (Action, error) {
	data := binary.LittleEndian.AppendUint32(nil, c.number)
	data = binary.LittleEndian.AppendUint32(data, c.architecture)
	data = binary.LittleEndian.AppendUint64(data, 0)
	for _, a := range c.arguments {
		data = binary.LittleEndian.AppendUint64(data, a)
	}
	var word uint32
	for at := 0; at < len(program); at++ {
		i := program[at]
		jump := func(holds bool) {
			at += int(i.Jf)
			if holds {
				at += int(i.Jt) - int(i.Jf)
			}
		}
		switch i.Code {
		case loadWord:
			if i.K%4 != 0 || int(i.K) > len(data)-4 {
				return 0, errBPF
			}
			word = binary.LittleEndian.Uint32(data[i.K:])
		case and:
			word &= i.K
		case jumpAlways:
			at += int(i.K)
		case jumpEqual, jumpGreater, jumpGreaterEqual:
			jump(compares(i.Code, word, i.K))
		case giveBack:
			return Action(i.K), nil
		default:
			return 0, errBPF
		}
	}
	return 0, errBPF
}

// randomFilter has a few rules on neighbouring numbers, or very many.
func randomFilter(r *rand.Rand) *Filter {
	actions := []Action{ActAllow, ActLog, ActKillProcess, ActErrno(unix.EPERM), ActErrno(unix.EINVAL)}
	f := &Filter{Architecture: Architecture{Audit: unix.AUDIT_ARCH_X86_64, X32: r.IntN(2) == 0}, Default: actions[r.IntN(len(actions))]}
	if r.IntN(2) == 0 {
		f.Newest = uint32(r.IntN(500))
	}
	for range r.IntN(1 << (1 + r.IntN(9))) {
		rule := CallRule{Number: uint32(r.IntN(480)), Action: actions[r.IntN(len(actions))]}
		for range r.IntN(4) {
			rule.Conditions = append(rule.Conditions, Condition{
				Index: uint8(r.IntN(6)), Comparison: Comparison(r.IntN(7)), Mask: randomWord(r), Value: randomWord(r),
			})
		}
		f.Rules = append(f.Rules, rule)
	}
	return f
}

// randomWord prefers those that filters get wrong: at the halves' ends.
func randomWord(r *rand.Rand) uint64 {
	words := []uint64{0, 1, 2, 0xffffffff, 0x100000000, 0x100000001, 1 << 63, ^uint64(0)}
	if r.IntN(4) == 0 {
		return r.Uint64()
	}
	return words[r.IntN(len(words))]
}

func randomCall(r *rand.Rand, f *Filter) call {
	c := call{number: uint32(r.IntN(520)), architecture: f.Architecture.Audit}
	switch r.IntN(16) {
	case 0:
		c.architecture = unix.AUDIT_ARCH_I386
	case 1:
		c.number |= x32Bit
	case 2:
		c.number = r.Uint32()
	}
	for i := range c.arguments {
		c.arguments[i] = randomWord(r)
	}
	return c
}

// The compiled filter says what the policy says.
func FuzzSeccomp(f *testing.F) {
	for seed := range uint64(64) {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, seed uint64) {
		r := rand.New(rand.NewPCG(seed, 1))
		filter := randomFilter(r)
		program, err := filter.Compile()
		if err != nil {
			t.Skip(err)
		}
		for range 200 {
			c := randomCall(r, filter)
			got, err := interpret(program, c)
			if want := evaluate(filter, c); err != nil || got != want {
				t.Fatalf("%+v: %#x, %v, want %#x\n%+v", c, got, err, want, filter)
			}
		}
	})
}

func TestCompileRefuses(t *testing.T) {
	for name, rule := range map[string]CallRule{
		"an argument that is none": {Conditions: []Condition{{Index: 6}}},
		"a comparison":             {Conditions: []Condition{{Comparison: 7}}},
		"a number of x32":          {Number: x32Bit},
	} {
		f := &Filter{Rules: []CallRule{rule}}
		if _, err := f.Compile(); !errors.Is(err, ErrFilter) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// Whatever the rules, the first thing that counts is the architecture.
func TestOtherArchitecturesEnd(t *testing.T) {
	f := &Filter{Architecture: Architecture{Audit: unix.AUDIT_ARCH_AARCH64}, Default: ActAllow}
	program, err := f.Compile()
	if err != nil {
		t.Fatal(err)
	}
	for architecture, want := range map[uint32]Action{
		unix.AUDIT_ARCH_AARCH64: ActAllow, unix.AUDIT_ARCH_X86_64: ActKillProcess, unix.AUDIT_ARCH_ARM: ActKillProcess, 0: ActKillProcess,
	} {
		if got, err := interpret(program, call{architecture: architecture}); got != want || err != nil {
			t.Errorf("%#x: %#x, %v", architecture, got, err)
		}
	}
}

// Jumps over more than a conditional jump can are made in two.
func TestFarJumps(t *testing.T) {
	for rules := 1; rules < 260; rules++ {
		f := &Filter{Architecture: Architecture{Audit: unix.AUDIT_ARCH_X86_64}, Default: ActErrno(unix.EPERM)}
		for i := range rules {
			f.Rules = append(f.Rules, CallRule{Number: 7, Action: ActErrno(unix.Errno(i + 2)), Conditions: []Condition{{Index: 1, Value: uint64(i)}}})
		}
		program, err := f.Compile()
		if err != nil {
			t.Fatal(err)
		}
		for _, value := range []uint64{0, 1, uint64(rules) - 1, uint64(rules), uint64(rules) / 2, 1 << 32} {
			c := call{number: 7, architecture: f.Architecture.Audit, arguments: [6]uint64{1: value}}
			if got, err := interpret(program, c); err != nil || got != evaluate(f, c) {
				t.Fatalf("%d rules, argument %d: %#x, %v, want %#x", rules, value, got, err, evaluate(f, c))
			}
		}
	}
}
