package host

import (
	"errors"
	"slices"

	"golang.org/x/sys/unix"
)

// Stacks says whether overlay, in a user namespace, can write to a directory of
// the user's: an unknown file system cannot. Overlay wants one that is no
// network's, no overlay and not FUSE's, and that has attributes of users.
func Stacks(dir int) bool {
	const invalid = -1
	if errors.Is(unix.MountSetattr(invalid, "", 0, &unix.MountAttr{}), unix.ENOSYS) {
		return false // see kernel
	}
	var st unix.Statfs_t
	if unix.Fstatfs(dir, &st) != nil {
		return false
	}
	const zfs, bcachefs = 0x2fc12fc1, 0xca451a4e
	able := []int64{unix.EXT4_SUPER_MAGIC, unix.XFS_SUPER_MAGIC, unix.BTRFS_SUPER_MAGIC, unix.TMPFS_MAGIC, unix.F2FS_SUPER_MAGIC, zfs, bcachefs}
	if !slices.Contains(able, int64(st.Type)) { //nolint:unconvert,nolintlint // its width depends on the architecture
		return false
	}
	const probe = "user.overlay.probe"
	return unix.Fsetxattr(dir, probe, []byte("y"), 0) == nil && unix.Fremovexattr(dir, probe) == nil
}
