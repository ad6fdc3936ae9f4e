package confine

import (
	"encoding/binary"
	"math/bits"
	"os"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"bryo/rootless/program"
)

func TestParseCap(t *testing.T) {
	for name, want := range map[string]Caps{
		"CAP_NET_RAW":            1 << unix.CAP_NET_RAW,
		"net_raw":                1 << unix.CAP_NET_RAW,
		"Cap_Chown":              1,
		"CHOWN":                  1,
		"CAP_CHECKPOINT_RESTORE": 1 << unix.CAP_CHECKPOINT_RESTORE,
		"all":                    AllCaps,
		"CAP_ALL":                AllCaps,
	} {
		if got, err := ParseCap(name); got != want || err != nil {
			t.Errorf("%q: %#x, %v, want %#x", name, got, err, want)
		}
	}
	for _, name := range []string{"", "CAP_", "NET", "CAP_CAP_CHOWN", "CAP_NET_RAW ", "5", "NET-RAW", "CHOWN,KILL", "none"} {
		if got, err := ParseCap(name); err == nil || got != 0 {
			t.Errorf("%q: %#x, %v", name, got, err)
		}
	}
}

func FuzzParseCap(f *testing.F) {
	for _, seed := range []string{"CAP_NET_RAW", "all", "chown", "cap_", "CAP_CAP_CHOWN", "ſys_admin"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, name string) {
		c, err := ParseCap(name)
		switch {
		case err != nil && c != 0:
			t.Errorf("%q: %#x beside %v", name, c, err)
		case err != nil || c == AllCaps:
		case bits.OnesCount64(uint64(c)) != 1 || len(c.Names()) != 1:
			t.Errorf("%q: %#x", name, c)
		default:
			if again, err := ParseCap(c.Names()[0]); again != c || err != nil {
				t.Errorf("%q is %s, which is %#x, %v", name, c.Names()[0], again, err)
			}
		}
	})
}

// Each name is at its number, by the kernel's own word for one set.
func TestCapNames(t *testing.T) {
	for number, name := range map[int]string{
		unix.CAP_CHOWN: "CHOWN", unix.CAP_SETPCAP: "SETPCAP", unix.CAP_NET_ADMIN: "NET_ADMIN", unix.CAP_SYS_CHROOT: "SYS_CHROOT",
		unix.CAP_SYS_ADMIN: "SYS_ADMIN", unix.CAP_MKNOD: "MKNOD", unix.CAP_SETFCAP: "SETFCAP", unix.CAP_SYSLOG: "SYSLOG",
		unix.CAP_BPF: "BPF", unix.CAP_LAST_CAP: "CHECKPOINT_RESTORE",
	} {
		if got := capNames()[number]; got != name {
			t.Errorf("%d: %s, want %s", number, got, name)
		}
	}
	if len(capNames()) != lastCap+1 || len(AllCaps.Names()) != lastCap+1 {
		t.Errorf("%d names, %d in all, want %d", len(capNames()), len(AllCaps.Names()), lastCap+1)
	}
	text, err := os.ReadFile("/proc/sys/kernel/cap_last_cap")
	if err != nil {
		t.Skip("the kernel does not tell its last capability: ", err)
	}
	if last, _ := strconv.Atoi(strings.TrimSpace(string(text))); last > lastCap {
		t.Logf("the kernel has capability %d, which has no name here yet", last)
	}
}

func TestChangeOfCaps(t *testing.T) {
	const a, b, c = Caps(1), Caps(2), Caps(4)
	for _, row := range []struct {
		name   string
		change CapChange
		want   Caps
	}{
		{"none", CapChange{}, a | b},
		{"added", CapChange{Add: c}, a | b | c},
		{"dropped", CapChange{Drop: b}, a},
		{"dropped what was not there", CapChange{Drop: c}, a | b},
		{"added and dropped", CapChange{Add: c, Drop: c}, a | b},
		{"all dropped", CapChange{Drop: AllCaps}, 0},
		{"all dropped but one", CapChange{Add: c, Drop: AllCaps}, c},
		{"all added", CapChange{Add: AllCaps}, AllCaps},
		{"all added but one", CapChange{Add: AllCaps, Drop: a}, AllCaps &^ a},
	} {
		if got := row.change.Of(a | b); got != row.want {
			t.Errorf("%s: %#x, want %#x", row.name, got, row.want)
		}
	}
}

func TestDefaultCaps(t *testing.T) {
	few, many := DefaultCaps(false), DefaultCaps(true)
	if many&^few != 1<<unix.CAP_SETFCAP || few&^many != 0 {
		t.Errorf("one id %v, many %v", few.Names(), many.Names())
	}
	for _, refused := range []int{unix.CAP_SYS_ADMIN, unix.CAP_NET_ADMIN, unix.CAP_NET_RAW, unix.CAP_SYS_PTRACE, unix.CAP_MKNOD, unix.CAP_SYS_CHROOT, unix.CAP_BPF} {
		if many&(1<<refused) != 0 {
			t.Errorf("%s is there by default", capNames()[refused])
		}
	}
}

func TestParseLimit(t *testing.T) {
	for value, want := range map[string]Limit{
		"nofile=1024":                  {unix.RLIMIT_NOFILE, 1024, 1024},
		"nofile=1024:2048":             {unix.RLIMIT_NOFILE, 1024, 2048},
		"core=0":                       {unix.RLIMIT_CORE, 0, 0},
		"stack=8192:-1":                {unix.RLIMIT_STACK, 8192, Unlimited},
		"as=unlimited":                 {unix.RLIMIT_AS, Unlimited, Unlimited},
		"cpu=1:unlimited":              {unix.RLIMIT_CPU, 1, Unlimited},
		"rttime=1:9223372036854775807": {unix.RLIMIT_RTTIME, 1, 1<<63 - 1},
	} {
		if got, err := ParseLimit(value); got != want || err != nil {
			t.Errorf("%q: %+v, %v, want %+v", value, got, err, want)
		}
	}
	for _, value := range []string{
		"", "=", "nofile", "nofile=", "nofile=:", "nofile=1:", "nofile=:1", "nofile=2:1", "nofile=-1:1", "nofile=-2", "nofile=+1", "nofile=1:2:3", "nofile=1k",
		"nofile=9223372036854775808", "nofile=0x10", "nofile= 1", "NOFILE=1", "7=1", "nothing=1", "nofile:1",
	} {
		if got, err := ParseLimit(value); err == nil || got != (Limit{}) {
			t.Errorf("%q: %+v, %v", value, got, err)
		}
	}
}

func FuzzParseLimit(f *testing.F) {
	for _, seed := range []string{"nofile=1024:2048", "core=-1", "as=unlimited:unlimited", "nofile=2:1", "stack=9223372036854775807"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, value string) {
		l, err := ParseLimit(value)
		if err != nil {
			if l != (Limit{}) {
				t.Errorf("%q: %+v beside %v", value, l, err)
			}
			return
		}
		if l.Soft > l.Hard || !strings.HasPrefix(value, ResourceName(l.Resource)+"=") {
			t.Errorf("%q: %+v", value, l)
		}
		text := ResourceName(l.Resource) + "=" + strconv.FormatInt(int64(l.Soft), 10) + ":" + strconv.FormatInt(int64(l.Hard), 10)
		if again, err := ParseLimit(text); again != l || err != nil {
			t.Errorf("%q is %q, which is %+v, %v", value, text, again, err)
		}
	})
}

func TestEveryLimitHasItsName(t *testing.T) {
	const count = 16 // RLIM_NLIMITS
	if len(resources()) != count {
		t.Errorf("%d limits", len(resources()))
	}
	for n := range count {
		l, err := ParseLimit(ResourceName(n) + "=1")
		if err != nil || l.Resource != n {
			t.Errorf("limit %d is %q: %+v, %v", n, ResourceName(n), l, err)
		}
	}
	if ResourceName(count) != "16" {
		t.Errorf("a limit of the future: %s", ResourceName(count))
	}
}

func TestLimitsAboveTheUsersOwn(t *testing.T) {
	hard := func(int) uint64 { return 100 }
	for _, row := range []struct {
		name  string
		asked Limit
		ok    bool
	}{
		{"below", Limit{unix.RLIMIT_NOFILE, 1, 99}, true},
		{"the same", Limit{unix.RLIMIT_NOFILE, 100, 100}, true},
		{"above", Limit{unix.RLIMIT_NOFILE, 1, 101}, false},
		{"unlimited", Limit{unix.RLIMIT_STACK, 1, Unlimited}, false},
	} {
		got, err := Limits([]Limit{row.asked}, hard)
		if (err == nil) != row.ok {
			t.Errorf("%s: %v, %v", row.name, got, err)
		}
		for _, l := range got {
			if l.Soft > l.Hard || l.Hard > 100 {
				t.Errorf("%s: %+v", row.name, l)
			}
		}
	}
}

func list(t *testing.T, add func(*program.Program)) string {
	t.Helper()
	p := program.New()
	add(p)
	var b strings.Builder
	if err := p.List(&b); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func TestCallsForLimits(t *testing.T) {
	got := list(t, func(p *program.Program) { SetLimits(p, []Limit{{unix.RLIMIT_CORE, 0, 0}, {unix.RLIMIT_NOFILE, 1, 2}}) })
	if strings.Count(got, "prlimit64(0, ") != 2 || !strings.Contains(got, "# set limit core\n") || !strings.Contains(got, "# set limit nofile\n") {
		t.Error(got)
	}
}

// What is not kept is dropped, all that the kernel may have.
func TestCallsForTheBoundingSet(t *testing.T) {
	const kept = Caps(1<<unix.CAP_CHOWN | 1<<unix.CAP_KILL)
	got := list(t, func(p *program.Program) { DropBounding(p, kept) })
	for n := range lastCap + 1 {
		dropped := strings.Contains(got, "prctl(PR_CAPBSET_DROP, "+strconv.Itoa(n)+")") || (n == 0 && strings.Contains(got, "prctl(PR_CAPBSET_DROP)"))
		if dropped != (kept&(1<<n) == 0) {
			t.Errorf("%s dropped: %t\n%s", capNames()[n], dropped, got)
		}
	}
	if strings.Count(got, "EINVAL") != strings.Count(got, "prctl") {
		t.Errorf("one that the kernel does not know ends the launch:\n%s", got)
	}
	if got := list(t, func(p *program.Program) { DropBounding(p, AllCaps) }); strings.Contains(got, "prctl") {
		t.Error(got)
	}
}

// capset's data has the lower halves of effective, permitted and inheritable,
// and then the upper ones.
func TestCallsForCapset(t *testing.T) {
	const caps = Caps(1<<unix.CAP_KILL | 1<<unix.CAP_BPF)
	for _, row := range []struct {
		name        string
		add         func(*program.Program)
		held        Caps
		inheritable Caps
		raised      int
	}{
		{"set", func(p *program.Program) { SetCaps(p, caps) }, caps, 0, 0},
		{"set, to filter", func(p *program.Program) { SetCapsToFilter(p, caps) }, caps | 1<<unix.CAP_SYS_ADMIN, 0, 0},
		{"ambient", func(p *program.Program) { SetAmbient(p, caps, false) }, caps, caps, 2},
		{"ambient, to filter", func(p *program.Program) { SetAmbient(p, caps, true) }, caps | 1<<unix.CAP_SYS_ADMIN, caps, 2},
	} {
		got := list(t, row.add)
		var data []byte
		for _, half := range []uint{0, 32} {
			for _, set := range []Caps{row.held, row.held, row.inheritable} {
				data = binary.NativeEndian.AppendUint32(data, uint32(set>>half))
			}
		}
		if !strings.Contains(got, strconv.Quote(string(data))) || strings.Count(got, "PR_CAP_AMBIENT") != row.raised {
			t.Errorf("%s: %x is not in\n%s", row.name, data, got)
		}
	}
	if got := list(t, KeepCapsOverExec); strings.Count(got, "PR_CAP_AMBIENT") != lastCap+1 {
		t.Error(got)
	}
}

func TestCallsThatStandAlone(t *testing.T) {
	if got := list(t, NoNewPrivs); !strings.Contains(got, "prctl(PR_SET_NO_NEW_PRIVS, 1)") || strings.Contains(got, "may fail") {
		t.Error(got)
	}
	if got := list(t, JoinKeyring); !strings.Contains(got, "keyctl(1)") || !strings.Contains(got, "may fail EPERM ENOSYS") {
		t.Error(got)
	}
}
