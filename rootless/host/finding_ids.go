package host

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// A user gets this many subordinate ids: images use ids up to 65535.
const usualRange = 65536

// Bits of the capability sets: capabilities(7).
const (
	capSetgid = 1 << unix.CAP_SETGID
	capSetuid = 1 << unix.CAP_SETUID
)

// idFindings leaves out the helpers' failures when blocked: no namespace could
// have taken a map.
func (s *symptoms) idFindings(blocked bool) []Finding {
	var found []Finding
	if f, bad := s.rangeFinding(); bad {
		found = append(found, f)
	}
	for i := range s.helpers {
		if blocked && s.helpers[i].path != "" {
			continue
		}
		f, bad := s.helperFinding(&s.helpers[i])
		// A cause that both helpers share is one cause.
		if bad && !slices.ContainsFunc(found, func(g Finding) bool { return g.ID == f.ID }) {
			found = append(found, f)
		}
	}
	if len(found) == 0 && !blocked && s.helpers[0].wrote && s.helpers[1].wrote {
		found = append(found, Finding{
			ID: "ids-mapped", Topic: onIDs,
			Cause: fmt.Sprintf("newuidmap and newgidmap map %d subordinate uids and %d gids", s.ranges.uids, s.ranges.gids),
		})
	}
	return found
}

func (s *symptoms) rangeFinding() (Finding, bool) {
	f := Finding{Topic: onIDs, Level: Degraded, Seen: s.ranges.err}
	r := &s.ranges
	switch {
	case r.err != "":
		f.ID = "subids-unreadable"
		f.Cause = "the subordinate ids are not known: " + r.err
		f.Fix = "correct /etc/subuid and /etc/subgid: lines of USER:START:COUNT"
	case r.uids > 0 && r.gids > 0:
		if min(r.uids, r.gids) >= usualRange-1 {
			return Finding{}, false
		}
		f.ID, f.Level = "few-subids", Note
		f.Cause = fmt.Sprintf("only %d subordinate uids and %d gids: files of higher owners cannot be unpacked", r.uids, r.gids)
		f.Fix, f.Script = s.grant(r.uids < usualRange-1, r.gids < usualRange-1)
	default:
		f.ID = "no-subids"
		f.Cause = s.noRanges()
		f.Fix, f.Script = s.grant(r.uids == 0, r.gids == 0)
	}
	return f, true
}

func (s *symptoms) noRanges() string {
	kind, file := "uids or gids", "/etc/subuid and /etc/subgid"
	switch {
	case s.ranges.gids > 0:
		kind, file = "uids", "/etc/subuid"
	case s.ranges.uids > 0:
		kind, file = "gids", "/etc/subgid"
	}
	if s.ranges.source != "files" {
		file = "the directory " + strconv.Quote(s.ranges.source) + " of nsswitch.conf"
	}
	return s.userName() + " has no subordinate " + kind + " in " + file + ": only one id can be mapped"
}

func (s *symptoms) userName() string {
	if s.user.name != "" {
		return s.user.name
	}
	return strconv.FormatUint(uint64(s.user.uid), 10)
}

// grant is how a user gets subordinate ids. A line in the file does for every
// user, usermod only for those of /etc/passwd.
func (s *symptoms) grant(uids, gids bool) (fix, script string) {
	if s.ranges.source != "files" {
		return "ask who keeps " + strconv.Quote(s.ranges.source) + " for ranges of 65536 ids", ""
	}
	span := fmt.Sprintf("%d-%d", s.ranges.free, s.ranges.free+usualRange-1)
	line := quote(fmt.Sprintf("%s:%d:%d", s.userName(), s.ranges.free, usualRange))
	fix = "sudo usermod"
	if uids {
		fix += " --add-subuids " + span
		script += "echo " + line + " >>/etc/subuid\n"
	}
	if gids {
		fix += " --add-subgids " + span
		script += "echo " + line + " >>/etc/subgid\n"
	}
	return fix + " " + quote(s.userName()), script
}

// helperFinding finds out why a helper did not write its map: one text of it,
// "write to uid_map failed: Operation not permitted", has several causes.
func (s *symptoms) helperFinding(h *helper) (Finding, bool) {
	f := Finding{Topic: onIDs, Level: Degraded, Seen: h.stderr}
	switch {
	case h.path == "" || h.refused != 0:
		f.ID = h.name + "-missing"
		f.Cause = "there is no " + h.name + " that you may execute, which maps subordinate ids"
		f.Fix = "sudo " + s.install
		f.Script = s.install + "\n"
		if h.refused != 0 {
			f.Cause = h.path + " cannot be executed: " + h.refused.Error()
		}
	case !h.run || h.wrote:
		return Finding{}, false
	case s.guard.noNewPrivs:
		f.ID = "no-new-privs"
		f.Cause = "no_new_privs is set, under which " + h.name + " gets no privileges"
		f.Fix = "outside: leave out --security-opt no-new-privileges, NoNewPrivileges=, setpriv --no-new-privs"
	case !h.fileCaps && (!h.setuid || h.owner != 0):
		s.notSetuid(h, &f)
	case h.nosuid != "":
		f.ID = "nosuid-mount"
		f.Cause = h.path + " gets no privileges: " + h.nosuid + " is mounted nosuid"
		f.Fix = "sudo mount -o remount,suid " + quote(h.nosuid)
		f.Script = "mount -o remount,suid " + quote(h.nosuid) + "\n"
	default:
		s.helperRefused(h, &f)
	}
	return f, true
}

func (s *symptoms) notSetuid(h *helper, f *Finding) {
	f.ID = h.name + "-not-setuid"
	f.Cause = h.path + " is not setuid root and has no file capabilities"
	f.Fix = "sudo chmod u+s " + h.path
	f.Script = "chmod u+s " + h.path + "\n"
	if h.owner != 0 {
		f.Cause = fmt.Sprintf("%s belongs to uid %d here, not to root", h.path, h.owner)
		f.Fix = "sudo chown root " + h.path + " && " + f.Fix + "; in a container, map root"
		f.Script = "chown root " + h.path + "\n" + f.Script
	}
}

// helperRefused is about a helper that has its privileges, and uses them not.
func (s *symptoms) helperRefused(h *helper, f *Finding) {
	need := uint64(capSetuid)
	if h.name == "newgidmap" {
		need = capSetgid
	}
	switch {
	case s.user.inPasswd && s.user.gid != s.user.passwdGID:
		f.ID = "gid-differs"
		f.Cause = fmt.Sprintf("%s refuses, for your gid is %d and that of your passwd entry %d (newgrp or sg)", h.name, s.user.gid, s.user.passwdGID)
		f.Fix = "log in anew, or run bryo in the group of your passwd entry"
	case strings.Contains(h.stderr, "your user name"):
		f.ID = "no-passwd-entry"
		f.Cause = fmt.Sprintf("%s refuses, for uid %d has no passwd entry", h.name, s.user.uid)
		f.Fix = "give the uid an entry in /etc/passwd, or use --userns single"
	case strings.Contains(h.stderr, "not allowed"):
		f.ID = "range-not-allowed"
		f.Cause = h.name + " does not grant the ranges that were found: " + h.stderr
		f.Fix = "make /etc/subuid, /etc/subgid and the subid line of /etc/nsswitch.conf agree"
	case s.guard.boundingSet&need == 0:
		f.ID = "bounding-set"
		f.Cause = "the capability bounding set lacks what " + h.name + " needs (CAP_SETUID, CAP_SETGID)"
		f.Fix = "outside: --cap-add SETUID --cap-add SETGID, or no CapabilityBoundingSet="
	case s.underAppArmor():
		*f = s.appArmor("apparmor-uid-map", "the id map of a user namespace", attempt{})
		f.Level, f.Seen = Degraded, h.stderr
	default:
		f.ID = h.name + "-failed"
		f.Cause = fmt.Sprintf("%s ended with status %d: %s", h.name, h.status, h.stderr)
		f.Fix = "use --userns single, which needs no helper"
	}
}
