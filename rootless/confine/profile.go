package confine

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// Profile is a seccomp policy in the JSON that Docker and podman have for it,
// and the runtime-spec without conditions: runtime-spec, config-linux.md.
type Profile struct {
	DefaultAction   string   `json:"defaultAction"`
	DefaultErrnoRet *uint32  `json:"defaultErrnoRet"`
	Architectures   []string `json:"architectures"`
	ArchMap         []struct {
		Architecture     string   `json:"architecture"`
		SubArchitectures []string `json:"subArchitectures"`
	} `json:"archMap"`
	Syscalls []ProfileRule `json:"syscalls"`
}

// ProfileRule is what a profile says of some calls.
type ProfileRule struct {
	Name     string       `json:"name"`
	Names    []string     `json:"names"`
	Action   string       `json:"action"`
	ErrnoRet *uint32      `json:"errnoRet"`
	Args     []ProfileArg `json:"args"`
	Includes ProfileWhen  `json:"includes"`
	Excludes ProfileWhen  `json:"excludes"`
}

// ProfileArg is a demand on an argument. With several on one argument, one of
// all that the rule has is enough: runc and crun have it so.
type ProfileArg struct {
	Index    uint8  `json:"index"`
	Value    uint64 `json:"value"`
	ValueTwo uint64 `json:"valueTwo"`
	Op       string `json:"op"`
}

// ProfileWhen says for which containers a rule counts. Kernels are at least
// 5.10 here, which all that profiles ask for.
type ProfileWhen struct {
	Caps   []string `json:"caps"`
	Arches []string `json:"arches"`
}

// ParseProfile reads a profile.
func ParseProfile(text []byte) (*Profile, error) {
	p := &Profile{}
	err := json.Unmarshal(text, p)
	if _, is := errors.AsType[*json.SyntaxError](err); is {
		return nil, fmt.Errorf("%w: it is no JSON, as profiles of Docker and podman are\nfix: write default, docker, strict, off, or the path of a profile", ErrFilter)
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrFilter, err)
	}
	if p.DefaultAction == "" {
		return nil, fmt.Errorf("%w: no defaultAction; write a profile as Docker and podman take it", ErrFilter)
	}
	return p, nil
}

// Needs is the set of capabilities that the profile asks about.
func (p *Profile) Needs() (caps Caps) {
	for i := range p.Syscalls {
		for _, name := range slices.Concat(p.Syscalls[i].Includes.Caps, p.Syscalls[i].Excludes.Caps) {
			if c, err := ParseCap(name); err == nil { // a later kernel's is none that anybody has
				caps |= c
			}
		}
	}
	return caps
}

// Filters are the profile for a container with these capabilities, one for each
// ABI of a machine (a GOARCH) that the profile names; the machine's own is the
// first, and always there.
func (p *Profile) Filters(machine string, caps Caps) ([]Filter, error) {
	abis := abisOf(machine)
	if len(abis) == 0 {
		return nil, fmt.Errorf("%w: none is known for %s", ErrFilter, machine)
	}
	var filters []Filter
	for i, abi := range abis {
		if i > 0 && !p.names(abi.scmp) {
			continue
		}
		f, err := p.filter(abi, abis[0].docker, caps)
		if err != nil {
			return nil, err
		}
		filters = append(filters, f)
	}
	return filters, nil
}

// names says whether a profile covers an ABI; one without lists has the
// machine's own alone.
func (p *Profile) names(scmp string) bool {
	if slices.Contains(p.Architectures, scmp) {
		return true
	}
	for _, a := range p.ArchMap {
		if a.Architecture == scmp || slices.Contains(a.SubArchitectures, scmp) {
			return true
		}
	}
	return false
}

func (p *Profile) filter(abi abi, machine string, caps Caps) (f Filter, err error) {
	numbers := abi.numbers()
	f = Filter{Architecture: abi.architecture, Rules: terminalInput(numbers)}
	if f.Default, err = action(p.DefaultAction, p.DefaultErrnoRet); err != nil {
		return f, err
	}
	for _, n := range numbers {
		if n < privateCalls {
			f.Newest = max(f.Newest, n)
		}
	}
	for i := range p.Syscalls {
		r := &p.Syscalls[i]
		if !r.Includes.met(machine, caps) || (!r.Excludes.empty() && r.Excludes.any(machine, caps)) {
			continue
		}
		rules, err := r.lower(numbers)
		if err != nil {
			return f, err
		}
		f.Rules = append(f.Rules, rules...)
	}
	return f, nil
}

func (w *ProfileWhen) empty() bool { return len(w.Caps)+len(w.Arches) == 0 }

// met says whether all of a rule's includes hold.
func (w *ProfileWhen) met(machine string, caps Caps) bool {
	if len(w.Arches) > 0 && !slices.Contains(w.Arches, machine) {
		return false
	}
	return !slices.ContainsFunc(w.Caps, func(name string) bool { return !has(caps, name) })
}

// any says whether one of a rule's excludes holds.
func (w *ProfileWhen) any(machine string, caps Caps) bool {
	return slices.Contains(w.Arches, machine) || slices.ContainsFunc(w.Caps, func(name string) bool { return has(caps, name) })
}

func has(caps Caps, name string) bool {
	c, err := ParseCap(name)
	return err == nil && caps&c == c
}

// terminalInput refuses what puts keys into a terminal that others read:
// ioctl_tty(2). It stands before what a profile allows.
func terminalInput(numbers map[string]uint32) []CallRule {
	const request, words = 1, 0xffffffff // the kernel takes an int
	var rules []CallRule
	for _, r := range []uint64{unix.TIOCSTI, unix.TIOCLINUX} {
		rules = append(rules, CallRule{
			Number: numbers["ioctl"], Action: ActErrno(unix.EPERM),
			Conditions: []Condition{{Index: request, Comparison: MaskedEqual, Mask: words, Value: r}},
		})
	}
	return rules
}

// lower makes rules of the kernel's numbers of a profile's rule. Calls that the
// ABI does not have are left out.
func (r *ProfileRule) lower(numbers map[string]uint32) ([]CallRule, error) {
	does, err := action(r.Action, r.ErrnoRet)
	if err != nil {
		return nil, err
	}
	alternatives, err := r.alternatives()
	if err != nil {
		return nil, err
	}
	names := r.Names
	if r.Name != "" {
		names = append([]string{r.Name}, names...)
	}
	var rules []CallRule
	for _, name := range names {
		number, known := numbers[name]
		if !known {
			continue
		}
		for _, conditions := range alternatives {
			rules = append(rules, CallRule{Number: number, Conditions: conditions, Action: does})
		}
	}
	return rules, nil
}

// alternatives are the sets of conditions of which one has to hold.
func (r *ProfileRule) alternatives() ([][]Condition, error) {
	all := make([]Condition, 0, len(r.Args))
	var seen [6]bool
	repeated := false
	for _, a := range r.Args {
		c, err := a.condition()
		if err != nil {
			return nil, err
		}
		repeated = repeated || seen[c.Index]
		seen[c.Index] = true
		all = append(all, c)
	}
	if !repeated {
		return [][]Condition{all}, nil
	}
	var each [][]Condition
	for _, c := range all {
		each = append(each, []Condition{c})
	}
	return each, nil
}

func (a *ProfileArg) condition() (Condition, error) {
	c := Condition{Index: a.Index, Value: a.Value}
	if a.Index > 5 {
		return c, fmt.Errorf("%w: a call has no argument %d", ErrFilter, a.Index)
	}
	switch a.Op {
	case "SCMP_CMP_EQ":
		c.Comparison = Equal
	case "SCMP_CMP_NE":
		c.Comparison = NotEqual
	case "SCMP_CMP_LT":
		c.Comparison = Less
	case "SCMP_CMP_LE":
		c.Comparison = LessEqual
	case "SCMP_CMP_GT":
		c.Comparison = Greater
	case "SCMP_CMP_GE":
		c.Comparison = GreaterEqual
	case "SCMP_CMP_MASKED_EQ":
		c.Comparison, c.Mask, c.Value = MaskedEqual, a.Value, a.ValueTwo
	default:
		return c, fmt.Errorf("%w: no comparison %q", ErrFilter, a.Op)
	}
	return c, nil
}

// action reads an action's name; errnoRet is EPERM where it is left out.
func action(name string, errnoRet *uint32) (Action, error) {
	errno := uint32(unix.EPERM)
	if errnoRet != nil {
		errno = *errnoRet
	}
	const most = 4095
	if errno > most {
		return 0, fmt.Errorf("%w: no errno %d", ErrFilter, errno)
	}
	switch strings.TrimPrefix(name, "SCMP_ACT_") {
	case "ALLOW":
		return ActAllow, nil
	case "ERRNO":
		return ActErrno(unix.Errno(errno)), nil
	case "KILL", "KILL_THREAD":
		return Action(unix.SECCOMP_RET_KILL_THREAD), nil
	case "KILL_PROCESS":
		return ActKillProcess, nil
	case "TRAP":
		return Action(unix.SECCOMP_RET_TRAP), nil
	case "LOG":
		return ActLog, nil
	}
	return 0, fmt.Errorf("%w: action %q is not supported; take ALLOW, ERRNO, LOG, TRAP or one that kills", ErrFilter, name)
}

// Nest adds to a profile what makes containers inside one, besides what
// CAP_SYS_ADMIN stands for in profiles.
func (p *Profile) Nest() {
	p.Syscalls = append(p.Syscalls, ProfileRule{Names: []string{"pivot_root"}, Action: "SCMP_ACT_ALLOW"})
}

// seeSockets has sockets be made where the filter sees of which family they are:
// socketcall(2) of 32-bit x86 hides that behind a pointer, and with it what the
// profile refuses, as AF_ALG and AF_VSOCK.
func (p *Profile) seeSockets() {
	const call, create = "socketcall", 1 // SYS_SOCKET
	for i := range p.Syscalls {
		r := &p.Syscalls[i]
		r.Names = slices.DeleteFunc(r.Names, func(name string) bool { return name == call })
	}
	p.Syscalls = append(p.Syscalls, ProfileRule{
		Names: []string{call}, Action: "SCMP_ACT_ALLOW", Args: []ProfileArg{{Index: 0, Value: create, Op: "SCMP_CMP_NE"}},
	})
}

// Strict takes from a profile what seldom is needed and has often been the way
// out: the 32-bit ABI, whose socketcall hides what it does, and calls that look
// into other processes.
func (p *Profile) Strict() {
	p.Architectures, p.ArchMap = nil, nil
	out := []string{
		"ptrace", "process_vm_readv", "process_vm_writev", "process_madvise", "pidfd_getfd", "kcmp", "personality", "memfd_secret", "modify_ldt",
	}
	for i := range p.Syscalls {
		r := &p.Syscalls[i]
		r.Names = slices.DeleteFunc(r.Names, func(name string) bool { return slices.Contains(out, name) })
		if slices.Contains(out, r.Name) {
			r.Name = ""
		}
	}
}
