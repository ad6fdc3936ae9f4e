package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

// site is the directory in which everything happens: the root file system, and
// the home, runtime and state directories of the tools. It is the user's.
type site struct{ dir string }

func (s site) root() string             { return filepath.Join(s.dir, "root") }
func (s site) files() string            { return filepath.Join(s.dir, "files") }
func (s site) home() string             { return filepath.Join(s.dir, "home") }
func (s site) runtime() string          { return filepath.Join(s.dir, "run") }
func (s site) bundles() string          { return filepath.Join(s.dir, "bundles") }
func (s site) state(tool string) string { return filepath.Join(s.dir, "state", tool) }

// environment is what every tool starts with.
func (s site) environment() []string {
	return []string{
		"PATH=" + searchPath(),
		"HOME=" + s.home(),
		"XDG_RUNTIME_DIR=" + s.runtime(),
		"LANG=C",
	}
}

// searchPath has the system's directories too, where some tools live that users
// run.
func searchPath() string { return os.Getenv("PATH") + ":/usr/sbin:/sbin" }

// make fills the site: a root file system of one busybox with the few commands
// that the payloads use, and the mount points that the tools want.
func (s site) make(busybox string) error {
	for _, dir := range []string{
		"root/bin", "root/proc", "root/sys", "root/dev", "root/etc", "root/tmp", "root/run", "root/root", "root/var",
		"files", "home", "bundles", "state/crun", "state/runc",
	} {
		if err := os.MkdirAll(filepath.Join(s.dir, dir), 0o755); err != nil {
			return err
		}
	}
	if err := os.Mkdir(s.runtime(), 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	for _, name := range []string{"hosts", "hostname", "resolv.conf"} {
		for _, dir := range []string{s.files(), filepath.Join(s.root(), "etc")} {
			if err := os.WriteFile(filepath.Join(dir, name), []byte("# bench\n"), 0o644); err != nil { //nolint:gosec // containers read it as other users
				return err
			}
		}
	}
	if err := copyFile(busybox, filepath.Join(s.root(), "bin/busybox")); err != nil {
		return err
	}
	for _, applet := range []string{"sh", "true", "sleep", "sed", "readlink"} {
		if err := os.Symlink("busybox", filepath.Join(s.root(), "bin", applet)); err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
	}
	return nil
}

// payload is what runs in a container.
type payload struct {
	name string
	argv []string
}

func truePayload() payload  { return payload{"true", []string{"/bin/true"}} }
func probePayload() payload { return payload{"probe", []string{"/bin/sh", "-c", probeScript()}} }

// sleepPayload prints an empty line when it runs. The length of its sleep is
// the bench's mark on it, see isPayload.
func sleepPayload() payload {
	return payload{"sleep", []string{"/bin/sh", "-c", "echo; exec sleep " + nap()}}
}

// nap is longer than any measurement takes, and no round number.
func nap() string { return "1861" }

// isPayload tells the payload of sleepPayload, once it runs, from the processes
// of the tool.
func isPayload(cmdline string) bool { return cmdline == "sleep\x00"+nap()+"\x00" }

// copyFile copies an executable.
func copyFile(from, to string) (err error) {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o755) //nolint:gosec // a path of our own making, and others run it
	if errors.Is(err, syscall.ETXTBSY) {
		return nil // it is there from before, and runs
	}
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, out.Close()) }()
	if _, err = io.Copy(out, in); err == nil {
		err = out.Sync() // pages that are to be written yet would count as the memory of who runs it
	}
	return err
}

// firstLine returns the first line with something in it of what a tool printed.
func firstLine(printed string) string {
	for line := range strings.Lines(printed) {
		if line = strings.TrimSpace(line); line != "" {
			return line
		}
	}
	return ""
}

// told adds a tool's own words to an error.
func told(err error, printed string) error {
	if line := complaint(printed); line != "" {
		return fmt.Errorf("%w: %s", err, line)
	}
	return err
}

// complaint returns the line that says what went wrong: the first that is no
// mere warning.
func complaint(printed string) string {
	for line := range strings.Lines(printed) {
		if line = strings.TrimSpace(line); line != "" && !strings.Contains(line, "level=warning") {
			return line
		}
	}
	return firstLine(printed)
}
