package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// terminal puts a key into the queue of the terminal on standard input
// (CVE-2017-5226), also with what the kernel cuts off the request (CVE-2019-10063).
func terminal(r *report, _ []string) {
	r.try("TIOCSTI", unix.IoctlSetPointerInt(0, unix.TIOCSTI, 'x'))
	if bits := strconv.IntSize; bits > 32 {
		high := uint64(1)<<32 | unix.TIOCSTI
		r.try("TIOCSTI with more bits", unix.IoctlSetPointerInt(0, uint(high), 'x'))
	}
	r.try("TIOCLINUX", unix.IoctlSetPointerInt(0, unix.TIOCLINUX, 3))
}

// become tells whether this is a user.
func become(r *report, args []string) {
	var err error
	if id := strconv.Itoa(os.Geteuid()); id != args[0] {
		err = errors.New("is " + id)
	}
	r.try("user "+args[0], err)
}

// elevated looks for rights that an ordinary user's command has no use for.
func elevated(r *report, _ []string) {
	text, err := os.ReadFile("/proc/self/status")
	if err != nil {
		r.try("/proc/self/status", err)
		return
	}
	for _, name := range []string{"CapInh", "CapAmb"} {
		_, rest, _ := strings.Cut(string(text), name+":\t")
		set, _, _ := strings.Cut(rest, "\n")
		if strings.Trim(set, "0") == "" {
			r.try(name, errNot)
		} else {
			r.try(name+" "+set, nil)
		}
	}
	if groups, _ := os.Getgroups(); len(groups) > 0 && strings.Contains(fmt.Sprint(groups), "65534") {
		r.try("groups of the host", nil)
	} else {
		r.try("groups of the host", errNot)
	}
	r.try("new privileges", noNewPrivs())
}

func noNewPrivs() error {
	value, err := unix.PrctlRetInt(unix.PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0)
	if err == nil && value == 1 {
		err = errNot
	}
	return err
}

// cgroup compares its namespace with the host's, and writes where it may.
func cgroup(r *report, args []string) {
	link, err := os.Readlink("/proc/self/ns/cgroup")
	if err == nil && link != args[0] {
		err = errNot
	}
	r.try("the host's cgroup namespace", err)
	for _, pattern := range []string{"/sys/fs/cgroup/*", "/sys/fs/cgroup/*/*"} {
		paths, _ := filepath.Glob(pattern)
		for _, path := range paths {
			if unix.Access(path, unix.W_OK) == nil {
				r.try(path, nil)
			}
		}
	}
	r.try("a mount of cgroup2", unix.Mount("cgroup", "/tmp", "cgroup2", 0, ""))
	r.try("a mount of cgroup", unix.Mount("cgroup", "/tmp", "cgroup", 0, "rdma")) // CVE-2022-0492
}

// environment looks for a mark in every process' variables.
func environment(r *report, args []string) {
	names, _ := filepath.Glob("/proc/[0-9]*/environ")
	for _, name := range names {
		read(r, []string{name, args[0]})
	}
}

// processes looks into every other process and takes it over.
func processes(r *report, _ []string) {
	dirs, _ := filepath.Glob("/proc/[0-9]*")
	for _, dir := range dirs {
		pid, _ := strconv.Atoi(filepath.Base(dir))
		if pid == os.Getpid() {
			continue
		}
		err := unix.PtraceAttach(pid)
		if err == nil {
			_, _ = unix.Wait4(pid, nil, 0, nil)
			_ = unix.PtraceDetach(pid)
		}
		r.try(fmt.Sprintf("tracing %d", pid), err)
		for _, name := range []string{"mem", "environ", "maps"} {
			file, err := os.Open(filepath.Join(dir, name))
			if err == nil {
				if name != "mem" {
					_, err = file.Read(make([]byte, 1))
				}
				_ = file.Close()
			}
			r.try(filepath.Join(dir, name), err)
		}
		for _, name := range []string{"root", "cwd", "exe", "ns/mnt"} {
			_, err := os.Readlink(filepath.Join(dir, name))
			r.try(filepath.Join(dir, name), err)
		}
	}
}

// hunt watches for processes that enter the container, and looks into them
// before they have become what they are to execute.
func hunt(r *report, args []string) {
	seconds, _ := strconv.Atoi(args[0])
	caught, seen, self := 0, map[string]bool{}, fmt.Sprintf("/proc/%d", os.Getpid())
	for end := time.Now().Add(time.Duration(seconds) * time.Second); time.Now().Before(end); {
		dirs, _ := filepath.Glob("/proc/[0-9]*")
		for _, dir := range dirs {
			seen[dir] = true
			if dir == self {
				continue
			}
			its, err := os.Readlink(dir + "/exe")
			if err == nil && !strings.HasPrefix(its, "/bin/") && !strings.HasPrefix(its, "/memfd:bryo-init") { // PID 1, which a tracer may see
				caught++
				r.try(dir+"/exe "+its, nil)
			}
			for _, what := range descriptorsOf(dir) {
				caught++
				r.try(what, nil)
			}
		}
	}
	if caught == 0 {
		r.try(fmt.Sprintf("one of %d processes", len(seen)), errNot)
	}
}

// descriptorsOf are those of a process that it has not for its command, but for
// a pipe. Their numbers show for a moment of execve(2); what they are may not.
func descriptorsOf(dir string) (list []string) {
	open, _ := os.ReadDir(dir + "/fd")
	for _, fd := range open {
		to, err := os.Readlink(dir + "/fd/" + fd.Name())
		standard := fd.Name() == "0" || fd.Name() == "1" || fd.Name() == "2"
		if err == nil && !standard && !strings.HasPrefix(to, "pipe:") {
			list = append(list, fmt.Sprintf("descriptor %s of %s: %s", fd.Name(), dir, to))
		}
	}
	return list
}
