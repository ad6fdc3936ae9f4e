package rootless

import (
	"bytes"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"

	"bryo/idmap"
)

func TestLook(t *testing.T) {
	for _, row := range []struct {
		name, passwd, group, user string
		more                      []string
		want                      Account
	}{
		{"a name", passwd, group, "ann", nil, Account{1000, 1000, []uint32{29, 70000}, "/home/ann", "/bin/sh"}},
		{"a number", passwd, group, "1000", nil, Account{1000, 1000, []uint32{29, 70000}, "/home/ann", "/bin/sh"}},
		{"a number in no file", passwd, group, "77", nil, Account{77, 0, nil, "", ""}},
		{"a number, no files", "", "", "77:78", nil, Account{77, 78, nil, "", ""}},
		{"a group's name", passwd, group, "ann:web", nil, Account{1000, 33, nil, "/home/ann", "/bin/sh"}},
		{"a group's number", passwd, group, "ann:5", nil, Account{1000, 5, nil, "/home/ann", "/bin/sh"}},
		{"more groups", passwd, group, "ann:5", []string{"web", "7", "7"}, Account{1000, 5, []uint32{7, 33}, "/home/ann", "/bin/sh"}},
		{"more groups beside its own", passwd, group, "ann", []string{"0"}, Account{1000, 1000, []uint32{0, 29, 70000}, "/home/ann", "/bin/sh"}},
		{"the largest id", "", "", "4294967294:4294967294", nil, Account{4294967294, 4294967294, nil, "", ""}},
		{"no line end", "a:x:5:6:::", "", "a", nil, Account{5, 6, nil, "", ""}},
		{"windows line ends", "a:x:5:6::/h:/s\r\n", "b:x:9:a\r\n", "a", nil, Account{5, 6, []uint32{9}, "/h", "/s"}},
		{"blanks before", "  a:x:5:6::/h:/s\n", "", "a", nil, Account{5, 6, nil, "/h", "/s"}},
		{"the first of two names", "a:x:5:6:::\na:x:0:0:::\n", "", "a", nil, Account{5, 6, nil, "", ""}},
		{"the first of two numbers", "a:x:5:6:::\nb:x:5:7:::\n", "g:x:9:b\n", "5", nil, Account{5, 6, nil, "", ""}},
		{"comments are none", "#a:x:0:0:::\na:x:5:6:::\n", "", "a", nil, Account{5, 6, nil, "", ""}},
		{"short lines are none", "a:x:0:0::/\na:x:0\na\na:x:5:6:::\n", "", "a", nil, Account{5, 6, nil, "", ""}},
		{"a name whose number is none is passed over", "a:x:-1:0:::\na:x:+0:0:::\na:x::0:::\na:x:5:6:::\n", "", "a", nil, Account{5, 6, nil, "", ""}},
		{"numbers out of range are none", "a:x:4294967295:0:::\na:x:4294967296:0:::\na:x:18446744073709551616:0:::\na:x:5:6:::\n", "", "a", nil, Account{5, 6, nil, "", ""}},
		{"more fields than there are", "a:x:5:6::/h:/s:more\n", "", "a", nil, Account{5, 6, nil, "/h", "/s"}},
		{"groups whose number is none", passwd, "g:x:-1:ann\ng:x:4294967295:ann\ng:x::ann\ng:x:7:ann\n", "ann", nil, Account{1000, 1000, []uint32{7}, "/home/ann", "/bin/sh"}},
		{"a member of a longer name", passwd, "g:x:7:annie,xann, ann\n", "ann", nil, Account{1000, 1000, nil, "/home/ann", "/bin/sh"}},
		{"NUL is a character", "a\x00:x:0:0:::\na:x:5:6:::\n", "", "a", nil, Account{5, 6, nil, "", ""}},
		{"a huge line", strings.Repeat("x", 1<<20) + "\na:x:5:6:::\n", "", "a", nil, Account{5, 6, nil, "", ""}},
		{"a line of colons", strings.Repeat(":", 1<<16) + "\na:x:5:6:::\n", "", "a", nil, Account{5, 6, nil, "", ""}},
	} {
		got, err := Look([]byte(row.passwd), []byte(row.group), row.user, row.more)
		if err != nil || fmt.Sprint(got) != fmt.Sprint(row.want) {
			t.Errorf("%s: %+v, %v, want %+v", row.name, got, err, row.want)
		}
	}
}

// A number means the id, whatever an image calls its users: CVE-2016-3697.
func TestANumberIsNoName(t *testing.T) {
	const users, groups = "1000:x:0:0:::\nann:x:1000:1000:::\n", "1000:x:0:\nann:x:1000:\n"
	for _, user := range []string{"1000:1000", "ann:1000", "1000:ann"} {
		a, err := Look([]byte(users), []byte(groups), user, []string{"1000"})
		if err != nil || a.UID != 1000 || a.GID != 1000 || !slices.Equal(a.Groups, []uint32{1000}) {
			t.Errorf("%s: %+v, %v", user, a, err)
		}
	}
}

func TestLookRefuses(t *testing.T) {
	for _, row := range []struct {
		name, passwd, group, user string
		more                      []string
		want                      string
	}{
		{"no such name", passwd, group, "eve", nil, `user "eve"`},
		{"no files", "", "", "root", nil, `user "root"`},
		{"nobody", passwd, group, "", nil, `user ""`},
		{"only a group", passwd, group, ":5", nil, `user ""`},
		{"an empty group", passwd, group, "ann:", nil, `group ""`},
		{"no such group", passwd, group, "ann:eves", nil, `group "eves"`},
		{"two groups", passwd, group, "ann:web:audio", nil, `group "web:audio"`},
		{"no such group to add", passwd, group, "ann", []string{"eves"}, `group "eves"`},
		{"-1", passwd, group, "-1", nil, `user "-1"`},
		{"+0", passwd, group, "+0", nil, `user "+0"`},
		{"a blank", passwd, group, " 0", nil, `user " 0"`},
		{"no id", passwd, group, "4294967295", nil, `user "4294967295"`},
		{"past the last id", passwd, group, "4294967296", nil, `user "4294967296"`},
		{"no group id", passwd, group, "0:4294967295", nil, `group "4294967295"`},
		{"a group of -1", passwd, group, "0:-1", nil, `group "-1"`},
		{"a user whose group is none", "a:x:5:-1:::\n", "", "a", nil, `group id "-1"`},
		{"a user whose group is no id", "a:x:5:4294967295:::\n", "", "5", nil, `group id "4294967295"`},
		{"a group whose id is none", passwd, "g:x:+0:\n", "0:g", nil, `id "+0"`},
		{"a user whose id is none", "a:x:x:5:::\n", "", "a", nil, `user "a"`},
		{"a comment", "#a:x:5:5:::\n", "", "#a", nil, `user "#a"`},
	} {
		a, err := Look([]byte(row.passwd), []byte(row.group), row.user, row.more)
		if err == nil || !strings.Contains(err.Error(), row.want) {
			t.Errorf("%s: %+v, %v, want %q", row.name, a, err, row.want)
		}
	}
}

// Ids are those that the file has, or that were written.
func FuzzLook(f *testing.F) {
	f.Add([]byte(passwd), []byte(group), "ann", "web")
	f.Add([]byte(passwd), []byte(group), "33:audio", "7")
	f.Add([]byte("a:x:+0:-1:::\n0:x:4294967295:0:::\n"), []byte("a:x:00:a,,a\n"), "a:0", "a")
	f.Add([]byte("a\x00:::::::\n#\n\n:::::::\n"), []byte(":::\n"), ":", "")
	f.Fuzz(func(t *testing.T, passwd, group []byte, user, more string) {
		a, err := Look(passwd, group, user, []string{more})
		if err != nil {
			if a.UID != 0 || a.GID != 0 || a.Groups != nil {
				t.Errorf("an account beside %v: %+v", err, a)
			}
			return
		}
		checkAccount(t, &a, passwd, group, user)
		for _, gid := range a.Groups {
			if number(more) != gid && !bytes.Contains(group, strconv.AppendUint(nil, uint64(gid), 10)) {
				t.Errorf("group %d is nowhere", gid)
			}
		}
	})
}

func checkAccount(t *testing.T, a *Account, passwd, group []byte, user string) {
	t.Helper()
	name, groupName, hasGroup := strings.Cut(user, ":")
	if a.UID == idmap.NoID || a.GID == idmap.NoID || slices.Contains(a.Groups, idmap.NoID) {
		t.Errorf("%+v", a)
	}
	if !says(passwd, 2, name, a.UID) {
		t.Errorf("%q is user %d", name, a.UID)
	}
	if hasGroup && !says(group, 2, groupName, a.GID) {
		t.Errorf("%q is group %d", groupName, a.GID)
	}
	if !slices.IsSorted(a.Groups) || len(slices.Compact(slices.Clone(a.Groups))) != len(a.Groups) {
		t.Errorf("groups %v", a.Groups)
	}
}

// says holds for a number that stands for itself, and for a name with a line
// that has the id.
func says(file []byte, field int, name string, id uint32) bool {
	if number(name) == id {
		return true
	}
	for line := range bytes.Lines(file) {
		fields := strings.Split(strings.TrimSpace(string(line)), ":")
		if len(fields) > field && fields[0] == name && number(fields[field]) == id {
			return true
		}
	}
	return false
}

func number(text string) uint32 {
	id, err := strconv.ParseUint(text, 10, 32)
	if err != nil {
		return idmap.NoID
	}
	return uint32(id)
}
