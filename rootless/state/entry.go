package state

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
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
	exitFile   = "exit"
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
	if c.Spec.Root.Host {
		return "host"
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
	for {
		if err = unix.Flock(int(file.Fd()), unix.LOCK_EX); !errors.Is(err, unix.EINTR) {
			break
		}
	}
	if err == nil {
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

// Record is how the container is.
func (e *Entry) Record() (*Record, error) {
	r := &Record{}
	if err := e.read(recordFile, r); err != nil {
		return nil, err
	}
	return r, nil
}

// Config is what it was asked to be.
func (e *Entry) Config() (*Config, error) {
	c := &Config{}
	return c, e.read(configFile, c)
}

// Plan is what was decided when it was started last.
func (e *Entry) Plan() (*rootless.Plan, error) {
	p := &rootless.Plan{}
	return p, e.read(planFile, p)
}

// Rename gives the container another name.
func (e *Entry) Rename(name string) error {
	if err := e.store.link(name, e.ID); err != nil {
		return err
	}
	var old string
	err := e.Change(func(r *Record) error { old, r.Name = r.Name, name; return nil })
	if err != nil {
		e.store.unlink(name, e.ID)
		return err
	}
	e.store.unlink(old, e.ID)
	return nil
}

// Remove removes the state. The caller has the lock, and knows that the
// container does not run.
func (e *Entry) Remove() error {
	if r, err := e.Record(); err == nil {
		e.store.unlink(r.Name, e.ID)
	} else {
		e.store.forget(e.ID)
	}
	err := os.RemoveAll(e.dir)
	e.Unlock()
	return err
}

// forget gives up whatever names lead to a container: its record cannot tell.
func (s *Store) forget(id string) {
	names, _ := os.ReadDir(filepath.Join(s.path, "names"))
	for _, n := range names {
		s.unlink(n.Name(), id)
	}
}

// End notes the exit code where those that wait find it after the container was
// forgotten: see Exit.
func (e *Entry) End(code int) error {
	file, err := os.OpenFile(e.Path(exitFile), os.O_WRONLY|os.O_CREATE, fileMode)
	if err != nil {
		return e.gone(err)
	}
	_, err = fmt.Fprintf(file, "%3d", code)
	return errors.Join(err, file.Close())
}

// Exit is the file that End writes to, which is read once the supervisor has
// ended: ExitCode. The caller closes it.
func (e *Entry) Exit() (*os.File, error) {
	file, err := os.OpenFile(e.Path(exitFile), os.O_RDONLY|os.O_CREATE, fileMode)
	return file, e.gone(err)
}

// ExitCode reads an exit code; ok is false if none was noted.
func ExitCode(exit *os.File) (code int, ok bool) {
	_, err := fmt.Fscanf(exit, "%3d", &code)
	return code, err == nil
}

func (e *Entry) gone(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%s: %w", e.ID, ErrNotFound)
	}
	return err
}

func (e *Entry) read(name string, into any) error {
	text, err := os.ReadFile(e.Path(name))
	if err != nil {
		if _, gone := os.Lstat(e.dir); gone != nil {
			return e.gone(err)
		}
		return fmt.Errorf("the state of container %s is damaged: %w\nfix: bryo rm -f %s", e.ID, err, e.ID)
	}
	if err := json.Unmarshal(text, into); err != nil {
		return fmt.Errorf("the state of container %s is damaged: %s: %w\nfix: bryo rm -f %s", e.ID, name, err, e.ID)
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
