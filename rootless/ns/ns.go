package ns

import (
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Kind is one of the eight kinds of namespaces.
type Kind uint8

// The kinds are in the order in which a process must join them: user first,
// because it grants the capabilities to join the rest; mount late, because it
// changes what paths mean.
const (
	User Kind = iota
	PID
	UTS
	IPC
	Cgroup
	Time
	Net
	Mount
)

// Count is how many kinds there are.
const Count = 8

// kind is what the kernel and the command line call a kind.
type kind struct {
	name  string // in /proc/PID/ns
	flag  string // on bryo's command line
	clone uint64 // CLONE_NEW*
}

func kinds() [Count]kind {
	return [Count]kind{
		User:   {"user", "userns", unix.CLONE_NEWUSER},
		PID:    {"pid", "pid", unix.CLONE_NEWPID},
		UTS:    {"uts", "uts", unix.CLONE_NEWUTS},
		IPC:    {"ipc", "ipc", unix.CLONE_NEWIPC},
		Cgroup: {"cgroup", "cgroupns", unix.CLONE_NEWCGROUP},
		Time:   {"time", "time", unix.CLONE_NEWTIME},
		Net:    {"net", "net", unix.CLONE_NEWNET},
		Mount:  {"mnt", "mount-ns", unix.CLONE_NEWNS},
	}
}

// All lists the kinds in joining order.
func All() [Count]Kind { return [Count]Kind{User, PID, UTS, IPC, Cgroup, Time, Net, Mount} }

// File is the kind's name in /proc/PID/ns.
func (k Kind) File() string { return kinds()[k].name }

// Flag is the kind's option on the command line, without dashes.
func (k Kind) Flag() string { return kinds()[k].flag }

// CloneFlag is the kind's CLONE_NEW* bit.
func (k Kind) CloneFlag() uint64 { return kinds()[k].clone }

// Mode is where a namespace comes from.
type Mode uint8

// A container's namespaces are its own unless something else is asked for.
const (
	Own  Mode = iota // made for the container
	Host             // the one that bryo runs in
	Join             // one that exists already: Source.PID, Path or Name
)

// Source is where one namespace comes from.
type Source struct {
	Mode Mode
	PID  int    // Join: the process whose namespace it is
	Path string // Join: an nsfs file, as /proc/PID/ns/net or a bind mount of it
	Name string // Join: a detached container; PID is a process of it once that is known
}

func (s Source) String() string {
	switch {
	case s.Mode == Own:
		return "own"
	case s.Mode == Host:
		return "host"
	case s.Name != "":
		return "join:" + s.Name
	case s.PID != 0:
		return "join:" + strconv.Itoa(s.PID)
	default:
		return "join:" + s.Path
	}
}

// Parse reads own, host, join:NAME, join:PID or join:/path, and podman's
// synonyms private, ns:/path and container:NAME. A number is a process id.
func Parse(value string) (Source, error) {
	switch value {
	case "own", "private":
		return Source{}, nil
	case "host":
		return Source{Mode: Host}, nil
	}
	how, target, found := strings.Cut(value, ":")
	if !found || (how != "join" && how != "ns" && how != "container") {
		return Source{}, fmt.Errorf("%q is none of own, host, join:NAME, join:PID, join:/path", value)
	}
	if strings.HasPrefix(target, "/") {
		return Source{Mode: Join, Path: target}, nil
	}
	if how != "ns" && isName(target) {
		return Source{Mode: Join, Name: target}, nil
	}
	return parsePID(value, target)
}

func parsePID(value, target string) (Source, error) {
	pid, err := strconv.ParseInt(target, 10, 32)
	if err != nil || pid <= 0 || target[0] == '+' {
		return Source{}, fmt.Errorf("%q: join takes a container, a process id or an absolute path", value)
	}
	return Source{Mode: Join, PID: int(pid)}, nil
}

// Owner is the user namespace that comes with another one that is joined:
// nobody writes it, and it prints as no word of the command line.
func Owner() Source { return Source{Mode: Join, Path: "the owner of the joined ones"} }

// isName says whether a text has the form of a container's name or id, and is
// no number.
func isName(text string) bool {
	const most = 128
	letter := func(r rune) bool { return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' }
	digit := func(r rune) bool { return r >= '0' && r <= '9' }
	other := func(r rune) bool { return !letter(r) && !digit(r) && !strings.ContainsRune("_.-", r) }
	return text != "" && len(text) <= most && (letter(rune(text[0])) || digit(rune(text[0]))) &&
		!strings.ContainsFunc(text, other) && strings.Trim(text, "0123456789") != ""
}

// Set says of each kind where it comes from. The zero value is eight own
// namespaces.
type Set [Count]Source

// MarshalJSON prints a set as {"user": "own", ...}.
func (s Set) MarshalJSON() ([]byte, error) {
	var b strings.Builder
	for i, k := range All() {
		if i > 0 {
			b.WriteString(", ")
		}
		b.WriteString(strconv.Quote(k.File()) + ": " + strconv.Quote(s[k].String()))
	}
	return []byte("{" + b.String() + "}"), nil
}

// UnmarshalJSON reads what MarshalJSON prints.
func (s *Set) UnmarshalJSON(text []byte) error {
	var named map[string]string
	if err := json.Unmarshal(text, &named); err != nil {
		return err
	}
	*s = Set{}
	for _, k := range All() {
		switch value, given := named[k.File()]; {
		case value == Owner().String():
			s[k] = Owner()
		case given:
			source, err := Parse(value)
			if err != nil {
				return err
			}
			s[k] = source
		}
	}
	return nil
}

// CloneFlags are the CLONE_NEW* bits of the own namespaces.
func (s Set) CloneFlags() uint64 {
	var flags uint64
	for _, k := range All() {
		if s[k].Mode == Own {
			flags |= k.CloneFlag()
		}
	}
	return flags
}

// Joined lists the kinds that are joined, in joining order.
func (s Set) Joined() []Kind {
	var joined []Kind
	for _, k := range All() {
		if s[k].Mode == Join {
			joined = append(joined, k)
		}
	}
	return joined
}

// Check refuses what the kernel or safety does not allow, and says why.
func (s Set) Check() error {
	switch {
	case s[User].Mode == Host:
		return errors.New("--userns host: without a user namespace of its own an unprivileged user can make no container; leave it out")
	case s[Mount].Mode == Host:
		return errors.New("--mount-ns host: the root file system would be changed for the whole host; leave it out")
	case s[Mount].Mode == Join:
		return errors.New("--mount-ns join: a joined mount namespace has its root already; run takes a root of its own")
	case s[Time].Mode == Join && s[PID].Mode == Join:
		return nil
	}
	return nil
}
