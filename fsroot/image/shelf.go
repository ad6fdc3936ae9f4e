package image

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// Shelf is the user's images.
type Shelf struct {
	dir  *os.File
	path string
}

// Directories of the shelf, and what the names of records end with.
const (
	ImagesDir  = "images"
	AllLayers  = "layers"
	DigestsDir = "digests"
	BlobsDir   = "blobs/sha256"
	TrashDir   = "trash"

	DownloadsDir = "downloads"
	RecordEnd    = ".json"
)

const (
	holdsDir  = "holds"
	lockFile  = "lock"
	namesFile = "names.json"
	namesLock = "names.lock"
)

const (
	dirMode  = 0o700
	fileMode = 0o644 // nobody else can enter the directory, whoever of the map the owner is
)

// Path is where the shelf is: below $XDG_DATA_HOME, or ~/.local/share.
func Path() (string, error) {
	data := os.Getenv("XDG_DATA_HOME")
	if !filepath.IsAbs(data) { // as the specification of these directories has it
		home := os.Getenv("HOME")
		if !filepath.IsAbs(home) {
			return "", errors.New("there is no place for images: HOME is not set\nfix: set XDG_DATA_HOME to a directory of yours")
		}
		data = filepath.Join(home, ".local", "share")
	}
	return filepath.Join(data, "bryo"), nil
}

// Open finds or makes the shelf. A directory that others can write to is refused.
func Open() (*Shelf, error) {
	path, err := Path()
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(path, dirMode); err != nil { //nolint:gosec,nolintlint // the user's own environment says where
		return nil, fmt.Errorf("keep images: %w\nfix: set XDG_DATA_HOME to a directory of yours", err)
	}
	return OpenPath(path)
}

// Existing finds the shelf, and makes none: who only looks leaves nothing. Without
// one the error is fs.ErrNotExist.
func Existing() (*Shelf, error) {
	path, err := Path()
	if err != nil {
		return nil, err
	}
	return OpenPath(path)
}

// OpenPath opens the shelf in a directory that is there.
func OpenPath(path string) (*Shelf, error) {
	const flags = unix.O_RDONLY | unix.O_DIRECTORY | unix.O_NOFOLLOW | unix.O_CLOEXEC
	fd, err := unix.Open(path, flags, 0)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: path, Err: err}
	}
	s := At(fd, path)
	var st unix.Stat_t
	if err = unix.Fstat(fd, &st); err == nil && (int(st.Uid) != os.Geteuid() || st.Mode&0o022 != 0) {
		err = fmt.Errorf("keep images in %s: others can write to it\nfix: chmod 700 it, or set XDG_DATA_HOME to another place", path)
	}
	if err == nil && st.Mode&0o077 != 0 { // layers have files that give their owner's rights to who executes them
		err = unix.Fchmod(fd, dirMode)
	}
	for _, name := range []string{ImagesDir, AllLayers, DigestsDir, holdsDir, filepath.Dir(BlobsDir), BlobsDir, TrashDir} {
		if err == nil {
			err = s.Mkdir(name)
		}
	}
	if err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

// At is the shelf in a directory that is open, and that somebody has checked.
func At(fd int, path string) *Shelf { return &Shelf{os.NewFile(uintptr(fd), path), path} }

// Fd is the directory.
func (s *Shelf) Fd() int { return int(s.dir.Fd()) }

// Path is where the directory is.
func (s *Shelf) Path() string { return s.path }

// Close gives up the directory.
func (s *Shelf) Close() error { return s.dir.Close() }

// Mkdir makes a directory of the shelf, or finds it there.
func (s *Shelf) Mkdir(name string) error {
	if err := unix.Mkdirat(s.Fd(), name, 0o755); err != nil && !errors.Is(err, unix.EEXIST) { //nolint:mnd // nobody else can enter the directory above
		return &os.PathError{Op: "make", Path: filepath.Join(s.path, name), Err: err}
	}
	return nil
}

// OpenFile opens a file of the shelf.
func (s *Shelf) OpenFile(name string, flags int) (*os.File, error) {
	fd, err := unix.Openat(s.Fd(), name, flags|unix.O_NOFOLLOW|unix.O_CLOEXEC, fileMode)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: filepath.Join(s.path, name), Err: err}
	}
	return os.NewFile(uintptr(fd), name), nil
}

// Readlink is what a link of the shelf says, or "".
func (s *Shelf) Readlink(name string) string {
	target := make([]byte, unix.PathMax)
	n, err := unix.Readlinkat(s.Fd(), name, target)
	if err != nil {
		return ""
	}
	return string(target[:n])
}

// Unlink removes a file of the shelf, if it is there.
func (s *Shelf) Unlink(name string) error {
	if err := unix.Unlinkat(s.Fd(), name, 0); err != nil && !errors.Is(err, unix.ENOENT) {
		return &os.PathError{Op: "remove", Path: filepath.Join(s.path, name), Err: err}
	}
	return nil
}

// ReadJSON reads a file of the shelf as a whole.
func (s *Shelf) ReadJSON(name string, into any) error {
	f, err := s.OpenFile(name, unix.O_RDONLY)
	if err != nil {
		return err
	}
	defer f.Close()
	return decode(f, into)
}

func decode(f *os.File, into any) error {
	const most = 64 << 20
	data, err := io.ReadAll(io.LimitReader(f, most))
	if err == nil {
		err = json.Unmarshal(data, into)
	}
	if err != nil {
		return fmt.Errorf("read %s of the shelf: %w", f.Name(), err)
	}
	return nil
}

// ErrNotFound means that no image of the shelf is meant.
var ErrNotFound = errors.New("there is no such image")

// ErrOtherMap means that an image is there under another map of ids only.
var ErrOtherMap = errors.New("its files were made under another map of ids")

// Lookup finds the image that a name, an id or the beginning of an id stands for.
// A name without a registry is looked for on this machine's own, localhost, and
// then on docker.io.
func (s *Shelf) Lookup(text string) (*Image, error) {
	names, err := s.names()
	if err != nil {
		return nil, err
	}
	id, err := s.resolve(text, names)
	if err != nil {
		return nil, err
	}
	image, err := s.Record(id)
	if errors.Is(err, unix.ENOENT) {
		return nil, errNotFound(text)
	}
	if err != nil {
		return nil, err
	}
	image.Names = namesOf(names, id)
	return image, nil
}

func errNotFound(text string) error {
	return fmt.Errorf("%s: %w\nfix: bryo images lists yours", text, ErrNotFound)
}

func (s *Shelf) resolve(text string, names map[string]string) (string, error) {
	if isID(strings.TrimPrefix(text, "sha256:")) { // whatever an image says that it is called
		return s.ofPrefix(text)
	}
	for _, candidate := range candidates(text) {
		if id := names[candidate.String()]; id != "" {
			return id, nil
		}
		if id := s.ofDigest(candidate, names); id != "" {
			return id, nil
		}
	}
	return s.ofPrefix(text)
}

// candidates are what a name can mean, the most likely first.
func candidates(text string) (list []Reference) {
	if r, err := ParseLocal(text); err == nil {
		list = append(list, r)
	}
	if r, err := Parse(text); err == nil {
		list = append(list, r)
	}
	return list
}

// ofDigest finds an image of a repository by the digest of its manifest.
func (s *Shelf) ofDigest(r Reference, names map[string]string) string {
	if r.Digest == "" {
		return ""
	}
	prefix := r.Registry + "/" + r.Repository
	for name, id := range names {
		rest, is := strings.CutPrefix(name, prefix)
		if !is || rest == "" || !strings.ContainsRune(":@", rune(rest[0])) {
			continue
		}
		if image, err := s.Record(id); err == nil && image.Digest == r.Digest {
			return id
		}
	}
	return ""
}

func (s *Shelf) ofPrefix(text string) (string, error) {
	prefix := strings.TrimPrefix(text, "sha256:")
	if prefix == "" || !only(prefix, hexes) {
		return "", errNotFound(text)
	}
	ids, err := s.IDs()
	if err != nil {
		return "", err
	}
	ids = slices.DeleteFunc(ids, func(id string) bool { return !strings.HasPrefix(id, prefix) })
	switch len(ids) {
	case 0:
		return "", errNotFound(text)
	case 1:
		return ids[0], nil
	}
	return "", fmt.Errorf("%s: the ids of %d images begin so\nfix: write more of it, or a name", text, len(ids))
}

// RecordName is where an image's record is.
func RecordName(id string) string { return ImagesDir + "/" + id + RecordEnd }

// Record reads what is known of an image, but for its names.
func (s *Shelf) Record(id string) (*Image, error) {
	if !isID(id) {
		return nil, fmt.Errorf("%q is no id of an image", id)
	}
	image := &Image{}
	if err := s.ReadJSON(RecordName(id), image); err != nil {
		return nil, err
	}
	if image.ID != id {
		return nil, fmt.Errorf("the record of image %s is damaged\nfix: bryo rmi %s, and import or pull it again", id, id)
	}
	return image, nil
}

// IDs are those of all images.
func (s *Shelf) IDs() (ids []string, err error) {
	names, err := s.Names(ImagesDir)
	for _, name := range names {
		if id, is := strings.CutSuffix(name, RecordEnd); is && isID(id) {
			ids = append(ids, id)
		}
	}
	return ids, err
}

// Names are those in a directory of the shelf, sorted.
func (s *Shelf) Names(dir string) ([]string, error) {
	f, err := s.OpenFile(dir, unix.O_RDONLY|unix.O_DIRECTORY)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	names, err := f.Readdirnames(-1)
	slices.Sort(names)
	return names, err
}

// List reads all images, the newest first. Those that nobody can read are named
// in the second result.
func (s *Shelf) List() (images []*Image, damaged []string, err error) {
	names, err := s.names()
	if err != nil {
		return nil, nil, err
	}
	ids, err := s.IDs()
	if err != nil {
		return nil, nil, err
	}
	for _, id := range ids {
		image, err := s.Record(id)
		switch {
		case errors.Is(err, unix.ENOENT): // removed meanwhile
		case err != nil:
			damaged = append(damaged, id)
		default:
			image.Names = namesOf(names, id)
			images = append(images, image)
		}
	}
	slices.SortStableFunc(images, func(a, b *Image) int { return b.Imported.Compare(a.Imported) })
	return images, damaged, nil
}

// LayersDir is where a shelf has the layers that were made under a map of ids.
func LayersDir(idMap string) string { return filepath.Join(AllLayers, mapName(idMap)) }

// OpenLayers opens the directory that the layers of an image have their names
// in, as O_PATH: those that were made under a map of ids. An image that is there
// under another map only is an ErrOtherMap.
func (s *Shelf) OpenLayers(image *Image, idMap string) (*os.File, error) {
	f, err := s.OpenFile(LayersDir(idMap), unix.O_PATH|unix.O_DIRECTORY)
	if errors.Is(err, unix.ENOENT) {
		return nil, ErrOtherMap
	}
	if err != nil {
		return nil, err
	}
	for _, name := range image.Layers {
		var st unix.Stat_t
		err := unix.Fstatat(int(f.Fd()), name, &st, unix.AT_SYMLINK_NOFOLLOW)
		if errors.Is(err, unix.ENOENT) {
			err = ErrOtherMap
		}
		if err == nil && st.Mode&unix.S_IFMT != unix.S_IFDIR {
			err = unix.ENOTDIR
		}
		if err != nil {
			return nil, errors.Join(fmt.Errorf("layer %s: %w", name, err), f.Close())
		}
	}
	return f, nil
}
