package image

import (
	"crypto/sha256"
	"encoding/base32"
	"encoding/hex"
	"strings"
	"time"
)

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

// LayerName is the name of a layer's directory. It is short, as the names of
// all layers have to fit in one page of mount options: 127 of them do.
func LayerName(diffID string) string { return shortName(diffID) }

func shortName(text string) string {
	const enough = 16 // bytes, against somebody who makes two of the same name
	sum := sha256.Sum256([]byte(text))
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
