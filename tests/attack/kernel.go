package main

import (
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// dial connects to what is the host's.
func dial(r *report, args []string) {
	const most = 2 * time.Second
	for _, address := range args[1:] {
		c, err := net.DialTimeout(args[0], address, most)
		if err == nil {
			_ = c.Close()
		}
		r.try(args[0]+" "+address, err)
	}
}

// gateway looks for an interface that the network's other end serves.
func gateway(r *report, args []string) {
	const wide, most = 256, time.Second
	ports, _ := strconv.Atoi(args[1])
	var all sync.WaitGroup
	var mu sync.Mutex
	slots := make(chan struct{}, wide)
	open := 0
	for port := 1; port <= ports; port++ {
		slots <- struct{}{}
		all.Go(func() {
			defer func() { <-slots }()
			address := net.JoinHostPort(args[0], strconv.Itoa(port))
			c, err := net.DialTimeout("tcp", address, most)
			if err != nil {
				return
			}
			_ = c.Close()
			mu.Lock()
			defer mu.Unlock()
			open++
			r.try("tcp "+address, nil)
		})
	}
	all.Wait()
	if open == 0 {
		r.try(fmt.Sprintf("one of %d ports", ports), errNot)
	}
}

// surface makes system calls that containers have no need for. One that fails
// for its arguments has been let through.
func surface(r *report, _ []string) {
	for _, c := range []struct {
		name   string
		number uintptr
		arg    uintptr
	}{
		{"io_uring_setup", unix.SYS_IO_URING_SETUP, 1},
		{"userfaultfd", unix.SYS_USERFAULTFD, 1},
		{"bpf", unix.SYS_BPF, 0},
		{"perf_event_open", unix.SYS_PERF_EVENT_OPEN, 0},
		{"keyctl", unix.SYS_KEYCTL, 0},
		{"add_key", unix.SYS_ADD_KEY, 0},
		{"request_key", unix.SYS_REQUEST_KEY, 0},
		{"unshare of a user namespace", unix.SYS_UNSHARE, unix.CLONE_NEWUSER},
		{"fsopen", unix.SYS_FSOPEN, 0},
		{"open_by_handle_at", unix.SYS_OPEN_BY_HANDLE_AT, 0},
		{"kexec_load", unix.SYS_KEXEC_LOAD, 0},
		{"move_pages", unix.SYS_MOVE_PAGES, 0},
		{"clone3", unix.SYS_CLONE3, 0},
	} {
		_, _, errno := unix.RawSyscall(c.number, c.arg, 0, 0)
		r.try(c.name, passed(errno))
	}
	for _, c := range []struct {
		name          string
		family, flags int
	}{{"AF_ALG", unix.AF_ALG, unix.SOCK_SEQPACKET}, {"AF_VSOCK", unix.AF_VSOCK, unix.SOCK_STREAM}, {"AF_PACKET", unix.AF_PACKET, unix.SOCK_RAW}} {
		fd, err := unix.Socket(c.family, c.flags|unix.SOCK_CLOEXEC, 0)
		if err == nil {
			_ = unix.Close(fd)
		}
		r.try("socket "+c.name, err)
	}
}

// passed is nil for a call that a filter let through.
func passed(errno unix.Errno) error {
	if errno == unix.EPERM || errno == unix.ENOSYS || errno == unix.EACCES {
		return errno
	}
	return nil
}

// kernel reads what tells of the host, and opens what steers it.
func kernel(r *report, _ []string) {
	for _, path := range []string{
		"/proc/keys", "/proc/key-users", "/proc/kallsyms", "/proc/kcore", "/proc/interrupts", "/proc/config.gz", "/proc/timer_list",
		"/proc/sched_debug", "/proc/vmallocinfo", "/proc/mtrr", "/proc/latency_stats",
		"/sys/kernel/notes", "/sys/kernel/vmcoreinfo", "/sys/firmware/acpi/tables/DSDT", "/sys/kernel/debug/x86/tlb_defer_switch_to_init_mm",
	} {
		file, err := os.Open(path)
		if err == nil {
			_, err = file.Read(make([]byte, 1))
			_ = file.Close()
		}
		r.try(path, err)
	}
	writable := 0
	for _, top := range []string{"/proc/sys", "/proc/irq", "/proc/bus", "/proc/fs", "/proc/driver", "/sys"} {
		_ = filepath.WalkDir(top, func(path string, entry fs.DirEntry, err error) error {
			if err != nil || !entry.Type().IsRegular() {
				return nil //nolint:nilerr // what cannot be entered is out of reach
			}
			if fd, err := unix.Open(path, unix.O_WRONLY|unix.O_CLOEXEC|unix.O_NONBLOCK, 0); err == nil {
				its := unix.Stat_t{}
				err := unix.Fstat(fd, &its)
				_ = unix.Close(fd)
				if err == nil && its.Mode&unix.S_IFMT == unix.S_IFREG { // and no mask
					writable++
					r.try("write "+path, nil)
				}
			}
			return nil
		})
	}
	fd, err := unix.Open("/proc/sysrq-trigger", unix.O_WRONLY|unix.O_CLOEXEC, 0)
	if err == nil {
		_ = unix.Close(fd)
	}
	r.try("write /proc/sysrq-trigger", err)
	if writable == 0 {
		r.try("a file below /proc/sys and /sys", errNot)
	}
}

// nested looks behind masks, here and in namespaces of its own: with a fresh
// proc or sysfs, and with the masks taken off.
func nested(r *report, _ []string) {
	uncover(r, []string{""})
	for name, flags := range map[string]uintptr{
		" in a mount namespace": unix.CLONE_NEWNS,
		" in a user namespace":  unix.CLONE_NEWUSER | unix.CLONE_NEWNS | unix.CLONE_NEWPID | unix.CLONE_NEWNET,
	} {
		cmd := exec.Command("/proc/self/exe", "uncover", name)
		cmd.Stdout, cmd.SysProcAttr = r.out, &syscall.SysProcAttr{Cloneflags: flags}
		if flags&unix.CLONE_NEWUSER != 0 {
			id := []syscall.SysProcIDMap{{HostID: os.Getuid(), Size: 1}}
			cmd.SysProcAttr.UidMappings, cmd.SysProcAttr.GidMappings = id, id
		}
		if err := cmd.Run(); err != nil {
			r.try("a look behind"+name, err)
		}
	}
}

func uncover(r *report, args []string) {
	where := args[0]
	for _, kind := range []string{"proc", "sysfs"} {
		err := unix.Mount(kind, "/tmp", kind, 0, "")
		if err == nil {
			_ = unix.Unmount("/tmp", unix.MNT_DETACH)
		}
		r.try("a fresh "+kind+where, err)
	}
	for _, path := range []string{"/proc/keys", "/proc/kallsyms", "/proc/kcore", "/proc/sys", "/sys/firmware"} {
		r.try("uncovering "+path+where, unix.Unmount(path, unix.MNT_DETACH))
	}
	r.try("making /proc/sys writable"+where, unix.Mount("", "/proc/sys", "", unix.MS_REMOUNT|unix.MS_BIND, ""))
}

// keys looks for a key of the caller's in the key rings that everybody of a user
// shares.
func keys(r *report, args []string) {
	for _, ring := range []struct {
		name string
		id   int
	}{
		{"session", unix.KEY_SPEC_SESSION_KEYRING},
		{"user", unix.KEY_SPEC_USER_KEYRING},
		{"user session", unix.KEY_SPEC_USER_SESSION_KEYRING},
		{"process", unix.KEY_SPEC_PROCESS_KEYRING},
	} {
		id, err := unix.KeyctlSearch(ring.id, "user", args[0], 0)
		if err == nil {
			_, err = unix.KeyctlBuffer(unix.KEYCTL_READ, id, make([]byte, 64), 0)
		}
		r.try("the key in the ring of the "+ring.name, err)
	}
	_, err := unix.RequestKey("user", args[0], "", 0)
	r.try("the key by request", err)
	read(r, []string{"/proc/keys", args[0]})
}
