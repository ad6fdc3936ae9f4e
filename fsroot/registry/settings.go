package registry

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/BurntSushi/toml"

	"bryo/fsroot/image"
)

// settings are the part of containers-registries.conf(5), version 2, that says
// where an image is asked for. What a short name means is not taken from there.
type settings struct {
	Registries []setting `toml:"registry"`
}

type setting struct {
	location

	Prefix     string
	Blocked    bool
	Mirrors    []location `toml:"mirror"`
	DigestOnly bool       `toml:"mirror-by-digest-only"`
}

type location struct {
	Location string
	Insecure bool
	Pulls    string `toml:"pull-from-mirror"` // all, digest-only, tag-only
}

// place is a repository at a registry.
type place struct {
	host, repository string
	insecure         bool // as the settings have it
}

// user is where the settings of a user are.
type user struct {
	getenv func(string) string
	etc    string // /etc
}

func (u user) config() string {
	if dir := u.getenv("XDG_CONFIG_HOME"); dir != "" {
		return dir
	}
	return u.home(".config")
}

func (u user) home(name string) string { return filepath.Join(u.getenv("HOME"), name) }

// readSettings merges the files as podman does: the user's file stands for the
// machine's, and what the directories beside have goes over both.
func readSettings(u user) (*settings, error) {
	own := filepath.Join(u.config(), "containers", "registries.conf")
	machine := filepath.Join(u.etc, "containers", "registries.conf")
	first := machine
	if named := u.getenv("CONTAINERS_REGISTRIES_CONF"); named != "" {
		first = named
	} else if _, err := os.Stat(own); err == nil {
		first = own
	}
	files := []string{first}
	for _, dir := range []string{machine + ".d", own + ".d"} {
		more, err := filesIn(dir, ".conf")
		if err != nil {
			return nil, unreadable(err)
		}
		files = append(files, more...)
	}
	all := &settings{}
	for _, name := range files {
		text, err := os.ReadFile(name)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, unreadable(err)
		}
		if err := all.add(string(text)); err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
	}
	return all, nil
}

// unreadable says what mends that settings cannot be read. They are not left out: they
// may block a registry.
func unreadable(err error) error {
	if !errors.Is(err, fs.ErrPermission) {
		return err
	}
	return fmt.Errorf("%w\nfix: have it readable; if it is not yours, set HOME to your own directory", err)
}

// filesIn are the paths of the files in a directory whose names have an end, in
// order. The directory need not be there.
func filesIn(dir, end string) (paths []string, err error) {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	for _, e := range entries {
		if strings.HasSuffix(e.Name(), end) {
			paths = append(paths, filepath.Join(dir, e.Name()))
		}
	}
	return paths, err
}

func (s *settings) add(text string) error {
	var more settings
	if _, err := toml.Decode(text, &more); err != nil {
		return err
	}
	for _, r := range more.Registries {
		if r.Prefix == "" {
			r.Prefix = r.Location
		}
		if r.Location == "" && !strings.HasPrefix(r.Prefix, "*.") {
			r.Location = r.Prefix
		}
		if r.Prefix == "" {
			return errors.New("a registry has neither prefix nor location")
		}
		s.Registries = slices.DeleteFunc(s.Registries, func(other setting) bool { return other.Prefix == r.Prefix })
		s.Registries = append(s.Registries, r)
	}
	return nil
}

// matches returns how much of a name a prefix is; 0 if it is none.
func (s *setting) matches(name string) int {
	host, _, _ := strings.Cut(name, "/")
	if suffix, wild := strings.CutPrefix(s.Prefix, "*"); wild {
		if strings.HasSuffix(host, suffix) && len(host) > len(suffix) {
			return len(host)
		}
		return 0
	}
	rest, found := strings.CutPrefix(name, s.Prefix)
	if !found || rest != "" && rest[0] != '/' {
		return 0
	}
	return len(s.Prefix)
}

// places are where an image is asked for, in this order.
func (s *settings) places(ref image.Reference) ([]place, error) {
	name := ref.Registry + "/" + ref.Repository
	best, length := s.match(name)
	if best == nil {
		return []place{{host: ref.Registry, repository: ref.Repository}}, nil
	}
	if best.Blocked {
		return nil, fmt.Errorf("registries.conf blocks %s", best.Prefix)
	}
	own := place{host: ref.Registry, repository: ref.Repository}
	var list []place
	for i := range best.Mirrors {
		if mirror := &best.Mirrors[i]; mirror.serves(ref, best.DigestOnly) {
			p, err := mirror.place(own, name[length:])
			if err != nil {
				return nil, err
			}
			list = append(list, p)
		}
	}
	last, err := best.place(own, name[length:])
	return append(list, last), err
}

// match finds the setting with the longest prefix of a name, and how much of the
// name a location stands for.
func (s *settings) match(name string) (best *setting, length int) {
	for i := range s.Registries {
		r := &s.Registries[i]
		if n := r.matches(name); n > 0 && (best == nil || len(r.Prefix) > len(best.Prefix)) {
			best, length = r, n
		}
	}
	return best, length
}

// place is what a location makes of a name's rest; without one, all stays.
func (l *location) place(own place, rest string) (place, error) {
	own.insecure = l.Insecure
	if l.Location == "" {
		return own, nil
	}
	moved, err := image.Parse(l.Location + rest)
	if err != nil || moved.Registry+"/"+moved.Repository != l.Location+rest {
		return own, fmt.Errorf("registries.conf: %q is no place of a registry", l.Location)
	}
	own.host, own.repository = moved.Registry, moved.Repository
	return own, nil
}

// serves says whether a mirror is to be asked.
func (l *location) serves(ref image.Reference, digestOnly bool) bool {
	switch {
	case l.Pulls == "digest-only", digestOnly:
		return ref.Digest != ""
	case l.Pulls == "tag-only":
		return ref.Digest == ""
	}
	return true
}
