package squash

import (
	"encoding/binary"
	"slices"

	"bryo/fsroot/owner"
)

// Identity is what a process is of a kind: credentials(7).
type Identity struct{ Real, Effective, Saved, Files uint32 }

// Same is one that is the same in all.
func Same(id uint32) Identity { return Identity{id, id, id, id} }

// Credentials are the users and groups that a process has become.
type Credentials struct {
	UID, GID Identity
	Groups   string // 4 bytes each, as the machine has them

	Keep    bool   // PR_SET_KEEPCAPS: the next change of users leaves capabilities
	Capable bool   // it has: the process may change users as root may, until execve
	Program string // that was executed when it said so
}

// privileged says whether a process may become anybody.
func (c *Credentials) privileged() bool { return c.UID.Effective == 0 || c.Capable }

// changed brings capabilities up to date: capabilities(7). Those that were kept have
// to be raised once more, which is not asked about: it is taken for done.
func (c *Credentials) changed(before Identity) {
	root := func(i Identity) bool { return i.Real == 0 || i.Effective == 0 || i.Saved == 0 }
	if root(before) && !root(c.UID) {
		c.Capable = c.Keep
	}
}

// Groups packs a list of groups.
func Groups(list []uint32) string {
	var b []byte
	for _, g := range list {
		b = binary.NativeEndian.AppendUint32(b, g)
	}
	return string(b)
}

// in says whether the process is in a group.
func (c *Credentials) in(gid uint32) bool {
	for g := range slices.Chunk([]byte(c.Groups), groupSize) {
		if binary.NativeEndian.Uint32(g) == gid {
			return true
		}
	}
	return c.GID.Files == gid
}

const groupSize = 4

// mayChown is the kernel's rule: who is not root gives nothing away, and takes
// what is its own into its own groups.
func (c *Credentials) mayChown(n owner.Note, uid, gid uint32) bool {
	if c.UID.Files == 0 {
		return true
	}
	return n.UID == c.UID.Files && (uid == noID || uid == n.UID) && (gid == noID || gid == n.GID || c.in(gid))
}

// has says whether an id is one of those that may be taken without privilege.
func (i *Identity) has(id uint32) bool { return id == i.Real || id == i.Effective || id == i.Saved }

// set is setuid(2).
func (i *Identity) set(privileged bool, id uint32) bool {
	switch {
	case privileged:
		*i = Same(id)
	case id == i.Real || id == i.Saved:
		i.Effective, i.Files = id, id
	default:
		return false
	}
	return true
}

// setReal is setreuid(2).
func (i *Identity) setReal(privileged bool, r, e uint32) bool {
	if !privileged && (r != noID && r != i.Real && r != i.Effective || e != noID && !i.has(e)) {
		return false
	}
	old := i.Real
	if r != noID {
		i.Real = r
	}
	if e != noID {
		i.Effective = e
	}
	if r != noID || e != noID && e != old {
		i.Saved = i.Effective
	}
	i.Files = i.Effective
	return true
}

// setAll is setresuid(2).
func (i *Identity) setAll(privileged bool, r, e, s uint32) bool {
	for _, id := range []uint32{r, e, s} {
		if id != noID && !privileged && !i.has(id) {
			return false
		}
	}
	for _, set := range []struct {
		at *uint32
		to uint32
	}{{&i.Real, r}, {&i.Effective, e}, {&i.Saved, s}} {
		if set.to != noID {
			*set.at = set.to
		}
	}
	i.Files = i.Effective
	return true
}

// setFiles is setfsuid(2), which tells what was before.
func (i *Identity) setFiles(privileged bool, id uint32) (before uint32) {
	before = i.Files
	if id != noID && (privileged || i.has(id) || id == i.Files) {
		i.Files = id
	}
	return before
}
