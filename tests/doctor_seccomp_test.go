package tests

import (
	"encoding/binary"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"golang.org/x/sys/unix"

	"bryo/rootless/program"
)

// What a filter answers to a system call: seccomp(2).
const (
	allow = unix.SECCOMP_RET_ALLOW
	kill  = unix.SECCOMP_RET_KILL_PROCESS
)

func refuse(errno unix.Errno) uint32 { return unix.SECCOMP_RET_ERRNO | uint32(errno) }

// rule is a filter's answer to one system call; with mask, only when its first
// argument has one of these bits.
type rule struct {
	call   int
	mask   uint32
	answer uint32
}

// usernsRules refuse user namespaces however they are made, as container
// engines and systemd's RestrictNamespaces= do. A filter cannot look into
// clone3's arguments.
func usernsRules(clone3, others uint32) []rule {
	return []rule{
		{unix.SYS_CLONE3, 0, clone3},
		{unix.SYS_CLONE, unix.CLONE_NEWUSER, others},
		{unix.SYS_UNSHARE, 0, others},
	}
}

func rules(answer uint32, calls ...int) []rule {
	var list []rule
	for _, c := range calls {
		list = append(list, rule{c, 0, answer})
	}
	return list
}

// filter is classic BPF over struct seccomp_data, which begins with the call's
// number (4 bytes), the architecture (4), the instruction pointer (8) and the
// arguments (8 each): bpf(4), seccomp(2).
func filter(list []rule) string {
	const number, argument = 0, 16
	var code []byte
	// Jumps go on when their condition holds, else over no instructions.
	add := func(op uint16, no uint8, k uint32) {
		code = binary.NativeEndian.AppendUint16(code, op)
		code = append(code, 0, no)
		code = binary.NativeEndian.AppendUint32(code, k)
	}
	for _, r := range list {
		add(unix.BPF_LD|unix.BPF_W|unix.BPF_ABS, 0, number)
		if r.mask == 0 {
			add(unix.BPF_JMP|unix.BPF_JEQ|unix.BPF_K, 1, uint32(r.call))
		} else {
			add(unix.BPF_JMP|unix.BPF_JEQ|unix.BPF_K, 3, uint32(r.call))
			add(unix.BPF_LD|unix.BPF_W|unix.BPF_ABS, 0, argument)
			add(unix.BPF_JMP|unix.BPF_JSET|unix.BPF_K, 1, r.mask)
		}
		add(unix.BPF_RET|unix.BPF_K, 0, r.answer)
	}
	add(unix.BPF_RET|unix.BPF_K, 0, allow)
	return string(code)
}

// underFilter runs doctor as the user behind a filter that root installs, so
// that no_new_privs is not needed and newuidmap keeps its privileges.
func (c *clinic) underFilter(t *testing.T, list []rule, args ...string) *diagnosis {
	t.Helper()
	out, err := os.OpenFile(filepath.Join(t.TempDir(), "out"), os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	read, write, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer read.Close()

	p := program.New()
	p.Step("redirect", "output")
	p.Dup3(program.FD(int(out.Fd())), 1, 0)
	p.Dup3(program.FD(int(out.Fd())), 2, 0)
	p.Step("unblock", "signals")
	p.Syscall(unix.SYS_RT_SIGPROCMASK, program.Num(unix.SIG_SETMASK), p.Buffer("none", 8, "").At(0), program.Num(0), program.Num(8))
	p.Step("install", "the filter")
	code := filter(list)
	p.Syscall(unix.SYS_SECCOMP, program.Num(unix.SECCOMP_SET_MODE_FILTER), program.Num(0), p.Vector(program.Num(len(code)/8), program.Blob(code)))
	p.Step("become", "the user")
	p.Syscall(unix.SYS_SETGROUPS, program.Num(0), program.Num(0))
	p.Syscall(unix.SYS_SETRESGID, program.Num(c.gid), program.Num(c.gid), program.Num(c.gid))
	p.Syscall(unix.SYS_SETRESUID, program.Num(c.uid), program.Num(c.uid), program.Num(c.uid))
	p.Step("execute", c.bryo)
	p.Execve(c.bryo, p.Strings(append([]string{"bryo", "doctor", "--json"}, args...)), p.Strings([]string{"HOME=" + c.home, "XDG_RUNTIME_DIR=" + c.run}))

	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	child, err := program.Start(p, 0, int(write.Fd()))
	_ = write.Close()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = child.Release() }()
	report, err := child.ReadReport(read, nil)
	if err != nil || len(report.Failures) > 0 {
		t.Fatalf("%v, %+v", err, report.Failures)
	}
	var status unix.WaitStatus
	if _, err := unix.Wait4(child.PID, &status, 0, nil); err != nil {
		t.Fatal(err)
	}
	_ = unix.Close(child.PIDFD)
	text, err := io.ReadAll(io.NewSectionReader(out, 0, 1<<20))
	if err != nil {
		t.Fatal(err)
	}
	if !status.Exited() {
		t.Fatalf("doctor ended with signal %v\n%s", status.Signal(), text)
	}
	return diagnosisIn(t, text, "", status.ExitStatus())
}

func (c *clinic) underSeccomp(t *testing.T) {
	mounts := []int{unix.SYS_MOUNT, unix.SYS_UMOUNT2, unix.SYS_PIVOT_ROOT, unix.SYS_OPEN_TREE, unix.SYS_MOVE_MOUNT, unix.SYS_FSOPEN, unix.SYS_FSCONFIG, unix.SYS_FSMOUNT, unix.SYS_MOUNT_SETATTR}
	for _, s := range []struct {
		name   string
		list   []rule
		status string
		want   []string
	}{
		{"a filter that refuses nothing", nil, "usable", nil},
		{"Docker's answers", usernsRules(refuse(unix.ENOSYS), refuse(unix.EPERM)), "unusable", []string{"seccomp-userns"}},
		{"EPERM", usernsRules(refuse(unix.EPERM), refuse(unix.EPERM)), "unusable", []string{"seccomp-userns"}},
		{"EACCES", usernsRules(refuse(unix.EACCES), refuse(unix.EACCES)), "unusable", []string{"seccomp-userns"}},
		{"ENOSPC", usernsRules(refuse(unix.ENOSPC), refuse(unix.ENOSPC)), "unusable", []string{"seccomp-userns"}},
		{"unshare alone, which is not needed", rules(refuse(unix.EPERM), unix.SYS_UNSHARE), "usable", nil},
		{"the mount family, EPERM", rules(refuse(unix.EPERM), mounts...), "unusable", []string{"seccomp-calls"}},
		{"the mount family, ENOSYS", rules(refuse(unix.ENOSYS), mounts...), "unusable", []string{"seccomp-calls"}},
		{"mount_setattr, as an old filter does", rules(refuse(unix.ENOSYS), unix.SYS_MOUNT_SETATTR), "usable", []string{"seccomp-calls"}},
		{"a call that kills", rules(kill, unix.SYS_PIVOT_ROOT), "unusable", []string{"seccomp-calls"}},
	} {
		t.Run(s.name, func(t *testing.T) {
			c.expect(t, c.underFilter(t, s.list), s.status, s.want...)
		})
	}
}
