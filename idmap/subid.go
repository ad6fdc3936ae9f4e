package idmap

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strconv"
	"strings"

	"github.com/rootless-containers/rootlesskit/v3/pkg/parent/idtools"
)

const (
	passwdPath   = "/etc/passwd"
	nsswitchPath = "/etc/nsswitch.conf"

	// A host's nsswitch.conf is one kilobyte.
	nsswitchLimit = 64 << 10
)

// Ranges returns the subordinate ids of a user, who is known by uid and, where
// name is not empty, by name. Having none is no error: both lists are then
// empty. They come from /etc/subuid and /etc/subgid, or from getsubids(1)
// where nsswitch.conf names another source.
func Ranges(self Identity, name string) (uids, gids []Range, err error) {
	source, err := subidSource(nsswitchPath)
	if err != nil {
		return nil, nil, err
	}
	if source != "files" {
		uids, gids, err := askSubids(self, name)
		if err != nil {
			return nil, nil, fmt.Errorf("subordinate ids from %q: %w", source, err)
		}
		return uids, gids, nil
	}
	uids, gids, err = staticRanges(self, name)
	if err == nil {
		return uids, gids, nil
	}
	// A malformed line, be it another user's, fails idtools but neither
	// getsubids nor newuidmap, which skip it.
	if uids, gids, askErr := askSubids(self, name); askErr == nil {
		return uids, gids, nil
	}
	return nil, nil, fmt.Errorf("read subordinate ids: %w", err)
}

func staticRanges(self Identity, name string) (uids, gids []Range, err error) {
	foundUIDs, foundGIDs, err := idtools.GetSubIDRanges(int(self.UID), name)
	if isNoRanges(err) {
		return nil, nil, nil
	}
	if err != nil {
		return nil, nil, err
	}
	if uids, err = checkRanges(foundUIDs); err != nil {
		return nil, nil, fmt.Errorf("/etc/subuid: %w", err)
	}
	if gids, err = checkRanges(foundGIDs); err != nil {
		return nil, nil, fmt.Errorf("/etc/subgid: %w", err)
	}
	return uids, gids, nil
}

// isNoRanges goes by idtools' text for lack of a sentinel; a test holds it to
// the version in go.mod.
func isNoRanges(err error) bool {
	if err == nil {
		return false
	}
	return errors.Is(err, fs.ErrNotExist) ||
		strings.HasPrefix(err.Error(), "no subuid ranges found for user") ||
		strings.HasPrefix(err.Error(), "no subgid ranges found for user")
}

// checkRanges is needed because idtools takes any int, the negative ones too.
func checkRanges(found []idtools.SubIDRange) ([]Range, error) {
	var ranges []Range
	for _, f := range found {
		if uint64(f.Start) >= uint64(NoID) || uint64(f.Length) > uint64(NoID) {
			return nil, fmt.Errorf("%d:%d is no range of 32-bit ids", f.Start, f.Length)
		}
		if f.Length > 0 {
			ranges = append(ranges, Range{Start: uint32(f.Start), Count: uint32(f.Length)})
		}
	}
	return ranges, nil
}

// Name returns the name of a uid, "" when it has none. It is for Ranges: a
// name that is not found leaves the uid to be matched.
func Name(uid uint32) string {
	if f, err := os.Open(passwdPath); err == nil {
		defer f.Close()
		if name := nameIn(f, uid); name != "" {
			return name
		}
	}
	// The users of a directory are not in the file.
	return askName(uid)
}

// nameIn looks a uid up in the lines of passwd(5); the first one counts, as
// with getpwuid(3).
func nameIn(passwd io.Reader, uid uint32) string {
	want := strconv.FormatUint(uint64(uid), 10)
	lines := bufio.NewScanner(passwd)
	for lines.Scan() {
		name, rest, _ := strings.Cut(lines.Text(), ":")
		_, rest, _ = strings.Cut(rest, ":")
		id, _, complete := strings.Cut(rest, ":")
		// "+" and "-" begin the entries of NIS.
		if complete && id == want && !strings.HasPrefix(name, "+") && !strings.HasPrefix(name, "-") {
			return name
		}
	}
	return ""
}

// subidSource returns where a host keeps its subordinate ids: "files" unless
// nsswitch.conf says otherwise.
func subidSource(path string) (string, error) {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return "files", nil
	}
	if err != nil {
		return "", err
	}
	defer f.Close()
	conf, err := io.ReadAll(io.LimitReader(f, nsswitchLimit))
	if err != nil {
		return "", err
	}
	return sourceIn(string(conf)), nil
}

// sourceIn reads as libsubid does, for newuidmap decides by that: one source,
// of the first line that has any.
func sourceIn(conf string) string {
	const key = "subid:"
	for line := range strings.Lines(conf) {
		if len(line) < len(key) || !strings.EqualFold(line[:len(key)], key) {
			continue
		}
		line, _, _ = strings.Cut(line[len(key):], "#")
		if sources := strings.Fields(line); len(sources) > 0 {
			return sources[0]
		}
	}
	return "files"
}

// Has says whether the user has a line in the file of one kind: Ranges is empty
// when either has none.
func Has(kind Kind, uid uint32, name string) bool {
	path := "/etc/subuid"
	if kind == GID {
		path = "/etc/subgid"
	}
	content, err := os.ReadFile(path)
	if err != nil {
		return false
	}
	for line := range strings.Lines(string(content)) {
		owner, _, _ := strings.Cut(line, ":")
		if owner == strconv.FormatUint(uint64(uid), 10) || (name != "" && owner == name) {
			return true
		}
	}
	return false
}
