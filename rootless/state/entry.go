package state

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"bryo/rootless"
)

const (
	configFile = "config.json"
	recordFile = "record.json"
	planFile   = "plan.json"
	lockFile   = "lock"
)

// Config is what a container was asked to be. It does not change.
type Config struct {
	ID, Name string
	Created  time.Time
	Spec     rootless.Spec
	Options  Options
}

// Options are what concerns a container's life, not the container.
type Options struct {
	Remove      bool    // its state goes when it ends
	Restart     Restart // what happens when it has ended by itself
	Interactive bool    // its standard input can be attached to
	Log         Log
	DetachKeys  string
	Dir         string // the working directory that paths are relative to
	PIDFile     string `json:",omitempty"` // has PID 1's id while it runs; absolute, "" for none
}

// Restart is a policy.
type Restart struct {
	Policy string // "", "on-failure" or "always"
	Most   int    // tries of on-failure, 0 for no limit
}

// Log is how its output is kept.
type Log struct {
	Plain    bool  // instead of JSON lines
	MaxSize  int64 // bytes of a file
	MaxFiles int
}

func (c *Config) root() string {
	switch {
	case c.Spec.Root.Host:
		return "host"
	case c.Spec.Root.Image != nil:
		return c.Spec.Root.Image.Name
	}
	return c.Spec.Root.Path
}

func (c *Config) command() string {
	return strings.Join(append(append([]string{}, c.Spec.Process.Entrypoint...), c.Spec.Process.Args...), " ")
}

// Entry is a container's directory.
type Entry struct {
	ID    string
	store *Store
	dir   string
	lock  *os.File
}

// Path is a file's of the container's directory.
func (e *Entry) Path(name string) string { return filepath.Join(e.dir, name) }

// Lock waits until nobody else changes the container. It ends with Unlock, and
// with the process.
func (e *Entry) Lock() error {
	file, err := os.OpenFile(e.Path(lockFile), os.O_RDWR|os.O_CREATE, fileMode)
	if err != nil {
		return e.gone(err)
	}
	if err = flock(file, unix.LOCK_EX); err == nil {
		_, err = os.Lstat(e.Path(lockFile)) // or it was removed meanwhile
	}
	if err != nil {
		return errors.Join(e.gone(err), file.Close())
	}
	e.lock = file
	return nil
}

// Unlock lets others change the container.
func (e *Entry) Unlock() {
	if e.lock != nil {
		_ = e.lock.Close()
		e.lock = nil
	}
}

// Change replaces the record by what change makes of it, if that is no error.
func (e *Entry) Change(change func(*Record) error) error {
	if e.lock == nil {
		if err := e.Lock(); err != nil {
			return err
		}
		defer e.Unlock()
	}
	r, err := e.Record()
	if err != nil {
		return err
	}
	if err := change(r); err != nil {
		return err
	}
	return e.Save(r)
}

// Save replaces the record. The caller has the lock.
func (e *Entry) Save(r *Record) error { return e.write(recordFile, r) }

// SavePlan keeps what was decided, for those that join the container.
func (e *Entry) SavePlan(plan *rootless.Plan) error { return e.write(planFile, plan) }

// Record is how the container is. Processes of another run of the machine are
// none: their numbers may be others' by now.
func (e *Entry) Record() (*Record, error) {
	r := &Record{}
	if err := e.read(recordFile, r); err != nil {
		return nil, err
	}
	if r.ID != e.ID {
		return nil, e.damaged(recordFile, errOther)
	}
	if r.Boot != e.store.boot {
		r.Supervisor, r.Init, r.Entrance = Process{}, Process{}, Process{}
		r.Tied, r.Keeper, r.Stoppers = Process{}, Process{}, nil
	}
	return r, nil
}

// Now is the record, with the status as the kernel has it. One that was
// replaced before the kernel could be asked is read again.
func (e *Entry) Now() (*Record, error) {
	r, err := e.Record()
	for err == nil {
		said := *r
		if r.Status = said.truth(); r.Status == said.Status {
			break
		}
		var again *Record
		if again, err = e.Record(); err == nil && again.Status == said.Status && again.Supervisor == said.Supervisor {
			break
		}
		r = again
	}
	return r, err
}

// Config is what it was asked to be.
func (e *Entry) Config() (*Config, error) {
	c := &Config{}
	err := e.read(configFile, c)
	if err == nil && c.ID != e.ID {
		err = e.damaged(configFile, errOther)
	}
	return c, err
}

// Plan is what was decided when it was started last.
func (e *Entry) Plan() (*rootless.Plan, error) {
	p := &rootless.Plan{}
	return p, e.read(planFile, p)
}

// Rename gives the container another name. The record decides: whoever is
// killed before or after it is replaced leaves a name that nobody has.
func (e *Entry) Rename(name string) error {
	if err := e.Lock(); err != nil {
		return err
	}
	defer e.Unlock()
	unlock, err := e.store.lock()
	if err != nil {
		return err
	}
	defer unlock()
	r, err := e.Record()
	if err != nil {
		return err
	}
	if name == r.Name {
		return fmt.Errorf("container %s: %w by itself\nfix: choose another name", name, ErrExists)
	}
	if err := e.store.link(name, e.ID); err != nil {
		return err
	}
	old := r.Name
	r.Name = name
	if err := e.Save(r); err != nil {
		e.store.unlink(name, e.ID)
		return err
	}
	e.store.unlink(old, e.ID)
	return nil
}

// Remove removes the state. The caller has the lock, and knows that the
// container does not run.
func (e *Entry) Remove() error {
	defer e.Unlock()
	unlock, err := e.store.lock()
	if err != nil {
		return err
	}
	defer unlock()
	r, damaged := e.Record()
	if err := os.Rename(e.dir, e.dir+aside); err != nil {
		return e.gone(err)
	}
	if damaged == nil {
		e.store.unlink(r.Name, e.ID)
	} else {
		e.store.forget(e.ID)
	}
	return os.RemoveAll(e.dir + aside)
}

// Leave is Remove by the supervisor of a container that has ended. Those who
// follow it learn the exit code.
func (e *Entry) Leave(code int) error {
	if _, err := e.lock.WriteAt([]byte(strconv.Itoa(code)), 0); err != nil {
		return errors.Join(err, e.Remove())
	}
	return e.Remove()
}

// Follow returns what tells the exit code of a container that was forgotten when
// it ended: the lock file, which is never replaced. The caller closes it.
func (e *Entry) Follow() (*Follower, error) {
	file, err := os.OpenFile(e.Path(lockFile), os.O_RDONLY|os.O_CREATE, fileMode)
	return &Follower{file}, e.gone(err)
}

// Follower remembers a container that may be forgotten.
type Follower struct{ file *os.File }

// Code is what the supervisor left; ok is false if it left nothing.
func (f *Follower) Code() (code int, ok bool) {
	text, err := io.ReadAll(f.file)
	if err != nil {
		return 0, false
	}
	code, err = strconv.Atoi(string(text))
	return code, err == nil
}

// Close forgets it.
func (f *Follower) Close() error { return f.file.Close() }

// forget gives up whatever names lead to a container: its record cannot tell.
func (s *Store) forget(id string) {
	names, _ := os.ReadDir(filepath.Join(s.path, "names"))
	for _, n := range names {
		s.unlink(n.Name(), id)
	}
}

func (e *Entry) gone(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%s: %w", e.ID, ErrNotFound)
	}
	return err
}

var errOther = errors.New("it is not this container's")

func (e *Entry) damaged(name string, why error) error {
	return fmt.Errorf("the state of container %s is damaged: %s: %w\nfix: bryo rm -f %s", e.ID, name, why, e.ID)
}

func (e *Entry) read(name string, into any) error {
	text, err := os.ReadFile(e.Path(name))
	if err != nil {
		if _, gone := os.Lstat(e.dir); gone != nil {
			return e.gone(err)
		}
		return e.damaged(name, errors.Unwrap(err))
	}
	if err := json.Unmarshal(text, into); err != nil {
		return e.damaged(name, err)
	}
	return nil
}

// write replaces a file as a whole.
func (e *Entry) write(name string, from any) error {
	text, err := json.Marshal(from)
	if err != nil {
		return err
	}
	next := e.Path(name + ".new")
	if err := os.WriteFile(next, text, fileMode); err != nil {
		return e.gone(err)
	}
	return e.gone(os.Rename(next, e.Path(name)))
}
