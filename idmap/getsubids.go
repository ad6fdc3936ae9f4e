package idmap

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"time"
)

const (
	// A directory server that does not answer must not hang the start.
	askTimeout = 10 * time.Second
	// A user has a few ranges, of some forty bytes each.
	askLimit = 64 << 10
)

// askSubids asks getsubids(1) for both kinds at once, since an answer may take
// as long as a directory server does.
func askSubids(self Identity, name string) (uids, gids []Range, err error) {
	path, err := find("getsubids", programDirs())
	if err != nil {
		return nil, nil, err
	}
	if name == "" {
		name = strconv.FormatUint(uint64(self.UID), 10)
	}
	forUIDs, err := ask(path, name)
	if err != nil {
		return nil, nil, err
	}
	forGIDs, err := ask(path, "-g", name)
	if err != nil {
		_, _, _ = forUIDs.answer()
		return nil, nil, err
	}
	uids, uidErr := forUIDs.ranges()
	gids, gidErr := forGIDs.ranges()
	if err := errors.Join(uidErr, gidErr); err != nil {
		return nil, nil, err
	}
	return uids, gids, nil
}

// askName asks getent(1), which knows the users of every source.
func askName(uid uint32) string {
	path, err := find("getent", programDirs())
	if err != nil {
		return ""
	}
	q, err := ask(path, "passwd", strconv.FormatUint(uint64(uid), 10))
	if err != nil {
		return ""
	}
	// Its status for a uid without a name comes with no output.
	out, _, err := q.answer()
	if err != nil {
		return ""
	}
	return nameIn(bytes.NewReader(out), uid)
}

// question is a program that was started for its output. answer must be
// called, for it reaps.
type question struct {
	name    string
	process *os.Process
	output  *os.File
}

// ask starts a program. os/exec would do the same, at a cost in each start of
// the executable that nearly none makes up for by getting here.
func ask(path string, args ...string) (*question, error) {
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	defer null.Close()
	output, input, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer input.Close()
	process, err := os.StartProcess(path, append([]string{path}, args...), &os.ProcAttr{
		Env:   []string{"LC_ALL=C"},
		Files: []*os.File{null, input, null},
	})
	if err != nil {
		return nil, errors.Join(err, output.Close())
	}
	return &question{name: path, process: process, output: output}, nil
}

// answer returns what the program wrote and its exit status. To be killed is an
// error.
func (q *question) answer() (out []byte, status int, err error) {
	defer q.output.Close()
	err = q.output.SetReadDeadline(time.Now().Add(askTimeout))
	if err == nil {
		out, err = io.ReadAll(io.LimitReader(q.output, askLimit))
	}
	if err != nil || len(out) == askLimit {
		// It may have ended meanwhile, which is as good.
		_ = q.process.Kill()
	}
	state, waitErr := q.process.Wait()
	if err := errors.Join(err, waitErr); err != nil {
		return nil, 0, fmt.Errorf("%s: %w", q.name, err)
	}
	if !state.Exited() {
		return nil, 0, fmt.Errorf("%s: %s", q.name, state)
	}
	return out, state.ExitCode(), nil
}

// ranges reads the answer of getsubids, which ends silently with status 1 for
// a user without ranges.
func (q *question) ranges() ([]Range, error) {
	out, status, err := q.answer()
	if err != nil {
		return nil, err
	}
	if status == 1 && len(out) == 0 {
		return nil, nil
	}
	if status != 0 {
		return nil, fmt.Errorf("%s: exit status %d", q.name, status)
	}
	ranges, err := parseSubids(string(out))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", q.name, err)
	}
	return ranges, nil
}

// parseSubids reads lines of the form
//
//	0: user 100000 65536
//
// where the names of a directory may hold spaces.
func parseSubids(out string) ([]Range, error) {
	var ranges []Range
	for line := range strings.Lines(out) {
		index, rest, _ := strings.Cut(line, ":")
		fields := strings.Fields(rest)
		if _, err := parseNumber(index); err != nil || len(fields) < 3 {
			return nil, fmt.Errorf("%q is not of the form INDEX: USER START COUNT", line)
		}
		start, err := ParseID(fields[len(fields)-2])
		if err != nil {
			return nil, fmt.Errorf("%q: start: %w", line, err)
		}
		count, err := parseNumber(fields[len(fields)-1])
		if err != nil {
			return nil, fmt.Errorf("%q: count: %w", line, err)
		}
		if count > 0 {
			ranges = append(ranges, Range{Start: start, Count: count})
		}
	}
	return ranges, nil
}
