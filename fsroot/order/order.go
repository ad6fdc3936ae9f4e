// Package order is what bryo tells bryo-image to pack, as JSON. It is values alone,
// as bryo links it.
package order

import (
	"encoding/json"
	"time"
)

// Pack is an image that is to be made. Its layers are descriptors.
type Pack struct {
	Tag         string `json:",omitempty"` // its name among others, or ""
	Archive     bool   `json:",omitempty"` // it goes to a file, not to a directory
	Compression string // gzip, zstd or none
	IDMap       string // under which the layers are read: idmap.Maps.Text

	// Upper says of each layer whether it is one as overlay file systems have
	// it, with their marks of what is removed.
	Upper []bool

	// Kept are the digests of the layers below, decompressed, where whoever reads
	// the image has them: it is without them, and a directory as docker save has it.
	Kept []string `json:",omitempty"`

	// Before, if it is set, is the latest time that a file may have.
	Before *time.Time `json:",omitempty"`

	OS, Architecture, Variant string `json:",omitempty"`

	Config Config
}

// Config is what an image says about its containers, as far as it is to be
// otherwise than in the image that it is made of.
type Config struct {
	User       string `json:",omitempty"`
	WorkingDir string `json:",omitempty"`
	StopSignal string `json:",omitempty"`

	Entrypoint []string `json:",omitempty"`
	Cmd        []string `json:",omitempty"`

	Env     []string          `json:",omitempty"` // KEY=VALUE
	Labels  map[string]string `json:",omitempty"`
	Ports   []string          `json:",omitempty"` // as in 80/tcp
	Volumes []string          `json:",omitempty"`
}

// String is the order as bryo-image reads it.
func (p Pack) String() string {
	text, err := json.Marshal(p)
	if err != nil {
		panic(err) // it has nothing that has no JSON
	}
	return string(text)
}

// ParsePack reads such an order.
func ParsePack(text string) (p Pack, err error) {
	err = json.Unmarshal([]byte(text), &p)
	return p, err
}
