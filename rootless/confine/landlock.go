package confine

import (
	"errors"
	"fmt"
	"path"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// LandlockRule is one rule that was asked for:
//
//	ACCESS:PATH    r, w and x, or some of them, at PATH and below
//	bind:PORT      listen on this TCP port
//	connect:PORT   connect to this TCP port, of whatever host
//	scope          reach no abstract sockets and signal no processes outside
//	unscoped       reach those of a namespace that is the host's
type LandlockRule struct {
	Word string
	Path string `json:",omitempty"` // in the container: absolute, clean
	Port uint16 `json:",omitempty"`
}

// Words of rules that are no ACCESS.
const (
	wordBind     = "bind"
	wordConnect  = "connect"
	wordScope    = "scope"
	wordUnscoped = "unscoped"
)

func (r LandlockRule) String() string {
	switch {
	case r.Path != "":
		return r.Word + ":" + r.Path
	case r.Word == wordBind || r.Word == wordConnect:
		return r.Word + ":" + strconv.FormatUint(uint64(r.Port), 10)
	}
	return r.Word
}

// ParseLandlock reads a rule.
func ParseLandlock(text string) (LandlockRule, error) {
	word, rest, found := strings.Cut(text, ":")
	switch {
	case (word == wordScope || word == wordUnscoped) && !found:
		return LandlockRule{Word: word}, nil
	case word == wordBind || word == wordConnect:
		return parsePort(word, rest)
	case word == "" || !found || strings.Trim(word, "rwx") != "" || repeats(word):
		return LandlockRule{}, fmt.Errorf("rule %q: write r, w or x before a path, as rx:/usr, or bind:PORT, connect:PORT, scope or unscoped", text)
	case !path.IsAbs(rest) || strings.Contains(rest, "\x00"):
		return LandlockRule{}, fmt.Errorf("rule %q: write an absolute path, as it is in the container", text)
	}
	return LandlockRule{Word: word, Path: path.Clean(rest)}, nil
}

func parsePort(word, number string) (LandlockRule, error) {
	port, err := strconv.ParseUint(number, 10, 16)
	if err != nil || (port == 0 && word == wordConnect) {
		return LandlockRule{}, fmt.Errorf("rule %q: write %s:PORT, as %s:443", word+":"+number, word, word)
	}
	return LandlockRule{Word: word, Port: uint16(port)}, nil
}

func repeats(word string) bool {
	for i, letter := range word {
		if strings.ContainsRune(word[i+1:], letter) {
			return true
		}
	}
	return false
}

// Scope is what a Landlock domain cannot reach outside itself: LANDLOCK_SCOPE_*.
type Scope uint64

// Scopes.
const (
	ScopeAbstract Scope = unix.LANDLOCK_SCOPE_ABSTRACT_UNIX_SOCKET
	ScopeSignal   Scope = unix.LANDLOCK_SCOPE_SIGNAL
)

func (s Scope) String() string {
	var list []string
	if s&ScopeAbstract != 0 {
		list = append(list, "abstract sockets")
	}
	if s&ScopeSignal != 0 {
		list = append(list, "signals")
	}
	return strings.Join(list, " and ")
}

// Landlock is a ruleset of landlock(7). The zero value restricts nothing.
type Landlock struct {
	Files uint64 `json:",omitempty"` // what is refused unless a rule allows it: LANDLOCK_ACCESS_FS_*
	Net   uint64 `json:",omitempty"` // LANDLOCK_ACCESS_NET_*
	Scope Scope  `json:",omitempty"`
	Rules []LandlockRule
}

// Restricts says whether there is anything to put into effect.
func (l *Landlock) Restricts() bool { return l.Files != 0 || l.Net != 0 || l.Scope != 0 }

func (l *Landlock) String() string {
	var list []string
	for _, r := range l.Rules {
		list = append(list, r.String())
	}
	if l.Scope != 0 {
		list = append(list, "no "+l.Scope.String()+" outside")
	}
	if len(list) == 0 {
		return "none"
	}
	return strings.Join(list, ", ")
}

// The accesses that the letters stand for. A file has only those of files; what
// makes devices is in none.
const (
	readFile  = unix.LANDLOCK_ACCESS_FS_READ_FILE
	writeFile = unix.LANDLOCK_ACCESS_FS_WRITE_FILE | unix.LANDLOCK_ACCESS_FS_TRUNCATE | unix.LANDLOCK_ACCESS_FS_IOCTL_DEV
	execFile  = unix.LANDLOCK_ACCESS_FS_EXECUTE
	readDir   = unix.LANDLOCK_ACCESS_FS_READ_DIR
	writeDir  = unix.LANDLOCK_ACCESS_FS_REMOVE_DIR | unix.LANDLOCK_ACCESS_FS_REMOVE_FILE | unix.LANDLOCK_ACCESS_FS_MAKE_DIR |
		unix.LANDLOCK_ACCESS_FS_MAKE_REG | unix.LANDLOCK_ACCESS_FS_MAKE_SOCK | unix.LANDLOCK_ACCESS_FS_MAKE_FIFO |
		unix.LANDLOCK_ACCESS_FS_MAKE_SYM | unix.LANDLOCK_ACCESS_FS_REFER
	makeDevices = unix.LANDLOCK_ACCESS_FS_MAKE_CHAR | unix.LANDLOCK_ACCESS_FS_MAKE_BLOCK

	allFiles = readFile | writeFile | execFile | readDir | writeDir | makeDevices
)

// The versions of the kernel's interface that something came with.
const (
	landlockRefer    = 2
	landlockTruncate = 3
	landlockNet      = 4
	landlockIoctl    = 5
	landlockScope    = 6
)

// filesOf is what a kernel can refuse.
func filesOf(abi int) uint64 {
	files := uint64(allFiles)
	for _, later := range []struct {
		abi    int
		access uint64
	}{
		{landlockRefer, unix.LANDLOCK_ACCESS_FS_REFER},
		{landlockTruncate, unix.LANDLOCK_ACCESS_FS_TRUNCATE},
		{landlockIoctl, unix.LANDLOCK_ACCESS_FS_IOCTL_DEV},
		{1, files},
	} {
		if abi < later.abi {
			files &^= later.access
		}
	}
	return files
}

// letters are a rule's accesses, to files and to what is done in directories.
func (r LandlockRule) letters() (files, dirs uint64) {
	for _, letter := range r.Word {
		switch letter {
		case 'r':
			files, dirs = files|readFile, dirs|readDir
		case 'w':
			files, dirs = files|writeFile, dirs|writeDir
		case 'x':
			files |= execFile
		}
	}
	return files, dirs
}

// port is the access that a rule for a port allows.
func (r LandlockRule) port() uint64 {
	switch r.Word {
	case wordBind:
		return unix.LANDLOCK_ACCESS_NET_BIND_TCP
	case wordConnect:
		return unix.LANDLOCK_ACCESS_NET_CONNECT_TCP
	}
	return 0
}

// RulesTCP says whether there are rules for ports.
func RulesTCP(rules []LandlockRule) bool {
	return slices.ContainsFunc(rules, func(r LandlockRule) bool { return r.port() != 0 })
}

// ErrScopes means that a rule both asks for scopes and gives them up.
var ErrScopes = errors.New("--landlock scope and unscoped exclude each other\nfix: leave one out")

// CompileLandlock makes a ruleset of rules, for a kernel with this version of
// the interface, 0 for none. exposed is what is to be out of reach unless told.
// missing has what the kernel cannot refuse of what was asked for, and bare what
// stays exposed.
func CompileLandlock(rules []LandlockRule, exposed Scope, abi int) (l Landlock, missing []string, bare Scope, err error) {
	asked := hasWord(rules, wordScope)
	if hasWord(rules, wordUnscoped) {
		exposed = 0
		if asked {
			return Landlock{}, nil, 0, ErrScopes
		}
	}
	for _, r := range rules {
		switch {
		case r.Path != "":
			l.Files = filesOf(abi)
		case r.port() != 0:
			l.Net |= r.port()
		default:
			continue
		}
		l.Rules = append(l.Rules, r)
	}
	l.Scope = exposed
	if asked {
		l.Scope = ScopeAbstract | ScopeSignal
	}
	missing, bare = l.without(abi, asked)
	return l, missing, bare, nil
}

func hasWord(rules []LandlockRule, word string) bool {
	return slices.ContainsFunc(rules, func(r LandlockRule) bool { return r.Word == word })
}

// without takes out what a kernel does not have.
func (l *Landlock) without(abi int, asked bool) (missing []string, bare Scope) {
	paths := slices.ContainsFunc(l.Rules, LandlockRule.isPath)
	for _, lack := range []struct {
		of  bool
		why string
	}{
		{paths && abi == 0, "this kernel has no Landlock for paths (Linux 5.13 has, where it is in lsm=)"},
		{paths && abi > 0 && abi < landlockTruncate, "this kernel's Landlock does not keep files from being truncated (Linux 6.2 does)"},
		{l.Net != 0 && abi < landlockNet, "this kernel has no Landlock for ports (Linux 6.7 has)"},
		{asked && abi < landlockScope, "this kernel has no Landlock scopes (Linux 6.12 has)"},
	} {
		if lack.of {
			missing = append(missing, lack.why)
		}
	}
	if abi < landlockNet {
		l.Net = 0
	}
	if abi < landlockScope {
		bare, l.Scope = l.Scope, 0
	}
	l.Rules = slices.DeleteFunc(l.Rules, func(r LandlockRule) bool { return r.port()&l.Net == 0 && (!r.isPath() || l.Files == 0) })
	return missing, bare
}

func (r LandlockRule) isPath() bool { return r.Path != "" }
