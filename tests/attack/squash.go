package main

import (
	"errors"
	"fmt"
	"math"
	"os"
	"os/exec"
	"path"
	"time"

	"golang.org/x/sys/unix"
)

// squash turns against who answers for a container in which owners are made up:
// it has that one look for files of the host, through links that change and
// descriptors, and tells it nonsense. What is outside the caller looks at itself.
func squash(r *report, args []string) {
	secret, seconds := args[0], time.Second
	names := []string{secret, "/proc/1/root/.." + secret, "/proc/1/cwd/.." + secret, "/proc/self/cwd/../.." + secret, "/proc/thread-self/root" + secret}
	for fd := range 16 {
		names = append(names, fmt.Sprintf("/proc/self/fd/%d/..%s", fd, secret), fmt.Sprintf("/proc/self/fd/%d/%s", fd, path.Base(secret)))
	}
	for _, name := range names {
		r.try("chown of "+name, unix.Chown(name, foreign, foreign))
		r.try("mknod beside "+name, unix.Mknod(name+"-device", unix.S_IFCHR, int(unix.Mkdev(1, 3))))
	}
	for fd := range 16 {
		var st unix.Stat_t
		err := unix.Fstatat(fd, "../.."+secret, &st, 0)
		r.try(fmt.Sprintf("the host's file from descriptor %d", fd), err)
	}
	race(path.Dir(secret), path.Base(secret), seconds)
	if os.Getenv("NONSENSE") == "" { // it may lose its user
		again := exec.Command("/proc/self/exe", "squash", secret)
		again.Env = append(os.Environ(), "NONSENSE=1")
		_ = again.Run()
	} else {
		nonsense()
	}
	r.try("silence", silent())
}

// foreign is nobody's number.
const foreign = 4242

// race chowns by a path whose directory is now one inside, and now a link to
// another one.
func race(outside, name string, length time.Duration) {
	dir, err := os.MkdirTemp("/tmp", "race")
	if err != nil {
		return
	}
	inside, link := dir+"/a", dir+"/b"
	if os.Mkdir(inside, 0o755) != nil || os.WriteFile(inside+"/"+name, nil, 0o644) != nil || os.Symlink(outside, link) != nil {
		return
	}
	end := time.Now().Add(length)
	go func() {
		for time.Now().Before(end) {
			_ = unix.Renameat2(unix.AT_FDCWD, inside, unix.AT_FDCWD, link, unix.RENAME_EXCHANGE)
		}
	}()
	for time.Now().Before(end) {
		_ = unix.Chown(inside+"/"+name, foreign, foreign)
		_ = unix.Lchown(link, foreign, foreign)
		_ = unix.Mknod(inside+"/device", unix.S_IFBLK, 1)
	}
}

// nonsense has arguments that lead nowhere, and limits that are no users.
func nonsense() {
	open := []byte("/tmp") // and no end
	size := os.Getpagesize()
	page, err := unix.MmapPtr(-1, 0, nil, uintptr(size), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANON)
	if err != nil {
		return
	}
	base, last := uintptr(page), uintptr(page)+uintptr(size-len(open))
	local := []unix.Iovec{{Base: &open[0]}}
	local[0].SetLen(len(open))
	if _, err := unix.ProcessVMWritev(os.Getpid(), local, []unix.RemoteIovec{{Base: last, Len: len(open)}}, 0); err != nil {
		return
	}
	values := []uintptr{0, 1, ^uintptr(0), ^uintptr(0) - 100, ^uintptr(0) - 4095, ^uintptr(0) >> 1, 1 << 31, 1<<32 - 1, base, last}
	for _, call := range []uintptr{
		unix.SYS_FCHOWNAT, unix.SYS_FCHOWN, unix.SYS_FSTAT, unix.SYS_STATX, unix.SYS_MKNODAT, unix.SYS_OPENAT2, unix.SYS_GETRESUID,
		unix.SYS_GETGROUPS, unix.SYS_SETGROUPS, unix.SYS_SETRESUID, unix.SYS_SETREGID, unix.SYS_SETFSUID, unix.SYS_SYMLINKAT,
	} {
		for i := range 3000 {
			at := func(n int) uintptr { return values[(i/n+i*7)%len(values)] }
			_, _, _ = unix.RawSyscall6(call, at(1), at(10), at(100), at(1000), 0, 0)
			limit := unix.Rlimit{Cur: uint64(i), Max: math.MaxUint64}
			_ = unix.Prlimit(0, unix.RLIMIT_LOCKS, &limit, nil)
		}
	}
}

// silent fails with what shows that somebody still answers, rightly.
func silent() error {
	const name = "/tmp/answered"
	var st unix.Stat_t
	if os.WriteFile(name, nil, 0o644) == nil && unix.Chown(name, foreign, foreign) == nil && unix.Stat(name, &st) == nil &&
		st.Uid == foreign && unix.Getuid() == 0 {
		return errors.New("it answers")
	}
	return nil
}
