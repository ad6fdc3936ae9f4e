package confine

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// A profile as tests/bench/libseccomp.py takes it, and what it says.
type (
	scmpProfile struct {
		Default Action     `json:"default"`
		ABIs    []string   `json:"abis"`
		Rules   []scmpRule `json:"rules"`
	}
	scmpRule struct {
		Name   string   `json:"name"`
		Action Action   `json:"action"`
		Args   [][4]any `json:"args"`
	}
	scmpAnswer struct {
		Known    map[string][]uint32 `json:"known"`
		Programs []string            `json:"programs"`
	}
)

// libseccomp compiles profiles with the machine's libseccomp.
func libseccomp(t *testing.T, profiles []scmpProfile) scmpAnswer {
	t.Helper()
	const python = "/usr/bin/python3" // the distribution's own, which its modules are for
	if err := exec.Command(python, "-c", "import seccomp").Run(); err != nil {
		t.Skip("no libseccomp to compare with (python3-seccomp is not installed): ", err)
	}
	in, err := json.Marshal(profiles)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(python, "../../tests/bench/libseccomp.py")
	cmd.Stdin, cmd.Stderr = bytes.NewReader(in), os.Stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	answer := scmpAnswer{}
	if err := json.Unmarshal(out, &answer); err != nil {
		t.Fatal(err)
	}
	return answer
}

// forLibseccomp is a profile in the words of libseccomp, which has no order
// among rules: it must not matter.
func forLibseccomp(p *Profile, caps Caps) scmpProfile {
	does, _ := action(p.DefaultAction, p.DefaultErrnoRet)
	s := scmpProfile{Default: does, ABIs: []string{"X86_64"}, Rules: []scmpRule{}}
	if p.names("SCMP_ARCH_X86") {
		s.ABIs = append(s.ABIs, "X86")
	}
	for _, r := range counted(p, "amd64", caps) {
		does, _ := action(r.Action, r.ErrnoRet)
		if does == s.Default {
			continue
		}
		for _, name := range r.Names {
			for _, args := range alternatives(r.Args) {
				s.Rules = append(s.Rules, scmpRule{Name: name, Action: does, Args: args})
			}
		}
	}
	return s
}

// alternatives has several demands on one argument be a rule each, as runc has
// it.
func alternatives(args []ProfileArg) [][][4]any {
	all, indices := [][4]any{}, map[uint8]bool{}
	for _, a := range args {
		all = append(all, [4]any{a.Index, strings.TrimPrefix(a.Op, "SCMP_CMP_"), a.Value, a.ValueTwo})
		indices[a.Index] = true
	}
	if len(indices) == len(args) {
		return [][][4]any{all}
	}
	each := [][][4]any{}
	for _, a := range all {
		each = append(each, [][4]any{a})
	}
	return each
}

// unordered makes a random profile one whose rules may stand in any order, and
// which means the same in the words of libseccomp: one rule for each call (of
// several with conditions on different arguments, libseccomp's program follows
// one only), with another action than the default, 32 bits where the 32-bit ABI
// is, and no bits outside of masks. Where one condition of several is enough,
// they are for equality with one argument.
func unordered(p *Profile) *Profile {
	byDefault, _ := action(p.DefaultAction, p.DefaultErrnoRet)
	taken := map[string]bool{"ioctl": true} // TIOCSTI: bryo's own rule
	narrow := p.names("SCMP_ARCH_X86")
	for i := range p.Syscalls {
		r := &p.Syscalls[i]
		does, _ := action(r.Action, r.ErrnoRet)
		r.Names = slices.DeleteFunc(r.Names, func(name string) bool {
			twice := taken[name]
			taken[name] = true
			return twice || does == byDefault || (narrow && manifold(name))
		})
		enough := len(alternatives(r.Args)) > 1
		for j := range r.Args {
			a := &r.Args[j]
			if narrow {
				a.Value, a.ValueTwo = a.Value&0xffffffff, a.ValueTwo&0xffffffff
			}
			a.ValueTwo &= a.Value
			if enough {
				a.Index, a.Op = r.Args[0].Index, "SCMP_CMP_EQ"
			}
		}
	}
	return p
}

// manifold says whether a call of i386 is one of many behind socketcall(2) or
// ipc(2). Libseccomp has a rule for it count for these, too.
func manifold(name string) bool {
	return slices.Contains(strings.Fields(`accept accept4 bind connect getpeername getsockname getsockopt listen recv recvfrom recvmmsg
		recvmsg send sendmmsg sendmsg sendto setsockopt shutdown socket socketpair socketcall ipc
		msgctl msgget msgrcv msgsnd semctl semget semop semtimedop shmat shmctl shmdt shmget`), name)
}

func decode(t *testing.T, text string) (program []unix.SockFilter) {
	t.Helper()
	code, err := hex.DecodeString(text)
	if err != nil || len(code)%instructionSize != 0 {
		t.Fatal(len(code), err)
	}
	for i := range slices.Chunk(code, instructionSize) {
		program = append(program, unix.SockFilter{
			Code: binary.LittleEndian.Uint16(i), Jt: i[2], Jf: i[3], K: binary.LittleEndian.Uint32(i[4:]),
		})
	}
	return program
}

// likewise has a call that a machine can make: 32 bits in the 32-bit ABI, and
// none of x32, which bryo does not have.
func likewise(r *rand.Rand, filters []Filter) call {
	c := likelyCall(r, filters)
	c.number &^= x32Bit
	if c.architecture == unix.AUDIT_ARCH_I386 {
		for i := range c.arguments {
			c.arguments[i] &= 0xffffffff
		}
	}
	return c
}

// bryosOwn says whether bryo has an answer of its own to a call, which FuzzProfile
// and TestDefaultProfile look after: TIOCSTI and TIOCLINUX, and to make a socket
// by socketcall, which libseccomp allows with socket.
func bryosOwn(c call) bool {
	const socketcall, create = 102, 1
	ioctl := map[uint32]uint32{unix.AUDIT_ARCH_X86_64: unix.SYS_IOCTL, unix.AUDIT_ARCH_I386: 54}[c.architecture]
	return c.number == ioctl && slices.Contains([]uint32{unix.TIOCSTI, unix.TIOCLINUX}, uint32(c.arguments[1])) ||
		c.architecture == unix.AUDIT_ARCH_I386 && c.number == socketcall && c.arguments[0] == create
}

// What bryo compiles answers every call as libseccomp's own program does, if
// its table has the call.
func TestLibseccomp(t *testing.T) {
	if runtime.GOARCH != "amd64" {
		t.Skip("libseccomp is asked about amd64 and i386 here")
	}
	profiles, random, calls := []*Profile{DefaultProfile()}, 40, 5000
	caps := []Caps{0}
	if os.Getenv("BRYO_SOAK") != "" {
		random, calls = 200, 5000
	}
	r := rand.New(rand.NewPCG(3, 3))
	for range 3 { // what is granted opens more of the default
		profiles, caps = append(profiles, DefaultProfile()), append(caps, Caps(r.Uint64())&AllCaps)
	}
	for range random {
		profiles, caps = append(profiles, unordered(randomProfile(r))), append(caps, Caps(r.Uint64())&AllCaps)
	}
	var asked []scmpProfile
	for i, p := range profiles {
		asked = append(asked, forLibseccomp(p, caps[i]))
	}
	answer := libseccomp(t, asked)
	known := map[uint32][]uint32{unix.AUDIT_ARCH_X86_64: answer.Known["X86_64"], unix.AUDIT_ARCH_I386: answer.Known["X86"]}
	unknown := map[string]bool{}
	for i, p := range profiles {
		filters, err := p.Filters("amd64", caps[i])
		if err != nil {
			t.Fatal(err)
		}
		compared := compare(t, r, filters, decode(t, answer.Programs[i]), known, unknown, calls)
		if compared < calls/2 || t.Failed() {
			t.Fatalf("profile %d, %d calls compared: %+v", i, compared, p)
		}
	}
	t.Logf("%d profiles; different where libseccomp's table has no such call: %v", len(profiles), slices.Sorted(maps.Keys(unknown)))
}

func abiOf(c call) *abi {
	abis := abisOf("amd64")
	return &abis[slices.IndexFunc(abis, func(a abi) bool { return a.architecture.Audit == c.architecture })]
}

// compare makes calls of two programs, and notes what differs for want of a
// name.
func compare(t *testing.T, r *rand.Rand, filters []Filter, theirs []unix.SockFilter, known map[uint32][]uint32, unknown map[string]bool, calls int) (compared int) {
	t.Helper()
	ours, err := Compile(filters...)
	if err != nil {
		t.Fatal(err)
	}
	for range calls {
		c := likewise(r, filters)
		got, err1 := interpret(ours, c)
		want, err2 := interpret(theirs, c)
		if err := errors.Join(err1, err2); err != nil {
			t.Fatal(err)
		}
		numbers, covered := known[c.architecture]
		switch {
		case bryosOwn(c):
			continue
		case covered && !slices.Contains(numbers, c.number):
			if name, _ := named(abiOf(c), c.number); got != want && name != "" {
				unknown[name] = true
			}
			continue
		}
		compared++
		if got != want {
			t.Errorf("%#x: %#x, libseccomp has %#x", c, got, want)
			return compared
		}
	}
	return compared
}
