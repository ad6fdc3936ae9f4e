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
}

// What a report has of what a hostile image could have without end.
const (
	mostDevices = 64
	mostXattrs  = 16
)

func (r *Report) device(h *tar.Header, to string) {
	r.Omitted++
	if len(r.Devices) < mostDevices {
		kind := map[byte]string{tar.TypeChar: "c", tar.TypeBlock: "b"}[h.Typeflag]
		r.Devices = append(r.Devices, fmt.Sprintf("%s %d:%d %o %d:%d %s", kind, h.Devmajor, h.Devminor, h.Mode, h.Uid, h.Gid, to))
	}
}

func (r *Report) xattr(name string) {
	if r.Xattrs == nil {
		r.Xattrs = map[string]int{}
	}
	if _, known := r.Xattrs[name]; !known && len(r.Xattrs) >= mostXattrs {
		name = "others"
	}
	r.Xattrs[name]++
}

// noteDevices is the extended attribute of a root directory that has the devices
// that are missing.
const noteDevices = "user.bryo.devices"

// note keeps with the root what a later reader of it has to know.
func (m *Image) note(root int, idMap string) error {
	const most = 2 << 10 // there may be one block for all
	err := unix.Fsetxattr(root, fsroot.IDMapNote, []byte(idMap), 0)
	if len(m.Report.Devices) > 0 {
		lines := strings.Join(m.Report.Devices, "\n")
		err = errors.Join(err, unix.Fsetxattr(root, noteDevices, []byte(lines[:min(len(lines), most)]), 0))
	}
	return err
}
