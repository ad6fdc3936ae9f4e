package tests

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
)

// busybox is what most root file systems of the stories are made of: one
// static executable.
const busybox = "/bin/busybox"

// applets lists busybox' commands.
var applets = sync.OnceValues(func() ([]string, error) {
	out, err := exec.Command(busybox, "--list").Output()
	return strings.Fields(string(out)), err
})

// A busybox root has users and groups to choose from, and files whose content
// a story can tell from what bryo puts over them.
func accounts() map[string]string {
	return map[string]string{
		"etc/passwd": "root:x:0:0:root:/root:/bin/sh\n" +
			"alice:x:1000:1000:Alice:/home/alice:/bin/sh\n" +
			"nobody:x:65534:65534:nobody:/:/bin/false\n",
		"etc/group": "root:x:0:\nstaff:x:50:alice\nwheel:x:10:alice,root\nalice:x:1000:\n",
		"etc/motd":  "a root file system of busybox\n",
	}
}

// makeBusyboxRoot makes a root file system without the mount points, which
// bryo makes.
func makeBusyboxRoot(dir string) error {
	names, err := applets()
	if err != nil {
		return fmt.Errorf("%s --list: %w", busybox, err)
	}
	for _, name := range []string{"bin", "etc", "home/alice", "root", "srv", "tmp", "var/tmp"} {
		if err := os.MkdirAll(filepath.Join(dir, name), 0o755); err != nil {
			return err
		}
	}
	for name, text := range accounts() {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			return err
		}
	}
	for _, name := range names {
		if name == "busybox" {
			continue
		}
		if err := os.Symlink("busybox", filepath.Join(dir, "bin", name)); err != nil {
			return err
		}
	}
	return errors.Join(copyFile(busybox, filepath.Join(dir, "bin/busybox")), os.Chmod(filepath.Join(dir, "tmp"), 0o1777))
}

func copyFile(from, to string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer func() { _ = in.Close() }()
	out, err := os.OpenFile(to, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o755)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Close())
}

// cache is where tests/setup puts root file systems.
func cache() string {
	if dir := os.Getenv("BRYO_TEST_CACHE"); dir != "" {
		return dir
	}
	return "/var/cache/bryo-test"
}

// debianArchive is an archive of a Debian root file system.
func debianArchive() string { return filepath.Join(cache(), "rootfs/debian.tar") }

// hasSubids says whether the user has subordinate ids.
var hasSubids = sync.OnceValue(func() bool {
	self, err := user.Current()
	if err != nil {
		return false
	}
	for _, file := range []string{"/etc/subuid", "/etc/subgid"} {
		text, _ := os.ReadFile(file)
		has := false
		for line := range strings.Lines(string(text)) {
			name, _, _ := strings.Cut(line, ":")
			has = has || name == self.Username || name == strconv.Itoa(os.Getuid())
		}
		if !has {
			return false
		}
	}
	return true
})

// mapped runs a command as the root of a user namespace of all the user's ids.
// Unshare(1) stands in for what is under test.
func mapped(args ...string) error {
	cmd := exec.Command("unshare", append([]string{"--map-auto", "--map-root-user", "--"}, args...)...)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w\n%s", cmd, err, out)
	}
	return nil
}

// removeMapped removes a directory, whoever of the user's ids owns what.
func removeMapped(dir string) error {
	if os.RemoveAll(dir) == nil {
		return nil
	}
	if hasSubids() && os.Getuid() != 0 {
		return mapped("rm", "-rf", dir)
	}
	// What is left is the user's own, in directories without the permission.
	_ = filepath.WalkDir(dir, func(path string, entry os.DirEntry, _ error) error {
		if entry != nil && entry.IsDir() {
			return os.Chmod(path, 0o700)
		}
		return nil
	})
	return os.RemoveAll(dir)
}
