package rootless

import (
	"bytes"
	"fmt"
	"slices"
	"strings"

	"bryo/idmap"
)

// Account is the user that the command runs as, by the root's own passwd(5)
// and group(5).
type Account struct {
	UID, GID uint32
	Groups   []uint32 // supplementary
	Home     string
	Shell    string
}

// entry is one line of passwd or group, split at colons.
type entry []string

// entries reads the lines that have at least n fields. The file is the
// image's: lines that make no sense are passed over, as getpwnam(3) does.
func entries(file []byte, n int) []entry {
	var list []entry
	for line := range bytes.Lines(file) {
		fields := strings.Split(strings.TrimSpace(string(line)), ":")
		if len(fields) >= n && fields[0] != "" && fields[0][0] != '#' {
			list = append(list, fields)
		}
	}
	return list
}

// Look finds the account for USER[:GROUP]. A name that is in no file is an
// error unless it is a number; a number needs no entry.
func Look(passwd, group []byte, user string, more []string) (Account, error) {
	userPart, groupPart, hasGroup := strings.Cut(user, ":")
	users, groups := entries(passwd, 7), entries(group, 4)
	a, name, err := lookUser(users, userPart)
	if err != nil {
		return Account{}, err
	}
	if hasGroup {
		if a.GID, err = lookGroup(groups, groupPart); err != nil {
			return Account{}, err
		}
	}
	for _, g := range groups {
		gid, err := idmap.ParseID(g[2])
		if err == nil && name != "" && !hasGroup && slices.Contains(strings.Split(g[3], ","), name) {
			a.Groups = append(a.Groups, gid)
		}
	}
	for _, g := range more {
		gid, err := lookGroup(groups, g)
		if err != nil {
			return Account{}, err
		}
		a.Groups = append(a.Groups, gid)
	}
	slices.Sort(a.Groups)
	a.Groups = slices.Compact(a.Groups)
	return a, nil
}

// lookUser finds a user by name, or by number. What is a number is never a
// name: an image could call its root 1000 (CVE-2016-3697).
func lookUser(users []entry, user string) (a Account, name string, err error) {
	uid, notNumber := idmap.ParseID(user)
	for _, u := range users {
		id, err := idmap.ParseID(u[2])
		if err != nil || (notNumber == nil && id != uid) || (notNumber != nil && u[0] != user) {
			continue
		}
		gid, err := idmap.ParseID(u[3])
		if err != nil {
			return Account{}, "", fmt.Errorf("user %s: group id %q in the root's /etc/passwd: %w", user, u[3], err)
		}
		return Account{UID: id, GID: gid, Home: u[5], Shell: u[6]}, u[0], nil
	}
	if notNumber != nil {
		return Account{}, "", fmt.Errorf("user %q is not in the root's /etc/passwd; give a number, or a user that is", user)
	}
	return Account{UID: uid}, "", nil
}

func lookGroup(groups []entry, group string) (uint32, error) {
	if gid, err := idmap.ParseID(group); err == nil {
		return gid, nil
	}
	for _, g := range groups {
		if g[0] != group {
			continue
		}
		gid, err := idmap.ParseID(g[2])
		if err != nil {
			return idmap.NoID, fmt.Errorf("group %s: id %q in the root's /etc/group: %w", group, g[2], err)
		}
		return gid, nil
	}
	return idmap.NoID, fmt.Errorf("group %q is not in the root's /etc/group; give a number, or a group that is", group)
}
