package state

import (
	"crypto/rand"
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
	s := &Store{filepath.Join(dir, "bryo")}
	for _, part := range []string{"", "containers", "names"} {
		if err := own(filepath.Join(s.path, part)); err != nil {
			return nil, err
		}
	}
	return s, nil
}

// own makes a directory that is the user's alone, or finds it so.
func own(dir string) error {
	if err := os.Mkdir(dir, dirMode); err != nil && !errors.Is(err, fs.ErrExist) {
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

// Create begins a container's state. An empty name stands for one that nobody
// has. The entry is locked.
func (s *Store) Create(config *Config) (*Entry, error) {
	id, err := newID()
	if err != nil {
		return nil, err
	}
	config.ID = id
	dir := s.container(id)
	if err := os.Mkdir(dir, dirMode); err != nil {
		return nil, err
	}
	e := &Entry{store: s, ID: id, dir: dir}
	err = e.Lock()
	if err == nil {
		err = s.claim(config)
	}
	if err == nil {
		err = e.write(configFile, config)
	}
	if err == nil {
		err = e.Save(&Record{ID: id, Name: config.Name, Created: config.Created, Root: config.root(), Command: config.command(), Status: Created})
	}
	if err != nil {
		return nil, errors.Join(err, e.Remove())
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

// link makes a name lead to a container. One whose container is gone is free.
func (s *Store) link(name, id string) error {
	if err := CheckName(name); err != nil {
		return err
	}
	for range 2 {
		err := os.Symlink(id, s.name(name))
		if !errors.Is(err, fs.ErrExist) {
			return err
		}
		other, err := os.Readlink(s.name(name))
		if err != nil {
			continue // it was just given up
		}
		if _, err := os.Lstat(s.container(other)); err == nil {
			break
		}
		_ = os.Remove(s.name(name))
	}
	return fmt.Errorf("container %s: %w\nfix: choose another --name, or remove that container: bryo rm %s", name, ErrExists, name)
}

// unlink gives a name up if it is the container's.
func (s *Store) unlink(name, id string) {
	if target, err := os.Readlink(s.name(name)); err == nil && target == id {
		_ = os.Remove(s.name(name))
	}
}

// CheckName refuses what is no name.
func CheckName(name string) error {
	const most = 128
	first := func(r rune) bool { return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' }
	other := func(r rune) bool { return !first(r) && !strings.ContainsRune("_.-", r) }
	if name == "" || len(name) > most || !first(rune(name[0])) || strings.ContainsFunc(name, other) {
		return fmt.Errorf("%q is no name for a container\nfix: letters, digits, and after the first one also _ . and -", name)
	}
	return nil
}

// ErrNotFound means that no container is meant.
var ErrNotFound = errors.New("there is no such container")

// Find opens the container that a name, an id or the beginning of an id stands
// for.
func (s *Store) Find(ref string) (*Entry, error) {
	if CheckName(ref) == nil {
		if id, err := os.Readlink(s.name(ref)); err == nil && isID(id) {
			if e, err := s.open(id); err == nil {
				return e, nil
			}
		}
	}
	var found []string
	ids, err := s.ids()
	if err != nil {
		return nil, err
	}
	for _, id := range ids {
		if ref != "" && strings.HasPrefix(id, ref) {
			found = append(found, id)
		}
	}
	switch len(found) {
	case 0:
		return nil, fmt.Errorf("%s: %w\nfix: bryo ps -a lists your containers", ref, ErrNotFound)
	case 1:
		return s.open(found[0])
	default:
		return nil, fmt.Errorf("%s: the ids of %d containers begin so\nfix: write more of it, or the name", ref, len(found))
	}
}

func (s *Store) open(id string) (*Entry, error) {
	dir := s.container(id)
	if _, err := os.Lstat(dir); err != nil {
		return nil, fmt.Errorf("%s: %w", id, ErrNotFound)
	}
	return &Entry{store: s, ID: id, dir: dir}, nil
}

// List opens all containers, the oldest first. Those that vanish meanwhile, or
// whose record nobody can read, are left out of the first and named in the
// second.
func (s *Store) List() (records []*Record, damaged []string, err error) {
	ids, err := s.ids()
	if err != nil {
		return nil, nil, err
	}
	for _, id := range ids {
		e := &Entry{store: s, ID: id, dir: s.container(id)}
		switch r, err := e.Record(); {
		case err == nil:
			records = append(records, r)
		case !errors.Is(err, ErrNotFound):
			damaged = append(damaged, id)
		}
	}
	slices.SortFunc(records, func(a, b *Record) int { return a.Created.Compare(b.Created) })
	return records, damaged, nil
}

func (s *Store) ids() ([]string, error) {
	dir, err := os.Open(filepath.Join(s.path, "containers"))
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	names, err := dir.Readdirnames(-1)
	return slices.DeleteFunc(names, func(n string) bool { return !isID(n) }), err
}

const idBytes = 6

func newID() (string, error) {
	var b [idBytes]byte
	_, err := rand.Read(b[:])
	return hex.EncodeToString(b[:]), err
}

func isID(text string) bool {
	b, err := hex.DecodeString(text)
	return err == nil && len(b) == idBytes
}

// newName is two words and a number.
func newName() (string, error) {
	first := []string{"calm", "clear", "cool", "damp", "deep", "dewy", "early", "green", "high", "light", "mild", "misty", "quiet", "rainy", "shady", "soft"}
	second := []string{"bog", "brook", "cliff", "fell", "fern", "forest", "glade", "heath", "hill", "log", "meadow", "moss", "rock", "shore", "stone", "wood"}
	var b [3]byte
	_, err := rand.Read(b[:])
	const most = 100
	return fmt.Sprintf("%s-%s-%d", first[int(b[0])%len(first)], second[int(b[1])%len(second)], int(b[2])%most), err
}
