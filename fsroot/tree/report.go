package tree

import (
	"archive/tar"
	"errors"
	"fmt"
	"strings"

	"golang.org/x/sys/unix"

	"bryo/fsroot"
)

// Outcome is what bryo-image tells bryo, as JSON.
type Outcome struct {
	Error  string `json:",omitempty"`
	Report Report

	// Of the shelf: the image that came there, names that it did not get or that
	// went, images that went, bytes of their layers, and that these could not.
	ID    string   `json:",omitempty"`
	Names []string `json:",omitempty"`
	IDs   []string `json:",omitempty"`
	Bytes int64    `json:",omitempty"`
	Busy  bool     `json:",omitempty"`
}

// Report is what could not be made as an image says.
type Report struct {
	Devices    []string       `json:",omitempty"` // that are not made, the first of them, as in: c 1:3 666 0:0 dev/null
	Omitted    int            `json:",omitempty"` // all devices
	Unknown    int            `json:",omitempty"` // entries of a kind that nobody knows
	Foreign    int            `json:",omitempty"` // files whose owners are not in the map of ids
	Unrecorded int            `json:",omitempty"` // those of them that have no note of it
	Squash     bool           `json:",omitempty"` // root is the only id, and files stand for devices
	Setuid     int            `json:",omitempty"` // those of them that have lost set-user-ID bits
	Unnoted    bool           `json:",omitempty"` // the file system has no room for notes
	Xattrs     map[string]int `json:",omitempty"` // attributes that are not set, and on how many files
	Left       []string       `json:",omitempty"` // what an image is without, and why, the first of it
	LeftSum    int            `json:",omitempty"` // all of it
}

// What a report has of what a hostile image could have without end.
const (
	mostDevices = 64
	mostXattrs  = 16
	mostLeft    = 8
)

// Leave notes what is not in an image.
func (r *Report) Leave(unsafePath, why string) {
	if r.LeftSum++; len(r.Left) < mostLeft {
		r.Left = append(r.Left, unsafePath+": "+why)
	}
}

func (r *Report) device(h *tar.Header, to string) {
	r.Omitted++
	if len(r.Devices) < mostDevices {
		kind := map[byte]string{tar.TypeChar: "c", tar.TypeBlock: "b"}[h.Typeflag]
		r.Devices = append(r.Devices, fmt.Sprintf("%s %d:%d %o %d:%d %s", kind, h.Devmajor, h.Devminor, h.Mode, h.Uid, h.Gid, to))
	}
}

// Add adds what another report says.
func (r *Report) Add(other *Report) {
	r.Devices = append(r.Devices, other.Devices...)
	r.Devices = r.Devices[:min(len(r.Devices), mostDevices)]
	r.Omitted += other.Omitted
	r.Unknown += other.Unknown
	r.Foreign += other.Foreign
	r.Unrecorded += other.Unrecorded
	r.Setuid += other.Setuid
	r.Unnoted = r.Unnoted || other.Unnoted
	r.Squash = r.Squash || other.Squash
	for name, files := range other.Xattrs {
		r.xattr(name, files)
	}
}

func (r *Report) xattr(name string, files int) {
	if r.Xattrs == nil {
		r.Xattrs = map[string]int{}
	}
	if _, known := r.Xattrs[name]; !known && len(r.Xattrs) >= mostXattrs {
		name = "others"
	}
	r.Xattrs[name] += files
}

// noteDevices is the extended attribute of a root directory that has the devices
// that are missing.
const noteDevices = "user.bryo.devices"

// note keeps with the root what a later reader of it has to know.
func (m *Image) note(root int) error {
	const most = 2 << 10 // there may be one block for all
	err := unix.Fsetxattr(root, fsroot.IDMapNote, []byte(m.idMap), 0)
	if len(m.Report.Devices) > 0 {
		lines := strings.Join(m.Report.Devices, "\n")
		if len(lines) > most { // half a name would be another one
			lines = lines[:max(0, strings.LastIndexByte(lines[:most], '\n'))]
		}
		err = errors.Join(err, unix.Fsetxattr(root, noteDevices, []byte(lines), 0))
	}
	return err
}
