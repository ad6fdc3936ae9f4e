package confine

import (
	"errors"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"
)

// judge is what a profile means for a call, by the profile's own words.
func judge(p *Profile, machine string, caps Caps, c call) Action {
	abis := abisOf(machine)
	at := slices.IndexFunc(abis, func(a abi) bool { return a.architecture.Audit == c.architecture })
	if at < 0 || (at > 0 && !p.names(abis[at].scmp)) {
		return ActKillProcess
	}
	if abis[at].architecture.X32 && c.number >= x32Bit {
		return ActErrno(unix.ENOSYS)
	}
	name, newer := named(&abis[at], c.number)
	return judgeNamed(p, name, newer, counted(p, abis[0].docker, caps), c)
}

// judgeNamed is judge for a call of a name, by the rules that count.
func judgeNamed(p *Profile, name string, newer bool, rules []ProfileRule, c call) Action {
	if name == "ioctl" && slices.Contains([]uint32{unix.TIOCSTI, unix.TIOCLINUX}, uint32(c.arguments[1])) {
		return ActErrno(unix.EPERM)
	}
	for _, r := range rules {
		if name != "" && (r.Name == name || slices.Contains(r.Names, name)) && fits(r.Args, c) {
			a, _ := action(r.Action, r.ErrnoRet)
			return a
		}
	}
	if newer {
		return ActErrno(unix.ENOSYS)
	}
	a, _ := action(p.DefaultAction, p.DefaultErrnoRet)
	return a
}

func counted(p *Profile, machine string, caps Caps) (rules []ProfileRule) {
	for _, r := range p.Syscalls {
		if counts(r, machine, caps) {
			rules = append(rules, r)
		}
	}
	return rules
}

// callNames are the names of each ABI's calls by number, made once.
var callNames = sync.OnceValue(func() map[string]map[uint32]string {
	all := map[string]map[uint32]string{}
	for _, machine := range []string{"amd64", "arm64", "riscv64"} {
		for _, a := range abisOf(machine) {
			names := map[uint32]string{}
			for name, number := range a.numbers() {
				names[number] = name
			}
			all[a.scmp] = names
		}
	}
	return all
})

// named is a call's name, or whether it is newer than all that have one.
func named(a *abi, number uint32) (name string, newer bool) {
	names := callNames()[a.scmp]
	if name, known := names[number]; known {
		return name, false
	}
	for known := range names {
		if known < privateCalls && number <= known {
			return "", false
		}
	}
	return "", true
}

func counts(r ProfileRule, machine string, caps Caps) bool {
	granted := func(name string) bool { c, err := ParseCap(name); return err == nil && caps&c != 0 }
	for _, name := range r.Includes.Caps {
		if !granted(name) {
			return false
		}
	}
	if len(r.Includes.Arches) > 0 && !slices.Contains(r.Includes.Arches, machine) {
		return false
	}
	return !slices.ContainsFunc(r.Excludes.Caps, granted) && !slices.Contains(r.Excludes.Arches, machine)
}

func fits(args []ProfileArg, c call) bool {
	holds := func(a ProfileArg) bool {
		v := c.arguments[a.Index]
		return map[string]bool{
			"SCMP_CMP_EQ": v == a.Value, "SCMP_CMP_NE": v != a.Value, "SCMP_CMP_LT": v < a.Value, "SCMP_CMP_LE": v <= a.Value,
			"SCMP_CMP_GT": v > a.Value, "SCMP_CMP_GE": v >= a.Value, "SCMP_CMP_MASKED_EQ": v&a.Value == a.ValueTwo,
		}[a.Op]
	}
	indices := map[uint8]bool{}
	for _, a := range args {
		indices[a.Index] = true
	}
	if len(indices) < len(args) {
		return slices.ContainsFunc(args, holds)
	}
	return !slices.ContainsFunc(args, func(a ProfileArg) bool { return !holds(a) })
}

var likelyNames = sync.OnceValue(func() []string {
	return append([]string{"nonesuch", "socket", "clone", "ioctl", "personality"}, DefaultProfile().Syscalls[0].Names...)
})

// randomProfile has rules on calls that exist, and some that do not.
func randomProfile(r *rand.Rand) *Profile {
	pick := func(list ...string) string { return list[r.IntN(len(list))] }
	actions := []string{"SCMP_ACT_ALLOW", "SCMP_ACT_ERRNO", "SCMP_ACT_KILL_PROCESS", "SCMP_ACT_LOG", "SCMP_ACT_TRAP", "SCMP_ACT_KILL"}
	names := likelyNames()
	p := &Profile{DefaultAction: pick(actions...)}
	if r.IntN(2) == 0 {
		p.Architectures = []string{"SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_ARM"}
	}
	for range r.IntN(60) {
		rule := ProfileRule{Action: pick(actions...)}
		for range 1 + r.IntN(8) {
			rule.Names = append(rule.Names, pick(names...))
		}
		if errno := uint32(r.IntN(100)); r.IntN(2) == 0 {
			rule.ErrnoRet = &errno
		}
		for range r.IntN(3) {
			rule.Args = append(rule.Args, ProfileArg{
				Index: uint8(r.IntN(6)), Value: randomWord(r), ValueTwo: randomWord(r),
				Op: "SCMP_CMP_" + pick("EQ", "NE", "LT", "LE", "GT", "GE", "MASKED_EQ"),
			})
		}
		when := []*ProfileWhen{&rule.Includes, &rule.Excludes}[r.IntN(2)]
		switch r.IntN(4) {
		case 0:
			when.Caps = []string{pick("CAP_SYS_ADMIN", "CAP_SYS_PTRACE", "CAP_NEWER")}
		case 1:
			when.Arches = []string{pick("amd64", "arm64", "x86")}
		}
		p.Syscalls = append(p.Syscalls, rule)
	}
	return p
}

// What a profile is compiled to says what the profile says: of the default one
// with odd seeds, of a random one with even ones.
func FuzzProfile(f *testing.F) {
	for seed := range uint64(32) {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, seed uint64) {
		r := rand.New(rand.NewPCG(seed, 2))
		var p *Profile
		if seed%2 == 0 {
			p = randomProfile(r)
		} else {
			p = DefaultProfile()
		}
		if r.IntN(4) == 0 {
			p.Strict()
		}
		machine := []string{"amd64", "arm64"}[r.IntN(2)]
		caps := Caps(r.Uint64()) & AllCaps * Caps(r.IntN(2))
		filters, err := p.Filters(machine, caps)
		if err != nil {
			t.Fatal(err)
		}
		program, err := Compile(filters...)
		if err != nil {
			t.Skip(err) // too long
		}
		for range 300 {
			c := likelyCall(r, filters)
			got, err := interpret(program, c)
			if want := judge(p, machine, caps, c); err != nil || got != want {
				t.Fatalf("%s, %#x: %#x, %v, want %#x", machine, c, got, err, want)
			}
		}
	})
}

// likelyCall often is one that the profile speaks of.
func likelyCall(r *rand.Rand, filters []Filter) call {
	f := &filters[r.IntN(len(filters))]
	c := randomCall(r, f)
	if len(f.Rules) > 0 && r.IntN(3) == 0 {
		c.number = f.Rules[r.IntN(len(f.Rules))].Number
	}
	if r.IntN(4) == 0 {
		c.arguments[1] = []uint64{unix.TIOCSTI, unix.TIOCLINUX, 1<<32 | unix.TIOCSTI}[r.IntN(3)]
	}
	return c
}

// What the default has to refuse whatever Moby's profile becomes.
func TestDefaultProfile(t *testing.T) {
	program, docker := compiled(t, DefaultProfile()), compiled(t, DockerProfile())
	allow, eperm, enosys := ActAllow, ActErrno(unix.EPERM), ActErrno(unix.ENOSYS)
	for name, row := range map[string]struct {
		call call
		want Action
	}{
		"read":             {call{number: unix.SYS_READ}, allow},
		"execve":           {call{number: unix.SYS_EXECVE}, allow},
		"io_uring_setup":   {call{number: unix.SYS_IO_URING_SETUP}, eperm},
		"bpf":              {call{number: unix.SYS_BPF}, eperm},
		"keyctl":           {call{number: unix.SYS_KEYCTL}, eperm},
		"userfaultfd":      {call{number: unix.SYS_USERFAULTFD}, eperm},
		"perf_event_open":  {call{number: unix.SYS_PERF_EVENT_OPEN}, eperm},
		"mount":            {call{number: unix.SYS_MOUNT}, eperm},
		"clone3":           {call{number: unix.SYS_CLONE3}, enosys},
		"a user namespace": {call{number: unix.SYS_CLONE, arguments: [6]uint64{unix.CLONE_NEWUSER}}, eperm},
		"fork":             {call{number: unix.SYS_CLONE, arguments: [6]uint64{uint64(unix.SIGCHLD)}}, allow},
		"AF_VSOCK":         {call{number: unix.SYS_SOCKET, arguments: [6]uint64{unix.AF_VSOCK}}, eperm},
		"AF_ALG":           {call{number: unix.SYS_SOCKET, arguments: [6]uint64{unix.AF_ALG}}, eperm},
		"AF_INET":          {call{number: unix.SYS_SOCKET, arguments: [6]uint64{unix.AF_INET}}, allow},
		"TIOCSTI":          {call{number: unix.SYS_IOCTL, arguments: [6]uint64{0, unix.TIOCSTI}}, eperm},
		"TIOCSTI, high":    {call{number: unix.SYS_IOCTL, arguments: [6]uint64{0, 1<<32 | unix.TIOCSTI}}, eperm},
		"TIOCGWINSZ":       {call{number: unix.SYS_IOCTL, arguments: [6]uint64{0, unix.TIOCGWINSZ}}, allow},
		"x32":              {call{number: x32Bit | unix.SYS_READ}, enosys},
		"a newer call":     {call{number: 5000}, enosys},
		"i386 io_uring":    {call{number: 425, architecture: unix.AUDIT_ARCH_I386}, eperm},
		"i386 socket":      {call{number: 102, architecture: unix.AUDIT_ARCH_I386, arguments: [6]uint64{1}}, eperm}, // by socketcall
		"i386 connect":     {call{number: 102, architecture: unix.AUDIT_ARCH_I386, arguments: [6]uint64{3}}, allow},
		"i386 AF_INET":     {call{number: 359, architecture: unix.AUDIT_ARCH_I386, arguments: [6]uint64{unix.AF_INET}}, allow},
		"i386 write":       {call{number: 4, architecture: unix.AUDIT_ARCH_I386}, allow},
		"another machine":  {call{number: 0, architecture: unix.AUDIT_ARCH_ARM}, ActKillProcess},
	} {
		if row.call.architecture == 0 {
			row.call.architecture = unix.AUDIT_ARCH_X86_64
		}
		if got, err := interpret(program, row.call); got != row.want || err != nil {
			t.Errorf("%s: %#x, %v, want %#x", name, got, err, row.want)
		}
		if name == "i386 socket" {
			row.want = allow
		}
		if got, err := interpret(docker, row.call); got != row.want || err != nil {
			t.Errorf("Docker's, %s: %#x, %v, want %#x", name, got, err, row.want)
		}
	}
}

func compiled(t *testing.T, p *Profile) []unix.SockFilter {
	t.Helper()
	filters, err := p.Filters("amd64", 0)
	if err != nil {
		t.Fatal(err)
	}
	program, err := Compile(filters...)
	if err != nil {
		t.Fatal(err)
	}
	return program
}

func TestParseProfile(t *testing.T) {
	for _, text := range []string{
		"", "[]", "{}", `{"defaultAction":"SCMP_ACT_NOTIFY"}`, `{"defaultAction":"x"}`,
		`{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["read"],"action":"SCMP_ACT_ERRNO","errnoRet":5000}]}`,
		`{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["read"],"action":"SCMP_ACT_ERRNO","args":[{"index":6,"op":"SCMP_CMP_EQ"}]}]}`,
		`{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["read"],"action":"SCMP_ACT_ERRNO","args":[{"index":1,"op":"="}]}]}`,
	} {
		p, err := ParseProfile([]byte(text))
		if err == nil {
			_, err = p.Build("amd64", 0)
		}
		if !errors.Is(err, ErrFilter) {
			t.Errorf("%s: %v", text, err)
		}
	}
	if _, err := ParseProfile([]byte("root:x:0:0:root:/root:/bin/bash\n")); err == nil || !strings.Contains(err.Error(), "no JSON") || !strings.Contains(err.Error(), "\nfix: ") {
		t.Errorf("what is no profile: %v", err)
	}
	for _, machine := range []string{"amd64", "arm64", "riscv64"} {
		if filter, err := DefaultProfile().Build(machine, 0); err != nil || len(filter) == 0 {
			t.Error(machine, err)
		}
	}
	if _, err := DefaultProfile().Build("vax", 0); !errors.Is(err, ErrFilter) {
		t.Error(err)
	}
	if caps := DefaultProfile().Needs(); caps&DefaultCaps(true) != 0 {
		t.Errorf("the default profile asks about %v, which a container has by default: prebuild for that", (caps & DefaultCaps(true)).Names())
	}
}

// FuzzParseProfile wants no panic, whatever the file holds.
func FuzzParseProfile(f *testing.F) {
	f.Add([]byte(`{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"name":"read","action":"SCMP_ACT_KILL","args":[{"index":1,"op":"SCMP_CMP_EQ"},{"index":1,"op":"SCMP_CMP_NE"}]}]}`))
	f.Fuzz(func(_ *testing.T, text []byte) {
		if p, err := ParseProfile(text); err == nil {
			_, _ = p.Build("amd64", p.Needs())
		}
	})
}
