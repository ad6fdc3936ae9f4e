package host

import (
	"bufio"
	"errors"
	"io"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"bryo/idmap"
)

// A helper says a line, of some hundred bytes.
const sayLimit = 4096

// lookUser finds out who asks, and which ids the host grants.
func (s *symptoms) lookUser() {
	s.user.uid, s.user.gid = uint32(unix.Getuid()), uint32(unix.Getgid())
	s.user.program, _ = os.Executable()
	if dumpable, err := unix.PrctlRetInt(unix.PR_GET_DUMPABLE, 0, 0, 0, 0); err == nil {
		s.user.dumpable = dumpable == 1
	}
}

func (s *symptoms) lookRanges() {
	s.user.name = idmap.Name(s.user.uid)
	s.user.passwdGID, s.user.inPasswd = passwdGID(readText("/etc/passwd"), s.user.uid)
	self := idmap.Identity{UID: s.user.uid, GID: s.user.gid}
	uids, gids, err := idmap.Ranges(self, s.user.name)
	if err != nil {
		s.ranges.err = oneLine(err.Error())
	}
	s.ranges.uids, s.ranges.gids = total(uids), total(gids)
	s.ranges.source = subidSource(readText("/etc/nsswitch.conf"))
	s.ranges.free = firstFree(readText("/etc/subuid") + "\n" + readText("/etc/subgid"))
	s.install = installCommand(readText("/etc/os-release"))
	if choice, err := idmap.Choose(idmap.Spec{}, self, uids, gids); err == nil && choice.Helpers {
		s.helpers[0].want, s.helpers[1].want = choice.Maps.UID, choice.Maps.GID
	}
	for kind, name := range []string{"newuidmap", "newgidmap"} {
		s.helpers[kind].name = name
		s.helpers[kind].look(idmap.Kind(kind))
	}
}

func total(ranges []idmap.Range) (n uint64) {
	for _, r := range ranges {
		n += uint64(r.Count)
	}
	return n
}

// passwdGID is the group of the uid's first entry: passwd(5).
func passwdGID(passwd string, uid uint32) (gid uint32, known bool) {
	want := strconv.FormatUint(uint64(uid), 10)
	for line := range strings.Lines(passwd) {
		const id, group, least = 2, 3, 4
		fields := strings.Split(line, ":")
		if len(fields) < least || fields[id] != want {
			continue
		}
		gid, err := idmap.ParseID(strings.TrimSpace(fields[group]))
		return gid, err == nil
	}
	return idmap.NoID, false
}

// subidSource is what nsswitch.conf names for subordinate ids.
func subidSource(conf string) string {
	for line := range strings.Lines(conf) {
		key, value, _ := strings.Cut(line, ":")
		value, _, _ = strings.Cut(value, "#")
		if fields := strings.Fields(value); strings.EqualFold(key, "subid") && len(fields) > 0 {
			return fields[0]
		}
	}
	return "files"
}

// firstFree is the first id behind every range of subuid(5) or subgid(5), and
// behind what hosts give to users.
func firstFree(entries string) uint32 {
	free := uint64(100000)
	for line := range strings.Lines(entries) {
		_, rest, _ := strings.Cut(strings.TrimSpace(line), ":")
		first, count, _ := strings.Cut(rest, ":")
		start, err := strconv.ParseUint(first, 10, 32)
		n, countErr := strconv.ParseUint(count, 10, 32)
		if err == nil && countErr == nil && start+n+usualRange < uint64(idmap.NoID) {
			free = max(free, start+n)
		}
	}
	return uint32(free)
}

// installCommand goes by ID and ID_LIKE of os-release(5).
func installCommand(release string) string {
	for line := range strings.Lines(release) {
		key, value, _ := strings.Cut(strings.TrimSpace(line), "=")
		if key != "ID" && key != "ID_LIKE" {
			continue
		}
		for id := range strings.FieldsSeq(strings.Trim(value, `"'`)) {
			switch id {
			case "debian", "ubuntu":
				return "apt-get install uidmap"
			case "fedora", "rhel", "centos":
				return "dnf install shadow-utils"
			case "arch":
				return "pacman -S shadow"
			case "alpine":
				return "apk add shadow-subids"
			case "suse", "opensuse", "sles":
				return "zypper install shadow"
			}
		}
	}
	return "apt-get install uidmap"
}

// look reads what the kernel goes by when it executes the helper.
func (h *helper) look(kind idmap.Kind) {
	path, err := idmap.Helper(kind)
	if err != nil {
		return
	}
	var stat unix.Stat_t
	var fs unix.Statfs_t
	h.path = path
	if unix.Stat(path, &stat) == nil {
		h.owner, h.setuid = stat.Uid, stat.Mode&unix.S_ISUID != 0
	}
	if n, err := unix.Getxattr(path, "security.capability", nil); err == nil {
		h.fileCaps = n > 0
	}
	if unix.Statfs(path, &fs) == nil && fs.Flags&unix.ST_NOSUID != 0 {
		h.nosuid = mountPoint(path)
	}
}

// tryHelpers has newuidmap and newgidmap map the ids of a waiting child.
func (s *symptoms) tryHelpers(pid int) {
	for i, file := range []string{"uid_map", "gid_map"} {
		h := &s.helpers[i]
		if h.path == "" || len(h.want) == 0 {
			continue
		}
		h.run = true
		h.start(append([]string{h.name, strconv.Itoa(pid)}, h.want.Args()...))
		h.wrote = h.refused == 0 && h.status == 0 && sameMap(readText("/proc/"+strconv.Itoa(pid)+"/"+file), h.want)
	}
}

// sameMap compares what the kernel shows, which it pads, with what was asked.
func sameMap(shown string, want idmap.Map) bool {
	return strings.Join(strings.Fields(shown), " ") == strings.Join(strings.Fields(want.Lines()), " ")
}

// start runs the helper to its end.
func (h *helper) start(argv []string) {
	read, write, err := os.Pipe()
	if err != nil {
		h.refused = errnoOf(err)
		return
	}
	defer read.Close()
	process, err := os.StartProcess(h.path, argv, &os.ProcAttr{Env: []string{"LC_ALL=C"}, Files: []*os.File{nil, nil, write}})
	_ = write.Close()
	if err != nil {
		h.refused = errnoOf(err)
		return
	}
	_ = read.SetReadDeadline(time.Now().Add(patience))
	said, err := io.ReadAll(io.LimitReader(read, sayLimit))
	if errors.Is(err, os.ErrDeadlineExceeded) {
		_ = process.Kill()
	}
	state, err := process.Wait()
	if err != nil {
		h.refused = errnoOf(err)
		return
	}
	h.status = state.ExitCode()
	first, _, _ := strings.Cut(string(said), "\n")
	h.stderr = strings.TrimPrefix(oneLine(first), h.name+": ")
}

// readText is a file of the host's, "" when it cannot be read.
func readText(path string) string {
	const limit = 4 << 20
	f, err := os.Open(path)
	if err != nil {
		return ""
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(bufio.NewReader(f), limit))
	if err != nil {
		return ""
	}
	return string(text)
}
