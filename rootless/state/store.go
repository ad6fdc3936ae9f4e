package state

import (
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// Store is the user's containers.
type Store struct {
	path string
	boot string // this run of the machine
}

const (
	dirMode  = 0o700
	fileMode = 0o600
)

// Open finds or makes the store. A directory that others could have put there
// is refused.
func Open() (*Store, error) {
	dir := os.Getenv("XDG_RUNTIME_DIR")
	if dir == "" {
		dir = filepath.Join("/tmp", fmt.Sprintf("bryo-%d", os.Getuid()))
		if err := own(dir); err != nil {
			return nil, err
		}
	} else if err := trusted(dir); err != nil {
		return nil, err
	}
	boot, err := BootID()
	if err != nil {
		return nil, err
	}
	s := &Store{filepath.Join(dir, "bryo"), boot}
	for _, part := range []string{"", "containers", "names"} {
		if err := own(filepath.Join(s.path, part)); err != nil {
			return nil, err
		}
	}
	return s, nil
}

// own makes a directory that is the user's alone, or finds it so.
func own(dir string) error {
	if err := os.Mkdir(dir, dirMode); err != nil && !errors.Is(err, fs.ErrExist) { //nolint:gosec,nolintlint // the user's own environment says where; whether it is told depends on what is looked at together
		return fmt.Errorf("keep the state of containers: %w\nfix: set XDG_RUNTIME_DIR to a directory of yours", err)
	}
	return trusted(dir)
}

func trusted(dir string) error {
	var st unix.Stat_t
	if err := unix.Lstat(dir, &st); err != nil {
		return fmt.Errorf("keep the state of containers in %s: %w\nfix: set XDG_RUNTIME_DIR to a directory of yours", dir, err)
	}
	if st.Mode&unix.S_IFMT != unix.S_IFDIR || int(st.Uid) != os.Getuid() || st.Mode&0o022 != 0 {
		return fmt.Errorf("keep the state of containers in %s: it is no directory that only you can write\nfix: chmod 700 it, or set XDG_RUNTIME_DIR to another one", dir)
	}
	return nil
}

func (s *Store) container(id string) string { return filepath.Join(s.path, "containers", id) }

func (s *Store) name(name string) string { return filepath.Join(s.path, "names", name) }

// ErrExists means that a name is taken.
var ErrExists = errors.New("the name is taken")

// aside ends the name of a directory that is no container yet, or no more: it is
// made and emptied there, so that a container is there as a whole or not at all.
const aside = ".aside"

// lock keeps others from making, naming and removing containers meanwhile. Who
// needs a container's lock, too, takes that first.
func (s *Store) lock() (unlock func(), err error) {
	dir, err := os.Open(s.path)
	if err != nil {
		return nil, err
	}
	if err := flock(dir, unix.LOCK_EX); err != nil {
		return nil, errors.Join(err, dir.Close())
	}
	return func() { _ = dir.Close() }, nil
}

func flock(file *os.File, how int) error {
	for {
		if err := unix.Flock(int(file.Fd()), how); !errors.Is(err, unix.EINTR) {
			return os.NewSyscallError("flock", err)
		}
	}
}

// Create begins the state of a container with a new id. An empty name stands for
// one that nobody has. Until a supervisor signs, the container is this process's: if that dies,
// the container is dead.
func (s *Store) Create(config *Config) (*Entry, error) {
	self, err := ProcessOf(os.Getpid())
	if err != nil {
		return nil, err
	}
	if !isID(config.ID) {
		return nil, fmt.Errorf("%q is no id", config.ID)
	}
	unlock, err := s.lock()
	if err != nil {
		return nil, err
	}
	defer unlock()
	e := s.at(config.ID)
	half := &Entry{store: s, ID: e.ID, dir: e.dir + aside}
	if err := os.Mkdir(half.dir, dirMode); err != nil {
		return nil, err
	}
	err = s.claim(config)
	if err == nil {
		err = half.write(configFile, config)
	}
	if err == nil {
		err = half.Save(&Record{
			ID: e.ID, Name: config.Name, Created: config.Created, Root: config.root(), Command: config.command(),
			Status: Created, Supervisor: self, Boot: s.boot,
		})
	}
	if err == nil {
		err = os.Rename(half.dir, e.dir)
	}
	if err != nil {
		s.unlink(config.Name, e.ID)
		return nil, errors.Join(err, os.RemoveAll(half.dir))
	}
	return e, nil
}

// claim takes the configuration's name, or finds one.
func (s *Store) claim(config *Config) error {
	if config.Name != "" {
		return s.link(config.Name, config.ID)
	}
	const tries = 100
	for range tries {
		name, err := newName()
		if err != nil {
			return err
		}
		err = s.link(name, config.ID)
		if err == nil {
			config.Name = name
		}
		if !errors.Is(err, ErrExists) {
			return err
		}
	}
	return ErrExists
}

// link makes a name lead to a container. One that no container has is free,
// wherever it leads. The caller has the store's lock.
func (s *Store) link(name, id string) error {
	if err := CheckName(name); err != nil {
		return err
	}
	if _, taken := s.holder(name); taken {
		return fmt.Errorf("container %s: %w\nfix: choose another name, or remove that container: bryo rm %s", name, ErrExists, name)
	}
	if err := os.Remove(s.name(name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return os.Symlink(id, s.name(name))
}

// holder is the id of the container that a name leads to, if it has that name.
// What somebody left who was killed while he gave or took a name does not count;
// a container whose record nobody can read keeps what leads to it.
func (s *Store) holder(name string) (id string, taken bool) {
	if CheckName(name) != nil {
		return "", false
	}
	id, err := os.Readlink(s.name(name))
	if err != nil || !isID(id) {
		return "", false
	}
	r, err := s.at(id).Record()
	if err != nil {
		return id, !errors.Is(err, ErrNotFound)
	}
	return id, r.Name == name
}

// unlink gives a name up if it is the container's.
func (s *Store) unlink(name, id string) {
	if target, err := os.Readlink(s.name(name)); err == nil && target == id {
		_ = os.Remove(s.name(name))
	}
}

// sweep removes what is left of those that were killed while they made, named or
// removed a container. Whoever does so now is not disturbed.
func (s *Store) sweep() {
	dir, err := os.Open(s.path)
	if err != nil {
		return
	}
	defer dir.Close()
	if flock(dir, unix.LOCK_EX|unix.LOCK_NB) != nil {
		return
	}
	halves, _ := filepath.Glob(s.container("*" + aside))
	for _, half := range halves {
		_ = os.RemoveAll(half)
	}
	names, _ := os.ReadDir(filepath.Join(s.path, "names"))
	for _, n := range names {
		if _, taken := s.holder(n.Name()); !taken {
			_ = os.Remove(s.name(n.Name()))
		}
	}
}

// CheckName refuses what is no name.
func CheckName(name string) error {
	const most = 128
	first := func(r rune) bool { return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' }
	other := func(r rune) bool { return !first(r) && !strings.ContainsRune("_.-", r) }
	if name == "" || len(name) > most || !first(rune(name[0])) || strings.ContainsFunc(name, other) {
		return fmt.Errorf("%q is no name for a container\nfix: at most %d ASCII letters and digits, and after the first one also _ . and -", name, most)
	}
	return nil
}

// ErrNotFound means that no container is meant.
var ErrNotFound = errors.New("there is no such container")

// Find opens the container that a name, an id or the beginning of an id stands
// for.
func (s *Store) Find(ref string) (*Entry, error) {
	if id, ok := s.holder(ref); ok {
		return s.at(id), nil
	}
	ids, _, err := s.ids()
	if err != nil {
		return nil, err
	}
	var found []string
	for _, id := range ids {
		if ref != "" && strings.HasPrefix(id, ref) {
			found = append(found, id)
		}
	}
	if len(found) == 0 {
		found = s.called(ref, ids)
	}
	switch len(found) {
	case 0:
		return nil, fmt.Errorf("%s: %w\nfix: bryo ps -a lists your containers", ref, ErrNotFound)
	case 1:
		return s.at(found[0]), nil
	default:
		return nil, fmt.Errorf("%s: the ids of %d containers begin so\nfix: write more of it, or the name", ref, len(found))
	}
}

// called are the containers that have a name which does not lead to them.
func (s *Store) called(name string, ids []string) (found []string) {
	for _, id := range ids {
		if r, err := s.at(id).Record(); err == nil && r.Name == name {
			found = append(found, id)
		}
	}
	return found
}

// at is the entry of an id, whether it is there or not.
func (s *Store) at(id string) *Entry { return &Entry{store: s, ID: id, dir: s.container(id)} }

// List opens all containers, the oldest first, as they are now. Those that
// vanish meanwhile, or whose record nobody can read, are left out of the first
// and named in the second.
func (s *Store) List() (records []*Record, damaged []string, err error) {
	ids, stale, err := s.ids()
	if err != nil {
		return nil, nil, err
	}
	names := map[string]string{}
	for _, id := range ids {
		switch r, err := s.at(id).Now(); {
		case err == nil:
			records = append(records, r)
			names[r.Name] = id
		case !errors.Is(err, ErrNotFound):
			damaged = append(damaged, id)
		}
	}
	if stale || s.misled(names) {
		s.sweep()
	}
	slices.SortFunc(records, func(a, b *Record) int { return a.Created.Compare(b.Created) })
	return records, damaged, nil
}

// misled says whether there are names that lead elsewhere than these.
func (s *Store) misled(names map[string]string) bool {
	dir, err := os.Open(filepath.Join(s.path, "names"))
	if err != nil {
		return false
	}
	defer dir.Close()
	list, _ := dir.Readdirnames(-1)
	return slices.ContainsFunc(list, func(name string) bool {
		id, err := os.Readlink(s.name(name))
		return err != nil || names[name] != id
	})
}

// Exclusive does what only one process may do at a time, and what concerns
// several containers. Others make and remove containers meanwhile.
func (s *Store) Exclusive(do func() error) (err error) {
	dir, err := os.Open(filepath.Join(s.path, "names"))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, dir.Close()) }()
	if err := flock(dir, unix.LOCK_EX); err != nil {
		return err
	}
	return do()
}

// ids are those of the containers; stale says that there is something else.
func (s *Store) ids() (ids []string, stale bool, err error) {
	dir, err := os.Open(filepath.Join(s.path, "containers"))
	if err != nil {
		return nil, false, err
	}
	defer dir.Close()
	names, err := dir.Readdirnames(-1)
	ids = slices.DeleteFunc(slices.Clone(names), func(n string) bool { return !isID(n) })
	return ids, len(ids) < len(names), err
}

const idBytes = 6

func isID(text string) bool {
	b, err := hex.DecodeString(text)
	return err == nil && len(b) == idBytes
}

// newName is two words and a number.
func newName() (string, error) {
	first := []string{"calm", "clear", "cool", "damp", "deep", "dewy", "early", "green", "high", "light", "mild", "misty", "quiet", "rainy", "shady", "soft"}
	second := []string{"bog", "brook", "cliff", "fell", "fern", "forest", "glade", "heath", "hill", "log", "meadow", "moss", "rock", "shore", "stone", "wood"}
	var b [3]byte
	if _, err := unix.Getrandom(b[:], 0); err != nil {
		return "", os.NewSyscallError("getrandom", err)
	}
	const most = 100
	return fmt.Sprintf("%s-%s-%d", first[int(b[0])%len(first)], second[int(b[1])%len(second)], int(b[2])%most), nil
}
