package fsroot

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// IDMapNote is the extended attribute of a root directory that has the map of
// ids under which its files were made.
const IDMapNote = "user.bryo.idmap"

// IDMap reads that note; "" if there is none. A container may have changed it.
func (r *Root) IDMap() string {
	const most = 8 << 10
	value := make([]byte, most)
	n, err := unix.Getxattr(fmt.Sprintf("/proc/self/fd/%d", r.fd), IDMapNote, value) // O_PATH has no other way
	if err != nil {
		return ""
	}
	return string(value[:n])
}
