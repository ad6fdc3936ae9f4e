package launch

import (
	"fmt"
	"io"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"bryo/idmap"
	"bryo/rootless"
	"bryo/rootless/program"
)

// A HelperError is newuidmap or newgidmap refusing a map.
type HelperError struct {
	Tool   string // its path
	Status int    // exit status, 128+n for a signal
	Text   string // what it said, one line
}

func (e *HelperError) Error() string {
	if e.Text == "" {
		return fmt.Sprintf("%s ended with status %d", e.Tool, e.Status)
	}
	return e.Text
}

// helper is one running newuidmap or newgidmap.
type helper struct {
	path  string
	child *program.Child
	said  pipe
}

// mapIDs has both helpers write the child's maps, at the same time.
func mapIDs(plan *rootless.Plan, pid int) error {
	jobs := []struct {
		path string
		ids  idmap.Map
	}{{plan.Helpers.UID, plan.IDs.Maps.UID}, {plan.Helpers.GID, plan.IDs.Maps.GID}}
	var running []*helper
	var first error
	for _, job := range jobs {
		h, err := startHelper(job.path, append([]string{job.path, strconv.Itoa(pid)}, job.ids.Args()...))
		if err != nil {
			first = err
			break
		}
		running = append(running, h)
	}
	for _, h := range running {
		if err := h.wait(); err != nil && first == nil {
			first = err
		}
	}
	return first
}

// startHelper executes the helper with what it says going into a pipe. Its
// environment is empty: it is set-user-ID.
func startHelper(path string, argv []string) (*helper, error) {
	said, err := newPipe()
	if err != nil {
		return nil, err
	}
	p := &program.Program{} // a few calls: New makes room for a whole launch
	p.Step("run", path)
	p.Dup3(program.FD(said.write.fd()), 2, 0)
	resetSignals(p)
	p.Execve(path, p.Strings(argv), p.Strings(nil))
	child, err := program.Start(p, 0, said.write.fd())
	if err != nil {
		said.close()
		return nil, err
	}
	said.write.close()
	return &helper{path: path, child: child, said: said}, nil
}

// wait waits for the helper; its word is at most a few lines.
func (h *helper) wait() error {
	defer h.said.close()
	const most = 4096
	text, _ := io.ReadAll(io.LimitReader(program.Pipe(h.said.read.fd()), most))
	status, err := wait(h.child.PID)
	_ = unix.Close(h.child.PIDFD)
	_ = h.child.Release()
	if err != nil {
		return err
	}
	if status == 0 {
		return nil
	}
	line, _, _ := strings.Cut(strings.TrimSpace(string(text)), "\n")
	return &HelperError{h.path, exitCode(status), line}
}

// exitCode is the shell's: the status, or 128+n for a signal.
func exitCode(status unix.WaitStatus) int {
	if status.Signaled() {
		return 128 + int(status.Signal())
	}
	return status.ExitStatus()
}
