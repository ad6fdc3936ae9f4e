package main

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

var errNot = errors.New("not there")

// files looks for a file of the host, by its path there and by its name, from
// all descriptors of all processes (CVE-2016-9962, CVE-2024-21626).
func files(r *report, args []string) {
	path := args[0]
	found := 0
	links, _ := filepath.Glob("/proc/[0-9]*/fd/*")
	for _, link := range append(links, handles()...) {
		fd, err := unix.Open(link, unix.O_PATH|unix.O_CLOEXEC, 0)
		if err != nil {
			continue
		}
		for _, name := range []string{filepath.Base(path), strings.TrimPrefix(path, "/")} {
			if at, err := unix.Openat(fd, name, unix.O_RDONLY|unix.O_CLOEXEC, 0); err == nil {
				found++
				r.try(link+"/"+name, nil)
				_ = unix.Close(at)
			}
		}
		_ = unix.Close(fd)
	}
	if found == 0 {
		r.try(fmt.Sprintf("%s through %d descriptors", path, len(links)), errNot)
	}
}

// handles are what else leads somewhere, of every process.
func handles() []string {
	var list []string
	for _, name := range []string{"cwd", "root"} {
		links, _ := filepath.Glob("/proc/[0-9]*/" + name)
		list = append(list, links...)
	}
	return list
}

// directory looks for a file below and above the working directory, which must
// be in the root.
func directory(r *report, args []string) {
	buffer := make([]byte, unix.PathMax)
	n, err := unix.Getcwd(buffer)
	at := strings.TrimRight(string(buffer[:max(n, 0)]), "\x00")
	switch {
	case err != nil:
		r.try("a working directory outside", err)
	case !strings.HasPrefix(at, "/"):
		r.try("the working directory "+at, nil)
	default:
		r.try("a working directory outside", errNot)
	}
	for _, above := range []string{"", "../", "../../", "../../../"} {
		_, err := os.Stat(above + args[0])
		r.try(above+args[0], err)
	}
}

// executables changes the mode of what every process executes that is not the
// container's own, and its content where that can be opened (CVE-2019-5736).
func executables(r *report, _ []string) {
	links, _ := filepath.Glob("/proc/[0-9]*/exe")
	for _, link := range links {
		its, err := os.Stat(link)
		if path, err2 := os.Readlink(link); err == nil && err2 == nil {
			if inside, err := os.Stat(path); err == nil && os.SameFile(inside, its) {
				continue
			}
		}
		if err == nil {
			err = os.Chmod(link, 0o711)
		}
		r.try("the mode of "+link, err)
		file, err := os.OpenFile(link, os.O_WRONLY, 0)
		if err == nil {
			_, err = file.WriteString("#!")
			_ = file.Close()
		}
		r.try("the content of "+link, err)
	}
}

// read looks for a mark in a file.
func read(r *report, args []string) {
	text, err := os.ReadFile(args[0])
	if err == nil && !bytes.Contains(text, []byte(args[1])) {
		err = errNot
	}
	r.try(args[1]+" in "+args[0], err)
}

// control looks for files whose names hold a mark, below a directory and on all
// its mounts, and, with one more argument, for sockets: interfaces that steer
// containers.
func control(r *report, args []string) {
	const most = 200_000 // entries
	seen := 0
	_ = filepath.WalkDir(args[1], func(path string, entry fs.DirEntry, err error) error {
		if seen++; seen > most || err != nil {
			return nil //nolint:nilerr // what cannot be entered is out of reach
		}
		if entry.IsDir() && strings.HasPrefix(path, "/proc/") {
			return fs.SkipDir
		}
		if socket := entry.Type()&fs.ModeSocket != 0 && len(args) > 2; socket || strings.Contains(entry.Name(), args[0]) {
			r.try(path, nil)
		}
		return nil
	})
	r.try(fmt.Sprintf("%s among %d files", args[0], seen), errNot)
	if len(args) > 2 {
		sockets(r)
	}
}

// sockets looks for any that the network namespace has, but for those of TCP and
// UDP.
func sockets(r *report) {
	const named = 7 // fields, before a name
	for _, table := range []string{"unix", "packet", "netlink"} {
		text, err := os.ReadFile("/proc/net/" + table)
		for line := range strings.Lines(string(text)) {
			if fields := strings.Fields(line); table == "unix" && len(fields) > named && fields[named] != "Path" {
				r.try("socket "+fields[named], nil)
			}
		}
		r.try("a socket of /proc/net/"+table, errors.Join(errNot, err))
	}
}

// lease has the kernel ask this process before anybody may open a file, and does
// not answer: fcntl(2).
func lease(r *report, paths []string) {
	for _, path := range paths {
		file, err := os.OpenFile(path, os.O_RDWR, 0)
		if err == nil {
			_, err = unix.FcntlInt(file.Fd(), unix.F_SETLEASE, unix.F_WRLCK)
		}
		r.try(path, err)
	}
	const long = 1000 * time.Second
	time.Sleep(long)
}
