package image

import (
	"crypto/sha256"
	"encoding/base32"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"runtime"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// MostLayers is how many layers an image may have; one that has more makes no sense.
const MostLayers = 500

// Image is what is known of an image.
type Image struct {
	ID       string    // the sha256 of its configuration, in hexadecimal digits, as podman has it
	Digest   string    `json:",omitempty"` // its manifest's, as in sha256:HEX, if it has one
	Created  time.Time `json:",omitzero"`  // as it says itself
	Imported time.Time // when it came on the shelf
	Size     int64     // of the files of all layers, holes among them
	Platform Platform
	Config   Config
	DiffIDs  []string // the digests of its layers, the lowest first
	// Layers are the names of the directories to stack, the lowest first: not
	// those that a higher one hides, and perhaps one more at the top.
	Layers []string
	Names  []string `json:"-"` // in full, sorted
}

// Platform is what an image runs on, in Go's words.
type Platform struct {
	OS           string `json:"os,omitempty"`
	Architecture string `json:"architecture,omitempty"`
	Variant      string `json:"variant,omitempty"`
}

// ParsePlatform reads OS/ARCH[/VARIANT], also with uname's names of machines. Of
// nothing, it is this machine's.
func ParsePlatform(text string) (Platform, error) {
	if text == "" {
		return Platform{OS: "linux", Architecture: runtime.GOARCH}, nil
	}
	parts := strings.Split(text, "/")
	const least, most = 2, 3
	if len(parts) < least || len(parts) > most || slices.Contains(parts, "") {
		return Platform{}, fmt.Errorf("platform %q\nfix: write OS/ARCH or OS/ARCH/VARIANT, as linux/arm64 or linux/arm/v7", text)
	}
	p := Platform{OS: parts[0], Architecture: parts[1]}
	if len(parts) == most {
		p.Variant = parts[2]
	}
	switch p.Architecture {
	case "x86_64", "x86-64":
		p.Architecture = "amd64"
	case "aarch64":
		p.Architecture = "arm64"
	}
	return p, nil
}

func (p Platform) String() string {
	text := p.OS + "/" + p.Architecture
	if p.Variant != "" {
		text += "/" + p.Variant
	}
	return text
}

// Suits is how well something for another platform runs on this one; 0 is not at
// all. Without a variant that is asked for, the plainest is the best.
func (p Platform) Suits(has Platform) int {
	const exact, plain, some = 3, 2, 1
	usual := map[string]string{"arm64": "v8", "arm": "v7", "amd64": "v1"}[p.Architecture]
	switch {
	case p.OS != has.OS || p.Architecture != has.Architecture:
		return 0
	case p.Variant == has.Variant, p.Variant != "" && has.Variant == "" && p.Variant == usual, p.Variant == "" && has.Variant == usual:
		return exact
	case p.Variant != "":
		return 0
	case has.Architecture == "arm" && has.Variant < usual:
		return plain
	}
	return some
}

// Config is what an image says of the commands that run in it: config.md of
// the image specification.
type Config struct {
	User         string              `json:",omitempty"`
	ExposedPorts map[string]struct{} `json:",omitempty"` // as in 80/tcp
	Env          []string            `json:",omitempty"`
	Entrypoint   []string            `json:",omitempty"`
	Cmd          []string            `json:",omitempty"`
	Volumes      map[string]struct{} `json:",omitempty"`
	WorkingDir   string              `json:",omitempty"`
	Labels       map[string]string   `json:",omitempty"`
	StopSignal   string              `json:",omitempty"`
}

// Check refuses a configuration of which the kernel would see only the beginning
// of a string, and one with so many volumes that a container would take long to begin.
func (c *Config) Check() error {
	const most = 100
	if len(c.Volumes) > most {
		return fmt.Errorf("the image's configuration has %d volumes; %d are allowed", len(c.Volumes), most)
	}
	parts := map[string][]string{
		"User": {c.User}, "WorkingDir": {c.WorkingDir}, "StopSignal": {c.StopSignal},
		"Env": c.Env, "Entrypoint": c.Entrypoint, "Cmd": c.Cmd,
		"ExposedPorts": slices.Collect(maps.Keys(c.ExposedPorts)), "Volumes": slices.Collect(maps.Keys(c.Volumes)),
		"Labels": slices.Concat(slices.Collect(maps.Keys(c.Labels)), slices.Collect(maps.Values(c.Labels))),
	}
	for _, name := range slices.Sorted(maps.Keys(parts)) {
		if slices.ContainsFunc(parts[name], func(text string) bool { return strings.ContainsRune(text, 0) }) {
			return fmt.Errorf("the image's configuration has a NUL in %s", name)
		}
	}
	return nil
}

// LayerName is the name of a layer's directory. It is short, as the names of
// all layers have to fit in one page of mount options: 127 of them do.
func LayerName(diffID string) string {
	const enough = 16 // bytes, against somebody who makes two of the same name
	sum := sha256.Sum256([]byte(diffID))
	return strings.ToLower(base32.StdEncoding.WithPadding(base32.NoPadding).EncodeToString(sum[:enough]))
}

// mapName is the name of the directory of the layers under a map of ids.
func mapName(idMap string) string {
	const enough = 8
	sum := sha256.Sum256([]byte(idMap))
	return hex.EncodeToString(sum[:enough])
}

// isID tells an image's id.
func isID(text string) bool { return len(text) == 2*sha256.Size && only(text, hexes) }

// HasLayer says whether a layer is on the shelf, for images under a map of ids:
// by its digest as it comes, as in sha256:HEX.
func (s *Shelf) HasLayer(digest, idMap string) bool {
	if !isDigest(digest) {
		return false
	}
	var st unix.Stat_t
	diffID := s.Readlink(digestName(digest))
	return diffID != "" && unix.Fstatat(s.Fd(), LayersDir(idMap)+"/"+LayerName(diffID), &st, unix.AT_SYMLINK_NOFOLLOW) == nil
}

// NoteDigest notes what is in a layer as it comes, once it was read.
func (s *Shelf) NoteDigest(digest, diffID string) error {
	if !isDigest(digest) || !isDigest(diffID) {
		return nil
	}
	err := unix.Symlinkat(diffID, s.Fd(), digestName(digest))
	if errors.Is(err, unix.EEXIST) {
		return nil
	}
	return os.NewSyscallError("symlink", err)
}

func digestName(digest string) string {
	return DigestsDir + "/" + strings.Replace(digest, ":", "-", 1)
}

// AddBlob keeps a manifest or a configuration, and says what its sha256 is.
func (s *Shelf) AddBlob(data []byte) (hexadecimal string, err error) {
	sum := sha256.Sum256(data)
	hexadecimal = hex.EncodeToString(sum[:])
	var st unix.Stat_t
	name := BlobsDir + "/" + hexadecimal
	if err := unix.Fstatat(s.Fd(), name, &st, unix.AT_SYMLINK_NOFOLLOW); err == nil && st.Size == int64(len(data)) {
		return hexadecimal, nil
	}
	return hexadecimal, s.WriteFile(name, data)
}

// OpenBlob opens a manifest or a configuration by its sha256, which it has to have.
func (s *Shelf) OpenBlob(hexadecimal string) (*os.File, error) {
	if !isID(hexadecimal) {
		return nil, fmt.Errorf("%q is no sha256", hexadecimal)
	}
	f, err := s.OpenFile(BlobsDir+"/"+hexadecimal, unix.O_RDONLY)
	if err != nil {
		return nil, err
	}
	sum := sha256.New()
	_, err = io.Copy(sum, f)
	if err == nil {
		_, err = f.Seek(0, io.SeekStart)
	}
	if err == nil && hex.EncodeToString(sum.Sum(nil)) != hexadecimal {
		err = fmt.Errorf("%s of the shelf is damaged\nfix: bryo rmi the image, and pull it again", f.Name())
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}
