package confine

import (
	"errors"
	"fmt"
	"runtime"

	"golang.org/x/sys/unix"
)

// Action is what a seccomp filter says of a call: SECCOMP_RET_* of seccomp(2).
type Action uint32

// Actions without a value of their own.
const (
	ActAllow       = Action(unix.SECCOMP_RET_ALLOW)
	ActLog         = Action(unix.SECCOMP_RET_LOG)
	ActKillProcess = Action(unix.SECCOMP_RET_KILL_PROCESS)
)

// ActErrno makes a call fail with an error number.
func ActErrno(errno unix.Errno) Action { return Action(unix.SECCOMP_RET_ERRNO) | Action(errno&0xfff) }

// Comparison is how a condition compares an argument.
type Comparison uint8

// Comparisons are of 64 bits, without sign.
const (
	Equal Comparison = iota
	NotEqual
	Greater
	GreaterEqual
	Less
	LessEqual
	MaskedEqual // the bits in Mask equal Value
)

// Condition is a demand on one argument of a call.
type Condition struct {
	Index uint8 // 0 to 5
	Comparison
	Mask, Value uint64
}

// Masked wants the bits of an argument that are in mask to equal value.
func Masked(index uint8, mask, value uint64) Condition {
	return Condition{Index: index, Comparison: MaskedEqual, Mask: mask, Value: value}
}

// CallRule says what happens to a system call whose arguments meet all
// conditions.
type CallRule struct {
	Number     uint32
	Conditions []Condition
	Action     Action
}

// Architecture is an ABI of system calls as the kernel names it to a filter.
type Architecture struct {
	Audit uint32 // AUDIT_ARCH_*
	X32   bool   // numbers from x32Bit on are a second ABI under the same name
}

const x32Bit = 0x40000000

// machine is the architecture that this program runs on.
func machine() (Architecture, error) {
	switch runtime.GOARCH {
	case "amd64":
		return Architecture{Audit: unix.AUDIT_ARCH_X86_64, X32: true}, nil
	case "arm64":
		return Architecture{Audit: unix.AUDIT_ARCH_AARCH64}, nil
	case "riscv64":
		return Architecture{Audit: unix.AUDIT_ARCH_RISCV64}, nil
	}
	return Architecture{}, fmt.Errorf("no seccomp filter for %s", runtime.GOARCH)
}

// Filter is a seccomp policy for one architecture; calls of any other end the
// process. For each call the first rule that matches counts, and Default where
// none does.
type Filter struct {
	Architecture Architecture
	Rules        []CallRule
	Default      Action
	// Newest is the highest number that the rules' author knew of: calls above
	// it fail with ENOSYS, so that C libraries fall back to older ones. 0 is none.
	Newest uint32
}

// InitFilter is for bryo's init, whatever else is allowed in a container: it
// waits, passes signals on, and ends.
func InitFilter() (Seccomp, error) {
	native, err := machine()
	if err != nil {
		return Seccomp{}, err
	}
	f := Filter{Architecture: native, Default: ActKillProcess}
	for _, number := range []uint32{
		unix.SYS_CLOSE_RANGE, unix.SYS_MUNMAP, unix.SYS_WAIT4, unix.SYS_RT_SIGTIMEDWAIT, unix.SYS_RESTART_SYSCALL, unix.SYS_KILL, unix.SYS_EXIT_GROUP,
	} {
		f.Rules = append(f.Rules, CallRule{Number: number, Action: ActAllow})
	}
	program, err := f.Compile()
	return Seccomp{Profile: "init", Filter: encode(program)}, err
}

// ErrFilter means that a filter cannot be compiled.
var ErrFilter = errors.New("seccomp filter")

func (f *Filter) check() error {
	if f.Newest >= x32Bit {
		return fmt.Errorf("%w: newest call %#x", ErrFilter, f.Newest)
	}
	for _, r := range f.Rules {
		if r.Number >= x32Bit {
			return fmt.Errorf("%w: call number %#x", ErrFilter, r.Number)
		}
		for _, c := range r.Conditions {
			if c.Index > 5 || c.Comparison > MaskedEqual {
				return fmt.Errorf("%w: call %d: no argument or comparison %d, %d", ErrFilter, r.Number, c.Index, c.Comparison)
			}
		}
	}
	return nil
}
